"""Results: units, comparators, ranges, dates, and what must never be taken for a normal value."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cds_service.chart.index import ChartIndex
from cds_service.facts.evaluate import FactValues
from cds_service.fhir.resources import Quantity
from cds_service.knowledge import units
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.units import Unusable, convert, say_number
from cds_service.model import UNKNOWN, Interval, Outcome, Seen, State
from cds_service.observations.measurements import read
from cds_service.observations.timeline import placed_of
from cds_service.rules.evaluate import decide
from cds_service.service import DecisionService
from tests.support.calls import CALL, make
from tests.support.people import (
    AS_OF,
    LOINC,
    SERVICE,
    SNOMED,
    UCUM,
    body,
    bundle,
    chart_of,
    concept,
    fact_of,
    facts_of,
    observation,
)

NAMES = {
    "potassium": "potassium_against_range",
    "sodium": "sodium_against_range",
    "magnesium": "magnesium_against_range",
    "calcium-total": "calcium_against_range",
}


def quantity(
    value: Any, unit: str | None = None, code: str | None = None, system: str | None = UCUM, **members: Any
) -> dict[str, Any]:
    found = {"value": value, "unit": unit, "code": code, "system": system if code else None} | members
    return {key: item for key, item in found.items() if item is not None}


def of(knowledge: Knowledge, *results: Any, name: str = "potassium_against_range", **more: Any) -> Any:
    return fact_of(knowledge, name, electrolytes=bundle(*results), **more)


@pytest.mark.parametrize("unit", ["mmol/L", "mmol/l", "mEq/L", "meq/L", "MEQ/L", "mmol / L"])
def test_a_potassium_of_3_1_is_low_in_every_spelling_of_its_unit(knowledge: Knowledge, unit: str) -> None:
    assert of(knowledge, observation(3.1, unit)).value == "low"


def test_a_potassium_in_mg_per_dl_is_converted_exactly(knowledge: Knowledge) -> None:
    # 13.6 mg/dL x 10 / 39.0983 = 3.478..., just below 3.5; 13.7 gives 3.504, just inside.
    assert of(knowledge, observation(13.6, "mg/dL")).value == "low"
    assert of(knowledge, observation(13.7, "mg/dL")).value == "in-range"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (observation(3.1, None), "no unit"),
        (observation(3.1, "mg"), "unknown"),
        (observation(3.1, valueQuantity=quantity(3.1, "mmol/L", "mg/dL")), "disagree"),
        (observation(3.1, valueQuantity=quantity(3.1, "mmol/L", "furlong")), "unknown"),
        (observation(3.1, valueQuantity=quantity(3.1, "g/L", "mmol/L")), "disagree"),
        (observation(3.1, valueQuantity=quantity(3.1, "U/L", "mmol/L")), "disagree"),
        (observation(3.1, valueQuantity={"unit": "mmol/L"}), "no value"),
        (observation(3.1, valueQuantity=quantity(3.1, "mmol/L", comparator="~")), "comparator"),
        ({key: item for key, item in observation(3.1).items() if key != "valueQuantity"} | {"valueString": "3.1"}, "no value"),
    ],
)
def test_a_result_that_cannot_be_read_is_unknown_with_its_reason(knowledge: Knowledge, result: Any, reason: str) -> None:
    fact = of(knowledge, result)
    assert fact.value is UNKNOWN
    assert fact.state is State.UNUSABLE
    assert reason in fact.reason
    assert fact.evidence[0].reference == "Observation/o1"


def test_a_result_that_cannot_be_read_was_measured_all_the_same(knowledge: Knowledge) -> None:
    assert of(knowledge, observation(3.1, None), name="potassium_measured").value is True


@pytest.mark.parametrize("unit", ["mmol per litre", "millimol/L (serum)", "mmol/L", "mEq/L"])
def test_beside_its_code_a_unit_may_be_written_in_any_words(knowledge: Knowledge, unit: str) -> None:
    assert of(knowledge, observation(3.1, valueQuantity=quantity(3.1, unit, "mmol/L"))).value == "low"


def test_a_unit_coded_outside_ucum_is_read_by_its_text(knowledge: Knowledge) -> None:
    coded = quantity(3.1, "mmol/L", "mmol-per-litre", "https://ehr.example/units")
    assert of(knowledge, observation(3.1, valueQuantity=coded)).value == "low"


def test_a_missing_potassium_never_fires_nor_counts_as_normal(knowledge: Knowledge) -> None:
    values = FactValues(facts_of(knowledge, body()))
    assert values["potassium_against_range"] is UNKNOWN
    outcomes = {rule.id: decide(rule, values, "us").outcome for rule in knowledge.rules if rule.topic == "results"}
    assert set(outcomes.values()) == {Outcome.UNKNOWN}
    assert len(outcomes) >= 12


@pytest.mark.parametrize(
    "analyte", ["potassium", "sodium", "magnesium", "calcium-total", "calcium-adjusted", "creatinine", "glucose"]
)
def test_each_mass_factor_is_the_molar_mass_at_work(knowledge: Knowledge, analyte: str) -> None:
    lab = knowledge.labs[analyte]
    scale = {"mmol/L": 10, "umol/L": 10_000}[lab.unit]
    numerator, denominator, _ = units.read_factor(lab.units["mg/dL"])
    assert Fraction(numerator) / Fraction(denominator) == Fraction(scale) / Fraction(lab.molar_mass)


@pytest.mark.parametrize(
    ("analyte", "printed"),
    # Conversion factors as laboratories print them, rounded.
    [("magnesium", "0.4114"), ("calcium-total", "0.2495"), ("creatinine", "88.40"), ("albumin", "10"), ("potassium", "0.2558")],
)
def test_each_factor_agrees_with_the_printed_one(knowledge: Knowledge, analyte: str, printed: str) -> None:
    unit = "g/dL" if analyte == "albumin" else "mg/dL"
    numerator, denominator, _ = units.read_factor(knowledge.labs[analyte].units[unit])
    assert abs(numerator / denominator / Decimal(printed) - 1) < Decimal("0.0005")


@pytest.mark.parametrize(("analyte", "expected"), [("potassium", 4), ("sodium", 4), ("magnesium", 2), ("calcium-total", 2)])
def test_only_divalent_ions_halve_from_milliequivalents(knowledge: Knowledge, analyte: str, expected: int) -> None:
    assert convert(Quantity(value=Decimal(4), unit="mEq/L"), knowledge.factors[analyte]) == expected


@pytest.mark.parametrize("sign", ["\u00b5", "\u03bc", "u"])
def test_micro_is_read_in_all_its_characters(knowledge: Knowledge, sign: str) -> None:
    assert convert(Quantity(value=Decimal(80), unit=f"{sign}mol/L"), knowledge.factors["creatinine"]) == 80


def test_fifteen_decimals_are_kept(knowledge: Knowledge) -> None:
    value = Decimal("3.499999999999999")
    assert convert(Quantity(value=value, unit="mmol/L"), knowledge.factors["potassium"]) == value


def test_only_a_ratio_may_come_without_a_unit(knowledge: Knowledge) -> None:
    bare = Quantity(value=Decimal("0.8"))
    assert convert(bare, knowledge.factors["abi"]) == Decimal("0.8")
    others = {name: convert(bare, knowledge.factors[name]) for name in knowledge.labs if name != "abi"}
    assert all(isinstance(found, Unusable) for found in others.values()), others


@pytest.mark.parametrize(
    ("comparator", "value", "expected"),
    [
        ("<", 3.0, "low"),
        ("<", 3.5, "low"),
        ("<", 4.0, UNKNOWN),
        (">", 5.0, "high"),
        (">", 4.0, UNKNOWN),
        (">=", 5.1, "high"),
        ("<=", 3.5, UNKNOWN),
    ],
)
def test_a_comparator_decides_where_its_whole_interval_lies_on_one_side(
    knowledge: Knowledge, comparator: str, value: float, expected: Any
) -> None:
    result = observation(value, valueQuantity=quantity(value, "mmol/L", comparator=comparator))
    assert of(knowledge, result).value == expected


def test_comparators_make_intervals(knowledge: Knowledge) -> None:
    below = convert(Quantity(value=Decimal(3), unit="mmol/L", comparator="<"), knowledge.factors["potassium"])
    assert below == Interval(None, Decimal(3), high_open=True)


OWN_RANGE = {"low": {"value": 3.0, "unit": "mmol/L"}, "high": {"value": 5.8, "unit": "mmol/L"}}


@pytest.mark.parametrize(
    ("members", "expected", "note"),
    [
        ({}, "low", "default"),
        ({"referenceRange": [OWN_RANGE]}, "in-range", "laboratory's range"),
        ({"referenceRange": [OWN_RANGE], "interpretation": [concept("L")]}, UNKNOWN, ""),
        ({"referenceRange": [OWN_RANGE], "interpretation": [concept("odd")]}, "in-range", "laboratory's range"),
        ({"interpretation": [concept("N")]}, "in-range", "interpretation"),
        ({"interpretation": [concept("HH")]}, "high", "interpretation"),
        ({"referenceRange": [OWN_RANGE, OWN_RANGE]}, "in-range", "laboratory's range"),
        ({"referenceRange": [OWN_RANGE | {"appliesTo": [concept(text="pregnancy")]}]}, UNKNOWN, ""),
        ({"referenceRange": [OWN_RANGE | {"type": concept("treatment")}]}, "low", "default"),
        ({"referenceRange": [OWN_RANGE | {"type": concept("normal")}]}, "in-range", "laboratory's range"),
        ({"referenceRange": [{"low": {"value": 3.0}, "high": {"value": 5.8}}]}, "in-range", "laboratory's range"),
        ({"referenceRange": [{"low": {"value": 11.0, "unit": "mg/dL"}}]}, "in-range", "laboratory's range"),
        ({"referenceRange": [{"low": {"value": 3.0, "unit": "furlong"}}]}, UNKNOWN, ""),
        ({"referenceRange": [{"low": {"value": 5.8}, "high": {"value": 3.0}}]}, UNKNOWN, ""),
        ({"referenceRange": [{"text": "3.0-5.8"}]}, "in-range", "laboratory's range"),
        ({"referenceRange": [{"text": "3.0 to 5.8 mmol/L"}]}, "in-range", "laboratory's range"),
        ({"referenceRange": [{"text": ">3.5"}]}, "low", "laboratory's range"),
        ({"referenceRange": [{"text": "see report"}]}, UNKNOWN, ""),
    ],
)
def test_the_laboratorys_own_range_comes_before_its_code_and_that_before_the_default(
    knowledge: Knowledge, members: dict[str, Any], expected: Any, note: str
) -> None:
    fact = of(knowledge, observation(3.2, **members))
    assert fact.value == expected
    assert note in fact.evidence[0].note


def limits(low: float | None, high: float | None) -> dict[str, Any]:
    given = {"low": low, "high": high}
    return {"referenceRange": [{side: {"value": value} for side, value in given.items() if value is not None}]}


@pytest.mark.parametrize(
    ("value", "members", "expected"),
    [
        # Placeholders in place of a limit are no range, and no other range takes their place.
        (4.1, limits(None, 0), UNKNOWN),
        (4.1, limits(0, None), UNKNOWN),
        (4.1, limits(0, 999), UNKNOWN),
        (4.1, limits(0, 0), UNKNOWN),
        # From nought on is no lower limit.
        (4.1, limits(0, 5.1), "in-range"),
        (5.3, limits(0, 5.1), "high"),
        (3.1, limits(0, 5.1), UNKNOWN),
        # Far from what is usual, the word of the laboratory is not enough.
        (3.1, limits(1, 10), UNKNOWN),
        (5.9, limits(1, 10), UNKNOWN),
        (3.4, limits(3.3, 5.0), "in-range"),
        (5.4, limits(3.5, 5.5), "in-range"),
        (3.1, {"interpretation": [concept("N")]}, UNKNOWN),
        (5.2, {"interpretation": [concept("N")]}, "in-range"),
        # What marks it as anything but normal, or cannot be read, speaks against the default range.
        (3.6, {"interpretation": [concept("A")]}, UNKNOWN),
        (3.6, {"interpretation": [concept("AA")]}, UNKNOWN),
        (3.6, {"interpretation": [{"text": "Low"}]}, UNKNOWN),
        (3.6, {"interpretation": [concept("4711", "https://ehr.example/flags")]}, UNKNOWN),
        (3.6, {"interpretation": [concept("N"), concept("A")]}, UNKNOWN),
        (3.6, limits(3.5, 5.0) | {"interpretation": [concept("A")]}, UNKNOWN),
        (3.6, limits(3.5, 5.0) | {"interpretation": [{"text": "Low"}]}, UNKNOWN),
        (3.6, {"interpretation": [concept("L")]}, "low"),
        (3.4, {"interpretation": [concept("A")]}, "low"),
        # As laboratories write it every day.
        (3.6, {"interpretation": [{"text": "Normal"}]}, "in-range"),
        (3.6, {"interpretation": [concept("N", text="Normal")]}, "in-range"),
        (3.6, {"interpretation": [concept("U")]}, "in-range"),
        (3.6, {"interpretation": [{"coding": [{"code": "214", "display": "NORMAL"}, {"code": "N"}]}]}, "in-range"),
        (3.6, {"interpretation": []}, "in-range"),
        (3.6, {"interpretation": [{}]}, "in-range"),
    ],
)
def test_in_range_is_told_only_where_nothing_speaks_against_it(
    knowledge: Knowledge, value: float, members: dict[str, Any], expected: Any
) -> None:
    assert of(knowledge, observation(value, **members)).value == expected


@pytest.mark.parametrize(
    ("analyte", "code", "unit", "value", "high"),
    # The ranges of these begin at nought in many laboratories.
    [("ck", "2157-6", "U/L", 120, 200), ("alt", "1742-6", "U/L", 20, 40), ("bilirubin", "1975-2", "mg/dL", 0.5, 1.2)],
)
def test_a_range_from_nought_on_is_a_range(
    knowledge: Knowledge, analyte: str, code: str, unit: str, value: float, high: float
) -> None:
    result = observation(value, unit, code, **limits(0, high))
    index = ChartIndex(chart_of(knowledge, body({"otherResults": bundle(result)})), knowledge, AS_OF, "us")
    (placed,) = placed_of(analyte, index)
    assert read(placed, index).interpretation == "in-range"


def test_what_is_normal_by_default_is_usual(knowledge: Knowledge) -> None:
    """Else a result in the default range would be in doubt by the word of its laboratory."""
    for name, lab in knowledge.labs.items():
        low, high = lab.usual.limits if lab.usual else (None, None)
        for own in lab.ranges.values():
            least, most = own.limits
            assert low is None or least is None or low <= least, name
            assert high is None or most is None or most <= high, name


@pytest.mark.parametrize(
    ("comparator", "value"), [(">", 99999), ("<", 0), ("<", -1), (">=", 100), (">", 20), ("<", 0.5), ("<=", 0.4)]
)
def test_a_comparator_that_leaves_nothing_possible_is_no_result_and_no_danger(
    knowledge: Knowledge, comparator: str, value: float
) -> None:
    result = observation(value, when="2026-11-19", valueQuantity=quantity(value, "mmol/L", comparator=comparator))
    fact = of(knowledge, result)
    assert (fact.value, fact.reason) == (UNKNOWN, "no value that a living person can have")
    assert of(knowledge, result, name="potassium_value_this_week").value is UNKNOWN


@pytest.mark.parametrize(("comparator", "value"), [("<", 2.5), (">", 7.5), (">=", 20), ("<=", 0.5)])
def test_a_comparator_that_leaves_a_danger_is_one(knowledge: Knowledge, comparator: str, value: float) -> None:
    result = observation(value, when="2026-11-19", valueQuantity=quantity(value, "mmol/L", comparator=comparator))
    assert isinstance(of(knowledge, result, name="potassium_value_this_week").value, Interval)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3.49, "low"), (3.5, "in-range"), (5.0, "in-range"), (5.01, "high")],
)
def test_the_limits_belong_to_the_range(knowledge: Knowledge, value: float, expected: str) -> None:
    assert of(knowledge, observation(value)).value == expected


def test_default_ranges_differ_by_jurisdiction(knowledge: Knowledge) -> None:
    results = bundle(observation(5.2), observation(134, code="2951-2", id="na"))
    found = {
        place: [fact_of(knowledge, NAMES[name], place, electrolytes=results).value for name in ("potassium", "sodium")]
        for place in ("us", "uk")
    }
    assert found == {"us": ["high", "low"], "uk": ["in-range", "in-range"]}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-11-20", "low"),
        ("2026-08-22", "low"),
        ("2026-08-21", UNKNOWN),
        ("2026-11-21", "low"),  # it is the 21st already where days begin first
        ("2026-11-22", UNKNOWN),
        ("2026-11-12T23:59:59-11:00", "low"),
        ("2026-11-12T08:00", "low"),
        ("2026-11", UNKNOWN),
        ("2026-08", UNKNOWN),
        ("2026", UNKNOWN),
        ("2026-02-31", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_a_result_counts_for_ninety_days_and_only_where_its_date_is_sure(
    knowledge: Knowledge, when: str | None, expected: Any
) -> None:
    # A month that has not ended reaches into the future, and is not sure either.
    assert of(knowledge, observation(3.1, when=when)).value == expected


def test_a_whole_month_inside_the_window_is_sure(knowledge: Knowledge) -> None:
    assert of(knowledge, observation(3.1, when="2026-10")).value == "low"


@pytest.mark.parametrize(
    "when",
    [
        {"effectivePeriod": {"start": "2026-11-01", "end": "2026-11-02"}},
        {"effectivePeriod": {"start": "2026-11-01"}},
        {"effectiveInstant": "2026-11-02T08:00:00.123Z"},
        {"issued": "2026-11-02T08:00:00Z"},
    ],
)
def test_the_time_of_a_result_is_found_in_all_its_members(knowledge: Knowledge, when: dict[str, Any]) -> None:
    assert of(knowledge, observation(3.1, when=None, **when)).value == "low"


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ("final", True),
        ("amended", True),
        ("corrected", True),
        ("final ", True),
        ("Final", True),
        ("preliminary", UNKNOWN),
        ("registered", UNKNOWN),
        ("cancelled", UNKNOWN),
        ("entered-in-error", False),
        ("unknown", UNKNOWN),
        (None, UNKNOWN),
    ],
)
def test_only_reported_results_count(knowledge: Knowledge, status: Any, counts: Any) -> None:
    assert of(knowledge, observation(3.1, status=status), name="potassium_measured").value is counts


NOT_PERFORMED = {"dataAbsentReason": {"coding": [{"code": "not-performed"}]}}
SAYS_NO_RESULT = [{"status": "registered"}, {"status": "cancelled"}, NOT_PERFORMED]


@pytest.mark.parametrize("members", SAYS_NO_RESULT)
def test_a_result_that_says_it_is_none_was_not_measured_unless_it_bears_a_value(knowledge: Knowledge, members: Any) -> None:
    told = observation(2.0, **members)
    fact = of(knowledge, told)
    assert (fact.value, fact.state) == (UNKNOWN, State.UNUSABLE)
    assert fact.reason == "its status says that there is no result"
    assert of(knowledge, told, name="potassium_measured").value is UNKNOWN
    assert of(knowledge, without_value(told), name="potassium_measured").value is False
    older = observation(4.2, when="2026-11-01", id="o2")
    assert of(knowledge, told, older).value is UNKNOWN
    assert of(knowledge, without_value(told), older).value == "in-range"


def test_the_newest_result_decides(knowledge: Knowledge) -> None:
    older, newer = observation(3.1, when="2026-11-01"), observation(4.2, when="2026-11-02", id="o2")
    assert of(knowledge, older, newer).value == of(knowledge, newer, older).value == "in-range"


def test_a_newest_result_that_cannot_be_read_is_not_replaced_by_an_older_one(knowledge: Knowledge) -> None:
    older, newer = observation(4.2, when="2026-11-01"), observation(3.1, None, when="2026-11-02", id="o2")
    assert of(knowledge, older, newer).value is UNKNOWN


LOW_THEN = observation(3.1, when="2026-11-01")


@pytest.mark.parametrize(
    ("later", "value", "note"),
    [
        ([observation(4.2, None, when="2026-11-02", id="o2")], "low", "could not be read"),
        ([observation(4.2, when="2026-11-02", id="o2", status="preliminary")], "low", "is preliminary"),
        ([observation(4.2, when="2026-11-02", id="o2")], "in-range", ""),
        (
            [observation(4.2, when="2026-11-02", id="o2"), observation(4.2, when="2026-11-03", id="o3", status="odd")],
            UNKNOWN,
            "",
        ),
    ],
)
def test_an_older_low_result_alarms_until_a_newer_one_is_read(knowledge: Knowledge, later: Any, value: Any, note: str) -> None:
    """A newer result in range that is final and read takes the alarm, also where one still newer is not understood."""
    fact = of(knowledge, LOW_THEN, *later)
    assert fact.value == value
    assert note in (fact.evidence[0].note if value == "low" else "")


def test_an_undated_result_does_not_hide_a_dated_one(knowledge: Knowledge) -> None:
    assert of(knowledge, observation(4.2, when=None, id="o2"), observation(3.1)).value == "low"


def test_the_same_result_twice_is_one(knowledge: Knowledge) -> None:
    fact = of(knowledge, observation(3.1), observation(3.1, id="o2"))
    assert fact.value == "low"
    assert len(fact.evidence) == 1


def test_two_results_of_one_time_that_disagree_cannot_be_read(knowledge: Knowledge) -> None:
    fact = of(knowledge, observation(3.1), observation(4.2, id="o2"))
    assert (fact.value, fact.state) == (UNKNOWN, State.UNUSABLE)
    assert "disagree" in fact.reason


DAY = "2026-11-19"


@pytest.mark.parametrize(
    ("low", "normal", "latest"),
    [
        (DAY, f"{DAY}T08:00:00Z", ""),
        (f"{DAY}T08:00:00Z", DAY, ""),
        (f"{DAY}T00:00:00Z", f"{DAY}T08:00:00Z", ""),
        (f"{DAY}T09:00:00+02:00", f"{DAY}T08:30:00", ""),
        (f"{DAY}T06:00", f"{DAY}T19:00:00Z", ""),
        (f"{DAY}T06:00", f"{DAY}T21:00:00Z", "4.4"),
        (f"{DAY}T08:00:00Z", f"{DAY}T09:00:00Z", "4.4"),
        (f"{DAY}T08:00", f"{DAY}T09:00", "4.4"),
        # 06:30 by the clock of the other.
        (f"{DAY}T08:00:00Z", f"{DAY}T08:30:00+02:00", "2.0"),
    ],
)
def test_of_one_day_only_what_is_later_for_sure_is_the_latest(knowledge: Knowledge, low: str, normal: str, latest: str) -> None:
    """Without a time of day, or beside a zone without one, nobody knows which came last; a danger is told."""
    facts = facts_of(
        knowledge, body({"electrolytes": bundle(observation(2.0, when=low), observation(4.4, when=normal, id="o2"))})
    )
    against, number = facts["potassium_against_range"], facts["potassium_value_this_week"]
    if latest:
        assert (against.value, number.value) == ("low" if latest == "2.0" else "in-range", Decimal(latest))
    else:
        assert (against.value, against.reason) == (UNKNOWN, "two results of the same time disagree")
        assert number.value == Seen((Decimal("2.0"), Decimal("4.4")))


@pytest.mark.parametrize(
    ("newer", "is_told"),
    [
        ({"value": 6.8, "comparator": "<"}, True),
        ({"value": 2.0, "comparator": ">"}, True),
        ({"value": 3.0, "comparator": ">"}, False),
        ({"value": 4.4}, False),
    ],
)
@pytest.mark.parametrize("before", ["2026-11-18", f"{DAY}T06:00:00Z"])
def test_a_newer_result_that_may_be_as_the_one_before_takes_no_danger_from_it(
    knowledge: Knowledge, newer: dict[str, Any], is_told: bool, before: str
) -> None:
    latest = observation(0, when=f"{DAY}T09:00:00Z", id="o2") | {"valueQuantity": {"unit": "mmol/L"} | newer}
    number = of(knowledge, observation(2.4, when=before), latest, name="potassium_value_this_week")
    assert (
        Decimal("2.4") in number.value.amounts if isinstance(number.value, Seen) else number.value == Decimal("2.4")
    ) is is_told


@pytest.mark.parametrize(
    ("unread", "expected"), [(DAY, UNKNOWN), (f"{DAY}T09:00:00Z", UNKNOWN), (f"{DAY}T07:00:00Z", "in-range")]
)
def test_a_result_of_the_same_time_that_cannot_be_read_leaves_one_in_range_open(
    knowledge: Knowledge, unread: str, expected: Any
) -> None:
    results = [observation(4.4, when=f"{DAY}T08:00:00Z"), without_value(observation(2.0, when=unread, id="o2"))]
    assert of(knowledge, *results).value == expected


@pytest.mark.parametrize(
    "members",
    [
        {"when": "1900-01-01"},
        {"when": "0206-11-12"},
        {"when": "1959-12-31"},
        {"when": "1970-01-01T00:00:00Z"},
        {"when": "1900-01-01", "issued": "2026-11-12T08:00:00Z"},
        {"when": "2016-11-12", "issued": "2026-11-12T08:00:00Z"},
        {"when": None, "effectivePeriod": {"start": "2019-01-01"}, "issued": "2026-11-12T08:00:00Z"},
        {"when": None, "effectivePeriod": {"start": "2019-01-01"}},
    ],
)
def test_a_date_that_cannot_be_meant_makes_no_new_result_an_old_one(knowledge: Knowledge, members: dict[str, Any]) -> None:
    told = observation(2.0, **members)
    older = observation(4.2, when="2026-11-01", id="o2")
    assert of(knowledge, told, older).value is UNKNOWN
    assert of(knowledge, told).value is UNKNOWN
    assert of(knowledge, told, name="potassium_measured").value is UNKNOWN


@pytest.mark.parametrize(
    "members",
    [
        {"when": "2015-03-01"},
        {"when": "2015-03-01", "issued": "2015-03-04T08:00:00Z"},
        {"when": "2015-03-01", "issued": "2021-03-04T08:00:00Z"},
        {"when": "2015-03-01", "issued": "1970-01-01T00:00:00Z"},
        {"when": "2025-12-01", "issued": "2026-11-01T08:00:00Z"},
        {"when": None, "effectivePeriod": {"start": "2015-03-01"}, "issued": "2015-03-02T08:00:00Z"},
    ],
)
def test_an_old_result_is_old(knowledge: Knowledge, members: dict[str, Any]) -> None:
    told = observation(2.0, **members)
    older = observation(4.2, when="2026-11-01", id="o2")
    assert of(knowledge, told, older).value == "in-range"
    assert of(knowledge, told, name="potassium_measured").value is False


@pytest.mark.parametrize("code", ["2823-3", "6298-4", "77142-8", "39789-3"])
def test_serum_and_blood_potassium_are_read_side_by_side(knowledge: Knowledge, code: str) -> None:
    assert of(knowledge, observation(3.1, code=code)).value == "low"


@pytest.mark.parametrize(
    ("analyte", "code"),
    [("calcium-total", "49765-1"), ("calcium-total", "17861-6"), ("creatinine", "38483-4"), ("creatinine", "2160-0")],
)
def test_serum_and_blood_codes_stand_side_by_side(knowledge: Knowledge, analyte: str, code: str) -> None:
    assert code in knowledge.labs[analyte].loinc


def test_a_uk_pathology_observable_is_read(knowledge: Knowledge) -> None:
    coded = concept("1000651000000109", SNOMED)
    assert of(knowledge, observation(3.1) | {"code": coded}).value == "low"


def test_a_result_inside_a_panel_is_read_from_its_component(knowledge: Knowledge) -> None:
    panel = observation(0, code="24326-1") | {
        "component": [
            {"code": concept("2823-3", LOINC), "valueQuantity": {"value": 3.1, "unit": "mmol/L"}},
            {"code": concept("2951-2", LOINC), "valueQuantity": {"value": 140, "unit": "mmol/L"}},
        ]
    }
    del panel["valueQuantity"]
    assert of(knowledge, panel).value == "low"
    assert of(knowledge, panel, name="sodium_against_range").value == "in-range"


def without_value(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "valueQuantity"}


HERE, ELSEWHERE = {"reference": "Observation/o1"}, {"reference": "Observation/elsewhere"}


@pytest.mark.parametrize("code", ["24326-1", "24323-8"])
@pytest.mark.parametrize(
    ("members", "results", "expected"),
    [
        ([], [], UNKNOWN),
        ([ELSEWHERE], [], UNKNOWN),
        # An older result is not the latest; what it warns of stands.
        ([ELSEWHERE], [observation(4.0)], UNKNOWN),
        ([ELSEWHERE], [observation(3.1)], "low"),
        # Its member, or a result of its day, is what the panel brought.
        ([HERE, ELSEWHERE], [observation(4.0)], "in-range"),
        ([], [observation(4.0, when="2026-11-13T06:00:00Z")], "in-range"),
        ([ELSEWHERE], [observation(4.0, when="2026-11-14")], "in-range"),
        ([], [observation(4.0, when="2026-11-13", status="entered-in-error")], UNKNOWN),
    ],
)
def test_what_a_panel_measured_and_did_not_bring_is_unknown(
    knowledge: Knowledge, code: str, members: list[Any], results: list[Any], expected: Any
) -> None:
    panel = without_value(observation(0, code=code, when="2026-11-13", id="panel", hasMember=members))
    assert of(knowledge, *results, panel).value == expected
    assert of(knowledge, panel, name="potassium_measured").value is UNKNOWN


@pytest.mark.parametrize("status", ["registered", "cancelled", "entered-in-error"])
def test_a_panel_that_was_not_reported_measured_nothing(knowledge: Knowledge, status: str) -> None:
    panel = without_value(observation(0, code="24326-1", when="2026-11-13", id="panel", status=status))
    assert of(knowledge, panel, name="potassium_measured").value is False


def component(code: str | None) -> dict[str, Any]:
    return {"valueQuantity": {"value": 4, "unit": "mmol/L"}} | ({"code": concept(code, LOINC)} if code else {})


BLOOD_COUNT, ELECTROLYTES = "58410-2", "24326-1"


@pytest.mark.parametrize(
    ("code", "components", "measured"),
    [
        (BLOOD_COUNT, [component("2823-3"), component("2951-2")], UNKNOWN),
        (BLOOD_COUNT, [component("2951-2")], False),
        (BLOOD_COUNT, [component("2951-2"), component(None)], UNKNOWN),
        (BLOOD_COUNT, [component("2951-2"), None], UNKNOWN),
        (BLOOD_COUNT, {"code": concept("2823-3", LOINC)}, UNKNOWN),
        (BLOOD_COUNT, 7, UNKNOWN),
        (BLOOD_COUNT, [], False),
        (ELECTROLYTES, [], UNKNOWN),
    ],
)
def test_a_damaged_panel_leaves_open_what_its_components_are_about(
    knowledge: Knowledge, code: str, components: Any, measured: Any
) -> None:
    panel = without_value(observation(0, code=code, id="panel")) | {"status": 7, "component": components}
    assert of(knowledge, panel, name="potassium_measured").value is measured


QUERIES_OF_PANELS = {
    "electrolytes": {"24321-2", "51990-0", "24323-8", "24362-6", "24326-1", "24325-3"},
    "kidneyFunction": {"24321-2", "51990-0", "24323-8", "24362-6"},
    "bloodTests": {"24321-2", "51990-0", "24323-8", "24362-6", "24325-3", "58410-2", "57021-8"},
    "otherResults": set(),
}


@pytest.mark.parametrize("query", QUERIES_OF_PANELS)
def test_a_search_for_results_asks_for_the_panels_that_hold_them(
    knowledge: Knowledge, decision_service: DecisionService, query: str
) -> None:
    template = decision_service.templates(SERVICE)[query]
    asked = template.partition("code=")[2].partition("&")[0].split(",")
    assert set(asked) & set(knowledge.panels) == QUERIES_OF_PANELS[query]
    assert len(asked) == len(set(asked))


CALCIUM = {"value": 7.9, "unit": "mg/dL"}


@pytest.mark.parametrize(
    ("results", "expected", "says"),
    [
        # 7.9 mg/dL is 1.97 mmol/L; with albumin 24 g/L it is 1.97 + 0.02 x 16 = 2.29, inside 2.2 to 2.6.
        ([observation(7.9, "mg/dL", "17861-6"), observation(2.4, "g/dL", "1751-7", id="alb")], "in-range", "computed"),
        ([observation(7.9, "mg/dL", "17861-6"), observation(4.0, "g/dL", "1751-7", id="alb")], "low", "computed"),
        (
            [observation(7.9, "mg/dL", "17861-6"), observation(2.4, "g/dL", "1751-7", when="2026-11-11", id="alb")],
            "low",
            "not adjusted",
        ),
        (
            [observation(7.9, "mg/dL", "17861-6"), observation(2.4, "g/dL", "1751-7", when="2026-13-45", id="alb")],
            UNKNOWN,
            "not adjusted",
        ),
        ([observation(7.9, "mg/dL", "17861-6")], "low", "not adjusted"),
        ([observation(7.9, "mg/dL", "17861-6"), observation(2.3, "mmol/L", "29265-6", id="adj")], "in-range", "adjusted"),
        (
            [
                observation(7.9, "mg/dL", "17861-6"),
                observation(1.2, "mmol/L", "1995-0", id="ion", interpretation=[concept("N")]),
            ],
            "in-range",
            "ionised",
        ),
        ([observation(1.0, "mmol/L", "1995-0")], UNKNOWN, "ionised"),
    ],
)
def test_calcium_is_read_adjusted_where_it_can_be(knowledge: Knowledge, results: list[Any], expected: Any, says: str) -> None:
    fact = of(knowledge, *results, name="calcium_against_range")
    assert fact.value == expected
    told = f"{fact.evidence[0].name} {fact.evidence[0].note}"
    assert says in told


def test_a_low_magnesium_in_mg_per_dl(knowledge: Knowledge) -> None:
    # 1.6 mg/dL is 0.658 mmol/L, below 0.7; 1.8 is 0.741.
    found = [of(knowledge, observation(v, "mg/dL", "19123-9"), name="magnesium_against_range").value for v in (1.6, 1.8)]
    assert found == ["low", "in-range"]


@pytest.mark.parametrize(
    ("jurisdiction", "value", "unit", "shown", "limits", "note"),
    [
        ("us", 1.9, "mmol/L", "7.61 mg/dL", "8.5 to 10.6 mg/dL", "recorded as 1.9 mmol/L; default adult range"),
        ("us", 3.8, "mEq/L", "7.61 mg/dL", "8.5 to 10.6 mg/dL", "recorded as 3.8 mEq/L; default adult range"),
        ("us", 7.6, "mg/dL", "7.6 mg/dL", "8.5 to 10.6 mg/dL", "default adult range"),
        ("uk", 1.9, "mmol/L", "1.9 mmol/L", "2.12 to 2.65 mmol/L", "default adult range"),
        ("uk", 7.6, "mg/dL", "1.9 mmol/L", "2.12 to 2.65 mmol/L", "recorded as 7.6 mg/dL; default adult range"),
    ],
)
def test_a_result_is_shown_in_the_unit_of_its_readers_and_as_recorded(
    knowledge: Knowledge, jurisdiction: str, value: float, unit: str, shown: str, limits: str, note: str
) -> None:
    calcium = observation(value, unit, code="17861-6")
    (told,) = fact_of(knowledge, "calcium_against_range", jurisdiction, electrolytes=bundle(calcium)).evidence
    assert (told.value, told.range, told.note) == (shown, limits, note)


def test_the_range_of_the_laboratory_follows_the_result_into_the_unit_shown(knowledge: Knowledge) -> None:
    own = [{"low": {"value": 2.2, "unit": "mmol/L"}, "high": {"value": 2.6, "unit": "mmol/L"}}]
    calcium = observation(1.9, "mmol/L", code="17861-6", referenceRange=own)
    (told,) = fact_of(knowledge, "calcium_against_range", "us", electrolytes=bundle(calcium)).evidence
    assert (told.range, told.note) == ("8.82 to 10.4 mg/dL", "recorded as 1.9 mmol/L; laboratory's range")


def test_an_equal_unit_by_another_name_is_shown_as_recorded(knowledge: Knowledge) -> None:
    (told,) = of(knowledge, observation(3.1, "mEq/L")).evidence
    assert told.value == "3.1 mEq/L"
    assert "recorded" not in told.note


def hba1c(knowledge: Knowledge, value: Any, unit: str | None, jurisdiction: str = "us", code: str = "4548-4") -> Any:
    result = observation(value, unit, code, "2026-10-01")
    return fact_of(knowledge, "hba1c_value", jurisdiction, bloodTests=bundle(result))


@pytest.mark.parametrize(
    # As printed side by side by laboratories: per cent (NGSP) and mmol/mol (IFCC).
    ("percent", "mmol"),
    [
        (5.0, 31),
        (6.0, 42),
        (6.4, 46),
        (6.5, 48),
        (7.0, 53),
        (7.5, 58),
        (8.0, 64),
        (9.0, 75),
        (9.1, 76),
        (10.0, 86),
        (12.0, 108),
    ],
)
def test_hba1c_in_per_cent_is_what_laboratories_print_in_mmol_per_mol(knowledge: Knowledge, percent: float, mmol: int) -> None:
    assert hba1c(knowledge, percent, "%").value == mmol
    assert hba1c(knowledge, mmol, "mmol/mol").value == mmol


def test_hba1c_is_shown_in_the_unit_of_its_readers(knowledge: Knowledge) -> None:
    assert hba1c(knowledge, 6.5, "%").evidence[0].value == "6.5 %"
    assert hba1c(knowledge, 48, "mmol/mol").evidence[0].value == "6.54 %"
    shown = hba1c(knowledge, 6.5, "%", "uk").evidence[0]
    assert (shown.value, shown.note) == ("48 mmol/mol", "recorded as 6.5 %")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(6.5, None, UNKNOWN), (6.5, "mg/dL", UNKNOWN), (1e40, "%", UNKNOWN), (0.065, "1", UNKNOWN)],
)
def test_an_hba_1c_without_its_unit_is_no_number(knowledge: Knowledge, value: Any, unit: str | None, expected: Any) -> None:
    found = hba1c(knowledge, value, unit).value
    assert found is UNKNOWN if expected is UNKNOWN else isinstance(found, Decimal)


@pytest.mark.parametrize(
    ("value", "unit", "high", "low"),
    # 15 mmol/L are 270.2 mg/dL, 4 mmol/L are 72.1 mg/dL.
    [(270, "mg/dL", False, False), (271, "mg/dL", True, False), (72, "mg/dL", False, True), (73, "mg/dL", False, False)],
)
def test_glucose_is_judged_alike_in_both_units(knowledge: Knowledge, value: float, unit: str, high: bool, low: bool) -> None:
    fact = fact_of(knowledge, "glucose_value", bloodTests=bundle(observation(value, unit, "2345-7")))
    assert isinstance(fact.value, Decimal)
    assert (fact.value > 15, fact.value < 4) == (high, low)


@pytest.mark.parametrize(
    ("value", "comparator", "expected"),
    [(900, None, Decimal("4.5")), (900, ">", Interval(Decimal("4.5"), None, low_open=True)), (100, "<", UNKNOWN)],
)
def test_how_many_times_its_upper_limit_a_result_is(
    knowledge: Knowledge, value: int, comparator: str | None, expected: Any
) -> None:
    own = [{"low": {"value": 40, "unit": "U/L"}, "high": {"value": 200, "unit": "U/L"}}]
    own = own if expected is not UNKNOWN else []
    result = observation(value, "U/L", "2157-6", referenceRange=own)
    result["valueQuantity"] |= {"comparator": comparator} if comparator else {}
    fact = fact_of(knowledge, "ck_times_upper_limit", otherResults=bundle(result))
    assert fact.value == expected


def test_a_range_may_have_one_limit(knowledge: Knowledge) -> None:
    """NICE gives no upper limit of vitamin B12, and 180 ng/L are 132.8 pmol/L."""
    for value, unit, expected in ((179, "ng/L", "low"), (180, "ng/L", "in-range"), (133, "pmol/L", "in-range")):
        result = bundle(observation(value, unit, "2132-9" if unit == "ng/L" else "14685-2"))
        fact = fact_of(knowledge, "b12_against_range", "uk", bloodTests=result)
        assert fact.value == expected
        assert fact.evidence[0].range == "at least 180 ng/L"
    assert fact_of(knowledge, "b12_against_range", "us", bloodTests=result).value is UNKNOWN


def test_of_two_legs_the_higher_index_tells_stiff_arteries(knowledge: Knowledge) -> None:
    legs = [observation(value, None, code, id=code) for value, code in ((1.52, "8579-5"), (1.1, "8580-3"))]
    assert fact_of(knowledge, "abi_highest_value", otherResults=bundle(*legs)).value == Decimal("1.52")
    assert fact_of(knowledge, "abi_value", otherResults=bundle(*legs)).value == Decimal("1.1")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("1" + "0" * 20, "100000000000000000000"),
        ("9" * 29, "1.000E+29"),
        ("1e28", "1.000E+28"),
        ("1e300", "1.000E+300"),
        ("1e-300", "1.000E-300"),
        ("0", "0"),
        ("0.00", "0.00"),
        ("0e50", "0"),
        ("-1e30", "-1.000E+30"),
        ("1e-20", "0.00000000000000000001"),
    ],
)
def test_a_number_of_any_size_is_told(number: str, says: str) -> None:
    assert say_number(Decimal(number)) == says


@pytest.mark.parametrize("place", ["value", "limit"])
@pytest.mark.parametrize("number", ["9" * 29, "1" + "0" * 28, "1e28", "1e300", "1e-300", "0." + "0" * 40 + "123456789" * 4])
def test_no_number_however_long_fails_a_call(
    decision_service: DecisionService, tmp_path: Path, number: str, place: str
) -> None:
    sent = observation(3.1, referenceRange=[{"low": {"value": 3.5}, "high": {"value": 5.25}}])
    written = '"value": 3.1' if place == "value" else '"value": 5.25'
    content = json.dumps(body({"electrolytes": bundle(sent)})).replace(written, f'"value": {number}')
    assert number in content
    answer = make(decision_service, tmp_path).post(CALL, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
