"""How a prefetch value is read: a resource, a Bundle, or a mess of both.

Reading is tolerant where FHIR is ambiguous and strict where a wrong guess could harm: one bad resource is kept
aside as `Unreadable`, so that whatever rests on it becomes unknown, while the others count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any, NamedTuple, TypeVar, Union, get_args

import msgspec
from msgspec import Raw

from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import (
    AnyResource,
    CodeableConcept,
    Medication,
    Observation,
    OperationOutcome,
    Resource,
    effective,
    local_reference,
)
from cds_service.fhir.sections import Found, Section, Unreadable, sort_out
from cds_service.fhir.wholeness import has_foreign_members, has_next, shortfall_of


class Entry(msgspec.Struct, gc=False, rename="camel"):
    """What an entry says of itself beside its resource stays as it came: `wholeness` reads it, however it is spelt."""

    full_url: str | None = None
    resource: AnyResource | None = None
    response: Any = None


class Bundle(Resource, tag="Bundle"):
    entry: list[Entry | None] | None = None
    link: Any = None
    total: Any = None
    meta: Any = None


PrefetchValue = Union[Bundle, AnyResource, None]
"""What one prefetch key may hold."""


class _RawEntry(msgspec.Struct, gc=False, rename="camel"):
    full_url: str | None = None
    resource: Raw = Raw()
    response: Any = None


class _RawBundle(msgspec.Struct, rename="camel"):
    entry: list[Raw] | None = None
    link: Any = None
    total: Any = None
    meta: Any = None


class _TypeOnly(msgspec.Struct, rename="camel"):
    resource_type: str


class RawResource(NamedTuple):
    """A resource of a Bundle, not decoded yet. `resource_type` is empty where none can be read."""

    full_url: str | None
    resource_type: str
    data: Raw
    place: str
    number: int = 0


R = TypeVar("R")

_NULL = b"null"
_section = msgspec.json.Decoder(PrefetchValue)
_raw_bundle = msgspec.json.Decoder(_RawBundle)
_raw_entry = msgspec.json.Decoder(_RawEntry)
_resource = msgspec.json.Decoder(AnyResource)
_kind = msgspec.json.Decoder(_TypeOnly)
_contained = msgspec.json.Decoder(list[Raw])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_READ_TYPES = {str(kind.__struct_config__.tag).casefold(): str(kind.__struct_config__.tag) for kind in get_args(AnyResource)}
_NESTED = "is a Bundle inside a Bundle, which is not opened"
_UNASKED = "is of a type that nothing here asks for"
_REPORT, _DISPENSE = "DiagnosticReport", "MedicationDispense"
_NO_TYPE = "has a type that FHIR does not know"
_UNREAD = "came as {}, which is not read here"
# What other versions of FHIR, or other resources of R4, say about what is read here.
_ALSO_ABOUT = {
    "medicationdispense": "MedicationRequest",
    "medicationadministration": "MedicationRequest",
    "medicationusage": "MedicationRequest",
    "medicationorder": "MedicationRequest",
    "medicationprescription": "MedicationRequest",
    "diagnosticreport": "Observation",
    "diagnosticorder": "ServiceRequest",
    "procedurerequest": "ServiceRequest",
}
_WHEN_MEMBERS = ("effectiveDateTime", "effectiveInstant", "issued", "whenHandedOver")
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
        return sort_out([(None, section)], [], place, alone=True)
    entries = [(entry.full_url, entry.resource) for entry in section.entry or () if entry and entry.resource]
    cut = _shortfall(section, section.entry or (), _matches(entries), data)
    section_read = sort_out(entries, [], place, shortfall=cut)._replace(entries=section.entry or ())
    return section_read._replace(oldest=_oldest(entries)) if cut and has_next(section.link) else section_read


def _oldest(found: Iterable[Found]) -> date | None:
    """The day of the last result where all run newest first; None where they do not, or one has no day."""
    spans = [read_span(effective(item)) for _, item in found if isinstance(item, Observation)]
    days = [span.last for span in spans if span]
    sorted_down = len(days) == len(spans) and days == sorted(days, reverse=True)
    return days[-1] if days and sorted_down and days[0] != days[-1] else None


_INCLUDED = (Medication, OperationOutcome)


def _matches(found: Iterable[Found]) -> int:
    """How many were asked for: not what was included beside them, nor what is said of the search."""
    return len([None for _, resource in found if type(resource) not in _INCLUDED])


def _shortfall(bundle: Any, entries: Sequence[Any], came: int, data: Any) -> str:
    """Why a Bundle does not hold all that was asked for; empty where it does."""
    if not entries and isinstance(data, (Raw, bytes)) and has_foreign_members(data):
        return "has no entries, and members that FHIR does not know"
    filled = [entry.response for entry in entries if entry and _is_filled(entry.resource)]
    unfilled = [entry and entry.response for entry in entries if not (entry and _is_filled(entry.resource))]
    return shortfall_of(bundle, responses=filled, unfilled=unfilled, came=came)


def _is_filled(resource: AnyResource | Raw | None) -> bool:
    return resource is not None and not (isinstance(resource, Raw) and bytes(resource).strip() in (b"", _NULL))


def _read_piecemeal(data: Raw | bytes, place: str) -> Section:
    """One bad or unknown resource must not cost the others: each entry on its own."""
    kind = _type_of(data)
    if not kind:
        # A text, a list, a wrapper of older drafts: whatever it is, it is no answer.
        return sort_out([], [], place)._replace(failed=True, shortfall="is neither a resource nor a Bundle")
    if kind != "Bundle":
        resource, damaged = _read_resource(data, place)
        section = sort_out([(None, resource)] if resource else [], [damaged] if damaged else [], place, alone=True)
        return section if resource or damaged else section._replace(others=[_salvage(data, kind, place, _UNASKED)])
    try:
        bundle = _raw_bundle.decode(data)
    except _UNREADABLE as error:
        return sort_out([], [Unreadable("", "", (), place, str(error))], place, shortfall="cannot be read as a Bundle")
    resources: list[Found] = []
    broken: list[Unreadable] = []
    entries: list[_RawEntry | None] = []
    others: list[Unreadable] = []
    read: list[Entry] = []
    for number, raw in enumerate(bundle.entry or ()):
        where = f"{place}.entry[{number}]"
        entry, resource, damaged = _read_entry(raw, where)
        read.append(Entry(resource=resource))
        if entry or not damaged:
            entries.append(entry)
        if resource:
            resources.append((entry.full_url if entry else None, resource))
        elif damaged:
            broken.append(damaged)
        elif entry is not None and _is_filled(entry.resource):
            others.append(_salvage(entry.resource, _type_of(entry.resource), f"{where}.resource", _UNASKED))
    matches = _matches(resources) + len(others) + sum(bool(item.resource_type) for item in broken)
    cut = _shortfall(bundle, entries, matches, data)
    return sort_out(resources, broken, place, shortfall=cut)._replace(others=others, entries=read)


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
        if _is_filled(entry.resource):
            found.append(RawResource(entry.full_url, _type_of(entry.resource), entry.resource, f"{where}.resource", number))
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
    if not _is_filled(entry.resource):
        return entry, None, None
    resource, damaged = _read_resource(entry.resource, f"{place}.resource")
    return entry, resource, damaged


def _read_resource(raw: Raw | bytes, place: str) -> tuple[AnyResource | None, Unreadable | None]:
    """The resource; or what is left of it; or neither, if it is of a type that nothing here reads."""
    try:
        return _resource.decode(raw), None
    except _UNREADABLE as error:
        kind = _type_of(raw)
        if kind == "Bundle":
            return None, _salvage(raw, kind, place, _NESTED)
        meant = type_meant(kind)
        if meant is None:
            return None, None
        problem = str(error) or type(error).__name__
        if kind != meant:
            problem = _UNREAD.format(kind.strip()) if kind.strip().casefold() in _ALSO_ABOUT else _NO_TYPE
        return None, _salvage(raw, kind.strip(), place, problem)._replace(resource_type=meant)


def type_meant(kind: str) -> str | None:
    """The type that is read here and that a resource of type `kind` tells about: its own, or that of another spelling.

    None where it is another resource of FHIR; empty where FHIR knows no such type, so that it may be anything.
    """
    folded = kind.strip().casefold()
    meant = _READ_TYPES.get(folded) or _ALSO_ABOUT.get(folded, "")
    return meant or (None if folded in _types_of_fhir() else "")


@cache
def _types_of_fhir() -> frozenset[str]:
    """The resource types of FHIR R4 and R5, by the names of their modules: nothing of these is loaded."""
    library = find_spec("fhir.resources")
    rooms = list(library.submodule_search_locations or ()) if library else []
    return frozenset(module.name for module in iter_modules([*rooms, *(f"{room}/R4B" for room in rooms)]))


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
    found = Unreadable(kind, reference, _loose_concepts(loose), place, problem, when, about)
    if kind == _DISPENSE and loose.get("status") != "completed":
        # Nothing was handed over, whatever day it names.
        return found._replace(when="")
    return found._replace(members=_results_named(loose)) if kind == _REPORT else found


def _results_named(report: dict[str, Any]) -> tuple[str, ...]:
    """The results of a DiagnosticReport, wherever they stand: what it contains is not among the results that are read."""
    named = report.get("result") or []
    listed = named if isinstance(named, list) else [named]
    given = [item.get("reference") if isinstance(item, dict) else None for item in listed]
    contained = ["#"] if report.get("contained") else []
    return (*(local_reference(text) if isinstance(text, str) else "#" for text in given), *contained)


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
