"""The pages of every invented person: milliseconds on the server, without the network, and kilobytes.

`python -m bench.pages` prints the slowest ten and the heaviest ten; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Scope

from cds_service.app import build_app
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import load_knowledge
from cds_service.samples.people import fixtures_of, read_cast
from cds_service.service import DecisionService
from cds_service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
OF_EACH = ("/try/{}", "/try/{}/why", "/try/{}/what-if", "/try/{}/history")
_SHOWN = 10


class Measured(NamedTuple):
    path: str
    milliseconds: float
    kilobytes: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="of which the fastest counts, as others may use the machine")
    found = asyncio.run(measure(options.parse_args().rounds))
    for title, key in (("slowest", "milliseconds"), ("heaviest", "kilobytes")):
        print(f"the {title} of {len(found)} pages")
        for item in sorted(found, key=lambda item: -getattr(item, key))[:_SHOWN]:
            print(f"  {item.milliseconds:6.1f} ms {item.kilobytes:6.1f} kB  {item.path}")
    print(f"median: {statistics.median(item.milliseconds for item in found):.1f} ms")


def paths(knowledge: Knowledge) -> list[str]:
    """Every page that can be asked for by its address alone."""
    found = ["/", "/rules", "/statements", "/dashboard", *(f"/rules/{rule.id}" for rule in knowledge.rules)]
    found += [f"/codes/{key}" for key in (*knowledge.value_sets, *knowledge.labs)]
    return found + [form.format(person.id) for person in read_cast(fixtures_of(ROOT)) for form in OF_EACH]


async def measure(rounds: int) -> list[Measured]:
    """Each of the `paths`, warm."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(database_url=f"sqlite+aiosqlite:///{folder}/cds.sqlite", log_level="error")
        knowledge = load_knowledge(ROOT)
        app = build_app(settings, DecisionService(knowledge, settings))
        return [await _measured(app, path, rounds) for path in paths(knowledge)]


async def _measured(app: ASGIApp, path: str, rounds: int) -> Measured:
    size, times = await _ask(app, path), []
    for _ in range(rounds):
        began = time.perf_counter()
        await _ask(app, path)
        times.append(time.perf_counter() - began)
    return Measured(path, min(times) * 1000, size / 1000)


async def _ask(app: ASGIApp, path: str) -> int:
    """The size of the page. Asked as a server asks, so that no client's time counts."""
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        told.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"accept", b"text/html")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
    }
    await app(scope, receive, send)
    if told[0]["status"] != 200:
        raise RuntimeError(f"{path}: {told[0]['status']}")
    return sum(len(message.get("body", b"")) for message in told)


if __name__ == "__main__":
    main()
