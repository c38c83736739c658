"""Drafts that a card offers to take away again: one suggestion a draft, each with one action."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence

from cds_service.cards.text import clip, plain
from cds_service.cdshooks.response import Action, Suggestion
from cds_service.knowledge.schema import Removal
from cds_service.model import Evidence, Fact

NAME = "{name}"
_WIDTH = 60


def removals(offers: Sequence[Removal], facts: Mapping[str, Fact], taken: set[str]) -> list[Suggestion]:
    """Each draft that a fact found, unless a more urgent card offers it already; `taken` keeps account of these.

    Never preselected: an order is taken away by whoever wrote it. A draft without an id cannot be named, so not be removed.
    """
    return [_removal(offer, item) for offer, item in _drafts(offers, facts) if _first(item.reference, taken)]


def _drafts(offers: Sequence[Removal], facts: Mapping[str, Fact]) -> Iterator[tuple[Removal, Evidence]]:
    for offer in offers:
        for item in facts[offer.fact].evidence:
            if "/" in item.reference:
                yield offer, item


def _first(reference: str, taken: set[str]) -> bool:
    if reference in taken:
        return False
    taken.add(reference)
    return True


def _removal(offer: Removal, item: Evidence) -> Suggestion:
    name = clip(plain(item.name), _WIDTH)
    action = Action(type="delete", description=offer.description.replace(NAME, name), resource_id=item.reference)
    return Suggestion(label=offer.label.replace(NAME, name), uuid=str(uuid.uuid4()), actions=(action,))
