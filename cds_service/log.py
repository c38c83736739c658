"""One JSON line an event on standard error: ids, counts and times. Nothing of a patient is ever handed to it."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

log: Any = structlog.get_logger("cds")


def configure(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _where,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
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
    return orjson.dumps(event, default=str).decode()
