"""Feedback as an EHR sends it, and the rows that it leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Table, select

from cds_service.cdshooks.feedback import read_feedback
from cds_service.store.database import Store

ACCEPTED: dict[str, Any] = {
    "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
    "outcome": "accepted",
    "acceptedSuggestions": [{"id": "e56e1945-20b3-4393-8503-a1a20fd73152"}],
    "outcomeTimestamp": "2026-11-20T09:31:43Z",
}
REASON = {"code": "reason-code", "system": "https://ehr.example/reasons"}
OVERRIDDEN: dict[str, Any] = {
    "card": "9368d37b-283f-44a0-93ea-547cebab93ed",
    "outcome": "overridden",
    "overrideReason": {"reason": REASON, "userComment": "She has seen a specialist."},
    "outcomeTimestamp": "2026-11-20T09:31:43Z",
}
KEY = "an invented key, made for tests only"


def read(*items: Any) -> Any:
    return read_feedback(json.dumps({"feedback": items}).encode())


async def rows(url: str, table: Table) -> list[Any]:
    store = Store(url)
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(select(table).order_by(table.c.id))).all()
    await store.close()
    return list(found)


def until(asked: Callable[[], bool]) -> bool:
    for _ in range(200):
        if asked():
            return True
        time.sleep(0.05)
    return False
