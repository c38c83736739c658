"""What the books say of a period: answers, cards, feedback, times and what was not supplied. Counted by day in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from cds_service.records import Reaction, read_reactions
from cds_service.store import Store

SAMPLE = 1000
"""So many of the last answers are read one by one, for what they say of each rule is as varied as people are."""


class Answers(NamedTuple):
    """`number` answers of a day to a client that gave so many cards each."""

    day: str
    client: str
    cards: int
    number: int


class ShownCards(NamedTuple):
    """`number` cards of a day to a client that spoke for the same rules: (rule, version) each."""

    day: str
    client: str
    rules: Sequence[tuple[str, str]]
    number: int


class Figures(NamedTuple):
    """`times`: milliseconds, to a tenth, with how many answers took so long. `states`: the queries that were not answered in
    full, each with its state, and of how many answers that is so. `sample`: of the last answers the rules by outcome.
    """

    answers: Sequence[Answers] = ()
    shown: Sequence[ShownCards] = ()
    reactions: Sequence[Reaction] = ()
    times: Sequence[tuple[float, int]] = ()
    states: Sequence[tuple[Mapping[str, str], int]] = ()
    sample: Sequence[Mapping[str, Sequence[str]]] = ()


async def read_figures(store: Store, since: datetime) -> Figures:
    from sqlalchemy import Numeric, Text, cast, func, select

    from cds_service.tables import answers, shown_cards

    engine = await store.open()
    number = func.count().label("n")
    answered, shown = _day(engine, answers.c.answered_at), _day(engine, shown_cards.c.shown_at)
    # As text, for PostgreSQL cannot group by JSON.
    rules, states = cast(shown_cards.c.rules, Text).label("spoke_for"), cast(answers.c.states, Text).label("short_of")
    time = func.round(cast(answers.c.milliseconds, Numeric(12, 3)), 1).label("took")
    recent, since_then = answers.c.answered_at >= since, shown_cards.c.shown_at >= since
    asked = (
        select(answered, answers.c.client, answers.c.cards, number).where(recent).group_by("day", "client", "cards"),
        select(shown, shown_cards.c.client, rules, number).where(since_then).group_by("day", "client", "spoke_for"),
        select(time, number).where(recent).group_by("took"),
        select(states, number).where(recent).group_by("short_of"),
        select(answers.c.outcomes).where(recent).order_by(answers.c.answered_at.desc()).limit(SAMPLE),
    )
    async with engine.connect() as connection:
        counted, cards, times, missing, sample = [(await connection.execute(statement)).all() for statement in asked]
    return Figures(
        answers=[Answers(str(row.day), row.client, row.cards, row.n) for row in counted],
        shown=[ShownCards(str(row.day), row.client, msgspec.json.decode(row.spoke_for), row.n) for row in cards],
        reactions=await read_reactions(store, since=since),
        times=sorted((float(row.took), row.n) for row in times),
        states=[(msgspec.json.decode(row.short_of), row.n) for row in missing],
        sample=[row.outcomes for row in sample],
    )


def _day(engine: Any, column: Any) -> Any:
    """The day in UTC of a moment: SQLite holds it as text in UTC, PostgreSQL reads it in the zone of the connection."""
    from sqlalchemy import func

    moment = func.timezone("UTC", column) if engine.dialect.name == "postgresql" else column
    return func.date(moment).label("day")


def day_of(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()
