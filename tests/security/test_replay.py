"""A token is good for one call: at whichever worker, before and after a restart, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cds_service.security.replay import Replay, Unavailable
from cds_service.service import DecisionService
from cds_service.store.database import Store
from tests.support.calls import CALL, make
from tests.support.databases import Cluster
from tests.support.people import body
from tests.support.signing import DISCOVERY, ISS, Signer, bearer, clients_file


class Workers:
    """Any number of workers over one database, closed at the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._started: list[tuple[Replay, Store]] = []

    def start(self) -> Replay:
        store = Store(self._url)
        self._started.append((Replay(store), store))
        return self._started[-1][0]

    async def stop(self) -> None:
        for replay, store in self._started:
            await replay.close()
            await store.close()
        self._started.clear()


@pytest_asyncio.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    found = Workers(f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")
    yield found
    await found.stop()


def soon() -> float:
    return time.time() + 300


async def first_uses(replays: list[Replay], count: int) -> list[int]:
    """How often each of so many tokens was let in, when all workers are asked for all of them at once."""
    asked = [(number, replay) for number in range(count) for replay in replays]
    answers = await asyncio.gather(*(replay.first_use(ISS, f"jti-{number}", soon()) for number, replay in asked))
    return [
        sum(answer for (which, _), answer in zip(asked, answers, strict=True) if which == number) for number in range(count)
    ]


@pytest.mark.asyncio
async def test_of_many_workers_asked_at_once_one_lets_a_token_in(workers: Workers) -> None:
    assert await first_uses([workers.start() for _ in range(3)], 50) == [1] * 50


@pytest.mark.asyncio
async def test_of_many_calls_with_one_token_at_one_worker_one_is_let_in(workers: Workers) -> None:
    replay = workers.start()
    assert sum(await asyncio.gather(*(replay.first_use(ISS, "jti", soon()) for _ in range(10)))) == 1


@pytest.mark.asyncio
async def test_a_worker_that_starts_later_knows_what_was_used(workers: Workers) -> None:
    assert await workers.start().first_use(ISS, "jti", soon())
    await workers.stop()
    assert not await workers.start().first_use(ISS, "jti", soon())


@pytest.mark.asyncio
async def test_a_jti_counts_for_its_issuer(workers: Workers) -> None:
    replay = workers.start()
    assert await replay.first_use(ISS, "jti", soon())
    assert await replay.first_use("https://other.example", "jti", soon())
    assert not await replay.first_use(ISS, "jti", soon())


@pytest.mark.asyncio
async def test_many_who_wait_are_written_in_one_transaction(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    replay, sizes = workers.start(), []
    insert = Replay._insert

    async def counted(self: Replay, uses: Any) -> set[str]:
        sizes.append(len(uses))
        return await insert(self, uses)

    monkeypatch.setattr(Replay, "_insert", counted)
    assert all(await asyncio.gather(*(replay.first_use(ISS, f"jti-{number}", soon()) for number in range(100))))
    assert sum(sizes) == 100
    assert len(sizes) <= 2


def tokens(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM used_tokens").fetchone()
    connection.close()
    return int(count)


@pytest.mark.asyncio
async def test_tokens_that_ended_are_forgotten_and_others_are_not(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = workers.start()
    assert await replay.first_use(ISS, "ended", time.time() - 100)
    assert await replay.first_use(ISS, "just ended", time.time() - 1)
    assert await replay.first_use(ISS, "lives", soon())
    assert tokens(tmp_path / "cds.sqlite") == 3
    monkeypatch.setattr("cds_service.security.replay._PURGE_SECONDS", 0.0)
    assert await replay.first_use(ISS, "another", soon())
    await replay.close()
    assert tokens(tmp_path / "cds.sqlite") == 3
    assert not await replay.first_use(ISS, "just ended", soon())
    assert not await replay.first_use(ISS, "lives", soon())


def rename(path: Path, old: str, new: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"ALTER TABLE {old} RENAME TO {new}")
    connection.close()


@pytest.mark.asyncio
async def test_what_could_not_be_written_is_not_let_in_and_asked_again_later(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.security.replay._PURGE_SECONDS", 0.0)
    replay = workers.start()
    assert await replay.first_use(ISS, "before", soon())
    rename(tmp_path / "cds.sqlite", "used_tokens", "away")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await replay.first_use(ISS, "jti", soon())
    rename(tmp_path / "cds.sqlite", "away", "used_tokens")
    assert await replay.first_use(ISS, "jti", soon())
    assert not await replay.first_use(ISS, "jti", soon())


@pytest.mark.asyncio
async def test_a_lost_connection_is_made_anew_without_refusing_anyone(workers: Workers) -> None:
    replay = workers.start()
    assert await replay.first_use(ISS, "before", soon())
    assert replay._connection is not None
    await replay._connection.close()
    assert await replay.first_use(ISS, "after", soon())
    assert not await workers.start().first_use(ISS, "after", soon())


class Silent(Store):
    """A database that takes a connection and says nothing, until it is let go."""

    let_go = asyncio.Event()

    async def open(self) -> Any:
        await self.let_go.wait()
        raise ConnectionError


@pytest.mark.asyncio
async def test_a_database_that_does_not_answer_keeps_no_call_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.security.replay.START_SECONDS", 0.01)
    monkeypatch.setattr("cds_service.security.replay._MOST_WAITING", 3)
    replay = Replay(Silent("sqlite+aiosqlite://"))
    answers = await asyncio.gather(
        *(replay.first_use(ISS, f"jti-{number}", soon()) for number in range(5)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Unavailable] * 5
    assert {str(answer) for answer in answers} == {"no answer in time", "too many wait"}
    Silent.let_go.set()
    await replay.close()


def test_two_workers_and_a_restart_agree_over_http(decision_service: DecisionService, tmp_path: Path) -> None:
    signer = Signer()
    path = clients_file(tmp_path, {"iss": signer.iss, "jwks": signer.jwks(), "audiences": [DISCOVERY]})
    first, second, third = (signer.token(algorithm) for algorithm in ("ES384", "RS384", "ES384"))

    def statuses(service: Any, *used: str) -> list[int]:
        return [service.post(CALL, json=body(), headers=bearer(token)).status_code for token in used]

    with ExitStack() as stack:
        one, two = (stack.enter_context(make(decision_service, tmp_path, clients=path)) for _ in range(2))
        assert statuses(one, first, first) == [200, 401]
        assert statuses(two, first, second) == [401, 200]
        assert statuses(one, second, third) == [401, 200]
    with make(decision_service, tmp_path, clients=path) as restarted:
        assert statuses(restarted, first, second, third, signer.token()) == [401, 401, 401, 200]


@pytest.mark.asyncio
async def test_workers_agree_on_postgresql_too(postgresql: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(postgresql.new_database())
    assert await first_uses([workers.start() for _ in range(3)], 50) == [1] * 50
    assert not await workers.start().first_use(ISS, "jti-7", soon())
    monkeypatch.setattr("cds_service.security.replay._PURGE_SECONDS", 0.0)
    assert await workers.start().first_use(ISS, "ended", time.time() - 100)
    await workers.stop()
    assert await workers.start().first_use(ISS, "ended", soon())
    await workers.stop()


@pytest.mark.asyncio
async def test_while_somebody_else_writes_a_call_waits_for_its_turn(workers: Workers, tmp_path: Path) -> None:
    replay = workers.start()
    assert await replay.first_use(ISS, "before", soon())
    with closing(sqlite3.connect(tmp_path / "cds.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.create_task(replay.first_use(ISS, name, soon())) for name in ("during", "during", "before")]
        await asyncio.sleep(0.2)
        assert not waiting[0].done()
        other.execute("COMMIT")
    assert await asyncio.gather(*waiting) == [True, False, False]
