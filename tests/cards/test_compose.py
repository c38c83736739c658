"""Cards: what they say, in how many characters, and what they never pass over in silence."""

from __future__ import annotations

import json
import random
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.cards.text import fill, fit, listed, longest, plain
from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import SUMMARY_LIMIT
from cds_service.fhir.dates import read_instant, read_span, say_date
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Evidence, Fact
from cds_service.service import DecisionService
from tests.support.cards import by_topic, cards
from tests.support.cast import CAST, conductor_of, request_of, service_of
from tests.support.people import (
    AS_OF,
    ICD10CM,
    LEG_CRAMPS,
    LOINC,
    bundle,
    concept,
    condition,
    medication,
    observation,
    patient,
    service_request,
)

POTASSIUM = observation(3.1)
CAUSES = {
    "patient": patient(birthDate="1950-01-01"),
    "conditions": bundle(
        LEG_CRAMPS, condition(concept("E03.9", ICD10CM), id="h"), condition(concept("I73.9", ICD10CM), id="p")
    ),
    "medicationRequests": bundle(
        medication(concept(text="Furosemide 40 mg")), medication(concept(text="Simvastatin"), id="m2")
    ),
    "electrolytes": bundle(POTASSIUM, observation(128, code="2951-2", id="na"), observation(1.2, "mg/dL", "19123-9", id="mg")),
    "otherResults": bundle(observation(9.1, "mIU/L", "3016-3", id="tsh")),
}


def test_several_results_share_one_card_that_names_them(knowledge: Knowledge) -> None:
    card = by_topic(cards(knowledge, CAUSES), "Results")
    assert card.indicator == "warning"
    assert "Potassium 3.1 mmol/L (12 Nov)" in card.summary
    assert len(card.summary) <= SUMMARY_LIMIT
    assert card.summary.endswith("and 1 more may contribute to leg cramps")
    assert card.detail.count("\n- ") + 1 >= 4


def test_the_order_of_the_cards_is_that_of_the_groups(knowledge: Knowledge) -> None:
    found = [card.source.topic.code for card in cards(knowledge, CAUSES) if card.source.topic]
    groups = ["Results", "Medication", "Workup", "Conditions", "SelfCare"]
    assert found == [f"LegCramps{name}" for name in groups]


def test_what_does_not_fit_is_named_on_the_last_card(knowledge: Knowledge) -> None:
    found = cards(knowledge, CAUSES, max_cards=2)
    assert len(found) == 2
    for told in ("not tested recently", "On record and may contribute", "self-care"):
        assert told in found[-1].detail


def test_tests_without_a_reason_can_be_switched_off(knowledge: Knowledge) -> None:
    assert len(cards(knowledge)) == 2
    (only,) = cards(knowledge, workup_without_reason=False)
    assert "self-care" in only.summary
    reasoned = cards(knowledge, CAUSES, workup_without_reason=False)
    assert all(item.is_recommended for item in by_topic(reasoned, "Workup").suggestions if "calcium" in item.label)


@pytest.mark.parametrize("name", ["gwen-lowmag", "wanda-backleg", "yves-untested"])
def test_a_test_of_a_panel_needs_a_reason_of_its_own(knowledge: Knowledge, name: str) -> None:
    """That another member of its panel is recommended is none."""
    person = next(item for item in CAST if item.id == name)
    choices = conductor_of(person.jurisdiction).settings.model_copy(update={"workup_without_reason": False})
    request = read_request(json.dumps(request_of(person)).encode(), person.hook)
    decision = DecisionService(knowledge, choices).answer(service_of(person), request, person.day)
    offers = {item.rule_id: item.offers for item in decision.advice.rules}
    on_the_card = [rule.id for shown in decision.shown for rule in shown.rules if rule.file.group == "workup"]
    assert on_the_card
    assert {rule for rule in on_the_card if not any(offer.recommended for offer in offers[rule])} == set()


