"""Connections that nobody holds who asks for nothing: a silent one is closed in time, and before others must wait."""

from __future__ import annotations

import asyncio
import resource
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEPT_FREE = 32
"""File descriptors for the database, the log and calls of FHIR servers."""
_MOST = 2000


def bounded_connections(patience: float) -> type[BoundedConnection]:
    """The protocol of one server. `patience`: seconds for the head of a request to come."""
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(_MOST, open_files - _KEPT_FREE) if open_files > 0 else _MOST
    return type("Connection", (BoundedConnection,), {"patience": patience, "most": max(1, most), "silent": {}})


class BoundedConnection(HttpToolsProtocol):
    """A connection as uvicorn has it: silent until the head of a request is complete, and again after the answer.

    `silent`: those of the server that have asked for nothing yet, the longest silent first.
    """

    patience: ClassVar[float]
    most: ClassVar[int]
    silent: ClassVar[dict[BoundedConnection, None]]
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._falls_silent()
        if len(self.connections) > self.most:
            next(iter(self.silent)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._speaks()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._speaks()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self._falls_silent()

    def _falls_silent(self) -> None:
        self._speaks()
        self.silent[self] = None
        self._timer = self.loop.call_later(self.patience, self.transport.abort)

    def _speaks(self) -> None:
        self.silent.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
