"""Invented people: `fixtures/cast.json` tells who they are, `fixtures/patients/` holds their records as FHIR R4 Bundles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from cds_service.cdshooks.request import ON_ORDERS
from cds_service.errors import KnowledgeError, Problem
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import local_reference
from cds_service.knowledge.schema import Query

_DAY = re.compile(r"^(\d{4}-\d\d-\d\d)(?=$|T)")
_DATE_MEMBERS = re.compile(r"(authored|date|Date|DateTime|Instant|issued|start|end|authoredOn|recorded|On)$")

_ENDINGS = {"meta", "contained", "end", "abatementDateTime", "abatementPeriod", "expirationDate"}


class Expected(msgspec.Struct, forbid_unknown_fields=True):
    """One card that a person is to get: its indicator and summary, word for word, and the labels of its suggestions."""

    indicator: str
    summary: str
    suggestions: tuple[str, ...] = ()


class Person(msgspec.Struct, forbid_unknown_fields=True):
    """One of the cast. `encounter` is the open one.

    They are judged on `hook`. On a hook on ordering the drafts of their record are being ordered, and on `order-select` only
    the `selections` are in question. Of the prefetch keys, `withheld` are not sent at all, `null_keys` are null, `failed_keys`
    an OperationOutcome. Those `featured` are shown first: between them they show the breadth.
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
    hook: str = "patient-view"
    selections: tuple[str, ...] | None = None
    featured: bool = False

    @property
    def day(self) -> date:
        return date.fromisoformat(self.as_of)


def fixtures_of(knowledge: Path) -> Path:
    return knowledge / "fixtures"


def read_cast(folder: Path) -> tuple[Person, ...]:
    """The cast. Raises KnowledgeError if the file is missing or has another shape."""
    try:
        return msgspec.json.decode((folder / "cast.json").read_bytes(), type=tuple[Person, ...])
    except OSError as error:
        text = f"cannot be read ({error.strerror})"
        raise KnowledgeError([Problem("fixtures/cast.json", text, "restore it, or see CDS_KNOWLEDGE")]) from None
    except msgspec.DecodeError as error:
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


def resources_of(loaded: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of a Bundle, or what is none as the one resource."""
    if loaded.get("resourceType") != "Bundle":
        return [loaded]
    return [entry["resource"] for entry in loaded.get("entry") or () if isinstance(entry, dict) and entry.get("resource")]


def to_hook_request(
    bundle: dict[str, Any],
    queries: dict[str, Query],
    hook: str,
    person: Person | None,
    drafts: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A hook call with a whole record as prefetch: each resource under the first query of its type.

    On a hook on ordering the drafts of the record, and `drafts` beside it, are the orders being written. What no query asks for
    is sent under a key of its own, so that it is told; a Bundle that is one page of several makes every answer one.
    """
    if "hook" in bundle and "context" in bundle:
        return bundle
    every = [entry for entry in bundle.get("entry") or () if isinstance(entry, dict) and entry.get("resource")]
    entries = [entry for entry in every if not _is_draft(entry["resource"])]
    prefetch = {key: _searchset(own, bundle, every) for key, own in _by_key(entries, queries).items()}
    herself = next((entry for entry in entries if entry["resource"].get("resourceType") == "Patient"), {})
    patient: dict[str, Any] = herself.get("resource", {})
    # References by urn can be resolved only beside the address that the Bundle gives her.
    by_urn = str(herself.get("fullUrl", "")).startswith("urn:")
    prefetch["patient"] = {"resourceType": "Bundle", "type": "searchset", "entry": [herself]} if by_urn else patient
    context: dict[str, Any] = {"patientId": str(patient.get("id", "")), "userId": "Practitioner/invented"}
    if hook in ON_ORDERS:
        context |= _ordering([entry["resource"] for entry in every], drafts, person.selections if person else None)
    encounter = person.encounter if person else _open_encounter(entries)
    if encounter:
        context["encounterId"] = encounter
    return {
        "hook": hook,
        "hookInstance": "11111111-1111-4111-8111-111111111111",
        "context": context,
        "prefetch": _as_supplied(prefetch, person) if person else prefetch,
    }


def _by_key(entries: list[dict[str, Any]], queries: dict[str, Query]) -> dict[str, list[dict[str, Any]]]:
    """The entries of a record by the key under which they are sent."""
    found: dict[str, list[dict[str, Any]]] = {}
    for key, query in queries.items():
        if not query.from_context:
            found[key] = [entry for entry in entries if _belongs(entry["resource"], query, found, queries)]
    asked = {query.resource_type for query in queries.values()} | _FOLLOWS.keys() | _ABOUT_A_SEARCH
    rest = [entry for entry in entries if str(entry["resource"].get("resourceType")) not in asked]
    return found | ({UNASKED: rest} if rest else {})


def _searchset(own: list[dict[str, Any]], bundle: dict[str, Any], every: list[dict[str, Any]]) -> dict[str, Any]:
    """Some entries of a Bundle as the answer to one query: where the whole did not come, neither did this."""
    found: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "entry": own}
    total, link = bundle.get("total"), bundle.get("link")
    if isinstance(total, int) and total > len(every):
        found["total"] = len(own) + total - len(every)
    return found | ({"link": link} if link else {})


