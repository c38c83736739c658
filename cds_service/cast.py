"""Invented people: `fixtures/cast.json` tells who they are, `fixtures/patients/` holds their records as FHIR R4 Bundles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from cds_service.dates import read_span
from cds_service.errors import KnowledgeError, Problem
from cds_service.formats import Query

_DAY = re.compile(r"^(\d{4}-\d\d-\d\d)(?=$|T)")
_DATE_MEMBERS = re.compile(r"(authored|date|Date|DateTime|Instant|issued|start|end|authoredOn|recorded|On)$")


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    """One card that a person is to get: its indicator and summary, word for word, and the labels of its suggestions."""

    indicator: str
    summary: str
    suggestions: tuple[str, ...] = ()


class Person(msgspec.Struct, forbid_unknown_fields=True):
    """One of the cast. `encounter` is the open one.

    Of the prefetch keys, `withheld` are not sent at all, `null_keys` are null, `failed_keys` an OperationOutcome.
    """

    id: str
    story: str
    as_of: str
    jurisdiction: str
    cards: tuple[Expected, ...]
    encounter: str | None = None
    withheld: tuple[str, ...] = ()
    null_keys: tuple[str, ...] = ()
    failed_keys: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()

    @property
    def day(self) -> date:
        return date.fromisoformat(self.as_of)


def fixtures_of(knowledge: Path) -> Path:
    return knowledge / "fixtures"


def read_cast(folder: Path) -> tuple[Person, ...]:
    """The cast. Raises KnowledgeError if the file is missing or has another shape."""
    try:
        return msgspec.json.decode((folder / "cast.json").read_bytes(), type=tuple[Person, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise KnowledgeError([Problem("fixtures/cast.json", str(error), "restore or mend the file")]) from None


def patient_file(folder: Path, person: Person) -> Path:
    return folder / "patients" / f"{person.id}.json"


def read_bundle(path: Path) -> dict[str, Any]:
    """A patient's Bundle. Raises KnowledgeError if the file is no JSON object."""
    try:
        loaded = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise KnowledgeError([Problem(str(path), f"cannot be read: {error}", "give a FHIR R4 Bundle as JSON")]) from None
    if not isinstance(loaded, dict):
        raise KnowledgeError([Problem(str(path), "is no JSON object", "give a FHIR R4 Bundle as JSON")])
    return loaded


def as_request(bundle: dict[str, Any], queries: dict[str, Query], hook: str, person: Person | None) -> dict[str, Any]:
    """A hook call with a whole record as prefetch: each resource under the first query of its type."""
    if "hook" in bundle and "context" in bundle:
        return bundle
    entries = [entry for entry in bundle.get("entry") or () if isinstance(entry, dict) and entry.get("resource")]
    prefetch: dict[str, Any] = {}
    for key, query in queries.items():
        own = [entry for entry in entries if _belongs(entry["resource"], query, prefetch, queries)]
        prefetch[key] = {"resourceType": "Bundle", "type": "searchset", "entry": own}
    herself = next((entry for entry in entries if entry["resource"].get("resourceType") == "Patient"), {})
    patient: dict[str, Any] = herself.get("resource", {})
    # References by urn can be resolved only beside the address that the Bundle gives her.
    by_urn = str(herself.get("fullUrl", "")).startswith("urn:")
    prefetch["patient"] = {"resourceType": "Bundle", "type": "searchset", "entry": [herself]} if by_urn else patient
    context = {"patientId": str(patient.get("id", "")), "userId": "Practitioner/invented"}
    encounter = person.encounter if person else _open_encounter(entries)
    if encounter:
        context["encounterId"] = encounter
    for key in person.withheld if person else ():
        prefetch.pop(key, None)
    prefetch |= dict.fromkeys(person.null_keys if person else ())
    prefetch |= dict.fromkeys(person.failed_keys if person else (), _FAILED)
    return {
        "hook": hook,
        "hookInstance": "11111111-1111-4111-8111-111111111111",
        "context": context,
        "prefetch": prefetch,
    }


_FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
_FOLLOWS = {"Medication": "MedicationRequest"}


def _belongs(resource: dict[str, Any], query: Query, filled: dict[str, Any], queries: dict[str, Query]) -> bool:
    """Under the first query of its type only, so that nothing is counted twice."""
    kind = str(resource.get("resourceType"))
    kind = _FOLLOWS.get(kind, kind)
    taken = any(queries[key].resource_type == kind for key in filled)
    return query.resource_type == kind and not taken


def _open_encounter(entries: list[dict[str, Any]]) -> str | None:
    resources = [entry["resource"] for entry in entries]
    return next(
        (
            str(item.get("id"))
            for item in resources
            if item.get("resourceType") == "Encounter" and item.get("status") == "in-progress"
        ),
        None,
    )


def shifted(node: Any, days: int, key: str = "") -> Any:
    """The same record `days` later: every full date moved, birth dates and partial dates too where they are full."""
    if isinstance(node, dict):
        return {name: shifted(value, days, name) for name, value in node.items()}
    if isinstance(node, list):
        return [shifted(item, days, key) for item in node]
    if isinstance(node, str) and _DATE_MEMBERS.search(key) and read_span(node):
        return _shifted_date(node, days)
    return node


def _shifted_date(text: str, days: int) -> str:
    """Partial dates move by their first day and stay as coarse as they were."""
    span = read_span(text)
    assert span is not None
    full = _DAY.match(text)
    if full:
        return (date.fromisoformat(full[1]) + timedelta(days=days)).isoformat() + text[10:]
    return (span.first + timedelta(days=days)).isoformat()[: len(text)]


def exported(folder: Path, as_of: date) -> Iterator[tuple[str, str]]:
    """Each of the cast as a transaction-ready Bundle with all dates shifted to `as_of`: (file name, JSON)."""
    for person in read_cast(folder):
        bundle = shifted(read_bundle(patient_file(folder, person)), (as_of - person.day).days)
        yield f"{person.id}.json", json.dumps(bundle, indent=2, ensure_ascii=False) + "\n"
