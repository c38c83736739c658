"""A pregnancy runs until it is resolved, until its end is on record, or for 300 days."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN
from tests.support.people import ICD10, ICD10CM, LEG_CRAMPS, OWN, SNOMED, bundle, concept, condition, fact_of

PREGNANT = condition(concept("77386006", SNOMED, "Pregnant"), id="pregnant", onsetDateTime="2026-03-01")


def pregnancy(knowledge: Knowledge, *conditions: Any, procedures: Any = None, **more: Any) -> Any:
    found = {"conditions": bundle(LEG_CRAMPS, *conditions), "procedures": bundle(*(procedures or ()))} | more
    return fact_of(knowledge, "pregnancy", **found)


def end(code: str = "O80", system: str = ICD10CM, when: str | None = "2026-11-10", **members: Any) -> dict[str, Any]:
    found = condition(concept(code, system), **{"id": "end"} | members)
    return found | ({"recordedDate": when} if when else {})


def procedure(code: str = "177184002", when: str | None = "2026-11-10", **members: Any) -> dict[str, Any]:
    base = {"resourceType": "Procedure", "id": "birth", "status": "completed", "subject": OWN, "code": concept(code, SNOMED)}
    return base | ({"performedDateTime": when} if when else {}) | members


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, True),
        ({"onsetDateTime": "2026-01-24"}, True),
        ({"onsetDateTime": "2026-01-23"}, False),
        ({"clinicalStatus": concept("resolved")}, False),
        ({"abatementDateTime": "2026-11-01"}, False),
        ({"onsetDateTime": "2026"}, UNKNOWN),
    ],
)
def test_a_pregnancy_counts_for_300_days_unless_it_is_resolved(
    knowledge: Knowledge, members: dict[str, Any], expected: Any
) -> None:
    assert pregnancy(knowledge, PREGNANT | members).value is expected


@pytest.mark.parametrize(
    ("code", "system"),
    [("O80", ICD10CM), ("Z37.0", ICD10CM), ("O03.9", ICD10CM), ("O821", ICD10), ("Z39", ICD10), ("289259007", SNOMED)],
)
def test_a_recorded_end_ends_it_however_old_the_entry_of_the_pregnancy(knowledge: Knowledge, code: str, system: str) -> None:
    assert pregnancy(knowledge, PREGNANT, end(code, system)).value is False
    assert pregnancy(knowledge, PREGNANT, end(code, system, clinicalStatus=concept("resolved"))).value is False


def test_a_birth_as_procedure_ends_it(knowledge: Knowledge) -> None:
    assert pregnancy(knowledge, PREGNANT, procedures=[procedure()]).value is False
    assert pregnancy(knowledge, PREGNANT, procedures=[procedure(status="not-done")]).value is True


@pytest.mark.parametrize(
    "other",
    [
        end(when="2024-05-05"),
        end(when="2026-12-24"),
        end(verificationStatus=concept("refuted")),
        end("Z34.90"),
    ],
)
def test_another_pregnancy_a_plan_or_an_error_does_not_end_it(knowledge: Knowledge, other: Any) -> None:
    assert pregnancy(knowledge, PREGNANT, other).value is True


def test_an_end_that_cannot_be_dated_or_read_leaves_it_unknown(knowledge: Knowledge) -> None:
    assert pregnancy(knowledge, PREGNANT, end(when=None)).value is UNKNOWN
    assert pregnancy(knowledge, PREGNANT, end(when="2026")).value is UNKNOWN
    assert pregnancy(knowledge, PREGNANT, end() | {"recordedDate": 7}).value is UNKNOWN
    assert pregnancy(knowledge, PREGNANT, procedures=[procedure() | {"performedDateTime": 7}]).value is UNKNOWN


def test_without_procedures_an_end_is_not_presumed_and_no_pregnancy_is_none(knowledge: Knowledge) -> None:
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    assert fact_of(knowledge, "pregnancy", conditions=bundle(LEG_CRAMPS, PREGNANT), procedures=failed).value is True
    assert fact_of(knowledge, "pregnancy", conditions=bundle(LEG_CRAMPS), procedures=failed).value is False


def test_a_second_pregnancy_after_the_first_ended_is_one(knowledge: Knowledge) -> None:
    second = condition(concept("77386006", SNOMED), id="second", onsetDateTime="2026-11-15")
    assert pregnancy(knowledge, PREGNANT, end(), second).value is True