def _as_supplied(prefetch: dict[str, Any], person: Person) -> dict[str, Any]:
    """What this person's EHR leaves out, sends as null or could not look up."""
    supplied = {key: section for key, section in prefetch.items() if key not in person.withheld}
    return supplied | dict.fromkeys(person.null_keys) | dict.fromkeys(person.failed_keys, FAILED)


def _is_draft(resource: dict[str, Any]) -> bool:
    return resource.get("status") == "draft"


def _ordering(
    record: Sequence[dict[str, Any]], drafts: Sequence[dict[str, Any]], selections: tuple[str, ...] | None
) -> dict[str, Any]:
    """Draft orders as a client sends them, Medications as further entries; everything is selected unless told otherwise."""
    orders = [*filter(_is_draft, record), *drafts]
    named = [f"{order.get('resourceType')}/{order.get('id')}" for order in orders if order.get("id")]
    beside = [resource for resource in record if resource.get("resourceType") == "Medication"]
    return {
        "selections": list(named if selections is None else selections),
        "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in [*orders, *beside]]},
    }


FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
_FOLLOWS = {"Medication": "MedicationRequest"}
_ABOUT_A_SEARCH = {"OperationOutcome"}
UNASKED = "notAsked"
"""The key of what a record holds and no query asks for."""


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


def known_on(bundle: dict[str, Any], day: date) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record as it stood on a day, and the resources that came later: those of which every date lies behind it.

    What is being ordered stays, and a death after the day has not happened yet.
    """
    entries = [entry for entry in bundle.get("entry") or () if isinstance(entry, dict) and entry.get("resource")]
    later = [entry["resource"] for entry in entries if _came_after(entry["resource"], day)]
    kept = [entry | {"resource": _alive_on(entry["resource"], day)} for entry in entries if entry["resource"] not in later]
    return bundle | {"entry": kept}, later


def _came_after(resource: dict[str, Any], day: date) -> bool:
    if _is_draft(resource) or resource.get("resourceType") == "Patient":
        return False
    first = min((span.first for text in _beginnings(resource) if (span := read_span(text))), default=None)
    return first is not None and first > day


def _beginnings(node: Any, key: str = "") -> Iterator[str]:
    """Every date of a resource but those on which something of it ends."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name not in _ENDINGS:
                yield from _beginnings(value, name)
    elif isinstance(node, list):
        for item in node:
            yield from _beginnings(item, key)
    elif isinstance(node, str) and _DATE_MEMBERS.search(key):
        yield node


def _alive_on(resource: dict[str, Any], day: date) -> dict[str, Any]:
    died = read_span(resource.get("deceasedDateTime")) if resource.get("resourceType") == "Patient" else None
    gone = {"deceasedDateTime"} if died and died.first > day else set()
    return {name: value for name, value in resource.items() if name not in gone}


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


def exported(folder: Path, as_of: date, *, transaction: bool = False) -> Iterator[tuple[str, str]]:
    """Each of the cast as a Bundle with all dates shifted to `as_of`: (file name, JSON).

    With `transaction` a FHIR server takes it as it is, and again: each entry is a PUT under an id that nobody else has.
    """
    for person in read_cast(folder):
        bundle = shifted(read_bundle(patient_file(folder, person)), (as_of - person.day).days)
        bundle = as_transaction(bundle, person.id) if transaction else bundle
        yield f"{person.id}.json", json.dumps(bundle, indent=2, ensure_ascii=False) + "\n"


def as_transaction(bundle: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The resources of a record, each to be put under an id of its own: in the files of the cast many people have an `o1`."""
    resources = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] != "OperationOutcome"]
    names = {
        f"{item['resourceType']}/{item['id']}": item["id"] if item["id"].startswith(prefix) else f"{prefix}-{item['id']}"
        for item in resources
    }
    entries = []
    for entry, item in ((entry, entry["resource"]) for entry in bundle["entry"] if entry["resource"] in resources):
        name = names[f"{item['resourceType']}/{item['id']}"]
        moved = _readdressed(item, names) | {"id": name}
        kept = {"fullUrl": entry["fullUrl"]} if str(entry.get("fullUrl", "")).startswith("urn:") else {}
        entries.append(kept | {"resource": moved, "request": {"method": "PUT", "url": f"{item['resourceType']}/{name}"}})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _readdressed(node: Any, names: Mapping[str, str]) -> Any:
    """A resource with its references to others of the record under their new ids, relative."""
    if isinstance(node, list):
        return [_readdressed(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _readdressed(value, names) for key, value in node.items()}
    local = local_reference(node["reference"]) if isinstance(node.get("reference"), str) else ""
    return moved | {"reference": f"{local.partition('/')[0]}/{names[local]}"} if local in names else moved
