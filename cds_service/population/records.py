"""The lines of one patient as the call that an EHR would send, as of a day or of what was recorded by then."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from msgspec import Raw

from cds_service.cdshooks.request import HookRequest
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import local_reference
from cds_service.knowledge.schema import Query
from cds_service.population.screen import ENCOUNTER, MEDICATION, PATIENT, bundle_of, is_about, kind_named, version_of
from cds_service.samples.people import UNASKED, known_on

_FOLLOWS = {MEDICATION: "MedicationRequest"}
_NOT_EXPORTED = "not-exported"
_UNDER_WAY = "in-progress"
# When it came to be on record; where a resource does not say, its own dates are asked.
_RECORDED = ("recordedDate", "issued", "authoredOn", "dateAsserted", "recorded", "authored")
_ACTOR = "Practitioner"
_NO_VISIT = ("cancelled", "entered-in-error", "planned")
_ELSEWHERE = {"extension", "modifierExtension", "contained", "text", "meta"}

Medications = Callable[[str], bytes | None]


class ExportedRecord:
    """All that the exports hold of one patient: by type the newest version of each resource, as it came.

    `replaced` counts lines of which a newer version came, or the same again.
    """

    def __init__(self, patient_id: str, lines: Iterable[bytes]) -> None:
        self.patient_id = patient_id
        self.by_type: dict[str, list[bytes]] = defaultdict(list)
        self.replaced = 0
        newest: dict[tuple[str, str], tuple[tuple[Any, ...], list[bytes]]] = {}
        for data in lines:
            version = version_of(data)
            if version is None or not version.resource_id:
                self.by_type[version.resource_type if version else kind_named(data)].append(data)
                continue
            key, rank = version[:2], (moment_of(version.last_updated), _number(version.version_id))
            before = newest.get(key)
            self.replaced += before is not None
            if before is None or rank > before[0]:
                newest[key] = (rank, [data])
            elif rank == before[0] and data not in before[1]:
                # Nobody can tell which is the newer one: both stand, as two entries of a record would.
                before[1].append(data)
        for (kind, _), (_, versions) in newest.items():
            self.by_type[kind] += sorted(versions)

    @property
    def patient(self) -> bytes | None:
        found = self.by_type.get(PATIENT)
        return found[0] if found else None

    def encounters(self) -> list[dict[str, Any]]:
        """Those that can be read and say when they began, in the order of their days."""
        found = [loaded for data in self.by_type.get(ENCOUNTER, ()) if (loaded := _loaded(data))]
        found = [item for item in found if item.get("status") not in _NO_VISIT]
        return sorted((item for item in found if visit_day(item)), key=lambda item: str(visit_day(item)))


@lru_cache(maxsize=4096)
def moment_of(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 19 else -1


def _loaded(data: bytes) -> dict[str, Any] | None:
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) else None


def visit_day(encounter: Mapping[str, Any]) -> date | None:
    period = encounter.get("period")
    span = read_span(period.get("start")) if isinstance(period, dict) and isinstance(period.get("start"), str) else None
    return span.first if span else None


def clinicians_of(encounter: Mapping[str, Any]) -> list[str]:
    """The practitioners who took part, each once."""
    listed = encounter.get("participant")
    parts = [item.get("individual") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    named = [str(part.get("reference") or "") for part in parts if isinstance(part, dict)]
    return sorted({local_reference(name) for name in named if _ACTOR in name})


class CallMaker:
    """Makes calls of records. `looked_for`: the types that were exported; `partial`: those of which only some were."""

    def __init__(
        self, hook: str, queries: Mapping[str, Query], looked_for: Set[str], partial: Set[str], medication: Medications
    ) -> None:
        self._hook, self._medication = hook, medication
        self._looked_for, self._partial = looked_for, partial
        self._queries = {key: query for key, query in queries.items() if not query.from_context}

    def call(self, record: ExportedRecord) -> HookRequest:
        """As of the day of the export, with the visit that is under way, if any."""
        open_visits = [
            str(loaded.get("id"))
            for data in record.by_type.get(ENCOUNTER, ())
            if b"in-progress" in data and (loaded := _loaded(data)) and loaded.get("status") == _UNDER_WAY
        ]
        return self._request(record.patient_id, record.by_type, next(iter(open_visits), None), self._partial)

    def visits(self, record: ExportedRecord) -> Iterator[tuple[Mapping[str, Any], date, HookRequest]]:
        """Each visit with its day and the call that would have come, with what was recorded by then.

        Of what does not say when it was recorded nobody knows whether it was there: it is left out, and its type counts as one
        of which only some was exported. Statuses are those of the export.
        """
        loaded = [(kind, _loaded(data)) for kind, items in record.by_type.items() for data in items]
        resources = [resource for _, resource in loaded if resource]
        # What cannot be read has no day either.
        lost = {kind for kind, resource in loaded if not resource}
        for encounter in record.encounters():
            day = visit_day(encounter)
            assert day is not None
            by_type: dict[str, list[bytes]] = defaultdict(list)
            undated = set(lost)
            for resource in resources:
                kind = str(resource.get("resourceType"))
                recorded = _recorded_by(resource, day)
                if recorded:
                    by_type[kind].append(json.dumps(_alive(resource, day), ensure_ascii=False).encode())
                elif recorded is None:
                    undated.add(kind)
            name = str(encounter.get("id"))
            yield encounter, day, self._request(record.patient_id, by_type, name, self._partial | undated)

    def _request(
        self, patient_id: str, by_type: Mapping[str, Sequence[bytes]], encounter_id: str | None, partial: Set[str]
    ) -> HookRequest:
        patient = by_type.get(PATIENT)
        sections: dict[str, bytes] = {}
        asked = set()
        for key, query in self._queries.items():
            kind = query.resource_type
            if kind == PATIENT:
                sections |= {key: patient[0]} if patient else {}
                continue
            own = [data for data in by_type.get(kind, ()) if not _is_draft(data)] if kind not in asked else []
            if kind == _FOLLOWS[MEDICATION] and kind not in asked:
                own += self._medications(by_type)
            asked.add(kind)
            if kind in self._looked_for or by_type.get(kind):
                # A line of which not even the type can be told may have been of this one.
                unsure = kind in partial or kind not in self._looked_for or "" in by_type or "" in partial
                sections[key] = bundle_of(own, missing=unsure)
        also = [data for kind, items in by_type.items() if kind not in asked and is_about(kind) for data in items]
        sections |= {UNASKED: bundle_of(also)} if also else {}
        if encounter_id is None and ENCOUNTER not in self._looked_for:
            encounter_id = _NOT_EXPORTED
        prefetch = {key: Raw(section) for key, section in sections.items()}
        return HookRequest(self._hook, "", patient_id, encounter_id, prefetch)

    def _medications(self, by_type: Mapping[str, Sequence[bytes]]) -> list[bytes]:
        """The Medications that the lists of a patient name, each once."""
        drugs = (*by_type.get("MedicationRequest", ()), *by_type.get("MedicationStatement", ()))
        names = [name for data in drugs if b"medicationReference" in data for name in _medications_in(data)]
        found = (self._medication(name) for name in dict.fromkeys(names))
        return [data for data in found if data]


def _is_draft(data: bytes) -> bool:
    """What is still being written is no part of a record."""
    return b'"draft"' in data and (_loaded(data) or {}).get("status") == "draft"


def _medications_in(data: bytes) -> Iterator[str]:
    given = (_loaded(data) or {}).get("medicationReference")
    reference = given.get("reference") if isinstance(given, dict) else None
    kind, _, name = local_reference(reference if isinstance(reference, str) else None).partition("/")
    if kind == MEDICATION:
        yield name


def _recorded_by(resource: Mapping[str, Any], day: date) -> bool | None:
    """Whether it was on record on a day; None where nothing tells."""
    if resource.get("resourceType") == PATIENT:
        return True
    given = [resource[member] for member in _RECORDED if isinstance(resource.get(member), str)]
    spans = [span for text in given if (span := read_span(text))]
    if spans:
        # A month in which the visit lies leaves open which came first.
        return True if spans[0].last <= day else False if spans[0].first > day else None
    own = {"entry": [{"resource": {name: value for name, value in resource.items() if name not in _ELSEWHERE}}]}
    if not known_on(own, date.min)[1]:
        return None
    return not known_on(own, day)[1]


def _alive(resource: dict[str, Any], day: date) -> dict[str, Any]:
    """Whoever comes to a visit lives: a death without a date came later."""
    if resource.get("resourceType") != PATIENT:
        return resource
    alive, _ = known_on({"entry": [{"resource": resource}]}, day)
    return {name: value for name, value in alive["entry"][0]["resource"].items() if name != "deceasedBoolean"}
