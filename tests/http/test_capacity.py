"""What a call may cost: linear in its size, little to answer, and never so many at once that honest callers go without."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from bench.hostile import Shape, cost, shapes
from cds_service.app import build_app
from cds_service.cdshooks.request import read_request
from cds_service.errors import RequestError
from cds_service.http.capacity import Capacity, HeldBodies
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.calls import CALL, assert_outcome, make
from tests.support.people import AS_OF, SERVICE, body

SMALL, LARGE = 40_000, 400_000
MOST_ANSWERED = 200_000
NOISE = 0.1
"""CPU seconds below which nothing is told of growth: a collection of garbage in between is as much."""


@pytest.fixture(scope="module")
def client(decision_service: DecisionService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with make(decision_service, tmp_path_factory.mktemp("db")) as opened:
        yield opened


@pytest.mark.untraced
@pytest.mark.parametrize("shape", shapes().values(), ids=shapes())
def test_a_body_costs_in_proportion_to_its_size_and_is_answered_briefly(client: TestClient, shape: Shape) -> None:
    """Ten times as large costs ten times as much, give or take; a hundred times as much would be a way to stop the service."""
    (less, first), (more, second) = cost(client, shape, SMALL), cost(client, shape, LARGE)
    assert second.status < 500
    assert second.answer < MOST_ANSWERED
    if second.seconds > NOISE:
        assert second.seconds / more < 4 * first.seconds / less


@pytest.mark.untraced
@pytest.mark.parametrize(
    "name",
    ["results of one day", "components of ours", "results unknown", "problems unknown", "drugs unknown", "sites of a problem"],
)
def test_thousands_of_one_kind_cost_no_more_each_than_hundreds(client: TestClient, name: str) -> None:
    """What grows with the square of a number shows only where there are many."""
    (less, first), (more, second) = cost(client, shapes()[name], LARGE), cost(client, shapes()[name], 10 * LARGE)
    assert second.status == 200
    assert second.seconds / more < 3 * first.seconds / less


@pytest.mark.parametrize("name", ["a name of a problem", "a name of a result", "a name of a drug", "a code"])
def test_a_long_text_is_not_kept_once_for_each_fact_that_it_leaves_open(decision_service: DecisionService, name: str) -> None:
    asked = read_request(shapes()[name].body(LARGE), "patient-view")
    decision = decision_service.answer(SERVICE, asked, AS_OF)
    assert max(len(decision.facts[fact].reason) for fact in decision.knowledge.facts) < 2_000


@pytest.mark.parametrize(
    ("items", "told"), [([7] * 21, 21), ([{}] * 900, 21), ([7] * 3, 3), ([{"card": "c", "outcome": "accepted"}] * 1001, 1)]
)
def test_of_many_problems_twenty_are_told_and_how_many_more(client: TestClient, items: list[Any], told: int) -> None:
    answer = client.post(f"{CALL}/feedback", json={"feedback": items})
    assert len(assert_outcome(answer, 400, "invalid-feedback")) == told
    assert ("more are wrong" in answer.text) is (told > 20)


@pytest.mark.asyncio
async def test_a_call_beyond_as_many_as_may_be_is_told_to_come_again() -> None:
    capacity = Capacity(most_calls=2)
    with capacity.call(), capacity.call():
        with pytest.raises(RequestError) as refused, capacity.call():
            pass
        assert (refused.value.status, refused.value.slug) == (503, "overloaded")
    with capacity.call():
        capacity.close()


def test_of_large_bodies_no_more_is_held_at_once_than_there_is_memory_for() -> None:
    bodies, megabyte = HeldBodies(), 2**20
    with ExitStack() as held:
        for _ in range(8):
            take = held.enter_context(bodies.one())
            for _ in range(14):
                take(megabyte)
        with bodies.one() as take_more:
            take_more(500_000)
            with pytest.raises(RequestError) as refused:
                take_more(megabyte)
        assert (refused.value.status, refused.value.slug) == (503, "overloaded")
        # Calls of usual size have room of their own, which has an end too.
        with ExitStack() as small:
            for _ in range(48 * megabyte // 500_000):
                small.enter_context(bodies.one())(500_000)
            with pytest.raises(RequestError):
                small.enter_context(bodies.one())(500_000)
    with bodies.one() as take:
        take(16 * megabyte)


def test_a_body_for_which_there_is_no_room_is_told_to_come_again(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.http.capacity._HELD", 1_500_000)
    large = shapes()["results"].body(2_000_000)
    for _ in range(3):
        assert_outcome(client.post(CALL, content=large), 503, "overloaded")
    # What one call held is given back, however it ended.
    assert client.post(CALL, content=shapes()["results"].body(1_200_000)).status_code == 200


def test_what_is_overloaded_says_when_to_come_again(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path, most_calls=1) as client:
        endpoints = client.app.state.endpoints  # type: ignore[attr-defined]
        with endpoints.capacity.call():
            refused = client.post(CALL, json=body())
            assert_outcome(refused, 503, "overloaded")
            assert refused.headers["retry-after"] == "1"
            assert client.get("/healthz").status_code == 200
        assert client.post(CALL, json=body()).status_code == 200


@pytest.mark.asyncio
async def test_a_large_call_leaves_the_loop_free_and_waits_for_its_turn_no_longer_than_its_deadline() -> None:
    capacity, begun, go_on = Capacity(most_calls=10), threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go_on.wait(5)
        return "done"

    now = asyncio.get_running_loop().time()
    first = asyncio.create_task(capacity.run(2_000_000, now + 5, work))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    with pytest.raises(RequestError) as refused:
        await capacity.run(2_000_000, now + 0.1, work)
    assert refused.value.status == 503
    # What is small is not kept waiting by it.
    assert await capacity.run(100_000, now + 0.1, lambda: "small") == "small"
    go_on.set()
    assert await first == "done"
    capacity.close()


@pytest.mark.asyncio
async def test_a_caller_who_leaves_in_the_middle_is_no_error(
    decision_service: DecisionService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite", pages="off")
    app = build_app(settings, decision_service)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": CALL,
        "raw_path": CALL.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
    }
    came: list[Message] = [{"type": "http.request", "body": b'{"hook": ', "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return came.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert sent == []
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines() if text.startswith("{")]
    assert [line["level"] for line in lines if line["event"] == "gone"] == ["info"]
    assert not [line for line in lines if line["level"] == "error"]
