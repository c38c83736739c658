"""Deterministic patient-view bodies: an invented patient with leg cramps and as many resources as asked for."""

from __future__ import annotations

import json
import random
from typing import Any

Json = dict[str, Any]

_CONDITIONS = [
    ("E03.9", "Hypothyroidism, unspecified"),
    ("I10", "Essential (primary) hypertension"),
    ("E11.9", "Type 2 diabetes mellitus without complications"),
    ("E78.5", "Hyperlipidemia, unspecified"),
    ("E78.2", "Mixed hyperlipidemia"),
]
_DRUGS = [
    ("197732", "furosemide 80 MG Oral Tablet"),
    ("7258", "Naproxen"),
    ("7417", "nifedipine"),
    ("72143", "Raloxifene"),
    ("36567", "Simvastatin"),
]
_LABS = [
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", 3.1, 5.2, "mmol/L"),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", 132, 146, "mmol/L"),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", 11, 16, "g/dL"),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", 70, 180, "mg/dL"),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", 0.6, 1.4, "mg/dL"),
    ("3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", 0.3, 6, "m[IU]/L"),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", 8, 10.5, "mg/dL"),
    ("19123-9", "Magnesium [Mass/volume] in Serum or Plasma", 1.4, 2.3, "mg/dL"),
]
_HL7 = "http://terminology.hl7.org/CodeSystem"
_DAILY = {"frequency": 1, "period": 1, "periodUnit": "d"}
_SUBJECT = {"reference": "Patient/bench"}


def _meta(number: int) -> Json:
    return {"versionId": str(number % 7)}


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _condition(number: int, cramps: bool) -> Json:
    code, display = _CONDITIONS[number % len(_CONDITIONS)]
    coded = _concept("http://hl7.org/fhir/sid/icd-10-cm", code, display)
    if number == 0 and cramps:
        coded = _concept("http://snomed.info/sct", "449917004", "Cramp in lower limb (finding)")
    return {
        "resourceType": "Condition",
        "id": f"condition-{number}",
        "meta": _meta(number),
        "clinicalStatus": _concept(f"{_HL7}/condition-clinical", "active", "Active"),
        "verificationStatus": _concept(f"{_HL7}/condition-ver-status", "confirmed", "Confirmed"),
        "category": [
            _concept("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item", "Problem List Item")
        ],
        "code": coded,
        "subject": _SUBJECT,
        "onsetDateTime": f"20{10 + number % 15}-0{1 + number % 9}-11",
        "recordedDate": "2025-11-11",
    }


def _medication(number: int) -> Json:
    code, display = _DRUGS[number % len(_DRUGS)]
    return {
        "resourceType": "MedicationRequest",
        "id": f"medication-{number}",
        "meta": _meta(number),
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": _concept("http://www.nlm.nih.gov/research/umls/rxnorm", code, display),
        "subject": _SUBJECT,
        "authoredOn": f"2025-0{1 + number % 9}-07T09:15:00-05:00",
        "requester": {"reference": "Practitioner/invented", "display": "Dr Invented"},
        "dosageInstruction": [
            {"text": "Take one tablet by mouth daily", "timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}}
        ],
    }


def _observation(number: int, rng: random.Random, narrative: str) -> Json:
    code, display, low, high, unit = _LABS[number % len(_LABS)]
    quantity = {"unit": unit, "system": "http://unitsofmeasure.org", "code": unit}
    found: Json = {
        "resourceType": "Observation",
        "id": f"observation-{number}",
        "meta": _meta(number),
        "status": "final",
        "category": [{"coding": [{"system": f"{_HL7}/observation-category", "code": "laboratory"}]}],
        "code": _concept("http://loinc.org", code, display),
        "subject": _SUBJECT,
        "effectiveDateTime": f"2026-{1 + number % 11:02}-{1 + number % 20:02}T07:{number % 60:02}:00-05:00",
        "valueQuantity": {"value": round(rng.uniform(low, high), 2)} | quantity,
        "referenceRange": [{"low": {"value": low} | quantity, "high": {"value": high} | quantity}],
    }
    return found | ({"text": {"status": "generated", "div": f"<div>{narrative}</div>"}} if narrative else {})


def _bundle(resources: list[Json]) -> Json:
    entries = [
        {"fullUrl": f"https://ehr.example/fhir/{item['resourceType']}/{item['id']}", "resource": item} for item in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def body(conditions: int, medications: int, observations: int, narrative: int = 0, *, cramps: bool = True) -> bytes:
    """A patient-view call; the same numbers give the same bytes. `narrative`: characters of text in each Observation."""
    return _written(_call(conditions, medications, observations, narrative, cramps))


def day(conditions: int, medications: int, observations: int, *, encounter: bool = True) -> list[bytes]:
    """The calls of one day in their proportion, each template answered: one of 32 patients has leg cramps.

    Without `encounter` the call names one, and it is not supplied: then nobody can tell why the patient came.
    """
    return [
        _written(_answered(_call(conditions, medications, observations, 0, number == 0), encounter))
        for number in range(_PEOPLE)
    ]


_PEOPLE = 32
_ALSO_ASKED = ("kidneyFunction", "otherResults", "bloodTests", "procedures", "immunizations", "crampHistory")


def _answered(call: Json, encounter: bool) -> Json:
    call["prefetch"] |= {key: _bundle([]) for key in _ALSO_ASKED}
    call["context"]["encounterId"] = "visit"
    if encounter:
        call["prefetch"]["encounter"] = {
            "resourceType": "Encounter",
            "id": "visit",
            "status": "in-progress",
            "subject": _SUBJECT,
        }
    return call


def _call(conditions: int, medications: int, observations: int, narrative: int, cramps: bool) -> Json:
    rng = random.Random(20261120)
    prefetch = {
        "patient": {"resourceType": "Patient", "id": "bench", "birthDate": "1955-05-05", "gender": "female"},
        "conditions": _bundle([_condition(number, cramps) for number in range(conditions)]),
        "medicationRequests": _bundle([_medication(number) for number in range(medications)]),
        "medicationStatements": _bundle([]),
        "electrolytes": _bundle([_observation(number, rng, "x" * narrative) for number in range(observations)]),
        "orders": _bundle([]),
    }
    return {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/invented", "patientId": "bench"},
        "prefetch": prefetch,
        "extension": {"example.leg-cramps.as-of": "2026-11-20"},
    }


def _written(call: Json) -> bytes:
    return json.dumps(call, separators=(",", ":")).encode()


# Chosen so that the sizes come out as named.
SIZES = {"60 kB": (10, 10, 53), "113 kB": (20, 20, 100), "1.3 MB": (120, 120, 1300)}
DAYS = {name: SIZES[name] for name in ("60 kB", "113 kB")}
HUGE = (480, 120, 7000, 320)
