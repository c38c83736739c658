"""The database: built by its migrations forwards and backwards, of either kind, and durable where it says so."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import OperationalError

from cds_service.audit.queries import record_feedback
from cds_service.cdshooks.feedback import read_feedback
from cds_service.errors import SettingsError
from cds_service.settings import read_settings
from cds_service.store.database import Store, migrations
from cds_service.store.tables import metadata

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
SENT = b'{"feedback": [{"card": "c", "outcome": "overridden", "outcomeTimestamp": "2026-11-20T09:31:43Z"}]}'


async def inside(url: str, work: Callable[[Connection], Any]) -> Any:
    store = Store(url)
    engine = await store.open()
    async with engine.begin() as connection:
        found = await connection.run_sync(work)
    await store.close()
    return found


@pytest.mark.asyncio
async def test_the_migrations_build_what_the_tables_say(database_url: str) -> None:
    found = await inside(database_url, lambda connection: compare_metadata(MigrationContext.configure(connection), metadata))
    assert found == []


@pytest.mark.asyncio
async def test_migrations_go_back_to_nothing_and_forward_again(database_url: str) -> None:
    def back(connection: Connection) -> list[str]:
        command.downgrade(migrations(connection), "base")
        return inspect(connection).get_table_names()

    assert await inside(database_url, back) == ["alembic_version"]
    forward = await inside(database_url, lambda connection: compare_metadata(MigrationContext.configure(connection), metadata))
    assert forward == []


@pytest.mark.asyncio
async def test_feedback_of_the_first_version_outlives_the_migration(database_url: str) -> None:
    def old(connection: Connection) -> None:
        command.downgrade(migrations(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO feedback (id, fingerprint, service_id, card, outcome, outcome_at, received_at, accepted,"
                " reason_system, reason_code, comment_length) VALUES"
                " (1, 'f', 's', 'c', 'accepted', :at, :at, '[]', '', '', 0)"
            ).bindparams(at=NOW if connection.dialect.name == "postgresql" else NOW.isoformat(" "))
        )

    await inside(database_url, old)
    rows = await inside(database_url, lambda one: one.execute(text("SELECT card, client, comment FROM feedback")).all())
    assert [tuple(row) for row in rows] == [("c", "", None)]


@pytest.mark.asyncio
async def test_a_commit_reaches_the_disk_before_it_is_answered(database_url: str) -> None:
    """SQLite must flush its log at each commit; PostgreSQL does so unless somebody has told it otherwise."""
    if database_url.startswith("sqlite"):
        full = 2
        assert await inside(database_url, lambda one: one.execute(text("PRAGMA synchronous")).scalar()) == full
        assert await inside(database_url, lambda one: one.execute(text("PRAGMA journal_mode")).scalar()) == "wal"
    else:
        assert await inside(database_url, lambda one: one.execute(text("SHOW synchronous_commit")).scalar()) == "on"


@pytest.mark.asyncio
async def test_what_was_new_is_told(database_url: str) -> None:
    store = Store(database_url)
    items = read_feedback(SENT)
    assert await record_feedback(store, "s", items, NOW, "https://ehr.example") == items
    assert await record_feedback(store, "s", items, NOW, "https://ehr.example") == ()
    await store.close()


@pytest.mark.asyncio
async def test_it_is_ready_where_it_can_be_written_to(database_url: str) -> None:
    store = Store(database_url)
    await store.ping()
    await store.close()


@pytest.mark.asyncio
async def test_a_file_that_another_holds_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.store.database._PATIENCE_SECONDS", 0.3)
    path = tmp_path / "cds.sqlite"
    store = Store(f"sqlite+aiosqlite:///{path}")
    await store.ping()
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises((OperationalError, TimeoutError)):
            await store.ping()
    other.close()
    await store.ping()
    await store.close()


@pytest.mark.asyncio
async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/new/cds.sqlite")
    await store.ping()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").glob("cds.sqlite*")}
    assert {name: mode for name, mode in modes.items() if not name.endswith(".opening")} == dict.fromkeys(
        (name for name in modes if not name.endswith(".opening")), 0o600
    )
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cds.sqlite",
        "sqlite:///cds.sqlite",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///",
        "postgres://host/cds",
        "mysql://h/d",
    ],
)
def test_an_address_that_cannot_be_is_told_at_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_DATABASE_URL", url)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    (problem,) = refused.value.problems
    assert problem.place == "CDS_DATABASE_URL"
    # An address may hold a password.
    assert "(got" not in problem.message
