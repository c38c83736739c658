"""What one query brought, sorted out: by type, with subjects resolved, and what cannot be used set aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import msgspec

from cds_service.fhir.resources import (
    AnyResource,
    CodeableConcept,
    Component,
    Condition,
    DraftOrder,
    Immunization,
    Measurement,
    Medication,
    Observation,
    OperationOutcome,
    Patient,
    Procedure,
    Quantity,
    Reference,
    ReferenceRange,
    Resource,
    ServiceRequest,
    effective,
    is_named,
    local_reference,
)
from cds_service.fhir.understood import doubts_about, is_modified, is_not_offered, takes_away


class Unreadable(NamedTuple):
    """A resource that is not used and not passed over. What can be salvaged says which facts must not be decided.

    `is_decoded`: it has the shape of FHIR R4, and what it says is not understood; `resource` is then itself.
    `members`: of a report the results that it names; once all of them came it says no more than they do.
    """

    resource_type: str
    reference: str
    concepts: tuple[CodeableConcept, ...]
    place: str
    problem: str
    when: str = ""
    subject: str = ""
    is_decoded: bool = False
    resource: Resource | None = None
    members: tuple[str, ...] = ()


Clinical = AnyResource | DraftOrder


Found = tuple[str | None, Clinical]
"""A resource with the `fullUrl` of its entry."""


class Section(NamedTuple):
    """What one prefetch value holds, resolved: nobody needs to ask FHIR about it again.

    `resources` stand by type, each with its subject as a local reference. `medications` stand by every reference that may
    name them. `components` holds those of an Observation by its `id()`, and `damaged` what says nothing that can be read.
    `failed`: something else in place of data; `not_offered`: the same, as the server does not have the like; `incomplete`: part
    is missing, and `shortfall` says why; `is_null`: nothing was supplied. `others`: resources of types that nothing here reads.
    `oldest`: of a first page of results, newest first, its last day. `entries`: those of the Bundle as they came, each with its
    `resource`, or None.
    """

    resources: Mapping[type[Resource], Sequence[tuple[str, Clinical]]]
    patients: Sequence[tuple[str | None, Patient]]
    medications: Mapping[str, Medication]
    components: Mapping[int, Sequence[Component]]
    damaged: Sequence[Unreadable]
    failed: bool = False
    shortfall: str = ""
    is_null: bool = False
    others: Sequence[Unreadable] = ()
    oldest: date | None = None
    not_offered: bool = False
    entries: Sequence[Any] = ()

    @property
    def incomplete(self) -> bool:
        return bool(self.shortfall) and not self.failed

    @property
    def types(self) -> set[str]:
        """The resource types that it holds, whether each says what it is about or not."""
        beside = {"Patient": self.patients, "Medication": self.medications}
        return {kind.__name__ for kind in self.resources} | {name for name, found in beside.items() if found}


_quantity = msgspec.json.Decoder(Quantity | None)


_concept = msgspec.json.Decoder(CodeableConcept | None)


_concepts = msgspec.json.Decoder(list[CodeableConcept | None] | None)


_ranges = msgspec.json.Decoder(list[ReferenceRange | None] | None)


_components = msgspec.json.Decoder(list[Component | None] | None)


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OF_NO_SUBJECT = frozenset((Patient, Medication, OperationOutcome))


_CODED = frozenset((Condition, Immunization, Observation, Procedure, ServiceRequest))
_OTHER_VALUES = [name for name in Component.__struct_fields__ if name.startswith("value_") and name != "value_quantity"]
_NOTHING = (b"", b"null", b"{}", b"[]", b'""')
_FAILED = "holds an OperationOutcome in place of an answer"
_TAKEN_AWAY = "came with an OperationOutcome that says that some of it may be missing"
_NOT_SUPPORTED = "came empty, with an OperationOutcome that says that what was asked for is not supported"


def measurement(part: Observation | Component) -> Measurement | None:
    """What an Observation or a component of one says; None where it cannot be read."""
    if isinstance(part, Component):
        return part
    try:
        return Measurement(
            value_quantity=_quantity.decode(part.value_quantity) if part.value_quantity else None,
            interpretation=_concepts.decode(part.interpretation) if part.interpretation else None,
            reference_range=_ranges.decode(part.reference_range) if part.reference_range else None,
        )
    except _UNREADABLE:
        return None


def bears_value(observation: Observation | Component) -> bool:
    """Whether it bears a value of any type, or an interpretation: also one that nothing here reads, or that cannot be read."""
    said = measurement(observation)
    if said is None or (said.value_quantity and said.value_quantity.value is not None):
        return True
    return any(map(is_named, filter(None, said.interpretation or ()))) or any(other_values(observation))


def other_values(part: Observation | Component) -> Iterator[bytes]:
    """What it bears as a value that is no Quantity, as it came."""
    given = (bytes(getattr(part, member)).strip() for member in _OTHER_VALUES)
    return (value for value in given if value not in _NOTHING)


def _components_of(observation: Observation) -> list[Component] | None:
    """None where they cannot be read."""
    try:
        found = _components.decode(observation.component) if observation.component else None
    except _UNREADABLE:
        return None
    parts = [component for component in found or () if component]
    return None if any(map(is_modified, parts)) else parts


def coded_value(observation: Observation) -> CodeableConcept | None:
    """The coded value of an Observation; None where it has none that can be read."""
    try:
        return _concept.decode(observation.value_codeable_concept) if observation.value_codeable_concept else None
    except _UNREADABLE:
        return None


def sort_out(
    found: Sequence[Found], damaged: list[Unreadable], place: str, *, shortfall: str = "", alone: bool = False
) -> Section:
    """What was decoded, by type and with its subject resolved; what does not say what it is about is set aside.

    OperationOutcomes speak about the search, not about the patient: they only tell how far it was answered. `alone`: there is
    no Bundle around it.
    """
    by_type: dict[type[Resource], list[tuple[str, Clinical]]] = {}
    components: dict[int, list[Component]] = {}
    beside = [item for item in found if type(item[1]) in _OF_NO_SUBJECT]
    _sort_by_type(found, by_type, components, damaged, place)
    patients = [(full_url, item) for full_url, item in beside if isinstance(item, Patient)]
    medications = {name: item for full_url, item in beside if isinstance(item, Medication) for name in _names(full_url, item)}
    outcomes = [item for _, item in beside if isinstance(item, OperationOutcome)]
    failed = takes_away(outcomes, alone=alone)
    held = bool(any(by_type.values()) or patients or medications)
    if failed:
        shortfall = shortfall or (_TAKEN_AWAY if held else _FAILED)
    elif not held and not damaged and takes_away(outcomes, alone=True):
        # Nothing came that could show that only a parameter was ignored: it may be the search itself.
        shortfall = shortfall or _NOT_SUPPORTED
    read = Section(by_type, patients, medications, components, damaged, failed and not held, shortfall)
    not_offered = not held and not damaged and takes_away(outcomes, alone=True) and is_not_offered(outcomes)
    return read._replace(not_offered=True) if not_offered else read


def _sort_by_type(
    found: Iterable[Found],
    by_type: dict[type[Resource], list[tuple[str, Clinical]]],
    components: dict[int, list[Component]],
    damaged: list[Unreadable],
    place: str,
) -> None:
    """Thousands of a kind come together, so what holds for the kind is looked up once."""
    # Nearly all subjects are written alike: each is resolved once.
    subjects: dict[str | None, str] = {}
    kind: type[Resource] | None = None
    for _, resource in found:
        if type(resource) is not kind:
            kind = type(resource)
            doubt_about, is_coded, is_beside = doubts_about(kind), kind in _CODED, kind in _OF_NO_SUBJECT
            alike = [] if is_beside else by_type.setdefault(kind, [])
        if is_beside:
            continue
        reference: Reference | None = resource.subject  # type: ignore[union-attr]  # by its kind
        given = reference.reference if reference else None
        subject = subjects.get(given)
        if subject is None:
            subject = subjects[given] = local_reference(given)
        problem = _unreadable(resource, components) if is_coded else ""  # type: ignore[arg-type]  # by its kind
        if problem or (problem := doubt_about(resource)):
            damaged.append(set_aside(resource, place, problem, subject))
        else:
            alike.append((subject, resource))


def _names(full_url: str | None, medication: Medication) -> Iterator[str]:
    """Every reference that may name it."""
    yield f"Medication/{medication.id}"
    if full_url:
        yield full_url


def set_aside(resource: Clinical, place: str, problem: str, subject: str = "") -> Unreadable:
    """A resource that is neither used nor passed over: no absence of what it may be about can be told beside it."""
    kind = type(resource).__name__
    drug = getattr(resource, "medication_codeable_concept", None)
    own = [concept for concept in (getattr(resource, "code", None), drug) if concept and is_named(concept)]
    if isinstance(resource, Observation):
        parts = _components_of(resource)
        own = [] if parts is None else [*own, *(part.code for part in parts if part.code)]
    when = effective(resource) if isinstance(resource, Observation) else ""
    name = f"{kind}/{resource.id or '?'}"
    return Unreadable(kind, name, tuple(own), place, problem, when, subject, is_decoded=True, resource=resource)


def _unreadable(
    resource: Condition | Immunization | Observation | Procedure | ServiceRequest, components: dict[int, list[Component]]
) -> str:
    """Why a resource that says that something is does not say what. Components that can be read are kept in `components`."""
    code = resource.code
    if code is None or not (code.text or is_named(code)):
        return "has neither code nor words"
    if isinstance(resource, Observation) and resource.component:
        parts = _components_of(resource)
        if parts is None:
            return "its components cannot be read"
        components[id(resource)] = parts
    return ""
