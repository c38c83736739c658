"""What is kept beside feedback: a row for every answer, and what each card shown stands for. Written, read and purged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from cds_service.store import Store, insert_once

_AT_ONCE = 5000
# As many as one site overrides in a month, many times over; beyond it the oldest are shown again.
_MOST_OVERRIDES = 20_000

Row = dict[str, Any]


class Override(NamedTuple):
    """One override of a card: the keyed hash of its patient, when, and the rules with versions that it spoke for."""

    patient: str
    at: datetime
    rules: Sequence[tuple[str, str]]


class Reaction(NamedTuple):
    """One feedback joined to what its card stood for; no rules where the card is unknown."""

    card: str
    outcome: str
    accepted: Sequence[str]
    reason: str
    rules: Sequence[tuple[str, str]]
    offers: Sequence[tuple[str, str, str]]
    client: str = ""
    received_at: datetime = datetime.min.replace(tzinfo=UTC)

    def about(self) -> list[tuple[str, str]]:
        """The rules that it is about: those whose suggestions were accepted, else all of the card."""
        taken = {rule for suggestion, rule, _ in self.offers if suggestion in self.accepted}
        return [(rule, version) for rule, version in self.rules if rule in taken or not taken]


class Purged(NamedTuple):
    answers: int
    cards: int
    feedback: int
    hashes: int


async def write(store: Store, answers: Sequence[Row], cards: Sequence[Row]) -> None:
    """All of it or nothing, in one transaction. A card that was written before is left alone."""
    from cds_service import tables

    engine = await store.open()
    async with engine.begin() as connection:
        if answers:
            await connection.execute(tables.answers.insert(), answers)
        if cards:
            await connection.execute(insert_once(engine, tables.shown_cards, "card"), cards)


async def read_overrides(store: Store, since: datetime) -> list[Override]:
    """Overrides received since then of cards that were not critical, of patients who are told apart; newest first."""
    from sqlalchemy import select

    from cds_service.tables import feedback, shown_cards

    same = (shown_cards.c.card == feedback.c.card) & (shown_cards.c.client == feedback.c.client)
    statement = (
        select(shown_cards.c.patient, feedback.c.outcome_at, feedback.c.received_at, shown_cards.c.rules)
        .join(shown_cards, same)
        .where(feedback.c.received_at >= since, feedback.c.outcome == "overridden")
        .where(shown_cards.c.patient.is_not(None), shown_cards.c.indicator != "critical")
        .order_by(feedback.c.received_at.desc())
        .limit(_MOST_OVERRIDES)
    )
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(statement)).all()
    # A client's clock may be ahead; nothing is silenced for longer because of that.
    return [Override(row.patient, min(_utc(row.outcome_at), _utc(row.received_at)), row.rules) for row in found]


async def read_reactions(
    store: Store, fingerprints: Sequence[str] | None = None, since: datetime | None = None
) -> list[Reaction]:
    """Feedback joined to its cards: all of it, what is named by fingerprint, or what was received since then."""
    from sqlalchemy import select

    from cds_service.tables import feedback, shown_cards

    same = (shown_cards.c.card == feedback.c.card) & (shown_cards.c.client == feedback.c.client)
    wanted = (feedback.c.card, feedback.c.outcome, feedback.c.accepted, feedback.c.reason_code)
    told = (feedback.c.client, feedback.c.received_at)
    statement = select(*wanted, *told, shown_cards.c.rules, shown_cards.c.offers).outerjoin(shown_cards, same)
    # The first word on a card is the one that counts.
    statement = statement.order_by(feedback.c.id)
    if fingerprints is not None:
        statement = statement.where(feedback.c.fingerprint.in_(fingerprints))
    if since is not None:
        statement = statement.where(feedback.c.received_at >= since)
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(statement)).all()
    return [
        Reaction(
            row.card,
            row.outcome,
            row.accepted,
            row.reason_code,
            row.rules or (),
            row.offers or (),
            row.client,
            _utc(row.received_at),
        )
        for row in found
    ]


async def count_shown(store: Store, since: datetime | None = None) -> list[tuple[Sequence[tuple[str, str]], int]]:
    """How many cards were shown for each combination of rules: ever, or since then."""
    from sqlalchemy import Text, cast, func, select

    from cds_service.tables import shown_cards

    # As text, for PostgreSQL cannot group by JSON.
    rules = cast(shown_cards.c.rules, Text)
    statement = select(rules.label("rules"), func.count().label("n")).group_by(rules)
    if since is not None:
        statement = statement.where(shown_cards.c.shown_at >= since)
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(statement)).all()
    return [(msgspec.json.decode(row.rules), row.n) for row in found]


async def purge(store: Store, before: datetime, hashes_before: datetime) -> Purged:
    """Delete what is older than `before`, and erase the patients' hashes of cards shown before `hashes_before`."""
    from sqlalchemy import delete, update

    from cds_service.tables import answers, feedback, shown_cards

    old_hash = shown_cards.c.patient.is_not(None) & (shown_cards.c.shown_at < hashes_before)
    return Purged(
        answers=await _in_turns(store, delete(answers), answers, answers.c.answered_at < before),
        cards=await _in_turns(store, delete(shown_cards), shown_cards, shown_cards.c.shown_at < before),
        feedback=await _in_turns(store, delete(feedback), feedback, feedback.c.received_at < before),
        hashes=await _in_turns(store, update(shown_cards).values(patient=None), shown_cards, old_hash),
    )


async def _in_turns(store: Store, statement: Any, table: Any, condition: Any) -> int:
    """So many rows a transaction, so that whoever wants to write meanwhile need not wait long."""
    from sqlalchemy import select

    some = select(table.c.id).where(condition).limit(_AT_ONCE).scalar_subquery()
    engine = await store.open()
    changed = 0
    while True:
        async with engine.begin() as connection:
            done = (await connection.execute(statement.where(table.c.id.in_(some)))).rowcount
        changed += done
        if done < _AT_ONCE:
            return changed


def major(version: str) -> str:
    return version.partition(".")[0]


def _utc(moment: datetime) -> datetime:
    """SQLite gives back what was written in UTC without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
