"""Reading what real systems send: Bundles of every kind, references of every form, and damage kept to itself."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from cds_service.cdshooks.request import read_request
from cds_service.chart.index import ChartIndex
from cds_service.chart.read import read_chart
from cds_service.errors import RequestError
from cds_service.facts.evaluate import ChartFacts
from cds_service.fhir.bundles import read_section
from cds_service.fhir.resources import Component, Observation, local_reference
from cds_service.fhir.sections import bears_value
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, State
from tests.support.people import (
    AS_OF,
    LEG_CRAMPS,
    SNOMED,
    body,
    bundle,
    chart_of,
    concept,
    condition,
    fact_of,
    facts_of,
    medication,
    observation,
    patient,
    service_request,
)

LOW = observation(3.1)
ERROR = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
INFORMATION = {"resourceType": "OperationOutcome", "issue": [{"severity": "information", "code": "informational"}]}
NOT_SUPPORTED = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-supported"}]}
WARNING = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-found"}]}


def potassium(knowledge: Knowledge, section: Any) -> Any:
    return fact_of(knowledge, "potassium_against_range", electrolytes=section)


@pytest.mark.parametrize("kind", ["searchset", "collection", "batch-response", "transaction", "history", None])
def test_a_bundle_of_any_type_is_read(knowledge: Knowledge, kind: str | None) -> None:
    section = bundle(LOW) | {"type": kind}
    assert potassium(knowledge, {key: value for key, value in section.items() if value}).value == "low"


@pytest.mark.parametrize(
    "section",
    [
        LOW,
        bundle(LOW, {"resourceType": "Provenance", "id": "x", "target": "nothing we read"}),
        bundle(LOW, {"resourceType": "NotAResource"}),
        bundle(LOW, WARNING),
        bundle(LOW) | {"total": 1, "link": [{"relation": "self", "url": "https://ehr.example"}]},
        {"resourceType": "Bundle", "entry": [{}, None, {"resource": None}, {"fullUrl": "urn:uuid:1", "resource": LOW}]},
        {"resourceType": "Bundle", "entry": [{"resource": LOW | {"unheard": {"of": [1, None]}}}]},
    ],
    ids=[
        "a bare resource",
        "other types",
        "an unknown type",
        "a warning",
        "total and self link",
        "empty entries",
        "more members",
    ],
)
def test_a_result_is_found_in_every_shape_of_answer(knowledge: Knowledge, section: Any) -> None:
    assert potassium(knowledge, section).value == "low"


@pytest.mark.parametrize(
    ("section", "state"),
    [
        (None, State.NONE_SUPPLIED),
        (bundle(), State.ABSENT),
        ({"resourceType": "Bundle"}, State.ABSENT),
        ({"resourceType": "Bundle", "total": 0, "entry": [{"search": {"mode": "outcome"}, "resource": WARNING}]}, State.FAILED),
        (bundle(INFORMATION), State.ABSENT),
        (INFORMATION, State.ABSENT),
        (bundle(observation(4.0, code="2951-2"), NOT_SUPPORTED), State.ABSENT),
        (bundle(NOT_SUPPORTED), State.INCOMPLETE),
        (NOT_SUPPORTED, State.FAILED),
        ({"resourceType": "Bundle", "total": 3, "entry": []}, State.INCOMPLETE),
        ({"resourceType": "Bundle", "entry": [{"response": {"status": "403"}}]}, State.INCOMPLETE),
        (bundle(patient(id="p1")), State.FAILED),
        ("<html>503</html>", State.FAILED),
        ([], State.FAILED),
        ({"response": {"status": "200"}, "resource": bundle()}, State.FAILED),
        (ERROR, State.FAILED),
        (bundle(ERROR), State.FAILED),
        (bundle(observation(4.0, code="2951-2"), ERROR), State.INCOMPLETE),
        (bundle() | {"link": [{"relation": "next", "url": "https://ehr.example/next"}]}, State.INCOMPLETE),
        ({"resourceType": "Bundle", "entry": "nonsense"}, State.NOT_UNDERSTOOD),
    ],
    ids=[
        "null",
        "empty",
        "no entry",
        "outcome warning",
        "information",
        "information alone",
        "a parameter ignored",
        "nothing came, something not supported",
        "not supported",
        "more in total",
        "an entry refused",
        "another type",
        "a text",
        "a list",
        "a wrapper",
        "outcome error",
        "only an error",
        "error among",
        "next page",
        "broken",
    ],
)
def test_how_far_was_looked_is_told_apart(knowledge: Knowledge, section: Any, state: State) -> None:
    fact = fact_of(knowledge, "potassium_measured", electrolytes=section)
    assert fact.state is state
    assert fact.value is (False if state is State.ABSENT else UNKNOWN)


def test_an_absent_key_was_not_looked_at(knowledge: Knowledge) -> None:
    fact = facts_of(knowledge, body(without=("electrolytes",)))["potassium_measured"]
    assert (fact.value, fact.state) == (UNKNOWN, State.NOT_SUPPLIED)


def test_a_page_of_several_still_says_what_it_holds(knowledge: Knowledge) -> None:
    section = bundle(LOW) | {"link": [{"relation": "next", "url": "https://ehr.example/next"}]}
    assert potassium(knowledge, section).value == "low"


BROKEN = observation(4.0, id="bad") | {"effectiveDateTime": 20261112}


def test_a_bad_resource_makes_only_its_own_facts_unknown(knowledge: Knowledge) -> None:
    facts = facts_of(knowledge, body({"electrolytes": bundle(BROKEN, observation(140, code="2951-2", id="na"))}))
    assert (facts["potassium_measured"].value, facts["potassium_measured"].state) == (UNKNOWN, State.NOT_UNDERSTOOD)
    assert "Observation/bad" in facts["potassium_measured"].reason
    assert facts["sodium_against_range"].value == "in-range"
    assert facts["magnesium_measured"].value is False


def test_a_good_result_counts_beside_a_bad_one(knowledge: Knowledge) -> None:
    assert potassium(knowledge, bundle(BROKEN, LOW)).value == "low"


def test_a_resource_that_says_nothing_leaves_every_absence_of_its_type_unknown(knowledge: Knowledge) -> None:
    nameless = {"resourceType": "Observation", "id": "x", "code": "potassium", "status": 7}
    facts = facts_of(knowledge, body({"electrolytes": bundle(nameless)}))
    assert facts["potassium_measured"].value is UNKNOWN
    assert facts["magnesium_measured"].value is UNKNOWN
    assert facts["tsh_measured"].value is UNKNOWN


@pytest.mark.parametrize("resource", [[], "text", 7, {"resourceType": ["Observation"]}, {"no": "type"}])
def test_what_is_no_resource_poisons_absences_and_breaks_nothing(knowledge: Knowledge, resource: Any) -> None:
    facts = facts_of(knowledge, body({"electrolytes": bundle(resource, LOW)}))
    assert facts["potassium_against_range"].value == "low"
    assert facts["sodium_measured"].value is UNKNOWN


def test_deep_nesting_inside_a_resource_is_damage_not_a_failure() -> None:
    deep = (
        '{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","code":' + "[" * 5000 + "]" * 5000 + "}}]}"
    )
    reading = read_section(deep.encode(), "prefetch.x")
    assert reading.damaged or reading.incomplete or reading.failed


@pytest.mark.parametrize(
    ("reference", "local"),
    [
        ("Patient/p1", "Patient/p1"),
        ("https://ehr.example/fhir/Patient/p1", "Patient/p1"),
        ("Patient/p1/_history/3", "Patient/p1"),
        ("https://ehr.example/fhir/Patient/p1/_history/3", "Patient/p1"),
        (" Patient/p1 ", "Patient/p1"),
        ("#med", "#med"),
        ("urn:uuid:7", "urn:uuid:7"),
        (None, ""),
    ],
)
def test_references_are_compared_by_type_and_id(reference: str | None, local: str) -> None:
    assert local_reference(reference) == local


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/p1"},
        {"reference": "https://ehr.example/fhir/Patient/p1/_history/2"},
        {"reference": "urn:uuid:p1"},
        {"reference": "urn:uuid:from-the-bundle"},
        {"display": "herself"},
        None,
    ],
)
def test_a_resource_of_this_patient_is_used(knowledge: Knowledge, subject: Any) -> None:
    herself = {"resourceType": "Bundle", "entry": [{"fullUrl": "urn:uuid:from-the-bundle", "resource": patient()}]}
    facts = facts_of(knowledge, body({"patient": herself, "electrolytes": bundle(LOW | {"subject": subject})}))
    assert facts["potassium_against_range"].value == "low"


def test_a_resource_of_another_patient_is_left_out_and_counted(knowledge: Knowledge) -> None:
    other = LOW | {"subject": {"reference": "Patient/p2"}}
    chart = chart_of(knowledge, body({"electrolytes": bundle(other, other)}))
    assert dict(+chart.other_patients) == {"prefetch.electrolytes": 2}
    assert ChartFacts(ChartIndex(chart, knowledge, AS_OF, "us"))["potassium_measured"].value is False


def test_a_subject_that_cannot_be_resolved_is_neither_hers_nor_another_ones(knowledge: Knowledge) -> None:
    lost = LOW | {"subject": {"reference": "urn:uuid:nobody"}}
    fact = fact_of(knowledge, "potassium_measured", electrolytes=bundle(lost))
    assert (fact.value, fact.state) == (UNKNOWN, State.NOT_UNDERSTOOD)


@pytest.mark.parametrize(
    ("prefetch", "without", "named"),
    [
        ({}, ("conditions",), ["prefetch.conditions"]),
        ({"conditions": ERROR}, (), ["prefetch.conditions"]),
        ({}, ("patient",), ["prefetch.patient"]),
        ({"patient": None}, (), ["prefetch.patient"]),
        ({"patient": patient(id="p2")}, (), ["prefetch.patient"]),
        ({}, ("patient", "conditions"), ["prefetch.patient", "prefetch.conditions"]),
    ],
)
def test_mandatory_data_that_are_nowhere_are_named(
    knowledge: Knowledge, prefetch: Any, without: tuple[str, ...], named: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        chart_of(knowledge, body(prefetch, without))
    assert caught.value.status == 412
    assert [problem.place for problem in caught.value.problems] == named


def test_null_conditions_prove_no_absence(knowledge: Knowledge) -> None:
    fact = fact_of(knowledge, "cramps_on_record", conditions=None)
    assert (fact.value, fact.state) == (UNKNOWN, State.NONE_SUPPLIED)


def test_the_order_of_arrival_changes_no_fact(knowledge: Knowledge) -> None:
    rng = random.Random(7)
    resources = [
        LEG_CRAMPS,
        condition(concept("40930008", SNOMED), id="thyroid"),
        medication(concept(text="Furosemide 40 mg"), id="m1"),
        medication(concept(text="Bumetanide 1 mg"), id="m2", authoredOn="2025-05-05"),
        LOW,
        observation(3.3, id="o2"),
        observation(4.4, id="o3", when="2026-10-01"),
        observation(140, code="2951-2", id="na"),
        service_request(concept("24326-1", "http://loinc.org")),
    ]
    seen = set()
    for _ in range(40):
        rng.shuffle(resources)
        keys = ["conditions", "electrolytes", "medicationRequests", "orders"]
        rng.shuffle(keys)
        kinds = {
            "conditions": "Condition",
            "electrolytes": "Observation",
            "medicationRequests": "MedicationRequest",
            "orders": "ServiceRequest",
        }
        request = body()
        for key in keys:
            request["prefetch"].pop(key)
            request["prefetch"][key] = bundle(*(item for item in resources if item["resourceType"] == kinds[key]))
        read = read_chart(read_request(json.dumps(request).encode(), "patient-view"), knowledge.queries)
        facts = ChartFacts(ChartIndex(read, knowledge, AS_OF, "us"))
        found = [facts[name] for name in facts]
        seen.add(repr([(fact.name, fact.value, fact.state, fact.evidence, fact.reason) for fact in found]))
    assert len(seen) == 1


VALUES: dict[str, Any] = {
    "valueQuantity": {"value": 2.0},
    "valueCodeableConcept": {"text": "low"},
    "valueString": "2.0",
    "valueInteger": 0,
    "valueBoolean": False,
    "valueRange": {"low": {"value": 2}},
    "valueRatio": {"numerator": {"value": 2}},
    "valueSampledData": {"data": "2 2"},
    "valueTime": "08:00:00",
    "valueDateTime": "2026-11-20",
    "valuePeriod": {"start": "2026-11-20"},
    "interpretation": [{"coding": [{"code": "LL"}]}],
}
NO_VALUES: list[dict[str, Any]] = [
    {},
    {"valueQuantity": {"unit": "mmol/L"}},
    {"valueString": ""},
    {"valueInteger": None},
    {"interpretation": [{}]},
]


@pytest.mark.parametrize("kind", [Observation, Component])
def test_a_value_of_any_type_is_one(kind: type[Observation | Component]) -> None:
    def bears(members: dict[str, Any]) -> bool:
        return bears_value(msgspec.json.decode(json.dumps({"resourceType": "Observation"} | members), type=kind))

    assert [name for name, value in VALUES.items() if not bears({name: value})] == []
    assert [members for members in NO_VALUES if bears(members)] == []