def test_a_recommended_test_stands_before_an_offered_one(knowledge: Knowledge) -> None:
    flags = [bool(item.is_recommended) for item in by_topic(cards(knowledge, CAUSES), "Workup").suggestions]
    assert flags == sorted(flags, reverse=True)
    assert {True, False} == set(flags) or all(flags)


def test_a_danger_that_offers_no_test_keeps_its_place(knowledge: Knowledge) -> None:
    lead = condition(concept("Z77.011", ICD10CM), id="lead", recordedDate="2026-10-10")
    tetanus = condition(concept("A35", ICD10CM), id="tetanus", recordedDate="2026-11-19")
    told = [card.summary for card in cards(knowledge, {"conditions": bundle(LEG_CRAMPS, lead, tetanus)})]
    assert ["tetanus" in told[0], "lead" in told[1]] == [True, True]


@pytest.mark.parametrize("smoking", [True, False])
def test_an_ankle_index_recommended_beyond_65_says_why(knowledge: Knowledge, smoking: bool) -> None:
    diabetes = [] if smoking else [condition(concept("E11.9", ICD10CM), id="diabetes")]
    smoker = [condition(concept("F17.210", ICD10CM), id="smoking")] if smoking else []
    sent = {"patient": patient(birthDate="1950-01-01"), "conditions": bundle(LEG_CRAMPS, *diabetes, *smoker)}
    detail = by_topic(cards(knowledge, sent), "Workup").detail
    why = "smoking now or past" if smoking else "with diabetes"
    assert any(f"(age 76{mark} {why}, ACC/AHA 2024): none on record." in detail for mark in (",", ""))


def test_a_test_on_order_is_not_suggested_again_but_said(knowledge: Knowledge) -> None:
    found = cards(knowledge, {"orders": bundle(service_request(concept("3016-3", LOINC)))})
    assert "Order TSH" not in [item.label for item in by_topic(found, "Workup").suggestions]
    assert "Already on order: TSH (10 Nov)." in by_topic(found, "Workup").detail


def test_orders_that_could_not_be_checked_silence_no_test(knowledge: Knowledge) -> None:
    workup = by_topic(cards(knowledge, without=("orders",)), "Workup")
    assert "Order TSH" in [item.label for item in workup.suggestions]
    assert "Open orders could not be checked" in workup.detail


def test_what_was_not_supplied_is_said_on_the_last_card(knowledge: Knowledge) -> None:
    assert "electrolyte results" in cards(knowledge, without=("electrolytes",))[-1].detail
    assert "Not assessed" not in "".join(card.detail for card in cards(knowledge))


def test_what_could_not_be_read_is_said_on_the_first_card(knowledge: Knowledge) -> None:
    first = cards(knowledge, {"electrolytes": bundle(observation(3.1, None))})[0]
    assert "Not judged: Potassium 3.1 (12 Nov): no unit" in first.detail


@pytest.mark.parametrize(
    ("result", "test", "priority"),
    [
        (observation(2.4, when="2026-11-19"), "Order potassium", "stat"),
        (observation(118, code="2951-2", when="2026-11-19"), "Order sodium", "urgent"),
        (observation(3.3, when="2026-11-19"), "Order TSH", None),
    ],
)
def test_what_a_critical_card_asks_for_is_urgent(knowledge: Knowledge, result: Any, test: str, priority: str | None) -> None:
    found = [item for card in cards(knowledge, {"electrolytes": bundle(result)}) for item in card.suggestions]
    (action,) = next(item.actions for item in found if item.label == test)
    assert action.resource
    assert action.resource.get("priority") == priority


def test_a_suggestion_names_the_cramps_as_its_reason(knowledge: Knowledge) -> None:
    (action,) = by_topic(cards(knowledge), "Workup").suggestions[0].actions
    assert action.resource
    assert action.resource["reasonReference"] == [{"reference": "Condition/cramps"}]
    assert action.resource["subject"] == {"reference": "Patient/p1"}


