"""What is kept: feedback, a row for every answer, and what each card shown stands for. Written, read and purged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgspec

from cds_service.audit.daily_counts import DailyCount, add_counts
from cds_service.cdshooks.feedback import Feedback
from cds_service.store.database import Store, insert_once

_AT_ONCE = 5000
_LOT = 500
# As many as one site overrides or is shown in a month, many times over; beyond it the oldest are shown again.
_MOST_SILENCED = 20_000

Row = dict[str, Any]
T = TypeVar("T")


class Silenced(NamedTuple):
    """A card that was overridden or shown: the keyed hash of its patient, when, and its rules with signatures."""

    patient: str
    at: datetime
    rules: Sequence[tuple[str, str]]


class Reaction(NamedTuple):
    """One feedback joined to what its card stood for; no rules where the card is unknown.

    `day`: in UTC, on which the card was shown, or for an unknown card on which the feedback came.
    """

    card: str
    outcome: str
    accepted: Sequence[str]
    reason: str
    rules: Sequence[tuple[str, str]]
    offers: Sequence[tuple[str, str, str]]
    client: str = ""
    day: str = ""

    def about(self) -> list[tuple[str, str]]:
        """The rules that it is about: those whose suggestions were accepted, else all of the card."""
        taken = {rule for suggestion, rule, _ in self.offers if suggestion in self.accepted}
        return [(rule, version) for rule, version in self.rules if rule in taken or not taken]


class Purged(NamedTuple):
    answers: int
    cards: int
    feedback: int
    hashes: int
    codes: int


async def record_feedback(
    store: Store, service_id: str, items: Sequence[Feedback], received_at: datetime, client: str = ""
) -> tuple[Feedback, ...]:
    """Write feedback down and return what was new: the same feedback again adds none. Durable when it returns."""
    if not items:
        return ()
    from cds_service.store.tables import feedback

    engine = await store.open()
    rows = [_row(service_id, item, received_at, client) for item in items]
    statement = insert_once(engine, feedback, "fingerprint").returning(feedback.c.fingerprint)
    async with engine.begin() as connection:
        # Not every driver counts the rows of many inserts, so each new row is asked back.
        new = {row.fingerprint for row in await connection.execute(statement, rows)}
    return tuple(item for item in items if item.fingerprint in new)


def _row(service_id: str, item: Feedback, received_at: datetime, client: str) -> dict[str, Any]:
    row = item._asdict()
    return row | {
        "fingerprint": item.fingerprint,
        "service_id": service_id,
        "accepted": list(item.accepted),
        "received_at": received_at,
        "client": client,
    }


async def write(store: Store, answers: Sequence[Row], cards: Sequence[Row], counted: Counter[DailyCount] | None = None) -> None:
    """All of it or nothing, in one transaction. A card that was written before is left alone."""
    from cds_service.store import tables

    engine = await store.open()
    async with engine.begin() as connection:
        if answers:
            await connection.execute(tables.answers.insert(), answers)
        if cards:
            await connection.execute(insert_once(engine, tables.shown_cards, "card"), cards)
        await add_counts(connection, counted or {})


async def read_overrides(store: Store, since: datetime) -> list[Silenced]:
    """Overrides received since then of cards that were not critical, of patients who are told apart; newest first."""
    from sqlalchemy import select

    from cds_service.store.tables import feedback, shown_cards

    same = (shown_cards.c.card == feedback.c.card) & (shown_cards.c.client == feedback.c.client)
    statement = (
        select(shown_cards.c.patient, feedback.c.outcome_at, feedback.c.received_at, shown_cards.c.rules)
        .join(shown_cards, same)
        .where(feedback.c.received_at >= since, feedback.c.outcome == "overridden")
        .where(shown_cards.c.patient.is_not(None), shown_cards.c.indicator != "critical")
        .order_by(feedback.c.received_at.desc())
        .limit(_MOST_SILENCED)
    )
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(statement)).all()
    # A client's clock may be ahead; nothing is silenced for longer because of that.
    return [Silenced(row.patient, min(utc(row.outcome_at), utc(row.received_at)), row.rules) for row in found]


async def read_shown(store: Store, since: datetime, rules: Collection[str]) -> list[Silenced]:
    """Cards that spoke for one of these rules since then to patients who are told apart, in the shape of overrides.

    Newest first. By rule, as a rule may stand on the card of another group.
    """
    from sqlalchemy import or_, select

    from cds_service.store.tables import shown_cards

    statement = (
        select(shown_cards.c.patient, shown_cards.c.shown_at, shown_cards.c.rules)
        .where(shown_cards.c.shown_at >= since, shown_cards.c.patient.is_not(None), or_(*map(_speaks_for, rules)))
        .order_by(shown_cards.c.shown_at.desc())
        .limit(_MOST_SILENCED)
    )
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(statement)).all()
    return [Silenced(row.patient, utc(row.shown_at), row.rules) for row in found]


async def read_reactions(
    store: Store, fingerprints: Sequence[str] | None = None, since: datetime | None = None, rule: str = ""
) -> list[Reaction]:
    """Feedback joined to its cards: all of it, what is named by fingerprint, on cards shown since then, on cards of a rule.

    The first feedback first: it is the one that counts.
    """
    from sqlalchemy import Text, cast, func, select

    from cds_service.store.tables import feedback, shown_cards

    same = (shown_cards.c.card == feedback.c.card) & (shown_cards.c.client == feedback.c.client)
    at = func.coalesce(shown_cards.c.shown_at, feedback.c.received_at)
    text = (feedback.c.card, feedback.c.outcome, feedback.c.reason_code, feedback.c.client)
    written = (feedback.c.accepted, shown_cards.c.rules, shown_cards.c.offers)
    engine = await store.open()
    columns = (*text, day_of(engine, at), *(cast(column, Text).label(column.name) for column in written))
    statement = select(*columns).outerjoin(shown_cards, same).order_by(feedback.c.id)
    if fingerprints is not None:
        statement = statement.where(feedback.c.fingerprint.in_(fingerprints))
    if since is not None:
        statement = statement.where(at >= since)
    if rule:
        statement = statement.where(_speaks_for(rule))
    async with engine.connect() as connection:
        return await fetched(connection, statement, _reaction)


def _reaction(row: Any) -> Reaction:
    rules, offers = (msgspec.json.decode(text) if text else () for text in (row.rules, row.offers))
    accepted = msgspec.json.decode(row.accepted)
    return Reaction(row.card, row.outcome, accepted, row.reason_code, versions_of(rules), offers, row.client, str(row.day))


async def count_shown(
    store: Store, since: datetime | None = None, rule: str = ""
) -> list[tuple[Sequence[tuple[str, str]], int]]:
    """How many cards were shown for each combination of rules: ever, since then, of a rule."""
    from sqlalchemy import Text, cast, func, select

    from cds_service.store.tables import shown_cards

    # As text, for PostgreSQL cannot group by JSON.
    rules = cast(shown_cards.c.rules, Text)
    statement = select(rules.label("spoke_for"), func.count().label("n")).group_by("spoke_for")
    if since is not None:
        statement = statement.where(shown_cards.c.shown_at >= since)
    if rule:
        statement = statement.where(_speaks_for(rule))
    engine = await store.open()
    async with engine.connect() as connection:
        return await fetched(connection, statement, lambda row: (versions_of(msgspec.json.decode(row.spoke_for)), row.n))


def _speaks_for(rule: str) -> Any:
    from sqlalchemy import Text, cast

    from cds_service.store.tables import shown_cards

    return cast(shown_cards.c.rules, Text).contains(f'["{rule}",')


async def fetched(connection: Any, statement: Any, make: Callable[[Any], T]) -> list[T]:
    """What is made of each row, in lots small enough that nobody who asks meanwhile waits for them."""
    result = await connection.stream(statement)
    return [make(row) async for lot in result.partitions(_LOT) for row in lot]


def day_of(engine: Any, moment: Any) -> Any:
    """The day in UTC: SQLite holds a moment as text in UTC, PostgreSQL would read it in the zone of the connection."""
    from sqlalchemy import func

    return func.date(func.timezone("UTC", moment) if engine.dialect.name == "postgresql" else moment).label("day")


async def purge(store: Store, before: datetime, hashes_before: datetime) -> Purged:
    """Delete what is older than `before`, and erase the patients' hashes of cards and answers before `hashes_before`."""
    from sqlalchemy import delete, update

    from cds_service.store.tables import answers, codes_seen, daily_counts, feedback, shown_cards

    async with (await store.open()).begin() as connection:
        await connection.execute(delete(daily_counts).where(daily_counts.c.day < before.date().isoformat()))
    old_answer = answers.c.patient.is_not(None) & (answers.c.answered_at < hashes_before)
    old_hash = shown_cards.c.patient.is_not(None) & (shown_cards.c.shown_at < hashes_before)
    return Purged(
        answers=await _in_turns(store, delete(answers), answers, answers.c.answered_at < before),
        cards=await _in_turns(store, delete(shown_cards), shown_cards, shown_cards.c.shown_at < before),
        feedback=await _in_turns(store, delete(feedback), feedback, feedback.c.received_at < before),
        hashes=await _in_turns(store, update(shown_cards).values(patient=None), shown_cards, old_hash)
        + await _in_turns(store, update(answers).values(patient=None), answers, old_answer),
        codes=await _in_turns(store, delete(codes_seen), codes_seen, codes_seen.c.last_seen < before),
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


def versions_of(rules: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rules with their versions, of rules with their signatures."""
    return [(rule, signature.partition("+")[0]) for rule, signature in rules]


def utc(moment: datetime) -> datetime:
    """A moment as the database gives it. SQLite gives back what was written in UTC without saying so."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
