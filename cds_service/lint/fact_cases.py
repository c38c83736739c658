"""The cases beside the facts: tiny charts, each with the value that the fact has of it.

`logic/facts/<topic>.cases.json` names each fact of its topic. A chart is a list of entries with one thing each:
`{"condition": "snomed|40930008", "began": -10}`, `{"drug": "Furosemide 40 mg", "since": -90}`, `{"result": "loinc|2823-3",
"value": "3.1 mmol/L", "day": -3}`, `{"order": …}`, `{"procedure": …}`, `{"vaccine": …}`, `{"history": {"numbness": true}}`,
`{"draft": …}`, `{"patient": …}`, `{"visit": …}`. What is written with a bar is a code, all else are words; days count from
the day asked about. A fact that is made of others is given their values instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec

from cds_service.cdshooks.request import ON_ORDERS, read_request
from cds_service.chart.index import ChartIndex
from cds_service.chart.read import read_chart
from cds_service.facts.evaluate import COMPOSED, PICKERS
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import FactKind
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import Reader
from cds_service.model import UNKNOWN, Fact, Interval, Seen, Value

AS_OF = date(2026, 11, 20)
_PATIENT = "Patient/p"
_UNKNOWN_WORD = "unknown"


class ChartEntry(msgspec.Struct, forbid_unknown_fields=True):
    """One thing on record. Which of the first members is given says what it is; the others qualify it."""

    condition: str = ""
    drug: str = ""
    result: str = ""
    order: str = ""
    procedure: str = ""
    vaccine: str = ""
    subpotent: bool = False
    draft: str = ""
    visit: str = ""
    history: dict[str, bool | int | str] | None = None
    patient: dict[str, Any] | None = None
    day: int = 0
    began: int | None = None
    since: int = -30
    status: str = ""
    intent: str = "order"
    verification: str = ""
    category: str = "problem-list-item"
    value: str = ""
    range: str = ""
    answer: str = ""
    reason: str = ""
    stated: bool = False


class FactCase(msgspec.Struct, forbid_unknown_fields=True):
    """`given`: the facts that a composed fact is made of; those left out are false."""

    says: str
    expect: bool | int | float | str
    chart: tuple[ChartEntry, ...] = ()
    given: dict[str, bool | int | str] = {}


FactCases = dict[str, tuple[FactCase, ...]]


def read_fact_cases(reader: Reader, topic: str) -> FactCases:
    path = f"logic/facts/{topic}.cases.json"
    return (reader.read(path, FactCases) or {}) if (reader.root / path).is_file() else {}


class CaseCharts:
    """The charts of cases, each read once, and what a kind of fact answers of them."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._indexes: dict[int, ChartIndex] = {}

    def value(self, fact: FactDefinition, kind: FactKind, case: FactCase) -> Value:
        """What a fact would answer if it were of this kind."""
        if type(kind) in COMPOSED:
            parts = [Fact(name, _value(case.given.get(name, False))) for name in fact.facts]
            return COMPOSED[type(kind)](fact.name, parts).value
        return PICKERS[type(kind)](fact, kind, self._index(case)).value

    def _index(self, case: FactCase) -> ChartIndex:
        found = self._indexes.get(id(case))
        if found is None:
            found = self._indexes[id(case)] = index_of(case, self.knowledge)
        return found


def index_of(case: FactCase, knowledge: Knowledge) -> ChartIndex:
    """The chart of a case through the door that every request takes. Every query was looked at."""
    hook = ON_ORDERS[1] if any(entry.draft for entry in case.chart) else "patient-view"
    request = read_request(json.dumps(_request(case, hook, knowledge)).encode(), hook)
    return ChartIndex(read_chart(request, knowledge.queries), knowledge, AS_OF, "us")


def agrees(value: Value, expected: object) -> bool:
    if value is UNKNOWN:
        return expected == _UNKNOWN_WORD
    if isinstance(value, Seen):
        return expected == f"seen {' or '.join(str(amount) for amount in value.amounts)}"
    if isinstance(value, Interval) or isinstance(value, bool) is not isinstance(expected, bool):
        return False
    return str(value) == str(expected)


def _value(given: bool | int | str) -> Value:
    return UNKNOWN if given == _UNKNOWN_WORD else given


def _request(case: FactCase, hook: str, knowledge: Knowledge) -> dict[str, Any]:
    made = [(entry, resource) for at, entry in enumerate(case.chart) for resource in _resources(entry, at, knowledge)]
    drafts = [resource for entry, resource in made if entry.draft]
    rest = [resource for entry, resource in made if not entry.draft]
    patient = {"resourceType": "Patient", "id": "p"} | next((entry.patient for entry in case.chart if entry.patient), {})
    asked = {key: query for key, query in knowledge.queries.items() if not query.from_context}
    prefetch = {
        key: _bundle(item for item in rest if item["resourceType"] == query.resource_type) for key, query in asked.items()
    }
    # Each result under one query only: the same result twice would be one that is looked at twice.
    results = [key for key, query in asked.items() if query.resource_type == "Observation"]
    prefetch |= {key: _bundle(()) for key in results[1:]}
    prefetch |= {key: patient for key, query in asked.items() if query.resource_type == "Patient"}
    context: dict[str, Any] = {"userId": "Practitioner/u", "patientId": "p", "encounterId": "e"}
    context |= {"draftOrders": _bundle(drafts)} if hook in ON_ORDERS else {}
    return {"hook": hook, "hookInstance": "case", "context": context, "prefetch": prefetch}


