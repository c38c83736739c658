"""Bulk Data exports of the invented people, and runs over them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from cds_service.model import Outcome
from cds_service.population.judge import CardRow, Row
from cds_service.population.run import Plan, Run, run
from cds_service.samples.people import exported
from cds_service.service import Decision, DecisionService
from tests.support.cast import CAST, FIXTURES

Json = dict[str, Any]

DAY = date(2026, 11, 20)
TYPES = (
    "Patient",
    "Condition",
    "Encounter",
    "Immunization",
    "Medication",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Procedure",
    "QuestionnaireResponse",
    "ServiceRequest",
)


def bundles(jurisdiction: str) -> dict[str, Json]:
    """Each of the cast of a jurisdiction, all on the same day, with ids that nobody else has."""
    ours = {f"{person.id}.json" for person in CAST if person.jurisdiction == jurisdiction}
    texts = exported(FIXTURES, DAY, transaction=True)
    return {name.removesuffix(".json"): json.loads(text) for name, text in texts if name in ours}


def resources(everybody: Iterable[Json]) -> list[Json]:
    """What a server exports of these: references by the address of an entry have become those of its resources."""
    return [resource for bundle in everybody for resource in _stored(bundle)]


def _stored(bundle: Json) -> Iterator[Json]:
    text = json.dumps([entry["resource"] for entry in bundle["entry"]])
    for entry in bundle["entry"]:
        if "fullUrl" in entry:
            text = text.replace(f'"{entry["fullUrl"]}"', f'"{entry["resource"]["resourceType"]}/{entry["resource"]["id"]}"')
    yield from json.loads(text)


def write_export(folder: Path, lines: Iterable[Json]) -> Path:
    """One file a type, those of which nothing came too."""
    by_type: dict[str, list[Json]] = defaultdict(list, {kind: [] for kind in TYPES})
    for resource in lines:
        by_type[resource["resourceType"]].append(resource)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, found in by_type.items():
        (folder / f"{kind}.ndjson").write_text("".join(json.dumps(item) + "\n" for item in found), encoding="utf-8")
    return folder


def run_over(folders: Sequence[Path], service: DecisionService, work: Path, **choices: Any) -> Run:
    plan = Plan(folders, DAY, work, keep_ids=True, **choices)
    return run(plan, service, lambda *told: None)


def rows_of(done: Run) -> dict[str, Row]:
    return {row.patient: row for row in done.rows()}


PATIENT: Json = {"resourceType": "Patient", "id": "anna-sample", "birthDate": "1950-02-03", "gender": "female"}
CRAMPS: Json = {
    "resourceType": "Condition",
    "id": "c1",
    "subject": {"reference": "Patient/anna-sample"},
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "code": {"text": "Nocturnal leg cramps"},
    "recordedDate": "2026-01-05",
}
BLOOD: Json = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "subject": {"reference": "Patient/anna-sample"},
    "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]},
    "effectiveDateTime": "2026-11-10",
    "valueQuantity": {"value": 3.0, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
}


def prescription(text: str, **members: Any) -> Json:
    """Of a drug that is named in words, for the invented patient."""
    return {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/anna-sample"},
        "medicationCodeableConcept": {"text": text},
        **members,
    }


def text_of(*lines: Json) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def told(row: Row | None) -> tuple[set[str], set[str], list[CardRow]]:
    return (set(row.fires), set(row.unknown), list(row.cards)) if row else (set(), set(), [])


def told_of(decision: Decision) -> tuple[set[str], set[str], list[CardRow]]:
    fires, unknown = (
        {item.rule_id for item in decision.findings if item.outcome is outcome} for outcome in (Outcome.FIRES, Outcome.UNKNOWN)
    )
    cards = [CardRow(item.group, item.card.indicator, tuple(rule.id for rule in item.rules)) for item in decision.shown]
    return fires, unknown, cards
