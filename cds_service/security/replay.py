"""Tokens that were used: each is good for one call, at whichever worker, before and after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cds_service.log import log
from cds_service.store.database import Store

if TYPE_CHECKING:
    from sqlalchemy import CursorResult
    from sqlalchemy.ext.asyncio import AsyncConnection

PATIENCE_SECONDS = 2.0
"""So long a call waits for the database before it is refused."""
START_SECONDS = 20.0
"""And so long until it has been reached once: a worker takes calls while its database is opened and migrated."""
_PURGE_SECONDS = 60.0
# A worker whose clock runs ahead must not forget what another would still take.
_KEPT_LONGER = 60
_MOST_WAITING = 10_000
_INSERT = "INSERT INTO used_tokens (token, expires) VALUES (?, ?) ON CONFLICT (token) DO NOTHING"


class Unavailable(Exception):
    """The database could not say whether a token was used before."""


class _Use(NamedTuple):
    token: str
    expires: int
    first: asyncio.Future[bool]


class _DirectSqlite:
    """SQLite asked in the event loop itself, without waiting for another writer: an insert that flushes nothing to disk takes
    less than handing it to a thread. What is flushed when is left to those who write more.
    """

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint=0")

    def insert(self, use: _Use) -> bool | None:
        """Whether the token is new; None where somebody else writes just now, or the database is not to be had."""
        try:
            return self._connection.execute(_INSERT, (use.token, use.expires)).rowcount == 1
        except sqlite3.Error:
            return None

    def close(self) -> None:
        self._connection.close()


class Replay:
    """Remembers used tokens in the database that all workers share, and the recent ones here too.

    Whoever asks while a write is under way is written with the next: a busy worker pays one transaction for many tokens.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, int] = {}
        self._waiting: list[_Use] = []
        self._writer: asyncio.Task[None] | None = None
        self._purged_at = time.monotonic()
        self._connection: AsyncConnection | None = None
        self._beside: _DirectSqlite | None = None
        self._reached = False

    async def first_use(self, iss: str, jti: str, expires: float) -> bool:
        """Whether this token was never used; from now on it was. `expires`: seconds since the epoch.

        Raises Unavailable if the database does not say so in time: then the token counts as not used by us.
        """
        token = hashlib.sha256(f"{iss}\x1f{jti}".encode("utf-8", "surrogatepass")).hexdigest()
        if token in self._seen:
            return False
        if len(self._waiting) >= _MOST_WAITING:
            raise Unavailable("too many wait")
        use = _Use(token, math.ceil(expires) + _KEPT_LONGER, asyncio.get_running_loop().create_future())
        self._seen[token] = use.expires
        new = self._beside.insert(use) if self._beside and not self._is_purge_due() else None
        return new if new is not None else await self._written(use)

    async def _written(self, use: _Use) -> bool:
        """The same by way of the one writer, who waits for the database as long as a call may wait."""
        self._waiting.append(use)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        try:
            return await asyncio.wait_for(use.first, PATIENCE_SECONDS if self._reached else START_SECONDS)
        except TimeoutError:
            self._seen.pop(use.token, None)
            raise Unavailable("no answer in time") from None

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer
        await self._disconnect()

    async def _write(self) -> None:
        while self._waiting:
            uses, self._waiting = self._waiting, []
            try:
                new = await self._insert(uses)
            except Exception as error:
                self._fail(uses, type(error).__name__)
            else:
                for use in uses:
                    if not use.first.done():
                        use.first.set_result(use.token in new)
            await self._purge()

    def _fail(self, uses: Sequence[_Use], why: str) -> None:
        for use in uses:
            # It may or may not be written; the next call with it asks again.
            self._seen.pop(use.token, None)
            if not use.first.done():
                use.first.set_exception(Unavailable(why))

    async def _insert(self, uses: Sequence[_Use]) -> set[str]:
        """The tokens of these that the database did not hold."""
        # Sorted, so that two workers with the same tokens do not wait for each other crosswise.
        rows = [{"token": use.token, "expires": use.expires} for use in sorted(uses, key=lambda use: use.token)]
        written = await self._execute(_insertion, rows)
        return set(written.scalars())

    def _is_purge_due(self) -> bool:
        return time.monotonic() - self._purged_at >= _PURGE_SECONDS

    async def _purge(self) -> None:
        """Forget, once a minute, what would be refused for its age anyway. If it fails, the next time takes it along."""
        if not self._is_purge_due():
            return
        self._purged_at = time.monotonic()
        now = int(time.time())
        self._seen = {token: expires for token, expires in self._seen.items() if expires >= now}
        try:
            await self._execute(_deletion, {"moment": now})
        except Exception as error:
            log.error("used tokens not purged", error=type(error).__name__)

    async def _execute(self, statement: Callable[[str], Any], rows: Any) -> CursorResult[Any]:
        """Over the connection that is kept; where that is lost, once more over a new one."""
        kept = self._connection
        if kept is not None:
            with contextlib.suppress(Exception):
                return await _run(kept, statement, rows)
            await self._disconnect()
        self._connection = await self._connect()
        return await _run(self._connection, statement, rows)

    async def _connect(self) -> AsyncConnection:
        """One of our own, apart from the pool: each statement stands for itself, which spares most of what an insert costs."""
        connection = await (await self._store.open()).connect()
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.run_sync(lambda inner: inner.detach())
        if connection.dialect.name == "sqlite":
            # What a power failure takes is the use of a token of the last moment, not what someone wrote.
            await connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
            path = connection.engine.url.database
            self._beside = _DirectSqlite(path) if path and path != ":memory:" else None
        self._reached = True
        return connection

    async def _disconnect(self) -> None:
        lost, self._connection = self._connection, None
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.close()
        if lost is not None:
            with contextlib.suppress(Exception):
                await lost.close()


async def _run(connection: AsyncConnection, statement: Callable[[str], Any], rows: Any) -> CursorResult[Any]:
    result: CursorResult[Any] = await connection.execute(statement(connection.dialect.name), rows)
    return result


@cache
def _insertion(dialect: str) -> Any:
    """Built once, so that SQLAlchemy finds its compiled form again."""
    from sqlalchemy.dialects import postgresql, sqlite

    from cds_service.store.tables import used_tokens

    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return make(used_tokens).on_conflict_do_nothing(index_elements=["token"]).returning(used_tokens.c.token)


@cache
def _deletion(dialect: str) -> Any:
    from sqlalchemy import bindparam

    from cds_service.store.tables import used_tokens

    return used_tokens.delete().where(used_tokens.c.expires < bindparam("moment"))
