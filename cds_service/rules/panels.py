"""Tests that are asked for together: where most members of a panel are offered, the panel takes their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from msgspec.structs import replace

from cds_service.knowledge.schema import Order
from cds_service.model import Offered, RuleAdvice


def with_panels(advice: Sequence[RuleAdvice], orders: Mapping[str, Order], jurisdiction: str) -> Iterator[RuleAdvice]:
    """The same advice, each offer with the panel by which it is asked for, and whether there is a reason for a member of it."""
    offers = [offer for item in advice if item.speaks for offer in item.offers if offer.on_order is not True]
    panel_of = dict(_chosen({offer.order for offer in offers}, orders, jurisdiction))
    recommended = {panel_of[offer.order] for offer in offers if offer.recommended and offer.order in panel_of}
    for item in advice:
        yield replace(item, offers=tuple(_in_panel(offer, panel_of.get(offer.order, ""), recommended) for offer in item.offers))


def _in_panel(offer: Offered, panel: str, recommended: Set[str]) -> Offered:
    return replace(offer, panel=panel, with_recommended=panel in recommended) if panel and offer.on_order is not True else offer


def _chosen(offered: set[str], orders: Mapping[str, Order], jurisdiction: str) -> Iterator[tuple[str, str]]:
    """Each offered test with its panel: first the panel that holds most of them, of two the smaller."""
    panels = {name: order for name, order in orders.items() if order.stands_for and _is_ordered_in(order, jurisdiction)}
    while panels:
        name = max(panels, key=lambda key: (len(_held(panels[key], offered)), -len(panels[key].stands_for)))
        panel = panels.pop(name)
        held = _held(panel, offered)
        # A panel for the few would measure anew what is known.
        if len(held) * 2 > len(panel.stands_for):
            offered = offered - held
            yield from ((order, name) for order in held)


def _held(panel: Order, offered: Iterable[str]) -> set[str]:
    return set(panel.stands_for) & set(offered)


def _is_ordered_in(order: Order, jurisdiction: str) -> bool:
    return not order.jurisdiction or jurisdiction in order.jurisdiction
