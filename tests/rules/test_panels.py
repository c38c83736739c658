"""Panels: when they take the place of their members, and by which codes a country asks for a test."""

from __future__ import annotations

import pytest

from cds_service.cards.compose import OrderSubject, service_request
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, LineState, Offered, RuleAdvice, Value
from cds_service.rules.panels import with_panels


def advice(*orders: str, recommended: str = "", on_order: Value = False) -> list[RuleAdvice]:
    """One rule for each test."""
    offered = [Offered(order, on_order, order == recommended) for order in orders]
    return [RuleAdvice(offer.order, (LineState.STANDS,), (offer,)) for offer in offered]


@pytest.mark.parametrize(
    ("jurisdiction", "offered", "panels"),
    [
        ("us", ("sodium", "potassium"), ("electrolytes", "electrolytes")),
        ("us", ("sodium", "potassium", "calcium"), ("basic-metabolic",) * 3),
        ("us", ("sodium", "calcium", "liver"), ("comprehensive-metabolic",) * 3),
        ("uk", ("sodium", "potassium", "kidney-function"), ("renal-function",) * 3),
        ("uk", ("sodium", "calcium", "liver"), ("", "", "")),
        ("us", ("calcium", "kidney-function"), ("", "")),
        ("us", ("sodium", "magnesium"), ("", "")),
    ],
)
def test_a_panel_stands_for_its_members_where_most_of_them_are_offered(
    knowledge: Knowledge, jurisdiction: str, offered: tuple[str, ...], panels: tuple[str, ...]
) -> None:
    found = with_panels(advice(*offered), knowledge.orders, jurisdiction)
    assert tuple(offer.panel for item in found for offer in item.offers) == panels


def test_a_panel_is_recommended_if_one_of_its_members_is(knowledge: Knowledge) -> None:
    found = with_panels(advice("sodium", "potassium", "magnesium", recommended="potassium"), knowledge.orders, "us")
    offers = [offer for item in found for offer in item.offers]
    assert [offer.recommended or offer.with_recommended for offer in offers] == [True, True, False]
    # There is still no reason for the others: they may not be said where only what has a reason is.
    assert [offer.recommended for offer in offers] == [False, True, False]


@pytest.mark.parametrize(("on_order", "panel"), [(True, ""), (UNKNOWN, "electrolytes")])
def test_what_is_on_order_is_in_no_panel(knowledge: Knowledge, on_order: Value, panel: str) -> None:
    found = with_panels(advice("sodium", "potassium", on_order=on_order), knowledge.orders, "us")
    assert {offer.panel for item in found for offer in item.offers} == {panel}


@pytest.mark.parametrize(
    ("order", "us", "uk"),
    [
        ("calcium", "17861-6", "2000-8"),
        ("magnesium", "19123-9", "2601-3"),
        ("kidney-function", "2160-0", "14682-9"),
        ("b12", "2132-9", "14685-2"),
        ("hba1c", "4548-4", "59261-8"),
        ("tsh", "3016-3", "3016-3"),
    ],
)
def test_a_test_is_asked_for_by_the_codes_of_the_country(knowledge: Knowledge, order: str, us: str, uk: str) -> None:
    for jurisdiction, code in (("us", us), ("uk", uk)):
        made = service_request(knowledge.orders[order], knowledge, OrderSubject("Patient/p", None), jurisdiction)
        assert made["code"]["coding"][0]["code"] == code
