"""Orders and procedures: what is pending is not suggested again, and what could not be checked is said."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN
from tests.support.people import LOINC, OWN, SNOMED, bundle, concept, fact_of, service_request


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, True),
        ({"status": "on-hold"}, True),
        ({"status": "completed"}, False),
        ({"status": "draft"}, False),
        ({"intent": "proposal"}, False),
        ({"doNotPerform": True}, False),
        ({"authoredOn": "2026-10-21"}, True),
        ({"authoredOn": "2026-10-20"}, False),
        ({"authoredOn": None, "occurrenceDateTime": "2026-11-19"}, True),
        ({"authoredOn": None}, UNKNOWN),
    ],
)
def test_an_order_is_pending_for_thirty_days(knowledge: Knowledge, members: dict[str, Any], expected: Any) -> None:
    order = service_request(concept("3016-3", LOINC), **members)
    assert fact_of(knowledge, "tsh_on_order", orders=bundle(order)).value is expected


@pytest.mark.parametrize(
    ("code", "covers"),
    [
        (concept("24321-2", LOINC), {"potassium", "sodium", "calcium", "kidney_function"}),
        (concept("24326-1", LOINC), {"potassium", "sodium"}),
        (concept("1000971000000107", SNOMED), {"potassium", "sodium", "kidney_function"}),
        (concept("2823-3", LOINC), {"potassium"}),
        (concept("19123-9", LOINC), {"magnesium"}),
        (concept("58410-2", LOINC), set()),
    ],
)
def test_a_panel_on_order_counts_for_its_members(knowledge: Knowledge, code: Any, covers: set[str]) -> None:
    names = ("potassium", "sodium", "calcium", "magnesium", "kidney_function")
    orders = bundle(service_request(code))
    assert {name for name in names if fact_of(knowledge, f"{name}_on_order", orders=orders).value} == covers


@pytest.mark.parametrize(
    ("orders", "expected"),
    [(["2823-3", "2951-2"], True), (["2823-3"], False), ([], False), (["24326-1"], True)],
)
def test_both_electrolytes_are_on_order_only_where_each_is(knowledge: Knowledge, orders: list[str], expected: bool) -> None:
    found = bundle(*(service_request(concept(code, LOINC), id=code) for code in orders))
    assert fact_of(knowledge, "sodium_and_potassium_on_order", orders=found).value is expected


ABI = {"resourceType": "Procedure", "id": "a1", "status": "completed", "subject": OWN, "code": concept("401221002", SNOMED)}


@pytest.mark.parametrize(
    ("members", "ever"),
    [
        ({"performedDateTime": "2026-01-01"}, True),
        ({"performedDateTime": "2020-01-01"}, True),
        ({"performedPeriod": {"start": "2026-01-01"}}, True),
        ({"performedDateTime": "2026-01-01", "status": "not-done"}, False),
        ({"performedDateTime": "2026-01-01", "status": "entered-in-error"}, False),
        ({}, UNKNOWN),
    ],
)
def test_a_procedure_counts_as_the_test_done(knowledge: Knowledge, members: Any, ever: Any) -> None:
    done = bundle(ABI | members)
    assert fact_of(knowledge, "abi_known_ever", procedures=done).value is ever
