"""What is dangerous: exact limits, what is new, and everyday advice that steps back beside it."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Interval, Seen, State
from tests.support.cards import service_with
from tests.support.people import (
    AS_OF,
    ATC,
    ICD10,
    ICD10CM,
    LEG_CRAMPS,
    OWN,
    RXNORM,
    SERVICE,
    SNOMED,
    body,
    bundle,
    concept,
    condition,
    fact_of,
    facts_of,
    medication,
    observation,
)

NEW_CLOT = condition(concept("404223003", SNOMED), id="clot", onsetDateTime="2026-11-15")
XYZOLOL_STATED: dict[str, Any] = {
    "resourceType": "MedicationStatement",
    "id": "s1",
    "status": "active",
    "subject": OWN,
    "medicationCodeableConcept": concept(text="Xyzolol 20 mg"),
}
KNOWN_DANGER = bundle(observation(2.4, when="2026-11-19"))


def potassium(knowledge: Knowledge, *results: Any) -> Any:
    return fact_of(knowledge, "potassium_value_this_week", electrolytes=bundle(*results))


def fired(knowledge: Knowledge, jurisdiction: Any = "us", **prefetch: Any) -> set[str]:
    request = read_request(json.dumps(body(prefetch)).encode(), "patient-view")
    decision = service_with(knowledge, jurisdiction=jurisdiction).answer(SERVICE, request, AS_OF)
    return {item.rule_id for item in decision.findings if item.outcome.value == "fires"}


@pytest.mark.parametrize(
    ("value", "unit", "urgent"),
    [(2.5, "mmol/L", True), (2.51, "mmol/L", False), (9.7, "mg/dL", True), (9.8, "mg/dL", False), (6.5, "mEq/L", True)],
)
def test_a_dangerous_potassium_is_urgent_in_every_unit(knowledge: Knowledge, value: float, unit: str, urgent: bool) -> None:
    # 9.7 mg/dL x 10 / 39.0983 = 2.481 mmol/L; 9.8 gives 2.506.
    result = bundle(observation(value, unit, when="2026-11-19"))
    assert ("severe-potassium" in fired(knowledge, electrolytes=result)) is urgent


def test_a_result_older_than_a_week_is_no_emergency_of_today(knowledge: Knowledge) -> None:
    assert potassium(knowledge, observation(2.4, when="2026-11-12")).value is UNKNOWN
    assert potassium(knowledge, observation(2.4, when="2026-11-13")).value == Decimal("2.4")


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([], State.ABSENT),
        ([observation(2.4, None, when="2026-11-19")], State.UNUSABLE),
    ],
)
def test_what_is_missing_or_unreadable_is_no_number(knowledge: Knowledge, results: list[Any], state: State) -> None:
    fact = potassium(knowledge, *results)
    assert (fact.value, fact.state) == (UNKNOWN, state)


@pytest.mark.parametrize(
    ("results", "value", "urgent"),
    [
        # Two of one moment: one of them is dangerous, and both are told.
        (
            [observation(2.4, when="2026-11-19"), observation(4.4, when="2026-11-19", id="o2")],
            "2.4 and 4.4 mmol/L",
            True,
        ),
        ([observation(2.4, when="2026-11-19", status="preliminary")], "2.4 mmol/L", True),
        ([observation(4.4, when="2026-11-19", status="preliminary")], "4.4 mmol/L", False),
        # A newer one that is preliminary, or cannot be read, takes away no alarm.
        (
            [observation(4.4, when="2026-11-19", status="preliminary"), observation(2.4, when="2026-11-18", id="o2")],
            "2.4 mmol/L",
            True,
        ),
        ([observation(4.4, None, when="2026-11-19"), observation(2.4, when="2026-11-18", id="o2")], "2.4 mmol/L", True),
        ([observation(4.4, None, when="2026-11-19"), observation(3.9, when="2026-11-18", id="o2")], "3.9 mmol/L", False),
    ],
)
def test_a_danger_that_is_seen_is_not_silenced_by_what_is_unknown(
    knowledge: Knowledge, results: list[Any], value: str, urgent: bool
) -> None:
    fact = potassium(knowledge, *results)
    assert isinstance(fact.value, Seen)
    assert fact.evidence[0].value == value
    assert ("severe-potassium" in fired(knowledge, electrolytes=bundle(*results))) is urgent


@pytest.mark.parametrize(("first", "second"), [("o1", "o2"), ("o2", "o1")])
def test_of_two_that_disagree_the_lower_is_the_danger_whatever_their_ids(knowledge: Knowledge, first: str, second: str) -> None:
    of_today = [(55, first, "2026-11-19"), (110, second, "2026-11-19"), (108, "o3", "2026-11-09")]
    results = [observation(value, "g/L", "718-7", when=when, id=name) for value, name, when in of_today]
    assert "severe-haemoglobin" in fired(knowledge, bloodTests=bundle(*results))


def test_without_a_range_too_a_danger_stands(knowledge: Knowledge) -> None:
    low = observation(61, "g/L", "718-7", when="2026-11-18")
    unread = observation(120, "furlong", "718-7", when="2026-11-19", id="o2")
    assert "severe-haemoglobin" in fired(knowledge, bloodTests=bundle(low, unread))


@pytest.mark.parametrize(
    ("members", "urgent"),
    [
        ({"referenceRange": [{"high": {"value": 200, "unit": "U/L"}}]}, True),
        ({"referenceRange": [{"high": {"value": 600, "unit": "U/L"}}]}, False),
        ({"referenceRange": [{"text": "see report"}]}, True),
        ({}, True),
        ({"status": "preliminary"}, True),
    ],
)
def test_creatine_kinase_is_judged_by_the_limit_of_its_laboratory(
    knowledge: Knowledge, members: dict[str, Any], urgent: bool
) -> None:
    result = observation(5000, "U/L", "2157-6", when="2026-11-10", **members)
    assert ("muscle-breakdown" in fired(knowledge, otherResults=bundle(result))) is urgent


@pytest.mark.parametrize("medications", [bundle(), None])
def test_only_an_anticoagulant_that_is_seen_excuses_a_clot(knowledge: Knowledge, medications: Any) -> None:
    clot = bundle(LEG_CRAMPS, NEW_CLOT)
    assert "possible-clot" in fired(knowledge, conditions=clot, medicationRequests=medications)
    seen = bundle(medication(concept(text="Eliquis 5 mg tablets")))
    assert {"possible-clot", "clot-treated"} & fired(knowledge, conditions=clot, medicationRequests=seen) == {"clot-treated"}


@pytest.mark.parametrize(
    ("jurisdiction", "given", "members", "wanted"),
    [
        ("us", "2021-11-09", {}, "wound-vaccinated"),
        ("us", "2021-11-08", {}, "wound-before-cramps"),
        ("uk", "2016-11-09", {}, "wound-vaccinated"),
        ("uk", "2016-11-08", {}, "wound-before-cramps"),
        # On the day of the wound it comes too late; a dose that is weak, or of which nobody knows the day, shows nothing.
        ("us", "2026-11-09", {}, "wound-before-cramps"),
        ("us", "2024-03-03", {"isSubpotent": True}, "wound-before-cramps"),
        ("us", "2024-03-03", {"status": "perhaps"}, "wound-before-cramps"),
        ("us", None, {}, "wound-before-cramps"),
    ],
)
def test_only_a_vaccination_seen_before_the_wound_excuses_it(
    knowledge: Knowledge, jurisdiction: Any, given: str | None, members: dict[str, Any], wanted: str
) -> None:
    cramps = LEG_CRAMPS | {"onsetDateTime": "2026-11-16"}
    wound = condition(concept("283682007", SNOMED, text="Dog bite of leg"), id="bite", onsetDateTime="2026-11-09")
    dose: dict[str, Any] = {"resourceType": "Immunization", "id": "i1", "status": "completed", "patient": OWN}
    dose |= {"vaccineCode": concept("115", "http://hl7.org/fhir/sid/cvx")} | ({"occurrenceDateTime": given} if given else {})
    found = fired(knowledge, jurisdiction, conditions=bundle(cramps, wound), immunizations=bundle(dose | members))
    assert {name for name in found if "wound" in name} - {"open-wound"} == {wanted}


@pytest.mark.parametrize(
    ("days", "measured", "wanted"),
    [
        ("2026-11-13", "2026-11-14", "heartbeat"),
        ("2026-11-12", "2026-11-11", "heartbeat"),
        ("2026-11-12", "2026-11-12", "heartbeat-watched"),
        ("2026-11-05", "2026-11-04", "heartbeat-workup"),
        ("2026-10-21", "2026-11-04", "heartbeat-watched"),
        ("2026-10-20", "2026-11-04", None),
    ],
)
def test_an_abnormal_heartbeat_alarms_the_less_the_older_it_is(
    knowledge: Knowledge, days: str, measured: str, wanted: str | None
) -> None:
    entry = condition(concept("R00.2", ICD10CM), id="beat", recordedDate=days)
    salts = [
        observation(value, code=code, when=measured, id=code)
        for code, value in (("2823-3", 4), ("2601-3", 0.8), ("29265-6", 2.4))
    ]
    found = fired(knowledge, conditions=bundle(LEG_CRAMPS, entry), electrolytes=bundle(*salts))
    assert {name for name in found if name.startswith("heartbeat")} == ({wanted} if wanted else set())


@pytest.mark.parametrize(("comparator", "urgent"), [("<", True), (">", False)])
def test_a_bound_decides_only_where_all_of_it_lies_beyond_the_limit(
    knowledge: Knowledge, comparator: str, urgent: bool
) -> None:
    quantity = {"value": 2.5, "unit": "mmol/L", "comparator": comparator}
    result = observation(2.5, when="2026-11-19", valueQuantity=quantity)
    assert isinstance(potassium(knowledge, result).value, Interval)
    assert ("severe-potassium" in fired(knowledge, electrolytes=bundle(result))) is urgent


def test_of_two_legs_the_lower_index_counts(knowledge: Knowledge) -> None:
    legs = [observation(value, "1", "77194-9", id=f"leg{value}") for value in (0.95, 0.71)]
    assert fact_of(knowledge, "abi_value", otherResults=bundle(*legs)).value == Decimal("0.71")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"onsetDateTime": "2026-11-15"}, True),
        ({"recordedDate": "2026-11-15"}, True),
        ({"onsetDateTime": "2026-11-06"}, True),
        ({"onsetDateTime": "2026-11-05"}, False),
        ({"onsetDateTime": "2020-01-01", "recordedDate": "2026-11-15"}, False),
        ({"onsetDateTime": "2026"}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_new_means_that_it_began_or_was_recorded_in_the_window(
    knowledge: Knowledge, members: dict[str, Any], expected: Any
) -> None:
    clot = condition(concept("404223003", SNOMED), id="clot", **members)
    assert fact_of(knowledge, "deep_vein_thrombosis_new", conditions=bundle(LEG_CRAMPS, clot)).value is expected


@pytest.mark.parametrize("code", ["I48.21", "I48.20", "I82.501", "Z86.718", "O80"])
def test_chronic_forms_and_history_are_nothing_new(knowledge: Knowledge, code: str) -> None:
    entry = condition(concept(code, ICD10CM), id="old", onsetDateTime="2026-11-15")
    urgent = {"heartbeat", "possible-clot", "pregnancy"}
    assert not fired(knowledge, conditions=bundle(LEG_CRAMPS, entry)) & urgent


@pytest.mark.parametrize(
    ("start", "expected"),
    [("2026-10-22", 29), ("2026-10-23", 28), ("2026-10", Interval(Decimal(20), Decimal(50))), (None, UNKNOWN)],
)
def test_the_days_of_a_drug_count_from_its_first_start(knowledge: Knowledge, start: str | None, expected: Any) -> None:
    quinine = medication(concept(text="Quinine sulfate 200 mg tablets"), authoredOn=start)
    assert fact_of(knowledge, "quinine_days", medicationRequests=bundle(quinine)).value == expected


def test_quinine_speaks_without_a_cramp_on_record_and_each_country_by_its_own_rule(knowledge: Knowledge) -> None:
    quinine = bundle(medication(concept(text="Quinine sulfate 200 mg tablets"), authoredOn="2026-01-01"))
    alone = {"conditions": bundle(), "medicationRequests": quinine}
    assert fired(knowledge, "us", **alone) == {"quinine-us"}
    assert fired(knowledge, "uk", **alone) == {"quinine-four-weeks"}


@pytest.mark.parametrize(
    "code",
    [
        concept("B54", ICD10CM),
        concept("61462000", SNOMED),
        concept("62676009", SNOMED),
        concept("21061004", SNOMED),
        concept("B60.09", ICD10CM),
        concept(text="Malaria, falciparum"),
        concept(text="Babesiosis"),
    ],
)
def test_quinine_for_malaria_or_babesiosis_is_left_alone(knowledge: Knowledge, code: Any) -> None:
    quinine = bundle(medication(concept(text="Quinine sulfate")))
    assert fired(knowledge, conditions=bundle(condition(code)), medicationRequests=quinine) == set()


@pytest.mark.parametrize(
    "prefetch",
    [{"conditions": bundle(LEG_CRAMPS, NEW_CLOT)}, {"electrolytes": KNOWN_DANGER}],
)
def test_beside_something_urgent_nobody_is_told_to_massage_the_leg(knowledge: Knowledge, prefetch: dict[str, Any]) -> None:
    request = read_request(json.dumps(body(prefetch)).encode(), "patient-view")
    cards = service_with(knowledge).answer(SERVICE, request, AS_OF).cards
    assert cards[0].indicator == "critical"
    assert "massage" not in cards[-1].detail
    assert "Same day (or 911)" in cards[-1].detail


def test_without_anything_urgent_the_everyday_advice_stands(knowledge: Knowledge) -> None:
    request = read_request(json.dumps(body()).encode(), "patient-view")
    assert "massage" in service_with(knowledge).answer(SERVICE, request, AS_OF).cards[-1].detail


@pytest.mark.parametrize(
    ("drug", "fact"),
    [
        ("Losartan potassium 50 mg", "taking_potassium_supplement"),
        ("Esomeprazole magnesium 20 mg", "taking_magnesium_supplement"),
        ("Magnesium hydroxide suspension", "taking_magnesium_supplement"),
        ("Quinidine 200 mg", "taking_quinine"),
    ],
)
def test_the_salt_of_a_drug_and_a_namesake_are_no_supplement(knowledge: Knowledge, drug: str, fact: str) -> None:
    assert fact_of(knowledge, fact, medicationRequests=bundle(medication(concept(text=drug)))).value is False


@pytest.mark.parametrize(
    ("complaints", "expected"),
    [
        ([{"onsetDateTime": "1990-01-01"}, {"onsetDateTime": "2026-11-01"}], True),
        ([{"recordedDate": "2026-11-01"}], True),
        ([{"onsetDateTime": "1990-01-01"}], False),
        ([{"onsetDateTime": "2026"}], UNKNOWN),
        ([{}], UNKNOWN),
        ([], False),
    ],
)
def test_an_old_complaint_does_not_hide_a_new_one_under_quinine(
    knowledge: Knowledge, complaints: list[dict[str, Any]], expected: Any
) -> None:
    ears = [condition(concept("H93.1", ICD10CM), id=f"ear{at}", **dates) for at, dates in enumerate(complaints)]
    quinine = bundle(medication(concept(text="Quinine sulfate"), authoredOn="2026-10-01"))
    fact = fact_of(knowledge, "hearing_disorder_after_quinine", conditions=bundle(*ears), medicationRequests=quinine)
    assert fact.value is expected


NUMB = {"numbness": date(2026, 11, 2)}


@pytest.mark.parametrize(("numb", "overridden", "calm"), [(True, {}, False), (True, NUMB, False), (False, {}, True)])
def test_nothing_calm_is_said_beside_a_warning_nor_where_it_was_overridden(
    knowledge: Knowledge, numb: bool, overridden: dict[str, date], calm: bool
) -> None:
    normal = [
        observation(4.2, id="k"),
        observation(140, code="2951-2", id="na"),
        observation(2.4, code="29265-6", id="ca"),
        observation(2.0, "mg/dL", "19123-9", id="mg"),
    ]
    form: dict[str, Any] = {"resourceType": "QuestionnaireResponse", "id": "q", "status": "completed", "authored": "2026-11-01"}
    form |= {"subject": {"reference": "Patient/p1"}, "questionnaire": str(knowledge.questionnaire["url"])}
    form |= {"item": [{"linkId": "numbness", "answer": [{"valueBoolean": numb}]}]}
    prefetch = {
        "electrolytes": bundle(*normal),
        "kidneyFunction": bundle(observation(95, "mL/min/1.73m2", "33914-3", id="gfr")),
        "otherResults": bundle(observation(1.9, "mIU/L", "3016-3", id="tsh")),
        "crampHistory": bundle(form),
    }
    assert "likely-idiopathic" in fired(knowledge, **prefetch)
    request = read_request(json.dumps(body(prefetch)).encode(), "patient-view")
    decision = service_with(knowledge).answer(SERVICE, request, AS_OF, overridden)
    assert decision.suppressed == overridden
    assert ("Nothing found" in "".join(card.detail for card in decision.cards)) is calm


def test_a_dangerous_result_is_told_once_not_as_a_warning_too(knowledge: Knowledge) -> None:
    decision_service = service_with(knowledge)
    asked = read_request(
        json.dumps(body({"electrolytes": bundle(observation(2.4, when="2026-11-19"))})).encode(), "patient-view"
    )
    told = [card for card in decision_service.answer(SERVICE, asked, AS_OF).cards if "2.4" in card.summary]
    assert [card.indicator for card in told] == ["critical"]


QUININE = medication(concept(text="Quinine sulfate 200 mg tablets"), id="q1", authoredOn="2026-09-20")  # day 21: 11 October


def review(when: str | None, **members: Any) -> Any:
    base = {
        "resourceType": "Procedure",
        "id": "v1",
        "status": "completed",
        "subject": OWN,
        "code": concept("182836005", SNOMED),
    }
    return base | ({"performedDateTime": when} if when else {}) | members


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([], False),
        ([review("2026-10-11")], True),
        ([review("2026-10-10")], False),
        ([review("2026-10")], UNKNOWN),
        ([review(None)], UNKNOWN),
        ([review("2026-10-28", status="not-done")], False),
        ([review("2026-12-01")], False),
        ([review("2026-10-10"), review("2026-11-01", id="v2")], True),
        ([review("2026-11-01", code=concept("401221002", SNOMED))], False),
    ],
)
def test_a_review_counts_from_day_21_of_quinine(knowledge: Knowledge, done: list[Any], expected: Any) -> None:
    prefetch: dict[str, Any] = {"medicationRequests": bundle(QUININE), "procedures": bundle(*done)}
    assert fact_of(knowledge, "quinine_reviewed", **prefetch).value is expected


def test_a_review_recorded_as_an_observation_counts_too(knowledge: Knowledge) -> None:
    seen = {"resourceType": "Observation", "id": "v1", "status": "final", "subject": OWN, "code": concept("314530002", SNOMED)}
    prefetch: dict[str, Any] = {
        "medicationRequests": bundle(QUININE),
        "otherResults": bundle(seen | {"effectiveDateTime": "2026-11-01"}),
    }
    assert "quinine-four-weeks" not in fired(knowledge, "uk", **prefetch)
    assert fact_of(knowledge, "quinine_reviewed", **prefetch).value is True


def test_a_review_that_was_not_asked_for_is_not_taken_as_missing(knowledge: Knowledge) -> None:
    prefetch = body({"medicationRequests": bundle(QUININE)}, without=("procedures",))
    assert facts_of(knowledge, prefetch)["quinine_reviewed"].value is UNKNOWN


@pytest.mark.parametrize(
    ("drug", "fires"),
    [
        (concept(text="Citalopram 20mg tablets"), True),
        (concept("200371", RXNORM), True),
        (concept("C01BD01", ATC), True),
        (concept(text="Erythromycin 2% gel"), False),
        (concept(text="Sertraline 50mg tablets"), False),
    ],
)
def test_quinine_beside_a_drug_that_prolongs_the_qt_interval_wants_caution(
    knowledge: Knowledge, drug: Any, fires: bool
) -> None:
    lists = bundle(QUININE, medication(drug, id="other"))
    assert ("quinine-caution" in fired(knowledge, medicationRequests=lists)) is fires


NAIL = concept("S91.331A", ICD10CM)


def cramps(onset: str | None) -> Any:
    return LEG_CRAMPS | {"onsetDateTime": onset}


@pytest.mark.parametrize(
    ("wound", "onset", "expected"),
    [
        (condition(NAIL, id="w", onsetDateTime="2026-11-09"), "2026-11-16", "wound-before-cramps"),
        (condition(NAIL, id="w", recordedDate="2026-11-09"), "2026-11-16", "wound-before-cramps"),
        (condition(concept("283734005", SNOMED), id="w", onsetDateTime="2026-10-30"), "2026-11-16", "wound-before-cramps"),
        (condition(NAIL, id="w", onsetDateTime="2026-10-29"), "2026-11-16", None),
        (condition(NAIL, id="w", onsetDateTime="2026-11-09"), "2026-11-01", "open-wound"),
        (condition(NAIL, id="w", onsetDateTime="2026-11-09"), "2026-11-09", "open-wound"),
        (condition(NAIL, id="w", onsetDateTime="2026-11-09"), None, "open-wound"),
        (condition(concept("S81.8", ICD10), id="w", onsetDateTime="2026-11-09"), "2026-11-16", "open-wound"),
        (condition(concept(text="Laceration of shin"), id="w", onsetDateTime="2026-11-09"), "2026-11-16", "open-wound"),
    ],
)
def test_a_wound_prone_to_tetanus_alarms_only_where_the_cramps_came_after_it(
    knowledge: Knowledge, wound: Any, onset: str | None, expected: str | None
) -> None:
    request = read_request(json.dumps(body({"conditions": bundle(cramps(onset), wound)})).encode(), "patient-view")
    decision = service_with(knowledge).answer(SERVICE, request, AS_OF)
    told = {name for names in decision.composed.speaks_for for name in names}
    assert told & {"wound-before-cramps", "open-wound"} == ({expected} if expected else set())


@pytest.mark.parametrize(
    ("result", "jurisdiction", "expected"),
    [
        (observation(5.1, "ug/dL", "5671-3"), "us", "high"),
        (observation(4.9, "ug/dL", "5671-3"), "us", "in-range"),
        (observation(51, "ug/L", "5671-3"), "us", "high"),
        (observation(0.25, "umol/L", "14807-2"), "us", "high"),
        (observation(0.24, "umol/L", "14807-2"), "us", "in-range"),
        (observation(11, "ug/dL", "5671-3"), "uk", UNKNOWN),
        (observation(0.3, "umol/L", "14807-2", referenceRange=[{"high": {"value": 0.24, "unit": "umol/L"}}]), "uk", "high"),
        (observation(60, "ug/dL", "5671-3", when="2026-08-21"), "us", UNKNOWN),
    ],
)
def test_lead_is_judged_by_the_laboratorys_range_or_a_sourced_one(
    knowledge: Knowledge, result: Any, jurisdiction: str, expected: Any
) -> None:
    """0.25 umol/L x 20.72 = 5.18 ug/dL; 0.24 gives 4.97. No British range could be sourced."""
    found = fact_of(knowledge, "lead_against_range", jurisdiction, bloodTests=bundle(result))
    assert found.value == expected


def test_mercury_is_judged_in_either_unit(knowledge: Knowledge) -> None:
    """49 nmol/L x 0.20059 = 9.83 ug/L; 50 gives 10.03."""
    levels = [(49, "in-range"), (50, "high")]
    for value, expected in levels:
        result = bundle(observation(value, "nmol/L", "25170-2"))
        assert fact_of(knowledge, "mercury_against_range", bloodTests=result).value == expected


@pytest.mark.parametrize(
    ("key", "entry", "is_calm"),
    [
        ("conditions", condition(concept(text="Something of the leg"), id="odd"), False),
        ("conditions", condition(concept("I10", ICD10CM), id="odd"), True),
        ("medicationRequests", medication(concept(text="Xyzolol 20 mg")), False),
        ("medicationStatements", XYZOLOL_STATED, False),
        ("otherResults", observation(12000, "U/L", "77777-7", id="odd"), False),
        ("otherResults", observation(1.9, "mIU/L", "3016-3", id="again"), True),
    ],
)
def test_nothing_calm_is_said_where_an_entry_matches_nothing_known(
    knowledge: Knowledge, key: str, entry: dict[str, Any], is_calm: bool
) -> None:
    normal = [
        observation(4.2, id="k"),
        observation(140, code="2951-2", id="na"),
        observation(2.4, code="29265-6", id="ca"),
        observation(2.0, "mg/dL", "19123-9", id="mg"),
    ]
    prefetch: dict[str, list[dict[str, Any]]] = {
        "conditions": [LEG_CRAMPS],
        "medicationRequests": [],
        "medicationStatements": [],
        "electrolytes": normal,
        "kidneyFunction": [observation(95, "mL/min/1.73m2", "33914-3", id="gfr")],
        "otherResults": [observation(1.9, "mIU/L", "3016-3", id="tsh")],
    }
    prefetch[key] = [*prefetch[key], entry]
    found = fired(knowledge, **{name: bundle(*items) for name, items in prefetch.items()})
    assert ("likely-idiopathic" in found) is is_calm
