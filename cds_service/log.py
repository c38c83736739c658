"""One JSON line an event on standard error: ids, counts and times. Nothing of a patient is ever handed to it."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import MutableMapping
from typing import Any, TextIO

import orjson
import structlog

log: Any = structlog.get_logger("cds")


class LogThread:
    """Writes lines in a thread, so that a sink that nobody reads holds up no answer. What does not fit is lost and counted."""

    def __init__(self, sink: TextIO) -> None:
        self._sink, self._lines = sink, queue.Queue[str](_MOST_LINES)
        self.lost = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()
        atexit.register(self.drain)

    def write(self, text: str) -> None:
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self.lost += 1

    def flush(self) -> None:
        """Nothing is held back: the thread writes as soon as it can."""

    def drain(self, seconds: float = 2.0) -> None:
        """Wait for what is still to be written, but not for ever."""
        until = time.monotonic() + seconds
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            text = self._lines.get()
            with contextlib.suppress(OSError, ValueError):
                self._sink.write(text)
                self._sink.flush()
            self._lines.task_done()


_MOST_LINES = 10_000


def configure(level: str, sink: Any = None) -> None:
    """`sink`: where lines go, else standard error as it is now."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _where,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sink or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _where(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by the places it passed, without its message, which may quote the patient's data."""
    if event.pop("exc_info", None):
        frame = sys.exc_info()[2]
        places = []
        while frame:
            places.append(f"{frame.tb_frame.f_globals.get('__name__')}:{frame.tb_lineno}")
            frame = frame.tb_next
        event["where"] = places
    return event


def _dump(event: dict[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:
        # What a caller sent may hold half a character, which is no UTF-8; no event may be lost by that.
        return json.dumps(event, default=str)