def test_every_card_says_that_no_clinician_has_reviewed_it(knowledge: Knowledge) -> None:
    assert all("not clinically reviewed" in card.detail for card in cards(knowledge, CAUSES))


@pytest.mark.parametrize("jurisdiction", ["us", "uk"])
def test_the_article_of_the_own_country_is_named_first(knowledge: Knowledge, jurisdiction: str) -> None:
    card = by_topic(cards(knowledge, CAUSES, jurisdiction=jurisdiction), "Medication")
    assert card.source.label.startswith({"us": "SingleCare", "uk": "Spire"}[jurisdiction])


@pytest.mark.parametrize("members", [{"birthDate": "2010-01-01"}, {"deceasedBoolean": True}, {"birthDate": None}])
def test_children_the_dead_and_those_of_unknown_age_get_no_cards(knowledge: Knowledge, members: Any) -> None:
    assert cards(knowledge, {"patient": patient(**members)}) == ()


HOSTILE = [
    "<script>alert(1)</script> furosemide",
    "furosemide [click](https://evil.example)",
    "furosemide **bold** `code` | table | <img src=x onerror=alert(1)>",
    "# furosemide\n\n- item\n> quote",
    "furosemide \u202egnirts\u0000\u0007",
    "furosemide {taking_statin.names} {orders}",
    "furosemide " + "x" * 5000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_from_the_record_is_shown_never_obeyed(knowledge: Knowledge, text: str) -> None:
    card = by_topic(cards(knowledge, {"medicationRequests": bundle(medication(concept(text=text)))}), "Medication")
    assert not [
        sign for sign in ("<script", "<img", "](", "**", "`", "\u202e", "\u0000", "https://evil") if sign in card.detail
    ]
    assert len(card.summary) <= SUMMARY_LIMIT
    assert len(card.detail) < 2000
    assert "\n#" not in card.detail


@pytest.mark.parametrize(("note", "text"), [("checked", "CK 5 (undated), checked. Now"), ("", "CK 5 (undated). Now")])
def test_a_part_that_is_empty_takes_its_comma_away(note: str, text: str) -> None:
    fact = Fact("f", 5, evidence_source=(Evidence("X/1", "CK", value="5", note=note),))
    assert fill("CK {f.value} ({f.date}), {f.note}. Now", {"f": fact}, AS_OF) == text


def test_a_comparator_is_not_taken_for_markup() -> None:
    assert plain("Potassium <3.0 mmol/L, TSH >100") == "Potassium <3.0 mmol/L, TSH >100"


@given(
    st.text(max_size=300), st.text(max_size=300), st.sampled_from(["value", "short", "names", "name", "note", "range", "date"])
)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_no_text_grows_beyond_what_was_proved(name: str, value: str, part: str) -> None:
    fact = Fact("f", True, evidence_source=(Evidence("X/1", name, value=value, date=value, note=value, range=value),) * 3)
    template = f"Before {{f.{part}}} after"
    assert len(fill(template, {"f": fact}, AS_OF)) <= longest(template)


def test_a_summary_counts_what_it_cannot_hold() -> None:
    rng = random.Random(3)
    for _ in range(500):
        items = ["x" * rng.randint(5, 60) for _ in range(rng.randint(1, 12))]
        summary = fit("{headlines} may contribute", items, ", ", "and {count} more", SUMMARY_LIMIT)
        assert len(summary) <= SUMMARY_LIMIT
        shown = summary.split(" and ")[0].count("x" * 5) and sum(1 for item in items if item in summary)
        assert shown
        if "more" in summary:
            assert int(summary.split(" and ")[1].split(" more")[0]) + summary.split(" and ")[0].count(", ") + 1 == len(items)


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_lists_read_as_people_write_them(items: list[str], told: str) -> None:
    assert listed(items) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-11-12", "12 Nov"),
        ("2026-11-12T23:59:59-11:00", "12 Nov"),
        ("2025-01-03", "3 Jan 2025"),
        ("2024-02", "Feb 2024"),
        ("2019", "2019"),
        ("soon", "undated"),
        ("", "undated"),
    ],
)
def test_dates_are_told_as_coarse_as_they_are(text: str, told: str) -> None:
    assert say_date(text, AS_OF) == told


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2023-12", date(2023, 12, 1), date(2023, 12, 31)),
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        (" 2024-02-29 ", date(2024, 2, 29), date(2024, 2, 29)),
        ("2024-02-29T10:00", date(2024, 2, 29), date(2024, 2, 29)),
    ],
)
def test_a_partial_date_is_the_days_it_may_mean(text: str, first: date, last: date) -> None:
    assert read_span(text) == (first, last)


