"""What results and the cramp history change in the cards: said once, said to be computed, left out beside an emergency."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.cdshooks.response import Card
from cds_service.knowledge.knowledge import Knowledge
from tests.support.cards import by_topic, cards
from tests.support.history import coded, response
from tests.support.people import ICD10CM, LEG_CRAMPS, SNOMED, bundle, concept, condition, observation, patient

EVERYTHING = {
    "electrolytes": bundle(
        observation(4.2),
        observation(140, code="2951-2", id="na"),
        observation(2.0, "mg/dL", "19123-9", id="mg"),
        observation(9.5, "mg/dL", "17861-6", id="ca"),
    ),
    "kidneyFunction": bundle(observation(0.8, "mg/dL", "2160-0", id="cr")),
    "otherResults": bundle(observation(2.0, "mIU/L", "3016-3", id="tsh")),
    "patient": patient(gender="female", birthDate="1990-01-01"),
}


def form(**answers: Any) -> dict[str, Any]:
    items = [{"linkId": link.replace("_", "-"), "answer": given} for link, given in answers.items()]
    return bundle(response({}, "2026-11-15", item=items))


def yes() -> list[dict[str, Any]]:
    return [{"valueBoolean": True}]


def details(found: tuple[Card, ...]) -> str:
    return "\n".join(card.detail for card in found)


def labels(found: tuple[Card, ...]) -> list[str]:
    return [item.label for card in found for item in card.suggestions]


def test_a_computed_egfr_is_said_to_be_computed_and_a_reported_one_is_not(knowledge: Knowledge) -> None:
    creatinine = observation(1.9, "mg/dL", "2160-0", id="cr")
    person = patient(gender="female", birthDate="1958-03-14")
    computed = by_topic(cards(knowledge, {"patient": person, "kidneyFunction": bundle(creatinine)}), "Results")
    assert "eGFR 28 mL/min/1.73m2 (12 Nov)" in computed.summary
    assert "Computed from creatinine 1.9 mg/dL (12 Nov) by CKD-EPI 2021" in computed.detail
    reported = observation(28, "mL/min/1.73m2", "33914-3", id="egfr")
    told = by_topic(cards(knowledge, {"patient": person, "kidneyFunction": bundle(creatinine, reported)}), "Results")
    assert "Computed" not in told.detail


def test_a_computed_egfr_in_range_completes_the_reassurance(knowledge: Knowledge) -> None:
    assert "Nothing found in what was supplied" in details(cards(knowledge, EVERYTHING))
    other = EVERYTHING | {"patient": patient(gender="other", birthDate="1990-01-01")}
    assert "Nothing found in what was supplied" not in details(cards(knowledge, other))


def test_cramps_on_walking_take_the_reassurance_away_and_ask_for_the_arteries(knowledge: Knowledge) -> None:
    found = cards(knowledge, EVERYTHING | {"crampHistory": form(when=coded("walking"))})
    assert "Nothing found in what was supplied" not in details(found)
    assert "rest when cramps come on walking" in details(found)
    assert {"Order ankle-brachial index", "Order blood count"} <= set(labels(found))
    at_night = cards(knowledge, EVERYTHING | {"crampHistory": form(when=coded("night"))})
    assert "Nothing found in what was supplied" in details(at_night)


def test_a_missing_history_is_told_in_the_summary_and_not_beside_something_urgent(knowledge: Knowledge) -> None:
    quiet = cards(knowledge)
    assert quiet[-1].summary.endswith("; no cramp history")
    assert [suggestion.label for suggestion in quiet[-1].suggestions] == ["Ask for the cramp history"]
    urgent = cards(knowledge, {"electrolytes": bundle(observation(2.4, when="2026-11-19"))})
    assert urgent[0].indicator == "critical"
    assert "no cramp history" not in " ".join(card.summary for card in urgent)
    assert "Ask for the cramp history" not in [suggestion.label for card in urgent for suggestion in card.suggestions]


def test_a_history_that_was_not_looked_for_is_not_called_missing(knowledge: Knowledge) -> None:
    assert "cramp history" not in " ".join(card.summary for card in cards(knowledge, without=("crampHistory",)))


@pytest.mark.parametrize(("weeks", "told"), [(3, False), (4, True), (12, True)])
def test_stretching_that_did_not_help_is_not_prescribed_again_in_silence(knowledge: Knowledge, weeks: int, told: bool) -> None:
    found = cards(knowledge, {"crampHistory": form(stretching_weeks=[{"valueInteger": weeks}])})
    assert (f"Stretched for {weeks} weeks already" in details(found)) is told


def test_two_signs_on_one_card_offer_a_test_once(knowledge: Knowledge) -> None:
    signs = by_topic(cards(knowledge, {"crampHistory": form(numbness=yes(), weakness=yes())}), "Signs")
    assert [item.label for item in signs.suggestions] == ["Order creatine kinase", "Order nerve conduction study"]
    assert not any(item.is_recommended for item in signs.suggestions)


def test_twitching_alone_recommends_electrolytes_and_is_no_warning(knowledge: Knowledge) -> None:
    found = cards(knowledge, {"crampHistory": form(twitching=yes())})
    assert all(card.indicator == "info" for card in found)
    recommended = {item.label for item in by_topic(found, "Workup").suggestions if item.is_recommended}
    assert recommended == {"Order basic metabolic panel", "Order magnesium"}
    assert "offered, not recommended: nothing on record" not in details(found)


def test_on_dialysis_neither_kidney_function_nor_urine_is_suggested(knowledge: Knowledge) -> None:
    kidneys = condition(concept("N18.6", ICD10CM), id="ckd")
    dialysis = condition(concept("Z99.2", ICD10CM), id="dialysis")
    without = labels(cards(knowledge, {"conditions": bundle(LEG_CRAMPS, kidneys)}))
    assert {"Order basic metabolic panel", "Order urinalysis"} <= set(without)
    with_dialysis = labels(cards(knowledge, {"conditions": bundle(LEG_CRAMPS, kidneys, dialysis)}))
    assert not {"Order kidney function", "Order urinalysis"} & set(with_dialysis)


def test_a_possible_clot_offers_the_ultrasound_and_the_workup_does_not_again(knowledge: Knowledge) -> None:
    veins = condition(concept("I87.2", ICD10CM), id="veins")
    swollen = condition(concept("449614009", SNOMED), id="swollen")
    found = cards(knowledge, {"conditions": bundle(LEG_CRAMPS, veins, swollen)})
    assert labels(found).count("Order venous duplex") == 1
    red = cards(knowledge, {"conditions": bundle(LEG_CRAMPS, veins, swollen), "crampHistory": form(redness_or_warmth=yes())})
    assert red[0].indicator == "critical"
    assert labels(red).count("Order venous duplex") == 1


@pytest.mark.parametrize(
    ("jurisdiction", "says"),
    [
        ("us", "6.5 % or more"),
        ("uk", "HbA1c 48 mmol/mol (12 Nov, recorded as 6.5 %), 48 mmol/mol or more"),
    ],
)
def test_a_limit_is_told_in_the_unit_of_the_result(knowledge: Knowledge, jurisdiction: str, says: str) -> None:
    result = observation(6.5, "%", "4548-4", id="a1c")
    assert says in details(cards(knowledge, {"bloodTests": bundle(result)}, jurisdiction=jurisdiction))


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (None, "In a cramp: stretch, massage; then warmth."),
        (concept("I73.9", ICD10CM), "In a cramp: stretch, massage; no heat (neuropathy or arterial disease)."),
        # It may be either.
        (concept(text="Xyzzy"), "In a cramp: stretch, massage."),
    ],
)
def test_warmth_is_advised_only_where_nothing_may_speak_against_it(knowledge: Knowledge, problem: Any, told: str) -> None:
    known = [condition(problem, id="p")] if problem else []
    assert f"- {told}\n" in details(cards(knowledge, {"conditions": bundle(LEG_CRAMPS, *known)}))
