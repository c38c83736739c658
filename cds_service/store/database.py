"""The database, SQLite or PostgreSQL, opened and migrated through the same code.

SQLAlchemy and Alembic take half a second to import; they are imported when the store is opened, not when the
service starts to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Table
    from sqlalchemy.ext.asyncio import AsyncEngine

_MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_PATIENCE_SECONDS = 5
# Any constant of our own: workers that start together migrate one after the other.
_MIGRATION_LOCK = 726_001


class Store:
    """Opened on first use and kept. `url` is an async SQLAlchemy URL, such as `sqlite+aiosqlite:///var/cds.sqlite`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> AsyncEngine:
        """The engine, its database migrated to the newest version. Safe to call at the same time."""
        async with self._opening:
            if self._engine is None:
                engine = await asyncio.to_thread(_engine, self._url)
                async with _alone(engine), engine.begin() as connection:
                    await connection.run_sync(_migrate)
                self._engine = engine
        return self._engine

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def ping(self) -> None:
        """Raises what the driver raises if the database cannot be reached, or TimeoutError.

        It writes, for a database that is read-only, full or locked would lose what is told.
        """
        async with asyncio.timeout(_PATIENCE_SECONDS):
            engine = await self.open()
            async with engine.begin() as connection:
                await connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")


def insert_once(engine: AsyncEngine, table: Table, key: str) -> Any:
    """An insert that leaves a row alone whose `key` is there already."""
    from sqlalchemy.dialects import postgresql, sqlite

    make = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    return make(table).on_conflict_do_nothing(index_elements=[key])


def _engine(url: str) -> AsyncEngine:
    from sqlalchemy import event
    from sqlalchemy.engine import make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    parsed = make_url(url)
    json: dict[str, Any] = {
        "json_serializer": lambda value: msgspec.json.encode(value).decode(),
        "json_deserializer": msgspec.json.decode,
    }
    if parsed.get_backend_name() != "sqlite":
        # A database that hangs must not make anyone wait for ever.
        limits = {"timeout": _PATIENCE_SECONDS, "command_timeout": _PATIENCE_SECONDS}
        return create_async_engine(parsed, pool_pre_ping=True, pool_timeout=_PATIENCE_SECONDS, connect_args=limits, **json)
    if parsed.database and parsed.database != ":memory:":
        file = Path(parsed.database)
        file.parent.mkdir(parents=True, exist_ok=True)
        # For this user alone; SQLite makes the files beside it alike.
        with contextlib.suppress(OSError):
            file.touch(mode=0o600)
    engine = create_async_engine(parsed, connect_args={"timeout": _PATIENCE_SECONDS}, **json)

    def prepare(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA busy_timeout={_PATIENCE_SECONDS * 1000}")
        # In WAL, NORMAL would lose what was committed last when the power fails.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


@contextlib.asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """While a worker opens a SQLite file no other does: two that switch it to WAL at once wait for each other in vain.

    A file beside the database is locked, in a thread, for the lock may be held by a task of the same event loop.
    """
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        yield
        return
    with Path(f"{database}.opening").open("w") as file:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


def _migrate(connection: Connection) -> None:
    """To the newest version; one worker at a time."""
    from alembic import command

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    command.upgrade(migrations(connection), "head")


def migrations(connection: Connection) -> Config:
    """Alembic's view of our migrations, over an open connection."""
    from alembic.config import Config

    from cds_service.store.tables import metadata

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config
