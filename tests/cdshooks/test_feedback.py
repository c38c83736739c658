"""Feedback: read tolerantly, written down once, and never with a comment's words."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cds_service.audit.queries import record_feedback
from cds_service.cdshooks.feedback import read_feedback
from cds_service.errors import RequestError
from cds_service.service import DecisionService
from cds_service.store.database import Store
from cds_service.store.tables import feedback
from tests.support.calls import CALL, assert_outcome, make
from tests.support.feedback import ACCEPTED, OVERRIDDEN, REASON, read
from tests.support.people import SERVICE

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
EPIC: dict[str, Any] = {
    "card": "1234-not-a-uuid",
    "outcome": "overridden",
    "overrideReasons": {
        "extension": {
            "com.epic.cdshooks.feedback.overrideReason.code": "7",
            "com.epic.cdshooks.feedback.overrideReason.system": "urn:oid:1.2.3",
        }
    },
    "outcomeTimestamp": "2026-11-20T04:31:43-05:00",
}


def test_the_shapes_of_the_specification_and_of_epic_are_read() -> None:
    accepted, overridden, epic = read(ACCEPTED, OVERRIDDEN, EPIC)
    assert accepted.accepted == ("e56e1945-20b3-4393-8503-a1a20fd73152",)
    assert (overridden.reason_system, overridden.reason_code) == ("https://ehr.example/reasons", "reason-code")
    assert overridden.comment_length == 26
    assert (epic.card, epic.reason_code, epic.reason_system) == ("1234-not-a-uuid", "7", "urn:oid:1.2.3")
    assert epic.outcome_at == accepted.outcome_at


@pytest.mark.parametrize(
    "item",
    [
        ACCEPTED | {"unheard": [None]},
        ACCEPTED | {"acceptedSuggestions": []},
        {key: value for key, value in ACCEPTED.items() if key != "acceptedSuggestions"},
        OVERRIDDEN | {"overrideReason": None},
        OVERRIDDEN | {"overrideReason": {"userComment": "no reason chosen"}},
        OVERRIDDEN | {"overrideReason": {"reason": {"code": "only-code"}}},
        OVERRIDDEN | {"overrideReason": {}, "overrideReasons": [{"reason": REASON}]},
        ACCEPTED | {"outcomeTimestamp": "2026-11-20T09:31:43.123456Z"},
    ],
)
def test_what_differs_by_client_is_taken(item: Any) -> None:
    assert len(read(item)) == 1


@pytest.mark.parametrize(
    ("item", "places"),
    [
        ({}, ["card", "outcome", "outcomeTimestamp"]),
        (ACCEPTED | {"card": ""}, ["card"]),
        (ACCEPTED | {"card": 7}, ["card"]),
        (ACCEPTED | {"card": "x" * 201}, ["card"]),
        (ACCEPTED | {"outcome": "ignored"}, ["outcome"]),
        (ACCEPTED | {"outcomeTimestamp": "yesterday"}, ["outcomeTimestamp"]),
        (ACCEPTED | {"acceptedSuggestions": "x"}, ["acceptedSuggestions"]),
        (ACCEPTED | {"acceptedSuggestions": [{"id": 7}]}, ["acceptedSuggestions"]),
    ],
)
def test_every_fault_is_named_by_its_place(item: Any, places: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        read(OVERRIDDEN, item)
    assert [problem.place for problem in caught.value.problems] == [f"feedback[1].{name}" for name in places]
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"feedback": {}}', b'{"feedback": [7]}', b"\xff", b"[" * 100_000])
def test_what_is_no_feedback_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_feedback(body)
    assert caught.value.slug == "invalid-feedback"


def test_the_same_outcome_twice_in_one_call_is_one() -> None:
    assert len(read(ACCEPTED, ACCEPTED)) == 1


async def stored(url: str) -> list[Any]:
    """All feedback as it stands in the database."""
    store = Store(url)
    engine = await store.open()
    async with engine.connect() as connection:
        found = (await connection.execute(select(feedback).order_by(feedback.c.outcome, feedback.c.id))).all()
    await store.close()
    return list(found)


def test_feedback_is_written_down_once_however_often_it_is_sent(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    with make(decision_service, tmp_path, database_url=database_url) as client:
        for _ in range(3):
            answer = client.post(f"{CALL}/feedback", json={"feedback": [ACCEPTED, OVERRIDDEN]})
            assert (answer.status_code, answer.json()) == (200, {})
        assert client.post(f"{CALL}/feedback", json={"feedback": []}).json() == {}
    first, second = asyncio.run(stored(database_url))
    assert (first.service_id, first.outcome, first.accepted) == (
        SERVICE,
        "accepted",
        [ACCEPTED["acceptedSuggestions"][0]["id"]],
    )
    assert (second.outcome, second.comment_length, second.comment) == ("overridden", 26, None)
    assert (first.client, second.reason_code) == ("", "reason-code")


def test_no_word_of_a_comment_reaches_the_database(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path) as client:
        client.post(f"{CALL}/feedback", json={"feedback": [OVERRIDDEN]})
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"reason-code" in written
    assert b"specialist" not in written


def test_the_words_of_a_comment_are_kept_where_a_site_wants_them(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    with make(decision_service, tmp_path, database_url=database_url, keep_comments=True) as client:
        client.post(f"{CALL}/feedback", json={"feedback": [OVERRIDDEN]})
    (row,) = asyncio.run(stored(database_url))
    assert (row.comment, row.comment_length) == (OVERRIDDEN["overrideReason"]["userComment"], 26)


def test_what_a_database_cannot_hold_is_refused_or_left_out(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    nul = {"reason": {"code": "a\0b", "system": "\0"}, "userComment": "\0" * 3}
    far = [OVERRIDDEN | {"outcomeTimestamp": f"{day}T00:00:00+14:00"} for day in ("0001-01-01", "9999-12-31")]
    sent = [OVERRIDDEN | {"overrideReason": nul}, ACCEPTED | {"acceptedSuggestions": [{"id": "x\0"}]}, *far]
    with make(decision_service, tmp_path, database_url=database_url) as client:
        assert client.post(f"{CALL}/feedback", json={"feedback": sent}).status_code == 200
        refused = client.post(f"{CALL}/feedback", json={"feedback": [ACCEPTED | {"card": "x\0"}]})
        assert_outcome(refused, 400, "invalid-feedback")
    rows = asyncio.run(stored(database_url))
    assert len(rows) == 4
    assert [row.reason_code for row in rows if row.reason_system == ""] == ["", "ab"]


@pytest.mark.asyncio
async def test_workers_that_start_and_write_at_once_agree(database_url: str) -> None:
    url = database_url.replace("cds.sqlite", "deep/er/cds.sqlite")
    stores = [Store(url) for _ in range(3)]
    items = read(ACCEPTED, OVERRIDDEN, EPIC)
    added = await asyncio.gather(*(record_feedback(store, SERVICE, items, NOW) for store in stores))
    for store in stores:
        await store.ping()
        await store.close()
    assert sum(map(len, added)) == 3
