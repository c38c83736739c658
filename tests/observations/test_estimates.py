"""eGFR computed from creatinine: by the published equation, only where it holds, and said to be computed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Fact, Interval, State
from tests.support.people import body, bundle, concept, facts_of, observation, patient

CREATININE = "2160-0"
EGFR = "33914-3"
AS_OF = date(2026, 11, 20)
LAST_WEEK = "2026-11-12"


def creatinine(value: Any, when: str | None = LAST_WEEK, unit: str | None = "mg/dL", **members: Any) -> dict[str, Any]:
    return observation(value, unit, CREATININE, when, **{"id": "creatinine"} | members)


def egfr(value: Any, when: str | None = LAST_WEEK, unit: str = "mL/min/1.73m2", **members: Any) -> dict[str, Any]:
    return observation(value, unit, EGFR, when, **{"id": "egfr"} | members)


def told(
    knowledge: Knowledge, *results: Any, gender: str | None = "male", birth: str | None = "1971-11-12", **more: Any
) -> tuple[Fact, Fact]:
    """eGFR, and whether it was computed; on the day of the sample the person turned 55."""
    person = patient(gender=gender, birthDate=birth)
    facts = facts_of(knowledge, body({"patient": person, "kidneyFunction": bundle(*results)} | more), AS_OF)
    return facts["egfr_value"], facts["egfr_is_computed"]


# 1.2 mg/dL, 55 years, male, 71: the calculator of the National Kidney Foundation (kidney.org). The others were computed twice
# by other means: as a product of powers of floats, and as a sum of logarithms.
PUBLISHED = [
    ("1.2", 55, "male", 71),
    ("0.9", 40, "male", 111),
    ("0.6", 30, "male", 133),
    ("1.4", 65, "male", 56),
    ("1.0", 50, "female", 69),
    ("0.7", 40, "female", 112),
    ("0.5", 30, "female", 129),
    ("2.5", 70, "female", 20),
]


@pytest.mark.parametrize(("value", "age", "gender", "expected"), PUBLISHED)
def test_the_equation_gives_the_published_values(
    knowledge: Knowledge, value: str, age: int, gender: str, expected: int
) -> None:
    fact, computed = told(knowledge, creatinine(float(value)), gender=gender, birth=f"{2026 - age}-11-12")
    assert fact.value == expected
    assert computed.value is True
    assert fact.evidence[0].value == f"{expected} mL/min/1.73m2"
    assert computed.evidence[0].value == f"{value} mg/dL"


@pytest.mark.parametrize("age", [18, 40, 65, 99])
@pytest.mark.parametrize(("gender", "pivot", "below", "times"), [("female", 0.7, -0.241, 1.012), ("male", 0.9, -0.302, 1.0)])
def test_the_equation_is_what_a_second_writing_of_it_gives(
    knowledge: Knowledge, age: int, gender: str, pivot: float, below: float, times: float
) -> None:
    for umol in range(30, 900, 37):
        part = umol * 113.12 / 10_000 / pivot
        expected = 142 * min(part, 1) ** below * max(part, 1) ** -1.2 * 0.9938**age * times
        fact, _ = told(knowledge, creatinine(umol, unit="umol/L"), gender=gender, birth=f"{2026 - age}-11-12")
        assert abs(float(str(fact.value)) - expected) <= 0.5 + 1e-9


def test_the_age_is_that_of_the_day_of_the_sample(knowledge: Knowledge) -> None:
    before, _ = told(knowledge, creatinine(1.05, "2026-03-01"), birth="1976-03-02")
    after, _ = told(knowledge, creatinine(1.05, "2026-03-02"), birth="1976-03-02")
    expected = [142 * (1.05 / 0.9) ** -1.2 * 0.9938**age for age in (49, 50)]
    assert [before.value, after.value] == [round(number) for number in expected]


def test_what_the_laboratory_reported_for_the_day_comes_before_any_estimate(knowledge: Knowledge) -> None:
    fact, computed = told(knowledge, creatinine(3.0), egfr(88))
    assert (fact.value, computed.value) == (88, False)


def test_an_unreadable_egfr_is_not_replaced_by_an_estimate(knowledge: Knowledge) -> None:
    for unread in (egfr(88, unit="furlong"), egfr(88, when=None), egfr("no number")):
        fact, computed = told(knowledge, creatinine(3.0), unread)
        assert (fact.value, computed.value) == (UNKNOWN, False)


def test_a_newer_creatinine_is_computed_and_an_older_one_is_not(knowledge: Knowledge) -> None:
    fact, computed = told(knowledge, creatinine(3.0), egfr(88, "2026-03-01"))
    assert computed.value is True
    assert fact.value != 88
    fact, computed = told(knowledge, creatinine(3.0, "2026-03-01"), egfr(88))
    assert (fact.value, computed.value) == (88, False)


@pytest.mark.parametrize("gender", [None, "other", "unknown", "", "mal"])
def test_another_gender_leaves_it_unknown_and_says_so(knowledge: Knowledge, gender: str | None) -> None:
    fact, computed = told(knowledge, creatinine(3.0), gender=gender)
    assert (fact.value, fact.state, computed.value) == (UNKNOWN, State.UNUSABLE, False)
    assert fact.reason == "CKD-EPI 2021 is made for female and male alone"


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (creatinine(3.0, unit=None), "no unit"),
        (creatinine(3.0, unit="stone"), "unknown"),
        (creatinine(0), "living person"),
        (creatinine(-1), "living person"),
        (creatinine(1e-300), "living person"),
        (creatinine(0.9, unit="umol/L"), "living person"),
        (creatinine(80, unit="mg/dL"), "no plausible amount"),
        (creatinine(3.0, when=None), "cannot be placed"),
    ],
)
def test_an_unreadable_creatinine_leaves_it_unknown(knowledge: Knowledge, result: Any, reason: str) -> None:
    fact, _ = told(knowledge, result)
    assert (fact.value, fact.state) == (UNKNOWN, State.UNUSABLE)
    assert reason in fact.reason


@pytest.mark.parametrize(
    ("birth", "reason"), [(None, "birth date"), ("2008-11-13", "18 years and older"), ("2008-11", "18 years and older")]
)
def test_no_age_or_a_minor_at_the_time_leaves_it_unknown(knowledge: Knowledge, birth: str | None, reason: str) -> None:
    fact, _ = told(knowledge, creatinine(3.0), birth=birth)
    assert fact.value is UNKNOWN
    assert reason in fact.reason


def test_an_age_known_to_a_year_gives_an_interval_that_decides_only_as_a_whole(knowledge: Knowledge) -> None:
    # At 64 and at 65 years, male: 0.6 mg/dL gives 107.80 and 107.13, 3.0 mg/dL gives 22.49 and 22.35.
    wide, _ = told(knowledge, creatinine(0.6), birth="1961")
    assert wide.value == Interval(Decimal(107), Decimal(108))
    assert wide.evidence[0].value == "107-108 mL/min/1.73m2"
    assert told(knowledge, creatinine(3.0), birth="1961")[0].value == 22


@pytest.mark.parametrize(("comparator", "open_side", "shown"), [("<", "high", ">=101"), (">", "low", "<=101")])
def test_a_bound_of_creatinine_is_a_bound_the_other_way(
    knowledge: Knowledge, comparator: str, open_side: str, shown: str
) -> None:
    result = creatinine(0.9)
    result["valueQuantity"]["comparator"] = comparator
    fact, _ = told(knowledge, result, birth="1972-11-12")
    assert isinstance(fact.value, Interval)
    assert getattr(fact.value, open_side) is None
    assert fact.evidence[0].value == f"{shown} mL/min/1.73m2"


def test_no_creatinine_and_no_egfr_is_not_computed_from_nothing(knowledge: Knowledge) -> None:
    fact, computed = told(knowledge)
    assert (fact.value, fact.state, computed.value) == (UNKNOWN, State.ABSENT, False)


def test_a_damaged_result_that_may_be_an_egfr_leaves_no_room_for_an_estimate(knowledge: Knowledge) -> None:
    damaged = {
        "resourceType": "Observation",
        "id": "x",
        "status": "final",
        "code": concept(EGFR, "http://loinc.org"),
        "issued": 7,
    }
    fact, _ = told(knowledge, creatinine(3.0), damaged)
    assert fact.value is UNKNOWN
