"""What is kept of rules in shadow, and what a site reads of them beside what is shown."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select
from typer.testing import CliRunner

from cds_service.audit.by_rule import RuleFigures, look_back
from cds_service.audit.daily_counts import DailyCount, count
from cds_service.audit.journal import AnswerRecord, Journal
from cds_service.audit.queries import purge
from cds_service.cli import app
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import State
from cds_service.service import DecisionService
from cds_service.settings import Settings
from cds_service.store.database import Store
from cds_service.store.tables import answers, daily_counts, shown_cards
from tests.support.calls import CALL, make
from tests.support.feedback import KEY, rows, until
from tests.support.people import SERVICE, body, bundle, observation

LOW = {"electrolytes": bundle(observation(3.1))}
AS_OF = {"extension": {"example.leg-cramps.as-of": "2026-11-20"}}
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


def called(knowledge: Knowledge, tmp_path: Path, url: str, **settings: Any) -> tuple[list[int], str, str]:
    """Three answers about two patients, one of them without the list of open orders: cards, metrics and dashboard."""
    service = DecisionService(knowledge, Settings(**settings))
    numbers = []
    with make(service, tmp_path, database_url=url, patient_key=KEY, pages="demo") as client:
        for patient, without in (("p1", ()), ("p1", ("orders",)), ("p2", ())):
            call = json.loads(json.dumps(body(LOW, without)).replace("Patient/p1", f"Patient/{patient}")) | AS_OF
            call["prefetch"]["patient"]["id"] = call["context"]["patientId"] = patient
            numbers.append(len(client.post(CALL, json=call).json()["cards"]))
        assert until(lambda: len(asyncio.run(rows(url, answers))) == 3)
        page = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", client.get("/dashboard?days=7").text)))
        return numbers, client.get("/metrics").text, page


async def counted(url: str) -> dict[tuple[str, str], int]:
    store = Store(url)
    async with (await store.open()).connect() as connection:
        found = (await connection.execute(select(daily_counts))).all()
    await store.close()
    return {(row.what, row.name): row.answers for row in found}


def figures(url: str, knowledge: Knowledge) -> dict[str, RuleFigures]:
    async def read() -> list[RuleFigures]:
        store = Store(url)
        found = await look_back(store, knowledge, 2)
        await store.close()
        return found.by_rule

    return {one.rule: one for one in asyncio.run(read())}


def test_what_fires_in_shadow_is_kept_counted_and_told(
    knowledge: Knowledge, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, *_ = called(knowledge, tmp_path, f"sqlite+aiosqlite:///{tmp_path}/beside.sqlite")
    numbers, metrics, page = called(knowledge, tmp_path, database_url, shadow=("low-potassium", "flat-feet"))
    kept = asyncio.run(rows(database_url, answers))
    assert [(row.shadow, row.cards, row.cards_with_shadow) for row in kept] == [
        (["low-potassium"], mine, theirs) for mine, theirs in zip(numbers, shown, strict=True)
    ]
    assert all(mine < theirs for mine, theirs in zip(numbers, shown, strict=True))
    assert all("low-potassium" in row.outcomes["fires"] for row in kept)
    first, second, third = (row.patient for row in kept)
    assert first == second != third
    assert {card.patient for card in asyncio.run(rows(database_url, shown_cards))} == {first, third}
    found = asyncio.run(counted(database_url))
    assert (found["answers", ""], found["fires", "low-potassium"], found["shadow", "low-potassium"]) == (3, 3, 3)
    assert found["query", "orders"] == 1
    low = figures(database_url, knowledge)["low-potassium"]
    assert (low.shadow, low.patients_shadow, low.shown, low.patients_shown) == (3, 2, 0, 0)
    assert (low.cards, low.cards_with_shadow) == (sum(numbers), sum(shown))
    samples = {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    assert samples["cds_answers_with_total", "low-potassium", "shadow"] == 3
    assert samples["cds_answers_with_total", "", "answers"] == 3
    assert samples["cds_rules", "served"] == len(knowledge.rules) - 2
    cards = f"{sum(numbers) / 3:.1f} , would be {sum(shown) / 3:.1f}".replace(" ,", ",")
    title = knowledge.rule_by_id["low-potassium"].file.title
    assert f"{title} 0.4 2 0.0 0 {cards}" in page
    # What is in shadow and never fired is told as well: that it is silent is what one wants to know.
    assert f"{knowledge.rule_by_id['flat-feet'].file.title} 0.0 0 0.0 0" in page
    monkeypatch.setenv("CDS_DATABASE_URL", database_url)
    monkeypatch.setenv("CDS_SHADOW", "topic:conditions")
    told = re.sub(r"\s+", " ", CliRunner().invoke(app, ["feedback", "--days", "2"], catch_exceptions=False).stdout)
    assert f"low-potassium: in shadow 1.5 a day, 2 patients, cards a call {cards.replace(',', '')}" in told
    assert "flat-feet: in shadow, and did not fire" in told


def test_what_is_shown_is_told_alike(knowledge: Knowledge, tmp_path: Path, database_url: str) -> None:
    called(knowledge, tmp_path, database_url)
    assert {row.shadow for row in asyncio.run(rows(database_url, answers))} == {None}
    assert {row.patient for row in asyncio.run(rows(database_url, answers))} == {None}
    found = figures(database_url, knowledge)
    low = found["low-potassium"]
    assert (low.shadow, low.patients_shadow, low.shown, low.patients_shown) == (0, 0, 3, 2)


def test_with_everything_in_shadow_the_ehr_gets_nothing_and_the_journal_all(
    knowledge: Knowledge, tmp_path: Path, database_url: str
) -> None:
    shown, *_ = called(knowledge, tmp_path, f"sqlite+aiosqlite:///{tmp_path}/beside.sqlite")
    numbers, *_ = called(knowledge, tmp_path, database_url, shadow=("all",))
    kept = asyncio.run(rows(database_url, answers))
    assert numbers == [0, 0, 0]
    assert asyncio.run(rows(database_url, shown_cards)) == []
    assert [row.cards_with_shadow for row in kept] == shown
    assert all(row.shadow == row.outcomes["fires"] for row in kept)


def noted(at: datetime = NOW, **given: Any) -> AnswerRecord:
    usual: dict[str, Any] = {"outcomes": {"fires": ["low-potassium"], "unknown": ["abi"]}, "states": {}, "patient": None}
    found = usual | given
    return AnswerRecord(
        at, "ehr", SERVICE, "x", "abc", found.pop("outcomes"), found.pop("states"), 1.0, found.pop("patient"), (), **found
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {("answers", ""), ("fires", "low-potassium"), ("unknown", "abi")}),
        ({"outcomes": {"out-of-scope": ["all"]}, "states": {"orders": State.FAILED}}, set()),
        ({"outcomes": {"unknown": ["all"]}, "states": {"orders": State.FAILED}}, {("answers", ""), ("unknown", "all")}),
        (
            {"outcomes": {}, "states": {"orders": State.FAILED}, "unknown_codes": {"loinc": 7}},
            {("answers", ""), ("query", "orders"), ("system", "loinc")},
        ),
    ],
)
def test_an_answer_counts_once_for_each_thing_that_it_had(given: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    late = datetime(2026, 11, 21, 1, tzinfo=timezone(timedelta(hours=5)))
    found = count([noted(late, **given), noted(late, **given)])
    assert found == {DailyCount("2026-11-20", "ehr", SERVICE, *thing): 2 for thing in expected}


@pytest.mark.asyncio
async def test_workers_add_up_and_what_is_old_is_deleted(database_url: str, knowledge: Knowledge) -> None:
    store = Store(database_url)
    old = NOW - timedelta(days=400)
    shadowed = {"shadow": ("low-potassium",), "cards_with_shadow": 2, "patient": "hash"}
    for _ in range(2):
        worker = Journal(store)
        for at in (old, NOW - timedelta(days=70), NOW):
            worker.note(noted(at, **shadowed))
        assert await worker.flush()
    assert (await counted(database_url))["fires", "low-potassium"] == 2
    gone = await purge(store, NOW - timedelta(days=365), NOW - timedelta(days=60))
    assert (gone.answers, gone.hashes) == (2, 2)
    async with (await store.open()).connect() as connection:
        kept = (await connection.execute(select(answers.c.patient).order_by(answers.c.answered_at))).all()
        days = (await connection.execute(select(daily_counts.c.day).distinct().order_by(daily_counts.c.day))).all()
    await store.close()
    assert [row.patient for row in kept] == [None, None, "hash", "hash"]
    assert [row.day for row in days] == ["2026-09-11", "2026-11-20"]


@pytest.mark.asyncio
async def test_why_a_rule_is_unknown_is_told_by_what_it_rests_on(database_url: str, knowledge: Knowledge) -> None:
    store = Store(database_url)
    journal = Journal(store)
    outcomes = {"fires": ["low-sodium"], "unknown": ["low-potassium"]}
    both = {"outcomes": outcomes | {"fires": ["low-potassium", "low-sodium"], "unknown": []}}
    short = {"electrolytes": State.NOT_SUPPLIED, "procedures": State.FAILED}
    for given in (
        both,
        {"outcomes": outcomes, "states": short},
        {"outcomes": outcomes, "states": short},
        {"outcomes": outcomes},
    ):
        journal.note(noted(**given))
    assert await journal.flush()
    found = {one.rule: one for one in (await look_back(store, knowledge, 1, today=NOW.date())).by_rule}
    await store.close()
    low = found["low-potassium"]
    assert (low.shown, low.unknown) == (1, 3)
    assert low.why == {"electrolyte results not supplied": 2, "supplied, and not told there": 1}
