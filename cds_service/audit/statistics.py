"""What the books say of a period: answers, cards, feedback, times and what was not supplied. Counted by day in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from cds_service.audit.by_rule import LookBack
from cds_service.audit.codes_seen import SeenCode, read_codes
from cds_service.audit.daily_counts import ALL
from cds_service.audit.queries import Reaction, day_of, fetched, read_reactions, versions_of
from cds_service.model import Outcome
from cds_service.store.database import Store

SAMPLE = 1000
"""So many of the last answers are read one by one, for what they say of each rule is as varied as people are."""
_NOT_CONCERNED = msgspec.json.encode({Outcome.OUT_OF_SCOPE: ALL}).decode()


class Answers(NamedTuple):
    """`number` answers of a day to a client that gave so many cards each. `concerned`: about somebody the service speaks to."""

    day: str
    client: str
    cards: int
    concerned: bool
    number: int


class ShownCards(NamedTuple):
    """`number` cards of a day to a client that spoke for the same rules: (rule, version) each."""

    day: str
    client: str
    rules: Sequence[tuple[str, str]]
    number: int


class Short(NamedTuple):
    """Of `number` answers of a service about people it speaks to the queries not answered in full, each with its state."""

    service_id: str
    states: Mapping[str, str]
    number: int


class Figures(NamedTuple):
    """`times`: milliseconds, to a tenth, with how many answers took so long, the quickest first. `sample`: of the last answers
    about people the service speaks to, the rules by outcome. `codes`: that nobody knew, seen since then.
    """

    answers: Sequence[Answers] = ()
    shown: Sequence[ShownCards] = ()
    reactions: Sequence[Reaction] = ()
    times: Sequence[tuple[float, int]] = ()
    short: Sequence[Short] = ()
    sample: Sequence[Mapping[str, Sequence[str]]] = ()
    codes: Sequence[SeenCode] = ()
    looked_back: LookBack = LookBack(0, [], [])


async def read_figures(store: Store, since: datetime) -> Figures:
    from sqlalchemy import Numeric, Text, case, cast, func, select

    from cds_service.store.tables import answers, shown_cards

    engine = await store.open()
    number = func.count().label("n")
    # As text, for PostgreSQL cannot group by JSON.
    rules, states, outcomes = (
        cast(column, Text).label(name)
        for column, name in (
            (shown_cards.c.rules, "spoke_for"),
            (answers.c.states, "short_of"),
            (answers.c.outcomes, "outcomes_text"),
        )
    )
    about_her = cast(answers.c.outcomes, Text) != _NOT_CONCERNED
    concerned = case((about_her, 1), else_=0).label("concerned")
    took = func.round(cast(answers.c.milliseconds, Numeric(12, 3)), 1).label("took")
    decision, shown = day_of(engine, answers.c.answered_at), day_of(engine, shown_cards.c.shown_at)
    recent, since_then = answers.c.answered_at >= since, shown_cards.c.shown_at >= since
    counted = select(decision, answers.c.client, answers.c.cards, concerned, number).where(recent)
    cards = select(shown, shown_cards.c.client, rules, number).where(since_then)
    short = select(answers.c.service_id, states, number).where(recent, about_her)
    sample = select(outcomes).where(recent, about_her).order_by(answers.c.answered_at.desc()).limit(SAMPLE)
    times = select(took, number).where(recent).group_by("took").order_by("took")
    async with engine.connect() as connection:
        return Figures(
            answers=await fetched(connection, counted.group_by("day", "client", "cards", "concerned"), _answers),
            shown=await fetched(connection, cards.group_by("day", "client", "spoke_for"), _shown),
            reactions=await read_reactions(store, since=since),
            times=await fetched(connection, times, lambda row: (float(row.took), row.n)),
            short=await fetched(connection, short.group_by("service_id", "short_of"), _short),
            sample=await fetched(connection, sample, lambda row: msgspec.json.decode(row.outcomes_text)),
            codes=await read_codes(store, since),
        )


def _answers(row: Any) -> Answers:
    return Answers(str(row.day), row.client, row.cards, bool(row.concerned), row.n)


def _shown(row: Any) -> ShownCards:
    return ShownCards(str(row.day), row.client, versions_of(msgspec.json.decode(row.spoke_for)), row.n)


def _short(row: Any) -> Short:
    return Short(row.service_id, msgspec.json.decode(row.short_of), row.n)
