"""How many answers of a day had what: small for as long as answers are kept, so that spans of time can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from cds_service.model import Outcome

if TYPE_CHECKING:
    from cds_service.audit.journal import AnswerRecord

ALL = ("all",)


class DailyCount(NamedTuple):
    """`what`: `answers` about people the service speaks to; of these a rule that `fires`, is `unknown`, or fires in `shadow`, a
    `query` not answered in full, a code `system` with codes that nobody knew, a `unit` that nobody knew.
    """

    day: str
    client: str
    service_id: str
    what: str
    name: str


def count(noted: Iterable[AnswerRecord]) -> Counter[DailyCount]:
    """Each answer once for each thing that it had, by day in UTC."""
    days = ((item, item.at.astimezone(UTC).date().isoformat()) for item in noted)
    return Counter(DailyCount(day, item.client, item.service_id, *thing) for item, day in days for thing in had(item))


def had(noted: AnswerRecord) -> Iterator[tuple[str, str]]:
    """What an answer had, as `what` and `name`; nothing where the service does not speak to the patient."""
    fires, unknown, nobody = (
        tuple(noted.outcomes.get(key, ())) for key in (Outcome.FIRES, Outcome.UNKNOWN, Outcome.OUT_OF_SCOPE)
    )
    if nobody == ALL:
        return
    yield "answers", ""
    looked = (("query", noted.states), ("system", noted.unknown_codes), ("unit", noted.unknown_units))
    # Where nobody knows whether any rule is for the patient, not all was looked at.
    for what, names in (("fires", fires), ("unknown", unknown), ("shadow", noted.shadow), *(looked if unknown != ALL else ())):
        yield from ((what, name) for name in names)


async def add_counts(connection: Any, counted: Mapping[DailyCount, int]) -> None:
    """Add to what was counted before; in one order, so that two workers never wait for each other."""
    from sqlalchemy.dialects import postgresql, sqlite

    from cds_service.store.tables import daily_counts as table

    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    more = insert.on_conflict_do_update(table.primary_key, set_={"answers": table.c.answers + insert.excluded.answers})
    if counted:
        await connection.execute(more, [{**key._asdict(), "answers": number} for key, number in sorted(counted.items())])


def counted_by(since: datetime, *by: str) -> Any:
    """The statement that reads these columns with `n` answers."""
    from sqlalchemy import func, select

    from cds_service.store.tables import daily_counts as table

    columns = [table.c[name] for name in by]
    statement = select(*columns, func.sum(table.c.answers).label("n")).where(table.c.day >= since.date().isoformat())
    return statement.group_by(*columns)
