"""Small builders of FHIR R4 resources and hook requests, for tests that need one difference at a time."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import date
from typing import Any

from cds_service.cdshooks.request import read_request
from cds_service.chart.chart import Chart
from cds_service.chart.index import ChartIndex
from cds_service.chart.read import read_chart, require_mandatory
from cds_service.facts.evaluate import ChartFacts
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import Fact

Json = dict[str, Any]

AS_OF = date(2026, 11, 20)
SERVICE = "leg-cramps-patient-view"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ATC = "http://www.whocc.no/atc"
DMD = "https://dmd.nhs.uk"
UCUM = "http://unitsofmeasure.org"
POTASSIUM = "2823-3"
OWN = {"reference": "Patient/p1"}


def concept(code: str | None = None, system: str | None = None, text: str | None = None, display: str | None = None) -> Json:
    found: Json = {}
    if code is not None:
        found["coding"] = [{key: value for key, value in (("system", system), ("code", code), ("display", display)) if value}]
    return found | ({"text": text} if text else {})


def patient(**members: Any) -> Json:
    return {"resourceType": "Patient", "id": "p1", "birthDate": "1960-01-01"} | members


def condition(code: Json, **members: Any) -> Json:
    return {"resourceType": "Condition", "id": "c1", "subject": OWN, "code": code} | members


LEG_CRAMPS = condition(concept("449917004", SNOMED, "Leg cramps"), id="cramps", onsetDateTime="2026-01-01")


def observation(
    value: Any, unit: str | None = "mmol/L", code: str = POTASSIUM, when: str | None = "2026-11-12", **members: Any
) -> Json:
    quantity: Json = {"value": value} | ({"unit": unit} if unit else {})
    found: Json = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "subject": OWN,
        "code": concept(code, LOINC),
        "valueQuantity": quantity,
    }
    return found | ({"effectiveDateTime": when} if when else {}) | members


def medication(drug: Json, **members: Any) -> Json:
    base = {"resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order", "subject": OWN}
    return base | {"medicationCodeableConcept": drug, "authoredOn": "2025-05-05"} | members


def service_request(code: Json, **members: Any) -> Json:
    base = {"resourceType": "ServiceRequest", "id": "r1", "status": "active", "intent": "order", "subject": OWN}
    return base | {"code": code, "authoredOn": "2026-11-10"} | members


def bundle(*resources: Any, **members: Any) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": item} for item in resources]} | members


def body(prefetch: Json | None = None, without: tuple[str, ...] = (), **context: Any) -> Json:
    """A patient-view call for a person with leg cramps of whom all else was looked up and nothing found."""
    sections: Json = {
        "patient": patient(),
        "conditions": bundle(deepcopy(LEG_CRAMPS)),
        "medicationRequests": bundle(),
        "medicationStatements": bundle(),
        "electrolytes": bundle(),
        "kidneyFunction": bundle(),
        "otherResults": bundle(),
        "bloodTests": bundle(),
        "crampHistory": bundle(),
        "orders": bundle(),
        "procedures": bundle(),
        "immunizations": bundle(),
    }
    sections |= prefetch or {}
    return {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/u1", "patientId": "p1"} | context,
        "prefetch": {key: value for key, value in sections.items() if key not in without},
    }


def draft(drug: Json | None = None, **members: Any) -> Json:
    """An order that is being written."""
    base = {"resourceType": "MedicationRequest", "id": "d1", "status": "draft", "subject": OWN}
    return base | ({"medicationCodeableConcept": drug} if drug else {}) | members


def ordering(
    *drafts: Any, hook: str = "order-sign", prefetch: Json | None = None, without: tuple[str, ...] = (), **context: Any
) -> Json:
    """The same person, for whom orders are being written."""
    orders = {"resourceType": "Bundle", "entry": [{"resource": item} for item in drafts]}
    return body(prefetch, without, draftOrders=orders, **context) | {"hook": hook}


def chart_of(knowledge: Knowledge, request: Json) -> Chart:
    hook = str(request["hook"])
    chart = read_chart(read_request(json.dumps(request).encode(), hook), knowledge.queries)
    require_mandatory(knowledge.queries, chart)
    return chart


def facts_of(knowledge: Knowledge, request: Json, as_of: date = AS_OF, jurisdiction: str = "us") -> ChartFacts:
    return ChartFacts(ChartIndex(chart_of(knowledge, request), knowledge, as_of, jurisdiction))


def fact_of(knowledge: Knowledge, name: str, jurisdiction: str = "us", as_of: date = AS_OF, **prefetch: Any) -> Fact:
    return facts_of(knowledge, body(prefetch), as_of, jurisdiction)[name]
