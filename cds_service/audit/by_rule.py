"""In shadow and shown, side by side: how often each rule fires, for how many patients, why it is unknown; and what changed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from cds_service.audit.changes import Shift, changed
from cds_service.audit.daily_counts import DailyCount, counted_by
from cds_service.audit.queries import fetched
from cds_service.fetch.prefetch_templates import queries_in_use
from cds_service.knowledge.knowledge import Knowledge
from cds_service.rules.shadow import in_shadow
from cds_service.store.database import Store

_SAMPLE = 1000


class RuleFigures(msgspec.Struct, frozen=True):
    """Answers in which a rule fired to be shown, fired in shadow, or was unknown, and patients whose hash is still kept.

    `cards`: of the answers in which it fired in shadow. `why`: in the last answers in which it was unknown, what did not come.
    `in_shadow`: whether it is so today.
    """

    rule: str
    in_shadow: bool
    shown: int
    patients_shown: int
    shadow: int
    patients_shadow: int
    cards: int
    cards_with_shadow: int
    unknown: int
    why: Mapping[str, int]


class LookBack(msgspec.Struct, frozen=True):
    """The rules that fired, were unknown or are in shadow, those in shadow first; and what changed from as many days before."""

    days: int
    by_rule: list[RuleFigures]
    changes: list[Shift]


async def look_back(
    store: Store, knowledge: Knowledge, days: int, written: Iterable[str] = (), today: date | None = None
) -> LookBack:
    """`written`: what is in shadow today, as `CDS_SHADOW` has it: it is told though it never fired."""
    from sqlalchemy import Text, cast, func, select

    from cds_service.store.tables import answers, shown_cards

    today = today or datetime.now(UTC).date()
    since = datetime.combine(today - timedelta(days=days - 1), time.min, UTC)
    shadow, outcomes, rules = (cast(column, Text) for column in (answers.c.shadow, answers.c.outcomes, shown_cards.c.rules))
    recent, who = answers.c.answered_at >= since, shown_cards.c.patient
    judged = select(shadow, answers.c.patient, func.sum(answers.c.cards), func.sum(answers.c.cards_with_shadow))
    judged = judged.where(recent, answers.c.cards_with_shadow.is_not(None)).group_by(shadow, answers.c.patient)
    shown = select(rules, who).where(shown_cards.c.shown_at >= since, who.is_not(None)).distinct()
    last = select(outcomes, cast(answers.c.states, Text)).where(recent, outcomes.contains('"unknown"'))
    number: Counter[tuple[str, str]] = Counter()
    told_apart = set()
    async with (await store.open()).connect() as connection:
        for what, name, answered in await fetched(connection, counted_by(since, "what", "name"), tuple):
            number[name, what] = answered
        for text, patient, cards, with_shadow in await fetched(connection, judged, tuple):
            for rule in msgspec.json.decode(text):
                number.update({(rule, "cards"): cards, (rule, "cards_with_shadow"): with_shadow})
                told_apart.add((rule, "patients_shadow", patient))
        for text, patient in await fetched(connection, shown, tuple):
            told_apart |= {(rule, "patients_shown", patient) for rule, _ in msgspec.json.decode(text)}
        sample = await fetched(connection, last.order_by(answers.c.answered_at.desc()).limit(_SAMPLE), tuple)
        counted = await fetched(connection, counted_by(since - timedelta(days=days), *DailyCount._fields), tuple)
    number.update((rule, what) for rule, what, patient in told_apart if patient)
    # In a thread, so that no hook waits for it.
    by_rule = await asyncio.to_thread(_by_rule, number, sample, knowledge, in_shadow(written, knowledge))
    return LookBack(days, by_rule, await asyncio.to_thread(changed, counted, today, days))


def _by_rule(
    number: Counter[tuple[str, str]], sample: list[Any], knowledge: Knowledge, silent: Collection[str]
) -> list[RuleFigures]:
    why: dict[str, Counter[str]] = defaultdict(Counter)
    asked = {rule.id: queries_in_use(rule.facts, knowledge.facts) for rule in knowledge.rules}
    for outcomes, states in ([msgspec.json.decode(text) for text in row] for row in sample):
        for rule in outcomes["unknown"]:
            short = [f"{knowledge.queries[name].title} {how}" for name, how in states.items() if name in asked.get(rule, ())]
            why[rule].update(short or ["supplied, and not told there"])
    found = []
    for rule in (rule for rule in asked if number[rule, "fires"] or number[rule, "unknown"] or rule in silent):
        number[rule, "shown"] = number[rule, "fires"] - number[rule, "shadow"]
        numbers = {name: number[rule, name] for name in RuleFigures.__struct_fields__[2:-1]}
        found.append(RuleFigures(rule, rule in silent, **numbers, why=dict(why[rule].most_common())))
    return sorted(found, key=lambda one: (not one.in_shadow, -one.shadow, -one.shown, -one.unknown, one.rule))
