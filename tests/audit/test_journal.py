"""The journal: what is kept of answers, that answering never waits for it, and what is counted when it is lost."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.audit import journal as journals
from cds_service.audit.journal import AnswerRecord, Journal, outcomes
from cds_service.audit.queries import Purged, purge, record_feedback, versions_of, write
from cds_service.audit.recorder import Recorder, purge_old
from cds_service.cards.footer import REASONS
from cds_service.service import DecisionService
from cds_service.settings import Settings
from cds_service.store.database import Store
from cds_service.store.tables import answers, feedback, shown_cards
from tests.support.calls import CALL, SECRETS, make, request_of, secret_call
from tests.support.databases import Cluster
from tests.support.feedback import ACCEPTED, KEY, read, rows
from tests.support.people import SERVICE, body, bundle, observation

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
LOW = {"electrolytes": bundle(observation(3.1))}


def noted(number: int = 0, hook_instance: str | None = None) -> AnswerRecord:
    return AnswerRecord(NOW, "", SERVICE, hook_instance or f"call-{number}", "abc", {"fires": ["x"]}, {}, 1.5, None, ())


def test_every_answer_and_every_card_leaves_a_row(decision_service: DecisionService, tmp_path: Path, database_url: str) -> None:
    with make(decision_service, tmp_path, database_url=database_url) as client:
        cards = client.post(CALL, json=body(LOW, without=("orders",))).json()["cards"]
        assert client.post(CALL, content="{").status_code == 400
    (row,) = asyncio.run(rows(database_url, answers))
    assert (row.service_id, row.client, row.cards) == (SERVICE, "", len(cards))
    assert row.hook_instance == body()["hookInstance"]
    assert row.knowledge == decision_service.knowledge.fingerprint
    assert row.states == {"orders": "not supplied"}
    assert "low-potassium" in row.outcomes["fires"]
    assert set(row.outcomes) <= {"fires", "unknown", "out-of-scope"}
    assert row.milliseconds > 0
    kept = asyncio.run(rows(database_url, shown_cards))
    assert [one.card for one in kept] == [card["uuid"] for card in cards]
    assert [one.indicator for one in kept] == [card["indicator"] for card in cards]
    for one, card in zip(kept, cards, strict=True):
        told = [(rule["id"], rule["version"]) for rule in card["extension"][REASONS]["rules"]]
        assert versions_of(one.rules) == told
        assert all("+" in signature for _, signature in one.rules)
        assert [offer[0] for offer in one.offers] == [item["uuid"] for item in card.get("suggestions", ())]
        assert {offer[1] for offer in one.offers} <= {rule for rule, _ in one.rules}
        assert one.patient is None


def test_a_patient_whom_the_service_does_not_speak_to_leaves_a_row_too(
    decision_service: DecisionService, tmp_path: Path
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"
    child = body()
    child["prefetch"]["patient"]["birthDate"] = "2020-01-01"
    with make(decision_service, tmp_path, database_url=url) as client:
        assert client.post(CALL, json=child).json() == {"cards": []}
    (row,) = asyncio.run(rows(url, answers))
    assert (row.outcomes, row.cards) == ({"out-of-scope": ["all"]}, 0)


@pytest.mark.parametrize("key", [None, KEY])
def test_nothing_of_a_patient_reaches_the_database(decision_service: DecisionService, tmp_path: Path, key: str | None) -> None:
    with make(decision_service, tmp_path, patient_key=key) as client:
        client.post(CALL, json=secret_call())
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir()).lower()
    assert SERVICE.encode() in written
    assert not [secret for secret in SECRETS if secret.lower().encode() in written]
    kept = asyncio.run(rows(f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite", shown_cards))
    assert {bool(one.patient) for one in kept} == {key is not None}


def test_a_call_instance_that_no_database_holds_is_kept_as_far_as_it_can_be(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    with make(decision_service, tmp_path, database_url=database_url) as client:
        for instance in ("a\0b", "x" * 5000):
            assert client.post(CALL, json=body() | {"hookInstance": instance}).status_code == 200
    assert [row.hook_instance for row in asyncio.run(rows(database_url, answers))] == ["ab", "x" * 200]


@pytest.fixture
def away(tmp_path: Path) -> tuple[str, Path]:
    """A database that cannot be had until a file that stands in its way is gone."""
    (tmp_path / "way").write_text("in the way")
    return f"sqlite+aiosqlite:///{tmp_path}/way/cds.sqlite", tmp_path / "way"


@pytest.mark.asyncio
async def test_while_the_database_is_away_answers_wait_and_nothing_is_lost(away: tuple[str, Path]) -> None:
    url, way = away
    store = Store(url)
    journal = Journal(store)
    for number in range(1200):
        journal.note(noted(number))
    assert not await journal.flush()
    assert (len(journal), journal.lost, journal.failures) == (1200, 0, 1)
    way.unlink()
    assert await journal.flush()
    assert (len(journal), journal.lost) == (0, 0)
    await store.close()
    assert [row.hook_instance for row in await rows(url, answers)] == [f"call-{number}" for number in range(1200)]


@pytest.mark.asyncio
async def test_beyond_its_bound_the_oldest_are_lost_and_counted(away: tuple[str, Path]) -> None:
    url, way = away
    store = Store(url)
    journal = Journal(store, limit=3)
    card = journals.CardRecord("u", "g", "info", (), ())
    for number in range(5):
        journal.note(noted(number)._replace(cards=(card, card)))
    assert (len(journal), journal.lost) == (3, 6)
    journal.give_up()
    assert (len(journal), journal.lost) == (0, 15)
    way.unlink()
    assert await journal.flush()
    await store.close()
    assert await rows(url, answers) == []


@pytest.mark.asyncio
async def test_an_answer_that_the_database_refuses_does_not_hold_up_the_others(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refusing(store: Store, kept: Any, *rest: Any) -> None:
        if any(row["hook_instance"] == "poison" for row in kept):
            raise ValueError("refused")
        await write(store, kept, *rest)

    monkeypatch.setattr(journals, "write", refusing)
    store = Store(database_url)
    journal = Journal(store)
    for number in range(5):
        journal.note(noted(number, "poison" if number in (0, 3) else None))
    assert await journal.flush()
    assert (len(journal), journal.lost) == (0, 2)
    await store.close()
    assert [row.hook_instance for row in await rows(database_url, answers)] == ["call-1", "call-2", "call-4"]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (bundle(), {"out-of-scope": ("all",)}),
        (bundle() | {"total": 1}, {"unknown": ("all",)}),
    ],
)
def test_of_whom_no_rule_is_for_one_word_is_kept(
    decision_service: DecisionService, conditions: dict[str, Any], kept: dict[str, Any]
) -> None:
    asked = request_of(body({"conditions": conditions}))
    assert outcomes(decision_service.answer(SERVICE, asked, NOW.date(), in_brief=True)) == kept


@pytest.mark.asyncio
async def test_a_card_that_was_written_before_is_left_alone(database_url: str, decision_service: DecisionService) -> None:
    store = Store(database_url)
    recorder = Recorder(Settings(), decision_service, store)
    decision = decision_service.answer(SERVICE, request_of(body(LOW)), NOW.date())
    for _ in range(2):
        recorder.note(request_of(body(LOW)), decision, 0.0, "", None)
        assert await recorder.catch_up()
    await store.close()
    assert len(await rows(database_url, shown_cards)) == len(decision.cards)


def test_hooks_are_answered_while_postgresql_hangs_and_its_rows_come_later(
    decision_service: DecisionService, tmp_path: Path, postgresql: Cluster
) -> None:
    url = postgresql.new_database()
    with make(decision_service, tmp_path, database_url=url, patient_key=KEY) as client:
        assert client.get("/readyz").status_code == 200
        with postgresql.hanging():
            for _ in range(20):
                assert client.post(CALL, json=body(LOW)).status_code == 200
                # Long enough for the writer to come and to be kept waiting.
                time.sleep(0.05)
        assert client.get("/readyz").status_code == 200
    assert len(asyncio.run(rows(url, answers))) == 20


def test_hooks_are_answered_while_postgresql_is_down_and_its_rows_come_later(
    decision_service: DecisionService, tmp_path: Path, postgresql: Cluster
) -> None:
    url = postgresql.new_database()
    with make(decision_service, tmp_path, database_url=url, patient_key=KEY) as client:
        assert client.get("/readyz").status_code == 200
        postgresql.stop("immediate")
        try:
            assert client.post(CALL, json=body(LOW)).status_code == 200
            assert client.get("/readyz").status_code == 503
            assert client.post(f"{CALL}/feedback", json={"feedback": [ACCEPTED]}).status_code == 503
        finally:
            postgresql.start()
        assert client.post(f"{CALL}/feedback", json={"feedback": [ACCEPTED]}).status_code == 200
    assert len(asyncio.run(rows(url, answers))) == 1
    assert len(asyncio.run(rows(url, feedback))) == 1


@pytest.mark.asyncio
async def test_what_is_too_old_is_purged_and_hashes_go_earlier(database_url: str) -> None:
    store = Store(database_url)
    old, late = NOW - timedelta(days=100), NOW - timedelta(days=10)
    for at, number in ((old, 1), (late, 2), (NOW, 3)):
        await write(store, [journals._answer(noted(number)._replace(at=at))], cards(at, f"card-{number}"))
        (item,) = read(ACCEPTED | {"card": f"card-{number}"})
        await record_feedback(store, SERVICE, [item], at)
    gone = await purge(store, NOW - timedelta(days=50), NOW - timedelta(days=5))
    assert gone == Purged(1, 1, 1, 1, 0)
    assert await purge(store, NOW - timedelta(days=50), NOW - timedelta(days=5)) == Purged(0, 0, 0, 0, 0)
    await store.close()
    assert [(row.card, row.patient) for row in await rows(database_url, shown_cards)] == [("card-2", None), ("card-3", "h")]
    assert [row.hook_instance for row in await rows(database_url, answers)] == ["call-2", "call-3"]
    assert [row.card for row in await rows(database_url, feedback)] == ["card-2", "card-3"]


def cards(at: datetime, card: str) -> list[dict[str, Any]]:
    kept = journals.CardRecord(card, "results", "warning", (), ())
    return journals._cards(noted()._replace(at=at, patient="h", cards=(kept,)))


@pytest.mark.asyncio
async def test_more_than_one_turn_of_old_rows_is_purged(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.audit.queries._AT_ONCE", 2)
    store = Store(database_url)
    await write(store, [journals._answer(noted(number)) for number in range(5)], [])
    engine = await store.open()
    async with engine.begin() as connection:
        await connection.execute(update(answers).values(answered_at=datetime(2000, 1, 1, tzinfo=UTC)))
    assert (await purge_old(store, Settings(), 30)).answers == 5
    await store.close()
    assert await rows(database_url, answers) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(("override_days", "longest", "kept"), [(30, 30, 59), (7, 30, 30), (0, 30, 30), (7, 0, 13)])
async def test_a_hash_is_kept_for_as_long_as_its_card_can_silence_anything(
    database_url: str, override_days: int, longest: int, kept: int
) -> None:
    store = Store(database_url)
    now = datetime.now(UTC)
    for days in (kept, kept + 2):
        await write(store, [], cards(now - timedelta(days=days), f"card-{days}"))
    assert (await purge_old(store, Settings(override_days=override_days), longest)).hashes == 1
    await store.close()
    left = {row.card: row.patient for row in await rows(database_url, shown_cards)}
    assert left == {f"card-{kept}": "h", f"card-{kept + 2}": None}


def test_a_service_that_is_kept_running_purges_by_itself(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"
    monkeypatch.setattr("cds_service.audit.recorder._FIRST_PURGE", 0.01)

    async def old() -> None:
        store = Store(url)
        await write(store, [journals._answer(noted()._replace(at=datetime(2000, 1, 1, tzinfo=UTC)))], [])
        await store.close()

    asyncio.run(old())
    with TestClient(build_app(Settings(database_url=url), decision_service)) as client:
        for _ in range(200):
            if not asyncio.run(rows(url, answers)):
                break
        assert client.get("/healthz").status_code == 200
    assert asyncio.run(rows(url, answers)) == []
