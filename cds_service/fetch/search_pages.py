"""Pages of one FHIR search, joined into one Bundle that tells what is still missing, as raw bytes for the reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Raw

from cds_service.fhir.bundles import PrefetchValue, read_section
from cds_service.fhir.resources import (
    MedicationRequest,
    MedicationStatement,
    OperationOutcome,
    local_reference,
)
from cds_service.fhir.sections import Clinical, Section
from cds_service.fhir.understood import takes_away
from cds_service.fhir.wholeness import next_link, says_less, total_of

FAILED = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"incomplete"}]}'

NOT_OFFERED = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}'


class _Search(msgspec.Struct, rename="camel"):
    mode: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    search: _Search | None = None


class _Page(msgspec.Struct, rename="camel"):
    resource_type: str
    link: Any = None
    total: Any = None
    meta: Any = None
    entry: list[Raw] | None = None


class _Resource(msgspec.Struct, rename="camel"):
    resource_type: str


_page = msgspec.json.Decoder(_Page)
_resource = msgspec.json.Decoder(_Resource)
_entry = msgspec.json.Decoder(_Entry)
_outcome = msgspec.json.Decoder(OperationOutcome)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class SearchResult:
    """The answer to one query as far as it has come. `problem`: why it is not whole; empty where it is.

    `total` is how many there are by the server's word, `next_url` what leads to the next page, `is_cut` whether a page says
    that a part was left out, or says what cannot be read.
    """

    problem: str = "timeout"
    resource: bytes | None = None
    begun: bool = False
    entries: list[bytes] = field(default_factory=list)
    matches: int = 0
    total: int = 0
    next_url: str | None = None
    is_cut: bool = False

    def add(self, data: bytes) -> bool:
        """Take one more page. False where it is no Bundle in JSON."""
        try:
            data.decode("utf-8")
            page = _page.decode(data)
        except _UNREADABLE:
            return False
        if page.resource_type != "Bundle":
            return False
        own = page.entry or []
        self.begun = True
        self.entries += map(bytes, own)
        self.matches += sum(map(_is_match, own))
        total, following = total_of(page.total), next_link(page.link)
        self.total = max(self.total, total or 0)
        self.is_cut = self.is_cut or says_less(page.meta) or (total or 0) < 0
        self.next_url = None if following is None else str(following.get("url") or "")
        return True

    def medications_wanted(self) -> list[str]:
        """As below. What holds no such member need not be read for it."""
        if not any(b'"medicationReference"' in entry for entry in self.entries):
            return []
        return medications_wanted(read_section(self.data(), ""))

    def add_resource(self, data: bytes) -> None:
        self.entries.append(b'{"resource":%s}' % data)

    def data(self) -> Raw | None:
        """For the reader: a resource, or a Bundle, with a `next` link where something is missing. None: nothing came."""
        if self.resource is not None:
            return Raw(self.resource)
        if not self.begun:
            return None
        link = b'"link":[{"relation":"next"}],' if self.problem else b""
        return Raw(b'{"resourceType":"Bundle","type":"searchset",%s"entry":[%s]}' % (link, b",".join(self.entries)))


def is_resource(data: bytes, kind: str) -> bool:
    try:
        data.decode("utf-8")
        return _resource.decode(data).resource_type == kind
    except _UNREADABLE:
        return False


def _is_match(entry: Raw) -> bool:
    """What was included beside the matches, or says something about the search, is not counted by the server."""
    try:
        search = _entry.decode(entry).search
    except _UNREADABLE:
        return True
    return search is None or search.mode not in ("include", "outcome")


def has_failed(section: PrefetchValue | Raw) -> bool:
    """Whether a client says that its own query failed, for another reason than that it is forbidden."""
    if isinstance(section, Raw):
        try:
            section = _outcome.decode(section)
        except _UNREADABLE:
            return False
    if not isinstance(section, OperationOutcome):
        return False
    return takes_away([section], alone=True) and not any(issue and issue.code == "forbidden" for issue in section.issue or ())


def medications_wanted(section: Section) -> list[str]:
    """The references to medications that a Bundle itself does not answer, such as `Medication/1`."""
    listed = [item for kind in (MedicationRequest, MedicationStatement) for _, item in section.resources.get(kind, ())]
    references = dict.fromkeys(reference for item in listed if (reference := _by_reference(item)))
    return [item for item in references if not {item, local_reference(item)} & section.medications.keys()]


def _by_reference(item: Clinical) -> str:
    """The reference by which an entry of a medication list names its drug, if it does so and holds no drug itself."""
    if not isinstance(item, (MedicationRequest, MedicationStatement)) or item.medication_reference is None:
        return ""
    reference = (item.medication_reference.reference or "").strip()
    return "" if reference.startswith("#") else reference