@pytest.mark.parametrize("text", ["2023-02-29", "2024-13-01", "24-01-01", "2024-1-1", "2024/01/01", "20240101", None, "x"])
def test_what_is_no_date_is_none(text: str | None) -> None:
    assert read_span(text) is None
    assert read_instant(text) is None


def test_instants_are_compared_across_offsets() -> None:
    early, late = read_instant("2026-11-12T08:00:00+02:00"), read_instant("2026-11-12T07:00:00Z")
    assert early is not None
    assert late is not None
    assert early < late


def test_unknown_is_no_truth_value() -> None:
    with pytest.raises(TypeError):
        bool(UNKNOWN)


def test_a_drug_prescribed_again_is_told_once_with_its_first_start(knowledge: Knowledge) -> None:
    """The first start is what is held against the onset of the cramps, so it is what the card says."""
    again = [
        medication(concept(text="Simvastatin 20 mg"), id=f"m{month}", authoredOn=f"2025-{month:02}-07") for month in (9, 6, 11)
    ]
    cramps = LEG_CRAMPS | {"onsetDateTime": "2025-08-01"}
    told = by_topic(cards(knowledge, {"conditions": bundle(cramps), "medicationRequests": bundle(*again)}), "Medication").detail
    assert told.count("Simvastatin 20 mg") == 1
    assert "Simvastatin 20 mg (since 7 Jun 2025; first begun before the cramps)" in told


def test_what_must_be_watched_for_is_told_however_many_causes_are_on_record(knowledge: Knowledge) -> None:
    """Of many conditions some are only named, never a clot that is treated or what a pregnancy excludes."""
    causes = ["N18.4", "K74.60", "I73.9", "E11.9", "E03.9", "G20.A1", "D64.9"]
    clot = condition(concept("I82.402", ICD10CM), id="clot", recordedDate="2026-11-12")
    expecting = condition(concept("Z33.1", ICD10CM), id="expecting", recordedDate="2026-06-01")
    known = [condition(concept(code, ICD10CM), id=code, onsetDateTime="2020-01-01") for code in causes]
    sent = {
        "conditions": bundle(LEG_CRAMPS, *known, clot, expecting),
        "medicationRequests": bundle(medication(concept(text="Apixaban 5 mg tablet"), authoredOn="2026-11-12")),
    }
    told = by_topic(cards(knowledge, sent), "Conditions").detail
    assert "breathlessness: assess the same day" in told
    assert "no magnesium without advice" in told
    assert "Also on record: " in told


def test_of_several_drugs_of_a_kind_only_the_first_is_said_to_be_begun_before(knowledge: Knowledge) -> None:
    early, late = (
        medication(concept(text=name), id=name, authoredOn=day)
        for name, day in (("Simvastatin 20 mg", "2020-01-01"), ("Rosuvastatin 5 mg", "2026-11-01"))
    )
    cramps = LEG_CRAMPS | {"onsetDateTime": "2025-08-01"}
    told = by_topic(cards(knowledge, {"conditions": bundle(cramps), "medicationRequests": bundle(early, late)}), "Medication")
    assert "Rosuvastatin 5 mg (since 1 Nov) and Simvastatin 20 mg (since 2020), first begun before the cramps:" in told.detail
