"""What was left out or not understood is told, each entry once, with its place, its name in the record and the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.explain.explanation import explain
from cds_service.explain.left_out import MOST_TOLD, LeftOut, Omissions, left_out, why_no_cards
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import Decision, DecisionService
from tests.support.as_sent import EXPECTED, decide
from tests.support.history import response
from tests.support.people import (
    AS_OF,
    LEG_CRAMPS,
    SNOMED,
    body,
    bundle,
    concept,
    condition,
    draft,
    medication,
    observation,
    ordering,
    patient,
    service_request,
)

NAMELESS = medication(concept(text="Xyzzyforte 20"))
SWEDISH = condition(concept(text="Vadkramp"), id="c7")
NOT_IDENTIFIED = "could not be identified"


def decision_on(decision_service: DecisionService, sent: Any) -> Decision:
    service = decision_service.knowledge.service_on(sent["hook"])
    return decision_service.answer(service, read_request(json.dumps(sent).encode(), sent["hook"]), AS_OF)


def told(found: Omissions) -> list[list[str]]:
    """What is said of each, in the form of the table of requests as they are sent."""
    items = (*found.entries, *found.answers)
    return [[text for text in (item.place, item.reference, item.name, item.reason) if text] for item in items]


@pytest.mark.parametrize("name", [name for name, row in EXPECTED.items() if "status" not in row])
def test_of_a_request_as_it_is_sent_each_odd_part_is_named_and_no_other(knowledge: Knowledge, name: str) -> None:
    decision = decide(knowledge, name)
    assert told(left_out(decision.view)) == EXPECTED[name].get("left_out", [])
    assert explain(decision).left_out == left_out(decision.view)


def test_whatever_leaves_a_rule_open_is_named() -> None:
    """A request that leaves a rule unknown says in this list what it is that was not understood."""
    silent = [name for name, row in EXPECTED.items() if row.get("unknown") and not row.get("left_out")]
    assert silent == []


@pytest.mark.parametrize(
    ("prefetch", "expected"),
    [
        (
            {"electrolytes": bundle(observation(4.0), {"resourceType": "Bundle", "id": "b", "entry": []})},
            ["prefetch.electrolytes.entry[1].resource", "Bundle/b", "is a Bundle inside a Bundle, which is not opened"],
        ),
        (
            {"electrolytes": bundle(*[observation(3.1, subject={"reference": "Patient/p2"})] * 2)},
            ["prefetch.electrolytes", "2 resources of another patient"],
        ),
        ({"patient": bundle(patient(), patient(id="p2"))}, ["prefetch.patient", "1 resource of another patient"]),
        (
            {"item1": bundle({"resourceType": "AllergyIntolerance", "id": "a", "code": {"text": "Nuts"}})},
            ["prefetch.item1.entry[0].resource", "AllergyIntolerance/a", "Nuts", "is of a type that nothing here asks for"],
        ),
        (
            {"electrolytes": bundle(observation(3.1, subject={"reference": "urn:uuid:nobody"}))},
            ["prefetch.electrolytes.entry[0].resource", "Observation/o1", "2823-3", "subject cannot be resolved"],
        ),
        (
            {"medicationRequests": {"resourceType": "Bundle", "entry": [{"resource": patient()}, {"resource": NAMELESS}]}},
            ["prefetch.medicationRequests.entry[1].resource", "MedicationRequest/m1", "Xyzzyforte 20", NOT_IDENTIFIED],
        ),
        (
            {"medicationRequests": bundle(medication(concept(text="Xyzzyforte 20"), id=None))},
            ["prefetch.medicationRequests.entry[0].resource", "MedicationRequest", "Xyzzyforte 20", NOT_IDENTIFIED],
        ),
        (
            {"conditions": bundle(LEG_CRAMPS, SWEDISH)},
            ["prefetch.conditions.entry[1].resource", "Condition/c7", "Vadkramp", NOT_IDENTIFIED],
        ),
        (
            {"conditions": bundle(LEG_CRAMPS, condition(concept("55300003", SNOMED), bodySite=[concept("1", "x")]))},
            ["prefetch.conditions.entry[1].resource", "Condition/c1", "55300003", "its site is coded without words"],
        ),
        (
            {"conditions": bundle(LEG_CRAMPS, condition(concept(text="Type 2 diabetes"), abatementString="see notes"))},
            [
                "prefetch.conditions.entry[1].resource",
                "Condition/c1",
                "Type 2 diabetes",
                "says of its end what cannot be read or placed",
            ],
        ),
        (
            {"crampHistory": bundle(response({}, status="in-progress"))},
            [
                "prefetch.crampHistory.entry[0].resource",
                "QuestionnaireResponse/q2026-11-01",
                "Cramp history",
                "is not completed",
            ],
        ),
        (
            {"crampHistory": bundle(response({}, item=[{"linkId": "numbness", "answer": [{"valueString": "a bit"}]}]))},
            [
                "prefetch.crampHistory.entry[0].resource",
                "QuestionnaireResponse/q2026-11-01",
                "Cramp history",
                "has an answer that cannot be read",
            ],
        ),
        (
            {"orders": bundle(service_request(concept(text="Xyzzytest")))},
            ["prefetch.orders.entry[0].resource", "ServiceRequest/r1", "Xyzzytest", NOT_IDENTIFIED],
        ),
        (
            {"electrolytes": bundle(observation(3.1, when="soon"))},
            ["prefetch.electrolytes.entry[0].resource", "Observation/o1", "Potassium 3.1 mmol/L", "its date cannot be placed"],
        ),
        (
            {"electrolytes": bundle(observation(4, referenceRange=[{"low": {"value": 9}, "high": {"value": 2}}]))},
            [
                "prefetch.electrolytes.entry[0].resource",
                "Observation/o1",
                "Potassium 4 mmol/L",
                "its range could not be read",
            ],
        ),
        (
            {"electrolytes": bundle(observation(3.1, status="cancelled"))},
            [
                "prefetch.electrolytes.entry[0].resource",
                "Observation/o1",
                "Potassium 3.1 mmol/L",
                "its status says that there is no result",
            ],
        ),
        ({"procedures": None}, ["prefetch.procedures", "PROCEDURES", "is null"]),
        ({"orders": "<html>"}, ["prefetch.orders", "open orders", "is neither a resource nor a Bundle"]),
    ],
    ids=lambda value: str(value[-1])[:40] if isinstance(value, list) else "",
)
def test_each_kind_of_fault_is_told(decision_service: DecisionService, prefetch: Any, expected: list[str]) -> None:
    title = decision_service.knowledge.queries["procedures"].title
    wanted = [title if text == "PROCEDURES" else text for text in expected]
    assert told(left_out(decision_on(decision_service, body(prefetch)).view)) == [wanted]


@pytest.mark.parametrize("status", ["registered", "cancelled", "entered-in-error"])
def test_a_result_that_rightly_has_no_value_is_no_fault(decision_service: DecisionService, status: str) -> None:
    empty = observation(3.1, status=status) | {"valueQuantity": {}}
    assert left_out(decision_on(decision_service, body({"electrolytes": bundle(empty)})).view) == Omissions()


def test_nothing_is_told_of_a_record_without_fault(decision_service: DecisionService) -> None:
    assert left_out(decision_on(decision_service, body({"electrolytes": bundle(observation(3.1))})).view) == Omissions()


def test_a_draft_that_cannot_be_identified_is_told_and_why_there_is_no_card(decision_service: DecisionService) -> None:
    decision = decision_on(decision_service, ordering(None, draft(concept(text="Xyzzyforte 20"))))
    (item,) = left_out(decision.view).entries
    assert (item.place, item.reference) == ("context.draftOrders.entry[1].resource", "MedicationRequest/d1")
    text = why_no_cards(decision)
    assert text.startswith("it could not be decided whether quinine is being ordered; nor whether")
    assert text.endswith(f"(MedicationRequest/d1 {NOT_IDENTIFIED})")


def test_an_entry_that_answers_two_queries_is_told_once(decision_service: DecisionService) -> None:
    found = left_out(decision_on(decision_service, body({"conditions": bundle(LEG_CRAMPS, SWEDISH), "mine": SWEDISH})).view)
    assert [item.reference for item in found.entries] == ["Condition/c7"]


@pytest.mark.parametrize("number", [MOST_TOLD, MOST_TOLD + 1, 300])
def test_twenty_are_named_and_then_there_is_a_number(decision_service: DecisionService, number: int) -> None:
    drugs = [medication(concept(text=f"Xyzzy {at} {'forte' * 40}"), id=f"m{at}") for at in range(number)]
    found = left_out(decision_on(decision_service, body({"medicationRequests": bundle(*drugs)})).view)
    assert [item.reference for item in found.entries] == [f"MedicationRequest/m{at}" for at in range(MOST_TOLD)]
    assert found.more == number - MOST_TOLD
    assert max(len(item.name) for item in found.entries) == 80


def test_what_may_change_the_answer_stands_before_what_is_nobodys_question(decision_service: DecisionService) -> None:
    nuts = [{"resourceType": "AllergyIntolerance", "id": f"a{at}"} for at in range(50)]
    found = left_out(decision_on(decision_service, body({"a": bundle(*nuts), "medicationRequests": bundle(NAMELESS)})).view)
    assert found.entries[0].reference == "MedicationRequest/m1"
    assert (len(found.entries), found.more) == (MOST_TOLD, 31)


@pytest.mark.parametrize(
    ("prefetch", "expected"),
    [
        (
            {"conditions": bundle(SWEDISH)},
            f", because of Condition/c7 “Vadkramp” ({NOT_IDENTIFIED})",
        ),
        (
            {"conditions": bundle(SWEDISH | {"id": None})},
            f", because of Condition at prefetch.conditions.entry[0].resource “Vadkramp” ({NOT_IDENTIFIED})",
        ),
        (
            {"conditions": bundle(*(SWEDISH | {"id": f"c{at}"} for at in range(5)))},
            f"Condition/c2 “Vadkramp” ({NOT_IDENTIFIED}) and 2 more",
        ),
        (
            {"conditions": bundle(LEG_CRAMPS | {"modifierExtension": [{"url": "x"}]})},
            ", because of Condition/cramps “Leg cramps” (bears a modifier that is not known)",
        ),
        ({"conditions": bundle(link=[{"relation": "next", "url": "x"}])}, " (problems and diagnoses: incomplete)"),
    ],
)
def test_where_nobody_knows_whether_it_is_about_this_patient_that_is_said(
    decision_service: DecisionService, prefetch: Any, expected: str
) -> None:
    decision = decision_on(decision_service, body(prefetch))
    assert decision.cards == ()
    text = why_no_cards(decision)
    assert text.startswith("it could not be decided whether recurrent leg cramps are on record")
    assert text.endswith(expected)
    assert explain(decision).no_cards_as == text


@pytest.mark.parametrize(
    ("sent", "because"),
    [
        (body(), ""),
        (
            body({"conditions": bundle(condition(concept(text="Hypothyroidism")))}),
            "no recurrent leg cramps are on record",
        ),
        (body({"patient": patient(birthDate="2015-01-01")}), "the patient's age is 11"),
        (body({"patient": patient(deceasedBoolean=True), "conditions": bundle(SWEDISH)}), "a death is on record"),
        (ordering(draft(concept(text="Amoxicillin 500 mg capsule"))), "no quinine is being ordered; no magnesium"),
    ],
    ids=["cards", "no cramps", "a child", "a death", "another order"],
)
def test_where_silence_is_decided_nothing_is_blamed(decision_service: DecisionService, sent: Any, because: str) -> None:
    text = why_no_cards(decision_on(decision_service, sent))
    assert text.startswith(because)
    assert bool(text) is bool(because)
    assert "could not" not in text


def cramp(words: str = "Leg cramps at night", **members: Any) -> dict[str, Any]:
    return condition(concept(text=words), id="cramp", **members)


def status(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}]}


UNTRUE = status("condition-ver-status", "entered-in-error")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (cramp(clinicalStatus=status("condition-clinical", "resolved")), "its status is resolved"),
        (cramp(verificationStatus=status("condition-ver-status", "refuted")), "its status is refuted"),
        (cramp(verificationStatus=UNTRUE), "its status is entered-in-error"),
        (cramp(clinicalStatus=None, abatementDateTime="2024-05-01"), "it is over"),
        (cramp("Cramps in both hands"), "it names another place, or none"),
        (condition(concept("R25.2", "http://hl7.org/fhir/sid/icd-10-cm"), id="cramp"), "it names another place, or none"),
        (cramp("No leg cramps"), "its words deny it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_seen_and_does_not_count_is_named_with_the_reason(
    decision_service: DecisionService, entry: dict[str, Any], reason: str
) -> None:
    decision = decision_on(decision_service, body({"conditions": bundle(entry)}))
    text = why_no_cards(decision)
    assert text.startswith("no recurrent leg cramps are on record; ")
    assert text.partition(". Seen, and does not count: Condition/cramp ")[2].endswith(f"({reason})")
    assert explain(decision).no_cards_as == text


def test_three_entries_that_do_not_count_are_named_and_the_others_counted(decision_service: DecisionService) -> None:
    past = [cramp(clinicalStatus=status("condition-clinical", "resolved")) | {"id": f"c{at}"} for at in range(5)]
    text = why_no_cards(decision_on(decision_service, body({"conditions": bundle(*past)})))
    assert text.count("Leg cramps at night") == 3
    assert text.endswith("and 2 more")


@pytest.mark.parametrize(
    ("unit", "words", "reason"),
    [
        ({}, "Serum potassium", f"{NOT_IDENTIFIED}: without a code that is known it needs a value in a unit that is read"),
        (
            {"unit": "stone"},
            "Potassium",
            f"{NOT_IDENTIFIED}: without a code that is known it needs a value in a unit that is read",
        ),
        ({}, "Xyzzyemia", NOT_IDENTIFIED),
    ],
)
def test_a_result_in_words_alone_is_told_to_need_a_unit(
    decision_service: DecisionService, unit: dict[str, str], words: str, reason: str
) -> None:
    bare = observation(3.1) | {"code": {"text": words}, "valueQuantity": {"value": 3.1} | unit}
    (item,) = left_out(decision_on(decision_service, body({"electrolytes": bundle(bare)})).view).entries
    assert item.reason == reason


def test_a_birth_date_that_cannot_be_read_leaves_open_whether_the_service_speaks(decision_service: DecisionService) -> None:
    text = why_no_cards(decision_on(decision_service, body({"patient": patient(birthDate=None)})))
    assert text.startswith("it could not be decided what the age is")


def test_a_place_is_called_as_in_the_file_that_was_read(decision_service: DecisionService) -> None:
    decision = decision_on(decision_service, body({"conditions": bundle(SWEDISH | {"id": None})}))
    places = {"prefetch.conditions.entry[0].resource": "entry[7].resource"}
    assert left_out(decision.view, places).entries == (LeftOut("entry[7].resource", "Condition", "Vadkramp", NOT_IDENTIFIED),)
    assert "Condition at entry[7].resource “Vadkramp”" in why_no_cards(decision, places)
