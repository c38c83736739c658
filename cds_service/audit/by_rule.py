"""In shadow and shown, side by side: how often each rule fires, for how many patients, and why it is unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cds_service.audit.acceptance import Acceptance, received
from cds_service.audit.daily_counts import read_counts
from cds_service.audit.queries import fetched
from cds_service.fetch.prefetch_templates import queries_in_use
from cds_service.knowledge.knowledge import Knowledge
from cds_service.store.database import Store

_SAMPLE = 1000


class RuleFigures(msgspec.Struct, frozen=True):
    """Answers in which a rule fired to be `shown`, fired in `shadow`, or was `unknown`, and patients whose hash is still kept.

    `cards`: of the answers in which it fired in shadow, and how many there would have been. `why`: of the last answers in which
    it was unknown, what it rests on and was not supplied.
    """

    rule: str
    shown: int
    patients_shown: int
    shadow: int
    patients_shadow: int
    cards: int
    cards_with_shadow: int
    unknown: int
    why: Mapping[str, int]


class LookBack(msgspec.Struct, frozen=True):
    """How cards were received, ever, and how each rule did in so many days."""

    days: int
    received: list[Acceptance]
    by_rule: list[RuleFigures]


async def look_back(store: Store, knowledge: Knowledge, days: int) -> LookBack:
    since = datetime.now(UTC) - timedelta(days=days)
    return LookBack(days, await received(store), await read_by_rule(store, since, knowledge))


async def read_by_rule(store: Store, since: datetime, knowledge: Knowledge) -> list[RuleFigures]:
    """Of the rules that fired since then: those in shadow first, the most frequent first."""
    from sqlalchemy import Text, cast, func, select

    from cds_service.store.tables import answers, shown_cards

    shadow, outcomes, rules = (cast(column, Text) for column in (answers.c.shadow, answers.c.outcomes, shown_cards.c.rules))
    recent, who = answers.c.answered_at >= since, shown_cards.c.patient
    judged = select(shadow, answers.c.patient, func.sum(answers.c.cards), func.sum(answers.c.cards_with_shadow))
    shown = select(rules, who).where(shown_cards.c.shown_at >= since, who.is_not(None)).distinct()
    last = select(outcomes, cast(answers.c.states, Text)).where(recent, outcomes.contains('"unknown"'))
    in_shadow = judged.where(recent, answers.c.cards_with_shadow.is_not(None)).group_by(shadow, answers.c.patient)
    number: Counter[tuple[str, str]] = Counter()
    told_apart = set()
    async with (await store.open()).connect() as connection:
        for row in await read_counts(connection, since, "what", "name"):
            number[row.name, row.what] = row.n
        for text, patient, cards, with_shadow in await fetched(connection, in_shadow, tuple):
            for rule in msgspec.json.decode(text):
                number.update({(rule, "cards"): cards, (rule, "cards_with_shadow"): with_shadow})
                told_apart.add((rule, "patients_shadow", patient))
        for text, patient in await fetched(connection, shown, tuple):
            told_apart |= {(rule, "patients_shown", patient) for rule, _ in msgspec.json.decode(text)}
        sample = await fetched(connection, last.order_by(answers.c.answered_at.desc()).limit(_SAMPLE), _decoded)
    number.update((rule, what) for rule, what, patient in told_apart if patient)
    found = [_figures(rule.id, number, sample, knowledge) for rule in knowledge.rules if number[rule.id, "fires"]]
    return sorted(found, key=lambda one: (-one.shadow, -one.shown, one.rule))


def _figures(rule: str, number: Counter[tuple[str, str]], sample: list[Any], knowledge: Knowledge) -> RuleFigures:
    """A reason that is no query: all was supplied, and did not tell."""
    asked = queries_in_use(knowledge.rule_by_id[rule].facts, knowledge.facts)
    number[rule, "shown"] = number[rule, "fires"] - number[rule, "shadow"]
    why: Counter[str] = Counter()
    for outcomes, states in sample:
        if rule in outcomes["unknown"]:
            short = [f"{knowledge.queries[name].title} {states[name]}" for name in states if name in asked]
            why.update(short or ["supplied, and not told there"])
    numbers = {name: number[rule, name] for name in RuleFigures.__struct_fields__[1:-1]}
    return RuleFigures(rule, **numbers, why=dict(why.most_common()))


def _decoded(row: Any) -> list[Any]:
    return [msgspec.json.decode(text) for text in row]
