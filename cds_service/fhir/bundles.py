"""How a prefetch value is read: a resource, a Bundle, or a mess of both.

Reading is tolerant where FHIR is ambiguous and strict where a wrong guess could harm: one bad resource is kept
aside as `Unreadable`, so that whatever rests on it becomes unknown, while the others count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
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
_READ_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(AnyResource))
_NESTED = "is a Bundle inside a Bundle, which is not opened"
_UNASKED = "is of a type that nothing here asks for"
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
        return sort_out([(None, section)], [], place, alone=True)
    entries = [(entry.full_url, entry.resource) for entry in section.entry or () if entry and entry.resource]
    cut = _cut(section, section.entry or (), entries)
    section_read = sort_out(entries, [], place, shortfall=cut)._replace(entries=section.entry or ())
    return section_read._replace(oldest=_oldest(entries)) if cut and _has_next(section.link) else section_read


def _oldest(found: Iterable[Found]) -> date | None:
    """The day of the last result where all run newest first; None where they do not, or one has no day."""
    spans = [read_span(effective(item)) for _, item in found if isinstance(item, Observation)]
    days = [span.last for span in spans if span]
    sorted_down = len(days) == len(spans) and days == sorted(days, reverse=True)
    return days[-1] if days and sorted_down and days[0] != days[-1] else None


_INCLUDED = (Medication, OperationOutcome)


def _cut(bundle: Any, entries: Iterable[Any], found: Sequence[Found], others: int = 0) -> str:
    """What of a Bundle says that it does not hold all: a further page, more in total than came, an entry that failed."""
    if _has_next(bundle.link):
        return "has further pages, which did not come"
    if any(entry and entry.response is not None and _has_failed(entry) for entry in entries):
        return "holds an entry whose search failed"
    total = int(bundle.total) if isinstance(bundle.total, str) and bundle.total.isdecimal() else bundle.total
    if not isinstance(total, int) or isinstance(total, bool):
        return ""
    came = len([None for _, resource in found if type(resource) not in _INCLUDED]) + others
    return f"says that there are {total}, and {came} came" if total > came else ""


def _has_failed(entry: Any) -> bool:
    """An entry of a batch response whose status is not one of success."""
    response = getattr(entry, "response", None)
    status = response.get("status") if isinstance(response, dict) else getattr(response, "status", None)
    return isinstance(status, str) and not status.strip().startswith("2")


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
    entries: list[_RawEntry] = []
    others: list[Unreadable] = []
    read: list[Entry] = []
    for number, raw in enumerate(bundle.entry or ()):
        where = f"{place}.entry[{number}]"
        entry, resource, damaged = _read_entry(raw, where)
        read.append(Entry(resource=resource))
        if entry:
            entries.append(entry)
        if resource:
            resources.append((entry.full_url if entry else None, resource))
        elif damaged:
            broken.append(damaged)
        elif entry is not None and bytes(entry.resource).strip() not in (b"", _NULL):
            others.append(_salvage(entry.resource, _type_of(entry.resource), f"{where}.resource", _UNASKED))
    matches = len(others) + sum(bool(item.resource_type) for item in broken)
    cut = _cut(bundle, entries, resources, matches)
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
        if bytes(entry.resource).strip() not in (b"", _NULL):
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
        problem = _NESTED if kind == "Bundle" else str(error) or type(error).__name__
        return None, _salvage(raw, kind, place, problem)


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
