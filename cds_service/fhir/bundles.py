"""How a prefetch value is read: a resource, a Bundle, or a mess of both.

Reading is tolerant where FHIR is ambiguous and strict where a wrong guess could harm: one bad resource is kept
aside as `Unreadable`, so that whatever rests on it becomes unknown, while the others count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, TypeVar, Union, get_args

import msgspec
from msgspec import Raw

from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import (
    AnyResource,
    CodeableConcept,
    Component,
    Condition,
    DraftOrder,
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
from cds_service.fhir.understood import doubt_about, takes_away


class BundleLink(msgspec.Struct, gc=False):
    relation: str | None = None
    url: str | None = None


class EntrySearch(msgspec.Struct, gc=False):
    mode: str | None = None


class EntryResponse(msgspec.Struct, gc=False):
    status: str | None = None


class Entry(msgspec.Struct, gc=False, rename="camel"):
    full_url: str | None = None
    resource: AnyResource | None = None
    search: EntrySearch | None = None
    response: EntryResponse | None = None


class Bundle(Resource, tag="Bundle"):
    link: list[BundleLink | None] | None = None
    entry: list[Entry | None] | None = None
    total: int | None = None


PrefetchValue = Union[Bundle, AnyResource, None]
"""What one prefetch key may hold."""


class _RawEntry(msgspec.Struct, gc=False, rename="camel"):
    full_url: str | None = None
    resource: Raw = Raw()
    search: Any = None
    response: Any = None


class _RawBundle(msgspec.Struct, rename="camel"):
    link: Any = None
    entry: list[Raw] | None = None
    total: Any = None


class _TypeOnly(msgspec.Struct, rename="camel"):
    resource_type: str


class Unreadable(NamedTuple):
    """A resource that is not used and not passed over. What can be salvaged says which facts must not be decided.

    `is_decoded`: it has the shape of FHIR R4, and what it says is not understood.
    """

    resource_type: str
    reference: str
    concepts: tuple[CodeableConcept, ...]
    place: str
    problem: str
    when: str = ""
    subject: str = ""
    is_decoded: bool = False


Clinical = AnyResource | DraftOrder
Found = tuple[str | None, Clinical]
"""A resource with the `fullUrl` of its entry."""


class Section(NamedTuple):
    """What one prefetch value holds, resolved: nobody needs to ask FHIR about it again.

    `resources` stand by type, each with its subject as a local reference. `medications` stand by every reference that may
    name them. `components` holds those of an Observation by its `id()`, and `damaged` what says nothing that can be read.
    `failed`: something else in place of data; `incomplete`: part is missing; `is_null`: nothing was supplied. `others`: how
    many resources of types that nothing here reads. `oldest`: of a first page of results, newest first, its last day.
    """

    resources: Mapping[type[Resource], Sequence[tuple[str, Clinical]]]
    patients: Sequence[tuple[str | None, Patient]]
    medications: Mapping[str, Medication]
    components: Mapping[int, Sequence[Component]]
    damaged: Sequence[Unreadable]
    failed: bool = False
    incomplete: bool = False
    is_null: bool = False
    others: int = 0
    oldest: date | None = None

    @property
    def types(self) -> set[str]:
        """The resource types that it holds, whether each says what it is about or not."""
        beside = {"Patient": self.patients, "Medication": self.medications}
        return {kind.__name__ for kind in self.resources} | {name for name, found in beside.items() if found}


class RawResource(NamedTuple):
    """A resource of a Bundle, not decoded yet. `resource_type` is empty where none can be read."""

    full_url: str | None
    resource_type: str
    data: Raw
    place: str


R = TypeVar("R")

_NULL = b"null"
_section = msgspec.json.Decoder(PrefetchValue)
_raw_bundle = msgspec.json.Decoder(_RawBundle)
_raw_entry = msgspec.json.Decoder(_RawEntry)
_resource = msgspec.json.Decoder(AnyResource)
_kind = msgspec.json.Decoder(_TypeOnly)
_contained = msgspec.json.Decoder(list[Raw])
_quantity = msgspec.json.Decoder(Quantity | None)
_concept = msgspec.json.Decoder(CodeableConcept | None)
_concepts = msgspec.json.Decoder(list[CodeableConcept | None] | None)
_ranges = msgspec.json.Decoder(list[ReferenceRange | None] | None)
_components = msgspec.json.Decoder(list[Component | None] | None)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_READ_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(AnyResource))
_OF_NO_SUBJECT = frozenset((Patient, Medication, OperationOutcome))
_CODED = frozenset((Condition, Observation, Procedure, ServiceRequest))
_WHEN_MEMBERS = ("effectiveDateTime", "effectiveInstant", "issued")
_CONCEPT_MEMBERS = ("code", "medicationCodeableConcept", "valueCodeableConcept")


def read_section(data: PrefetchValue | Raw | bytes, place: str) -> Section:
    """Read one prefetch value: a resource, a Bundle of any type, an OperationOutcome or null, decoded already or raw.

    Raises nothing for bad content: it comes back as `damaged`, `failed` or `incomplete`.
    """
    section: PrefetchValue
    if isinstance(data, (Raw, bytes)):
        try:
            section = _section.decode(data)
        except _UNREADABLE:
            return _read_piecemeal(data, place)
    else:
        section = data
    if section is None:
        return sort_out([], [], place)._replace(is_null=True)
    if not isinstance(section, Bundle):
        return sort_out([(None, section)], [], place)
    entries = [(entry.full_url, entry.resource) for entry in section.entry or () if entry and entry.resource]
    section_read = sort_out(entries, [], place, incomplete=_is_cut(section, section.entry or (), entries))
    return (
        section_read._replace(oldest=_oldest(entries)) if section_read.incomplete and _has_next(section.link) else section_read
    )


def _oldest(found: Iterable[Found]) -> date | None:
    """The day of the last result where all run newest first; None where they do not, or one has no day."""
    spans = [read_span(effective(item)) for _, item in found if isinstance(item, Observation)]
    days = [span.last for span in spans if span]
    sorted_down = len(days) == len(spans) and days == sorted(days, reverse=True)
    return days[-1] if days and sorted_down and days[0] != days[-1] else None


def _is_cut(bundle: Any, entries: Iterable[Any], found: Sequence[Found], others: int = 0) -> bool:
    """Whether a Bundle says that it does not hold all: a further page, more in total than came, an entry that failed."""
    if _has_next(bundle.link) or any(_has_failed(entry) for entry in entries):
        return True
    included = sum(isinstance(resource, (Medication, OperationOutcome)) for _, resource in found)
    total = bundle.total
    return isinstance(total, int) and not isinstance(total, bool) and total > len(found) - included + others


def _has_failed(entry: Any) -> bool:
    """An entry of a batch response whose status is not one of success."""
    response = getattr(entry, "response", None)
    status = response.get("status") if isinstance(response, dict) else getattr(response, "status", None)
    return isinstance(status, str) and not status.strip().startswith("2")


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


def _components_of(observation: Observation) -> list[Component] | None:
    """None where they cannot be read."""
    try:
        found = _components.decode(observation.component) if observation.component else None
    except _UNREADABLE:
        return None
    return [component for component in found or () if component]


def coded_value(observation: Observation) -> CodeableConcept | None:
    """The coded value of an Observation; None where it has none that can be read."""
    try:
        return _concept.decode(observation.value_codeable_concept) if observation.value_codeable_concept else None
    except _UNREADABLE:
        return None


def _read_piecemeal(data: Raw | bytes, place: str) -> Section:
    """One bad or unknown resource must not cost the others: each entry on its own."""
    kind = _type_of(data)
    if not kind:
        # A text, a list, a wrapper of older drafts: whatever it is, it is no answer.
        return sort_out([], [Unreadable("", "", (), place, "is no FHIR resource")], place)._replace(failed=True)
    if kind != "Bundle":
        resource, damaged = _read_resource(data, place)
        section = sort_out([(None, resource)] if resource else [], [damaged] if damaged else [], place)
        return section if resource or damaged else section._replace(others=1)
    try:
        bundle = _raw_bundle.decode(data)
    except _UNREADABLE as error:
        return sort_out([], [Unreadable("", "", (), place, str(error))], place, incomplete=True)
    resources: list[Found] = []
    broken: list[Unreadable] = []
    entries: list[_RawEntry] = []
    others = 0
    for number, raw in enumerate(bundle.entry or ()):
        entry, resource, damaged = _read_entry(raw, f"{place}.entry[{number}]")
        if entry:
            entries.append(entry)
        if resource:
            resources.append((entry.full_url if entry else None, resource))
        elif damaged:
            broken.append(damaged)
        else:
            others += entry is not None and bool(bytes(entry.resource))
    matches = others + sum(bool(item.resource_type) for item in broken)
    cut = _is_cut(bundle, entries, resources, matches)
    return sort_out(resources, broken, place, incomplete=cut)._replace(others=others)


def raw_entries(data: Raw | bytes, place: str) -> tuple[list[RawResource], list[Unreadable]]:
    """The resources of a Bundle, each still to be decoded, and what is no entry at all."""
    try:
        bundle = _raw_bundle.decode(data)
    except _UNREADABLE as error:
        return [], [Unreadable("", "", (), place, str(error))]
    found: list[RawResource] = []
    broken: list[Unreadable] = []
    for number, raw in enumerate(bundle.entry or ()):
        where = f"{place}.entry[{number}]"
        try:
            entry = _raw_entry.decode(raw)
        except _UNREADABLE as error:
            if bytes(raw).strip() != _NULL:
                broken.append(Unreadable("", "", (), where, str(error)))
            continue
        if bytes(entry.resource).strip() not in (b"", _NULL):
            found.append(RawResource(entry.full_url, _type_of(entry.resource), entry.resource, f"{where}.resource"))
    return found, broken


def decode(raw: RawResource, decoder: msgspec.json.Decoder[R]) -> R | Unreadable:
    """One resource by a decoder of its own, or what is left of it."""
    try:
        return decoder.decode(raw.data)
    except _UNREADABLE as error:
        return _salvage(raw.data, raw.resource_type, raw.place, str(error) or type(error).__name__)


def _read_entry(raw: Raw, place: str) -> tuple[_RawEntry | None, AnyResource | None, Unreadable | None]:
    if bytes(raw).strip() == b"null":
        return None, None, None
    try:
        entry = _raw_entry.decode(raw)
    except _UNREADABLE as error:
        return None, None, Unreadable("", "", (), place, str(error))
    if bytes(entry.resource).strip() in (b"", b"null"):
        return entry, None, None
    resource, damaged = _read_resource(entry.resource, f"{place}.resource")
    return entry, resource, damaged


def _read_resource(raw: Raw | bytes, place: str) -> tuple[AnyResource | None, Unreadable | None]:
    """The resource; or what is left of it; or neither, if it is of a type that nothing here reads."""
    try:
        return _resource.decode(raw), None
    except _UNREADABLE as error:
        kind = _type_of(raw)
        if kind and kind not in _READ_TYPES and kind != "Bundle":
            return None, None
        return None, _salvage(raw, kind, place, str(error) or type(error).__name__)


def _type_of(raw: Raw | bytes) -> str:
    try:
        return _kind.decode(raw).resource_type
    except _UNREADABLE:
        return ""


def _salvage(raw: Raw | bytes, kind: str, place: str, problem: str) -> Unreadable:
    try:
        loose = msgspec.json.decode(raw)
    except _UNREADABLE:
        loose = {}
    loose = loose if isinstance(loose, dict) else {}
    name = loose.get("id")
    reference = f"{kind}/{name}" if kind and isinstance(name, str) else ""
    when = next((text for member in _WHEN_MEMBERS if isinstance(text := loose.get(member), str)), "")
    subject = loose.get("subject")
    given = subject.get("reference") if isinstance(subject, dict) else None
    about = local_reference(given) if isinstance(given, str) else ""
    return Unreadable(kind, reference, _loose_concepts(loose), place, problem, when, about)


def _loose_concepts(loose: dict[str, Any]) -> tuple[CodeableConcept, ...]:
    """What a resource and its components may have been about; nothing where a component does not say, as it may be all."""
    parts = loose.get("component") or []
    listed = parts if isinstance(parts, list) else [parts]
    inside = [_loose_concept(part.get("code")) if isinstance(part, dict) else None for part in listed]
    if None in inside:
        return ()
    own = [_loose_concept(loose.get(member)) for member in _CONCEPT_MEMBERS]
    return tuple(concept for concept in (*own, *inside) if concept)


def _loose_concept(value: object) -> CodeableConcept | None:
    try:
        return msgspec.convert(value, CodeableConcept) if value else None
    except msgspec.ValidationError:
        return None


def _has_next(links: Any) -> bool:
    """A `next` link says that the Bundle is one page of several: an absence in it proves nothing."""
    if not isinstance(links, list):
        return False
    relations = (link.get("relation") if isinstance(link, dict) else getattr(link, "relation", None) for link in links)
    return "next" in relations


def sort_out(found: Iterable[Found], damaged: list[Unreadable], place: str, *, incomplete: bool = False) -> Section:
    """What was decoded, by type and with its subject resolved; what does not say what it is about is set aside.

    OperationOutcomes speak about the search, not about the patient: they only tell how far it was answered.
    """
    by_type: dict[type[Resource], list[tuple[str, Clinical]]] = {}
    beside: list[Found] = []
    components: dict[int, list[Component]] = {}
    # Nearly all subjects are written alike: each is resolved once.
    subjects: dict[str | None, str] = {}
    for full_url, resource in found:
        kind = type(resource)
        if kind in _OF_NO_SUBJECT:
            beside.append((full_url, resource))
            continue
        alike = by_type.get(kind)
        if alike is None:
            alike = by_type[kind] = []
        reference: Reference | None = resource.subject  # type: ignore[union-attr]  # by its kind
        given = reference.reference if reference else None
        subject = subjects.get(given)
        if subject is None:
            subject = subjects[given] = local_reference(given)
        problem = _unreadable(resource, components) if kind in _CODED else ""  # type: ignore[arg-type]  # by its kind
        if problem or (problem := doubt_about(resource)):
            damaged.append(set_aside(resource, place, problem, subject))
            continue
        alike.append((subject, resource))
    patients = [(full_url, item) for full_url, item in beside if isinstance(item, Patient)]
    medications = {name: item for full_url, item in beside if isinstance(item, Medication) for name in _names(full_url, item)}
    failed = takes_away(item for _, item in beside if isinstance(item, OperationOutcome))
    held = bool(any(by_type.values()) or patients or medications)
    return Section(by_type, patients, medications, components, damaged, failed and not held, incomplete or (failed and held))


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
    return Unreadable(kind, f"{kind}/{resource.id or '?'}", tuple(own), place, problem, when, subject, is_decoded=True)


def _unreadable(resource: Condition | Observation | Procedure | ServiceRequest, components: dict[int, list[Component]]) -> str:
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


def contained_medication(contained: Raw, reference: str) -> Medication | None:
    """The Medication that `#id` names among the contained resources, else None."""
    try:
        for raw in _contained.decode(contained) if bytes(contained) else ():
            if _type_of(raw) == "Medication":
                medication = _resource.decode(raw)
                if isinstance(medication, Medication) and medication.id == reference.lstrip("#"):
                    return medication
    except _UNREADABLE:
        return None
    return None
