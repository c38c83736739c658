"""Orders being written: read as they come, judged only where they are in question, never taken for more than they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import CdsResponse, encode
from cds_service.errors import RequestError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Fact, Outcome, State
from cds_service.service import Decision, DecisionService
from tests.support.people import (
    AS_OF,
    DMD,
    ICD10CM,
    LEG_CRAMPS,
    RXNORM,
    SNOMED,
    Json,
    body,
    bundle,
    concept,
    condition,
    draft,
    facts_of,
    medication,
    ordering,
    service_request,
)

QUININE = concept("997010", RXNORM, "Quinine sulfate 324 mg capsule")
MAGNESIUM = concept("6582", RXNORM, "Magnesium oxide 400 mg tablet")
VERAPAMIL = concept("897666", RXNORM, "Verapamil 120 mg tablet")
AMLODIPINE = concept("197361", RXNORM, "Amlodipine 5 mg tablet")
MALARIA = concept("B54", ICD10CM)
HYPERTENSION = concept("I10", ICD10CM)
NOTHING = ("patient", "conditions")


def fact(knowledge: Knowledge, name: str, request: Json) -> Fact:
    return facts_of(knowledge, request)[name]


def answer(decision_service: DecisionService, request: Json) -> Decision:
    parsed = read_request(json.dumps(request).encode(), request["hook"])
    return decision_service.answer(decision_service.knowledge.service_on(request["hook"]), parsed, AS_OF)


def outcomes(decision: Decision) -> dict[str, Outcome]:
    return {finding.rule_id: finding.outcome for finding in decision.findings}


def fired(decision: Decision) -> set[str]:
    return {name for name, outcome in outcomes(decision).items() if outcome is Outcome.FIRES}


def problems_of(context: Json, hook: str) -> dict[str, str]:
    request = ordering(hook=hook)
    request["context"] = {"userId": "Practitioner/u1", "patientId": "p1"} | context
    with pytest.raises(RequestError) as refused:
        read_request(json.dumps(request).encode(), hook)
    assert refused.value.status == 400
    return {problem.place: problem.message for problem in refused.value.problems}


# --- the context


@pytest.mark.parametrize(
    ("context", "places"),
    [
        ({}, {"context.selections": "is missing", "context.draftOrders": "is missing"}),
        (
            {"selections": None, "draftOrders": None},
            {"context.selections": "is null, not a list", "context.draftOrders": "is null, not an object"},
        ),
        (
            {"selections": "MedicationRequest/1", "draftOrders": []},
            {"context.selections": "is a string, not a list", "context.draftOrders": "is a list, not an object"},
        ),
        (
            {"selections": ["MedicationRequest/1", 7, None], "draftOrders": {}},
            {"context.selections[1]": "is a number, not a string", "context.selections[2]": "is null, not a string"},
        ),
        ({"selections": ["", "x"], "draftOrders": {}}, {"context.selections[0]": "is empty"}),
        (
            {"selections": [], "draftOrders": {"resourceType": "MedicationRequest"}},
            {"context.draftOrders": "is a 'MedicationRequest'"},
        ),
        (
            {"selections": [], "draftOrders": {"resourceType": 7}},
            {"context.draftOrders.resourceType": "is a number, not a string"},
        ),
        ({"selections": [], "draftOrders": {"entry": {}}}, {"context.draftOrders.entry": "is an object, not a list"}),
        (
            {"selections": {}, "draftOrders": {}, "patientId": 1},
            {"context.patientId": "is a number, not a string", "context.selections": "is an object, not a list"},
        ),
    ],
)
def test_every_problem_of_the_context_is_told_at_once_with_its_place(context: Json, places: dict[str, str]) -> None:
    assert problems_of(context, "order-select") == places
    signing = {place: message for place, message in places.items() if "selections" not in place}
    if signing:
        assert problems_of(context, "order-sign") == signing


def test_a_draft_order_given_twice_is_refused() -> None:
    text = json.dumps(ordering(draft(QUININE))).replace('"draftOrders":', '"draftOrders": {"entry": []}, "draftOrders":')
    with pytest.raises(RequestError) as refused:
        read_request(text.encode(), "order-sign")
    assert refused.value.problems[0].place == "context.draftOrders"


def test_a_patient_view_needs_no_orders_and_reads_none(decision_service: DecisionService) -> None:
    plain = answer(decision_service, body())
    with_orders = answer(
        decision_service, body(draftOrders={"resourceType": "Bundle", "entry": [{"resource": draft(QUININE)}]})
    )
    assert outcomes(plain) == outcomes(with_orders)
    assert answer(decision_service, body(draftOrders=[], selections=7)).cards


# --- what is being ordered


REFERRED: Json = {"reference": "Medication/k", "display": "of no use"}
MEDICATION = {"resourceType": "Medication", "id": "k", "code": QUININE}


@pytest.mark.parametrize(
    "drafts",
    [
        pytest.param([draft(QUININE)], id="as R4 has it"),
        pytest.param([draft(QUININE, status=None, intent=None)], id="without status and intent"),
        pytest.param([draft(QUININE, subject=None)], id="without a subject"),
        pytest.param([draft(QUININE, id=None)], id="without an id"),
        pytest.param([draft(QUININE, category={"coding": [{"code": "community"}]})], id="category as an object"),
        pytest.param([draft(QUININE, dosageInstruction={"timing": 7}, dispenseRequest=[1])], id="a dosage that is none"),
        pytest.param([draft(QUININE, status="active")], id="signed before, and anew"),
        pytest.param([draft(QUININE, status="on-hold ")], id="on hold, and signed anew"),
        pytest.param(
            [draft(QUININE, requester={"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason"}]})],
            id="requester data-absent",
        ),
        pytest.param([draft(medicationReference=REFERRED), MEDICATION], id="Medication as a further entry"),
        pytest.param(
            [MEDICATION, draft(medicationReference={"reference": "https://ehr.example/fhir/Medication/k"})],
            id="an absolute reference",
        ),
        pytest.param([draft(medicationReference={"reference": "#k"}, contained=[MEDICATION])], id="contained Medication"),
        pytest.param(
            [draft(medicationReference={"reference": "Medication/gone", "display": "Quinine sulfate"})],
            id="a reference with its words",
        ),
        pytest.param(
            [
                draft(
                    {
                        "coding": [
                            {"system": "urn:oid:2.16.840.1.113883.6.88", "code": "9071"},
                            {"system": RXNORM, "code": "997010"},
                        ]
                    }
                )
            ],
            id="several codes",
        ),
        pytest.param([draft(concept(text="quinine 300 mg at night"))], id="words alone"),
        pytest.param([draft(concept("9806511000001100", DMD))], id="dm+d"),
        pytest.param(
            [draft(AMLODIPINE, id="d0"), service_request(concept(text="MRI"), status="draft"), draft(QUININE)],
            id="among others",
        ),
    ],
)
def test_quinine_is_found_in_drafts_as_they_come(knowledge: Knowledge, drafts: list[Json]) -> None:
    found = fact(knowledge, "ordering_quinine", ordering(*drafts))
    assert found.value is True
    assert found.evidence[0].reference in ("MedicationRequest/d1", "MedicationRequest")


@pytest.mark.parametrize(
    ("drafts", "expected"),
    [
        ([], False),
        ([draft(AMLODIPINE)], False),
        ([service_request(QUININE, status="draft")], False),
        ([{"resourceType": "NutritionOrder", "id": "n", "anything": [1]}], False),
        ([draft(QUININE, doNotPerform=True)], False),
        ([draft(QUININE, status="cancelled")], False),
        ([draft(QUININE, status="entered-in-error")], False),
        ([draft(QUININE, subject={"reference": "Patient/other"})], False),
        ([draft()], UNKNOWN),
        ([draft({})], UNKNOWN),
        ([draft(AMLODIPINE), draft(id="d2", medicationReference={"reference": "Medication/gone"})], UNKNOWN),
        ([draft(QUININE), draft(id="d2")], True),
        ([draft(QUININE, subject={"reference": "urn:uuid:1"})], UNKNOWN),
        ([draft(QUININE, medicationCodeableConcept=[7])], UNKNOWN),
        ([draft(QUININE, doNotPerform="perhaps")], UNKNOWN),
        ([draft(AMLODIPINE, doNotPerform="perhaps")], False),
        ([7], UNKNOWN),
        ([{"id": "d1", "status": "draft"}], UNKNOWN),
        ([draft(AMLODIPINE, medicationCodeableConcept=None, medicationReference=7)], UNKNOWN),
        ([{"resourceType": "Medication", "id": "k", "code": 7}, draft(AMLODIPINE)], UNKNOWN),
    ],
)
def test_a_draft_that_cannot_be_read_is_neither_an_absence_nor_a_reason(
    knowledge: Knowledge, drafts: list[Any], expected: Any
) -> None:
    assert fact(knowledge, "ordering_quinine", ordering(*drafts)).value is expected


@pytest.mark.parametrize("entry", [None, {}, {"fullUrl": "urn:uuid:1"}, {"resource": None}])
def test_an_entry_without_a_resource_is_nothing(knowledge: Knowledge, entry: Any) -> None:
    request = ordering(draft(AMLODIPINE))
    request["context"]["draftOrders"]["entry"].append(entry)
    assert fact(knowledge, "ordering_quinine", request).value is False


@pytest.mark.parametrize("entry", [7, "x", {"resource": "x"}, {"resource": [1]}])
def test_an_entry_that_is_none_may_have_been_anything(knowledge: Knowledge, entry: Any) -> None:
    request = ordering(draft(AMLODIPINE))
    request["context"]["draftOrders"]["entry"].append(entry)
    found = fact(knowledge, "ordering_quinine", request)
    assert (found.value, found.state) == (UNKNOWN, State.NOT_UNDERSTOOD)


def test_the_medication_beside_a_draft_comes_before_one_of_the_record(knowledge: Knowledge) -> None:
    theirs = {"resourceType": "Medication", "id": "k", "code": AMLODIPINE}
    listed = medication({}, medicationCodeableConcept=None, medicationReference={"reference": "Medication/k"})
    record = {"medicationRequests": bundle(theirs, listed)}
    facts = facts_of(knowledge, ordering(draft(medicationReference={"reference": "Medication/k"}), MEDICATION, prefetch=record))
    assert (facts["ordering_quinine"].value, facts["taking_quinine"].value) == (True, False)
    resolved = facts_of(knowledge, ordering(draft(medicationReference={"reference": "Medication/k"}), prefetch=record))
    assert resolved["ordering_quinine"].value is False


def test_a_draft_is_not_on_the_medication_list_and_a_list_is_not_being_ordered(knowledge: Knowledge) -> None:
    facts = facts_of(knowledge, ordering(draft(QUININE, status="active")))
    assert (facts["ordering_quinine"].value, facts["taking_quinine"].value) == (True, False)
    facts = facts_of(knowledge, ordering(prefetch={"medicationRequests": bundle(medication(QUININE))}))
    assert (facts["ordering_quinine"].value, facts["taking_quinine"].value) == (False, True)


def test_without_draft_orders_nothing_is_known_of_them(knowledge: Knowledge) -> None:
    found = fact(knowledge, "ordering_quinine", body())
    assert (found.value, found.state) == (UNKNOWN, State.NOT_SUPPLIED)


# --- what was selected


@pytest.mark.parametrize(
    ("selections", "expected"),
    [
        (["MedicationRequest/d1"], True),
        (["d1"], True),
        (["MedicationRequest/d2", "MedicationRequest/d1"], True),
        (["https://ehr.example/fhir/MedicationRequest/d1/_history/2"], True),
        (["urn:uuid:0d1"], True),
        (["MedicationRequest/d2"], False),
        ([], False),
        (["ServiceRequest/r1"], False),
        (["NutritionOrder/9"], False),
        (["MedicationRequest/d9"], UNKNOWN),
        (["d9"], UNKNOWN),
        (["MedicationRequest/d1", "d9"], True),
    ],
)
def test_only_what_is_selected_is_in_question(knowledge: Knowledge, selections: list[str], expected: Any) -> None:
    request = ordering(draft(QUININE), draft(AMLODIPINE, id="d2"), service_request(concept(text="x")), hook="order-select")
    request["context"]["draftOrders"]["entry"][0]["fullUrl"] = "urn:uuid:0d1"
    request["context"]["selections"] = selections
    assert fact(knowledge, "ordering_quinine", request).value is expected


def test_what_is_not_selected_may_be_damaged(knowledge: Knowledge) -> None:
    request = ordering(
        draft(AMLODIPINE), draft(id="d2", medicationCodeableConcept=7), draft(id="d3"), hook="order-select", selections=["d1"]
    )
    assert fact(knowledge, "ordering_quinine", request).value is False
    request["context"]["selections"] = ["d2"]
    assert fact(knowledge, "ordering_quinine", request).value is UNKNOWN


def test_on_signing_selections_mean_nothing(knowledge: Knowledge) -> None:
    assert fact(knowledge, "ordering_quinine", ordering(draft(QUININE), selections=["d9"])).value is True


# --- what it is for


CRAMPS = {"reference": "Condition/cramps"}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ({}, "unstated"),
        ({"reasonCode": []}, "unstated"),
        ({"reasonCode": [{}]}, "unstated"),
        ({"reasonCode": [concept("449917004", SNOMED)]}, "indicated"),
        ({"reasonCode": concept("449917004", SNOMED)}, "indicated"),
        ({"reasonCode": [concept(text="Nocturnal leg cramps")]}, "indicated"),
        ({"reasonCode": [concept("R25.2", ICD10CM, "Cramp in the calf")]}, "indicated"),
        ({"reasonCode": [concept("R25.2", ICD10CM, "Cramp of the hand")]}, "other"),
        ({"reasonCode": [concept(text="no leg cramps")]}, "other"),
        ({"reasonCode": [HYPERTENSION]}, "other"),
        ({"reasonCode": [HYPERTENSION, concept(text="leg cramps")]}, "indicated"),
        ({"reasonReference": [CRAMPS]}, "indicated"),
        ({"reasonReference": CRAMPS}, "indicated"),
        ({"reasonReference": [{"reference": "https://ehr.example/fhir/Condition/cramps"}]}, "indicated"),
        ({"reasonReference": [{"reference": "Condition/pressure"}]}, "other"),
        ({"reasonReference": [{"reference": "Condition/gone", "display": "Leg cramps"}]}, "indicated"),
        ({"reasonReference": [{"reference": "Condition/gone", "display": "Hypertension"}]}, "other"),
        ({"reasonReference": [{"reference": "Condition/gone"}]}, UNKNOWN),
        ({"reasonReference": [{"reference": "Condition/gone"}], "reasonCode": [HYPERTENSION]}, UNKNOWN),
    ],
)
def test_the_reason_of_an_order_is_read_as_it_is_given(knowledge: Knowledge, reason: Json, expected: Any) -> None:
    conditions = bundle(LEG_CRAMPS, condition(HYPERTENSION, id="pressure"))
    request = ordering(draft(MAGNESIUM, **reason), prefetch={"conditions": conditions})
    assert fact(knowledge, "magnesium_order_reason", request).value == expected


def test_what_is_not_ordered_has_no_reason_and_a_nameless_draft_may_have_any(knowledge: Knowledge) -> None:
    assert fact(knowledge, "magnesium_order_reason", ordering(draft(QUININE))).reason == "not being ordered"
    assert fact(knowledge, "magnesium_order_reason", ordering(draft())).reason == "MedicationRequest/d1 could not be identified"


# --- what is said


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_quinine_without_malaria_is_critical_in_the_us_while_it_is_ordered(
    decision_service: DecisionService, hook: str
) -> None:
    (card,) = answer(decision_service, ordering(draft(QUININE), hook=hook, selections=["d1"])).cards
    assert card.indicator == "critical"
    assert card.summary.startswith("Quinine being ordered")
    (suggestion,) = card.suggestions
    (action,) = suggestion.actions
    sent = json.loads(encode(action))
    assert sent["type"] == "delete"
    assert sent["resourceId"] == "MedicationRequest/d1"
    assert "resource" not in sent
    assert sent["description"].startswith("Remove the unsigned order of Quinine sulfate 324 mg capsule: ")
    assert card.selection_behavior == "any"
    assert suggestion.is_recommended is None


@pytest.mark.parametrize(
    ("members", "prefetch", "expected"),
    [
        ({"reasonCode": [MALARIA]}, {}, set()),
        ({}, {"conditions": bundle(condition(MALARIA))}, set()),
        ({"reasonCode": [concept(text="leg cramps")]}, {}, {"quinine-order-us"}),
        ({}, {"conditions": bundle()}, {"quinine-order-us"}),
        ({"reasonReference": [{"reference": "Condition/gone"}]}, {}, set()),
        ({}, {"conditions": bundle(condition(concept("9651007", SNOMED)))}, {"quinine-order-us", "quinine-order-caution"}),
    ],
)
def test_quinine_speaks_without_recorded_cramps_but_not_where_it_is_for_malaria(
    decision_service: DecisionService, members: Json, prefetch: Json, expected: set[str]
) -> None:
    assert fired(answer(decision_service, ordering(draft(QUININE, **members), prefetch=prefetch))) == expected


@pytest.mark.parametrize(
    ("drug", "members", "cramps", "expected"),
    [
        (MAGNESIUM, {}, True, {"magnesium-order"}),
        (MAGNESIUM, {}, False, set()),
        (MAGNESIUM, {"reasonCode": [concept(text="leg cramps")]}, False, {"magnesium-order"}),
        (MAGNESIUM, {"reasonCode": [concept(text="constipation")]}, True, set()),
        (VERAPAMIL, {}, True, {"unproven-remedy-order"}),
        (VERAPAMIL, {"reasonCode": [HYPERTENSION]}, True, set()),
        (VERAPAMIL, {}, False, set()),
        (concept("3443", RXNORM), {}, True, {"unproven-remedy-order"}),
        (concept("7236", RXNORM, "Nafronyl"), {}, True, {"unproven-remedy-order"}),
        (concept("7715", RXNORM), {}, True, {"unproven-remedy-order"}),
        (concept("11256", RXNORM), {}, True, {"unproven-remedy-order"}),
        (concept(text="Vitamin B complex tablets"), {}, True, {"unproven-remedy-order"}),
        (AMLODIPINE, {}, True, set()),
        (concept(text="losartan potassium"), {}, True, set()),
    ],
)
def test_an_unproven_remedy_speaks_only_with_recorded_cramps_or_a_cramp_reason(
    decision_service: DecisionService, drug: Json, members: Json, cramps: bool, expected: set[str]
) -> None:
    conditions = bundle(LEG_CRAMPS) if cramps else bundle()
    decision = answer(decision_service, ordering(draft(drug, **members), prefetch={"conditions": conditions}))
    assert fired(decision) == expected
    assert [card.indicator for card in decision.cards] == ["info"] * bool(expected)
    assert not any(card.suggestions for card in decision.cards)


def test_a_draft_is_offered_for_removal_once_and_the_most_urgent_card_offers_it(decision_service: DecisionService) -> None:
    long_qt = {"conditions": bundle(LEG_CRAMPS, condition(concept("9651007", SNOMED)))}
    cards = answer(decision_service, ordering(draft(QUININE), prefetch=long_qt)).cards
    assert [(card.indicator, len(card.suggestions)) for card in cards] == [("critical", 1), ("warning", 0)]


def test_each_of_two_drafts_gets_a_suggestion_of_its_own_with_one_action(decision_service: DecisionService) -> None:
    (card,) = answer(decision_service, ordering(draft(QUININE), draft(concept("9071", RXNORM, "Quinine"), id="d2"))).cards
    assert [len(item.actions) for item in card.suggestions] == [1, 1]
    assert {item.actions[0].resource_id for item in card.suggestions} == {"MedicationRequest/d1", "MedicationRequest/d2"}


def test_a_draft_without_an_id_gets_its_card_but_cannot_be_removed(decision_service: DecisionService) -> None:
    (card,) = answer(decision_service, ordering(draft(QUININE, id=None))).cards
    assert card.indicator == "critical"
    assert card.suggestions == ()


def test_what_a_draft_is_called_is_shown_and_never_obeyed(decision_service: DecisionService) -> None:
    hostile = concept("997010", RXNORM, "<b>Quinine</b> [x](https://evil.example) " + "y" * 300)
    (card,) = answer(decision_service, ordering(draft(hostile))).cards
    told = json.dumps(json.loads(encode(CdsResponse((card,)))))
    assert "<b>" not in told
    assert "](" not in told
    assert "https://evil" not in told
    assert len(card.suggestions[0].label) < 80


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_an_order_hook_says_nothing_of_what_is_not_being_ordered(decision_service: DecisionService, hook: str) -> None:
    """A diuretic, low potassium and no tests done are the business of the chart, not of this order."""
    listed = {"medicationRequests": bundle(medication(QUININE, id="m1"), medication(concept("4603", RXNORM), id="m2"))}
    decision = answer(decision_service, ordering(draft(AMLODIPINE), hook=hook, selections=["d1"], prefetch=listed))
    assert decision.cards == ()
    assert not fired(decision)


def test_nobody_else_is_spoken_to(decision_service: DecisionService) -> None:
    for person in ({"birthDate": "2015-01-01"}, {"deceasedBoolean": True}):
        patient = {"resourceType": "Patient", "id": "p1", "birthDate": "1960-01-01"} | person
        assert answer(decision_service, ordering(draft(QUININE), prefetch={"patient": patient})).cards == ()


# --- what must be there


def test_an_order_that_concerns_nobody_here_needs_no_data(decision_service: DecisionService) -> None:
    for hook in ("order-select", "order-sign"):
        decision = answer(decision_service, ordering(draft(AMLODIPINE), hook=hook, selections=["d1"], without=NOTHING))
        assert decision.cards == ()


@pytest.mark.parametrize("drafts", [[draft(QUININE)], [draft(MAGNESIUM)], [draft(VERAPAMIL)], [draft()], [7]])
def test_an_order_that_may_concern_us_needs_the_patient_and_the_conditions(
    decision_service: DecisionService, drafts: list[Any]
) -> None:
    with pytest.raises(RequestError) as refused:
        answer(decision_service, ordering(*drafts, without=NOTHING))
    assert refused.value.status == 412
    assert [problem.place for problem in refused.value.problems] == ["prefetch.patient", "prefetch.conditions"]


def test_no_rule_on_ordering_fires_where_nothing_of_ours_is_ordered(decision_service: DecisionService) -> None:
    """So that a call may be answered before anything else is known of the patient."""
    for service_id in ("leg-cramps-order-select", "leg-cramps-order-sign"):
        asked = set(decision_service.knowledge.concerned_when[service_id].facts)
        wider = {"ordering_magnesium": "ordering_supplement"}
        for rule in decision_service.rules[service_id]:
            own = {name for name in rule.fires_when.facts if name.startswith("ordering_")}
            assert own
            assert {wider.get(name, name) for name in own} <= asked
            values = dict.fromkeys(rule.facts, UNKNOWN) | dict.fromkeys(own, False)
            assert rule.fires_when(values).value is False
