"""What went quiet: a year of invented answers in a real database in which a code, a unit and a list change, and no more."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cds_service.audit.changes import Shift, changed
from cds_service.audit.daily_counts import DailyCount, add_counts, counted_by
from cds_service.audit.journal import AnswerRecord, Journal
from cds_service.cli import app
from cds_service.model import State
from cds_service.service import DecisionService
from cds_service.store.database import Store
from tests.support.calls import CALL, make
from tests.support.people import SERVICE, body, bundle, observation

FIRST = date(2025, 11, 24)
WEEKS = 52
Thing = tuple[str, str]
# Of a hundred patients so many have each thing, at the end of a quarter otherwise than before: in weeks 14, 27 and 40.
USUAL: Mapping[Thing, float] = {
    ("fires", "low-potassium"): 0.8,
    ("unknown", "low-potassium"): 0.1,
    ("fires", "low-calcium"): 0.8,
    ("unknown", "low-calcium"): 0.05,
    ("fires", "statin"): 0.8,
    ("unknown", "statin"): 0.02,
    ("fires", "diabetes"): 0.2,
    ("unknown", "abi"): 0.9,
    ("query", "orders"): 0.3,
    ("query", "medicationRequests"): 0.02,
    ("system", "other"): 0.15,
    ("unit", "mg%"): 0.08,
}
CODE_SWAPPED = {("fires", "low-potassium"): 0.0, ("unknown", "low-potassium"): 0.9, ("system", "loinc"): 0.8}
UNIT_CHANGED = {("fires", "low-calcium"): 0.0, ("unknown", "low-calcium"): 0.85, ("unit", "mval/l"): 0.8}
LIST_STOPPED = {("fires", "statin"): 0.0, ("unknown", "statin"): 0.82, ("query", "medicationRequests"): 1.0}
EVENTS = {14: CODE_SWAPPED, 27: UNIT_CHANGED, 40: LIST_STOPPED}


def answers_of(day: date, shares: Mapping[Thing, float], rng: random.Random) -> Iterator[AnswerRecord]:
    """Of patients of whom some are opened twice a day; at a weekend there are fewer."""
    for patient in range(8 if day.weekday() >= 5 else rng.randint(26, 34)):
        has: dict[str, list[str]] = defaultdict(list)
        for (what, name), share in shares.items():
            if rng.random() < share:
                has[what].append(name)
        outcomes = {what: has[what] for what in ("fires", "unknown")}
        states = dict.fromkeys(has["query"], State.NOT_SUPPLIED)
        at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        given: dict[str, Any] = {"unknown_codes": dict.fromkeys(has["system"], 1), "unknown_units": has["unit"]}
        for visit in range(rng.choice((1, 1, 2))):
            yield AnswerRecord(at, "ehr", SERVICE, f"{patient}-{visit}", "abc", outcomes, states, 1.0, None, (), **given)


def year(rng: random.Random) -> Iterator[AnswerRecord]:
    shares = dict(USUAL)
    for week in range(WEEKS):
        shares |= EVENTS.get(week, {})
        for day in range(7):
            yield from answers_of(FIRST + timedelta(days=7 * week + day), shares, rng)


async def everything(connection: Any) -> list[Any]:
    return list(await connection.execute(counted_by(datetime(2025, 1, 1, tzinfo=UTC), *DailyCount._fields)))


@pytest.mark.untraced
@pytest.mark.asyncio
async def test_in_a_year_each_change_is_marked_in_its_week_and_nothing_else_is(tmp_path: Any) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")
    journal = Journal(store, limit=100_000)
    for noted in year(random.Random(20261129)):
        journal.note(noted)
    assert await journal.flush()
    looks: list[list[Shift]] = []
    async with (await store.open()).connect() as connection:
        counted = await everything(connection)
        for week in range(WEEKS):
            day = FIRST + timedelta(days=7 * week + 6)
            looks.append(changed(counted, day, 28))
    await store.close()
    seen: dict[Thing, list[int]] = defaultdict(list)
    for week, look in enumerate(looks):
        for item in look:
            seen[item.what, item.name].append(week)
            event = next(start for start, things in EVENTS.items() if (item.what, item.name) in things)
            begun = FIRST + timedelta(weeks=event)
            assert begun <= date.fromisoformat(item.since) < begun + timedelta(days=7), (week, item)
            assert (item.client, item.service_id) == ("ehr", SERVICE)
    for event, otherwise in EVENTS.items():
        for thing in otherwise:
            # From the end of the week in which it changed, until the change has left the days that are compared.
            assert seen[thing][0] == event, thing
            assert set(range(event, event + 4)) <= set(seen[thing]) <= set(range(event, event + 8)), thing
    first = {(item.what, item.name): item for item in looks[17]}
    assert first["fires", "low-potassium"].before == pytest.approx(0.8, abs=0.05)
    assert first["fires", "low-potassium"].after == 0
    assert set(seen) == {thing for things in EVENTS.values() for thing in things}


def counts(*shares: tuple[Thing, float, float], client: str = "ehr", answers: int = 50) -> dict[DailyCount, int]:
    """Of the 56 days up to today the last half with another share than the first: the same number each day."""
    found: dict[DailyCount, int] = {}
    today = datetime.now(UTC).date()
    for back in range(56):
        day = (today - timedelta(days=back)).isoformat()
        found[DailyCount(day, client, SERVICE, "answers", "")] = answers
        for thing, before, after in shares:
            found[DailyCount(day, client, SERVICE, *thing)] = round(answers * (after if back < 28 else before))
    return {key: number for key, number in found.items() if number}


def marked(*counted: Mapping[DailyCount, int]) -> list[Shift]:
    total: Counter[DailyCount] = Counter()
    for one in counted:
        total.update(one)
    return changed([(*key, number) for key, number in total.items()], datetime.now(UTC).date(), 28)


async def write(url: str, counted: Mapping[DailyCount, int]) -> None:
    store = Store(url)
    async with (await store.open()).begin() as connection:
        await add_counts(connection, counted)
    await store.close()


LOW = ("fires", "low-potassium")


@pytest.mark.parametrize(
    ("before", "after", "answers", "is_marked"),
    [
        (0.4, 0.2, 50, True),
        (0.2, 0.4, 50, True),
        (0.4, 0.4, 50, False),
        # Beyond chance, and by less than anybody would act on.
        (0.50, 0.54, 3000, False),
        # As great a change in too few answers.
        (1.0, 0.0, 3, False),
        # Never so, and always so.
        (0.0, 0.0, 50, False),
        (1.0, 1.0, 50, False),
        (1.0, 0.0, 50, True),
        (0.0, 1.0, 50, True),
    ],
)
def test_what_is_marked(before: float, after: float, answers: int, is_marked: bool) -> None:
    found = marked(counts((LOW, before, after), answers=answers))
    assert [(one.what, one.name, one.before, one.after) for one in found] == ([(*LOW, before, after)] if is_marked else [])
    if found:
        assert found[0].since == (datetime.now(UTC).date() - timedelta(days=27)).isoformat()


def test_days_that_lie_far_apart_anyway_make_a_change_less_sure() -> None:
    """The same two shares: once of days that are alike, once of days that go up and down."""
    alike = counts((LOW, 0.5, 0.4))
    restless = {
        key._replace(client="restless"): number
        + ((15 if date.fromisoformat(key.day).toordinal() % 2 else -15) if key.name else 0)
        for key, number in alike.items()
    }
    assert [(one.client, one.before, one.after) for one in marked(alike, restless)] == [("ehr", 0.5, 0.4)]


def test_of_many_things_more_is_asked_than_of_one() -> None:
    nearly = (LOW, 0.5, 0.42)
    many = [(("unknown", f"rule-{number}"), 0.5, 0.43) for number in range(300)]
    assert marked(counts(nearly, *many)) == []
    assert [one.name for one in marked(counts(nearly))] == ["low-potassium"]


def test_clients_are_compared_apart() -> None:
    """That one asks more often than before is no change of what its patients have."""
    rare, often = counts((LOW, 0.1, 0.1), client="a"), counts((LOW, 0.8, 0.8), client="b")
    first = (datetime.now(UTC).date() - timedelta(days=27)).isoformat()
    more = {key: number * 5 for key, number in often.items() if key.day >= first}
    assert marked(rare, often, more) == []


def test_the_dashboard_and_the_command_mark_it(
    decision_service: DecisionService, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = counts((LOW, 0.4, 0.0), (("unit", "mval/l"), 0.0, 0.4), (("query", "orders"), 0.3, 0.3))
    asyncio.run(write(database_url, counted))
    with make(decision_service, tmp_path, database_url=database_url, pages="demo") as client:
        page = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", client.get("/dashboard?days=30").text)))
    title = decision_service.knowledge.rule_by_id["low-potassium"].file.title
    assert re.search(rf"Fires: {title} 4\d\.\d % \d\.\d % ", page)
    assert "Unit that nobody knows: mval/l 0.0 %" in page
    assert "Not supplied in full: orders" not in page
    monkeypatch.setenv("CDS_DATABASE_URL", database_url)
    told = re.sub(r"\s+", " ", CliRunner().invoke(app, ["feedback"], catch_exceptions=False).stdout)
    since = (datetime.now(UTC).date() - timedelta(days=27)).isoformat()
    assert f"Fires: low-potassium: 0.0% of answers, before 40.0%, since about {since} (ehr, {SERVICE})" in told
    assert f"Unit that nobody knows: mval/l: 40.0% of answers, before 0.0%, since about {since} (ehr, {SERVICE})" in told
    assert "Not supplied in full: orders" not in told
    for days in ("1", "364"):
        assert CliRunner().invoke(app, ["feedback", "--days", days], catch_exceptions=False).exit_code == 0
    looked = json.loads(CliRunner().invoke(app, ["feedback", "--json"], catch_exceptions=False).stdout)["looked_back"]
    assert {(one["what"], one["name"]) for one in looked["changes"]} == {LOW, ("unit", "mval/l")}


def test_a_unit_of_real_calls_is_counted_by_its_name_once_three_patients_had_it(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    with make(decision_service, tmp_path, database_url=database_url) as client:
        for patient in ("p1", "p2", "p3", "p4"):
            call = json.dumps(body({"electrolytes": bundle(observation(4, unit="mval/l"))})).replace(
                "Patient/p1", f"Patient/{patient}"
            )
            sent = json.loads(call)
            sent["prefetch"]["patient"]["id"] = sent["context"]["patientId"] = patient
            assert client.post(CALL, json=sent | {"extension": {"example.leg-cramps.as-of": "2026-11-20"}}).status_code == 200
        metrics = client.get("/metrics").text
    assert 'cds_answers_with_total{name="mval/l",what="unit"} 2.0' in metrics
    assert 'cds_answers_with_total{name="other",what="unit"} 2.0' in metrics
    assert re.search(r'cds_answers_with_total\{name="low-potassium",what="unknown"\} 4\.0', metrics)