def _bundle(resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": item} for item in resources]}


def _resources(entry: ChartEntry, at: int, knowledge: Knowledge) -> Iterator[dict[str, Any]]:
    base = {"id": f"r{at}", "subject": {"reference": _PATIENT}}
    day = _day(entry.day)
    if entry.condition:
        yield base | _condition(entry, knowledge)
    if entry.drug:
        yield base | _drug(entry, knowledge)
    if entry.result:
        yield base | _result(entry, knowledge)
    if entry.order:
        made = {"status": entry.status or "active", "intent": entry.intent, "authoredOn": day}
        yield base | {"resourceType": "ServiceRequest", "code": _concept(entry.order, knowledge)} | made
    if entry.procedure:
        made = {"status": entry.status or "completed", "performedDateTime": day}
        yield base | {"resourceType": "Procedure", "code": _concept(entry.procedure, knowledge)} | made
    if entry.vaccine:
        given: dict[str, Any] = {"status": entry.status or "completed", "occurrenceDateTime": day}
        own = {"id": f"r{at}", "patient": {"reference": _PATIENT}}
        yield (
            own
            | {
                "resourceType": "Immunization",
                "vaccineCode": _concept(entry.vaccine, knowledge),
                "isSubpotent": entry.subpotent,
            }
            | given
        )
    if entry.draft:
        made = {"resourceType": "MedicationRequest", "status": entry.status or "draft", "intent": "order"}
        reason = {"reasonCode": [_concept(entry.reason, knowledge)]} if entry.reason else {}
        yield base | made | {"medicationCodeableConcept": _concept(entry.draft, knowledge)} | reason
    if entry.visit:
        yield base | {
            "resourceType": "Encounter",
            "id": "e",
            "status": "in-progress",
            "reasonCode": [_concept(entry.visit, knowledge)],
        }
    if entry.history is not None:
        yield base | _response(entry, entry.history, knowledge)


def _condition(entry: ChartEntry, knowledge: Knowledge) -> dict[str, Any]:
    found: dict[str, Any] = {"resourceType": "Condition", "code": _concept(entry.condition, knowledge)}
    found |= {"category": [{"coding": [{"code": entry.category}]}], "recordedDate": _day(entry.day)}
    found |= {"clinicalStatus": {"coding": [{"code": entry.status}]}} if entry.status else {}
    found |= {"verificationStatus": {"coding": [{"code": entry.verification}]}} if entry.verification else {}
    return found | ({"onsetDateTime": _day(entry.began)} if entry.began is not None else {})


def _drug(entry: ChartEntry, knowledge: Knowledge) -> dict[str, Any]:
    found: dict[str, Any] = {"status": entry.status or "active", "medicationCodeableConcept": _concept(entry.drug, knowledge)}
    if entry.stated:
        return found | {"resourceType": "MedicationStatement", "effectiveDateTime": _day(entry.since)}
    return found | {"resourceType": "MedicationRequest", "intent": entry.intent, "authoredOn": _day(entry.since)}


def _result(entry: ChartEntry, knowledge: Knowledge) -> dict[str, Any]:
    found: dict[str, Any] = {"resourceType": "Observation", "code": _concept(entry.result, knowledge)}
    found |= {"status": entry.status or "final", "effectiveDateTime": f"{_day(entry.day)}T08:00:00Z"}
    if entry.answer:
        return found | {"valueCodeableConcept": _concept(entry.answer, knowledge)}
    found |= {"referenceRange": [{"text": entry.range}]} if entry.range else {}
    number, _, unit = entry.value.partition(" ")
    return found | ({"valueQuantity": {"value": msgspec.json.decode(number), "unit": unit or "1"}} if number else {})


def _response(entry: ChartEntry, history: Mapping[str, bool | int | str], knowledge: Knowledge) -> dict[str, Any]:
    items = [{"linkId": link_id, "answer": [_answer(value)]} for link_id, value in history.items()]
    form = str(knowledge.questionnaire["url"])
    made = {"resourceType": "QuestionnaireResponse", "status": entry.status or "completed", "questionnaire": form}
    return made | {"authored": _day(entry.day), "item": items}


def _answer(value: bool | int | str) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"valueBoolean": value}
    return {"valueInteger": value} if isinstance(value, int) else {"valueCoding": {"code": value}}


def _concept(text: str, knowledge: Knowledge) -> dict[str, Any]:
    system, bar, code = text.partition("|")
    if not bar:
        return {"text": text}
    url = knowledge.systems[system].url if system in knowledge.systems else system
    return {"coding": [{"system": url, "code": code}]}


def _day(offset: int | None) -> str:
    return (AS_OF + timedelta(days=offset or 0)).isoformat()
