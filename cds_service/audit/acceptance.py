"""How the cards were received: for each rule and version how often it was shown, accepted and overridden, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cds_service.audit.queries import Reaction, count_shown, read_reactions
from cds_service.store.database import Store

NO_REASON = "no reason given"
# Feedback on a card that is not in our books: from before they were kept, or purged.
UNKNOWN = ("unknown card", "")


@dataclass(slots=True)
class Acceptance:
    """One version of one rule. `shown`, `accepted` and `overridden` count cards, however often feedback came on one."""

    rule: str
    version: str
    shown: int = 0
    accepted: int = 0
    overridden: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


async def received(store: Store, since: datetime | None = None, rule: str = "") -> list[Acceptance]:
    """By rule and version, the most overridden first: of all cards, or of those shown since then, of one rule."""
    found = add_up(await count_shown(store, since, rule), await read_reactions(store, since=since, rule=rule))
    return [item for item in found if item.rule == rule] if rule else found


def add_up(shown: Iterable[tuple[Sequence[tuple[str, str]], int]], reactions: Iterable[Reaction]) -> list[Acceptance]:
    found: dict[tuple[str, str], Acceptance] = {}

    def of(key: tuple[str, str]) -> Acceptance:
        return found.setdefault(key, Acceptance(*key))

    for rules, number in shown:
        for rule, version in rules:
            of((rule, version)).shown += number
    counted: set[tuple[str, str, str, tuple[str, str]]] = set()
    for item in reactions:
        for key in [(rule, version) for rule, version in item.about()] or [UNKNOWN]:
            once = (item.client, item.card, item.outcome, key)
            if once not in counted:
                counted.add(once)
                _count(of(key), item)
    return sorted(found.values(), key=lambda one: (-one.overridden, -one.shown, one.rule, one.version))


def _count(one: Acceptance, item: Reaction) -> None:
    if item.outcome == "accepted":
        one.accepted += 1
    else:
        one.overridden += 1
        one.reasons[item.reason or NO_REASON] += 1
