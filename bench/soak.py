"""Mixed load for long: `python -m bench.soak --minutes 30` asks whether two workers stay as they were after warming up.

They share a PostgreSQL. The most that they answer is measured first, then they get seven tenths of it: hooks of two sizes,
orders, feedback, pages and metrics. The time of a call counts from when it was due, so that what waits for a slow call is slow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bench.bodies import SIZES, body
from bench.faults import SERVICE, Worker, ask
from tests.support.databases import Cluster

_WORKERS, _CALLERS, _SHARE = 2, 16, 0.7
_numbers = count()


class Call(NamedTuple):
    """One kind of call of the mix, and how often it comes."""

    often: int
    method: str
    path: str
    content: bytes = b""


class Span(NamedTuple):
    """What one stretch of the run showed: answers by status (0: none), milliseconds, and MiB of each worker at its end."""

    statuses: Counter[int]
    p50: float
    p99: float
    resident: tuple[float, ...]

    @property
    def failed(self) -> int:
        return sum(number for status, number in self.statuses.items() if status != 200)


class Soaked(NamedTuple):
    """`rate`: calls a second that were asked for."""

    rate: float
    spans: list[Span]


def mix() -> list[Call]:
    usual, large = (body(*SIZES[name]) for name in ("60 kB", "113 kB"))
    return [
        Call(12, "POST", SERVICE, usual),
        Call(4, "POST", SERVICE, large),
        Call(3, "POST", f"{SERVICE}/feedback"),
        Call(1, "GET", "/try/ada-stiffcalf"),
        Call(1, "GET", "/cds-services"),
        Call(1, "GET", "/readyz"),
        Call(1, "GET", "/metrics"),
    ]


def _written(call: Call) -> bytes:
    content = call.content
    if call.path.endswith("/feedback"):
        told = {"card": f"card-{next(_numbers)}", "outcome": "accepted", "outcomeTimestamp": "2026-11-20T09:00:00Z"}
        content = json.dumps({"feedback": [told]}).encode()
    head = f"{call.method} {call.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Caller:
    """One connection to each worker, opened anew where it was closed."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._open: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(self, call: Call) -> int:
        port = random.choice(self._ports)
        try:
            if port not in self._open:
                self._open[port] = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
            reader, writer = self._open[port]
            writer.write(_written(call))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            return int(head.split(b" ", 2)[1])
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            if port in self._open:
                self._open.pop(port)[1].close()
            return 0

    async def close(self) -> None:
        for _, writer in self._open.values():
            writer.close()
            await writer.wait_closed()


async def drive(ports: Sequence[int], seconds: float, rate: float | None) -> list[tuple[int, float]]:
    """Status and seconds of each call, at `rate` a second, or as fast as they are answered."""
    calls, seen = mix(), []
    weights = [call.often for call in calls]
    began, due = time.perf_counter(), count()

    async def caller() -> None:
        own = Caller(ports)
        while True:
            at = began + next(due) / rate if rate else time.perf_counter()
            if at - began > seconds:
                return await own.close()
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            status = await own.ask(random.choices(calls, weights)[0])
            seen.append((status, time.perf_counter() - at))

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return seen


def _resident(worker: Worker) -> float:
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@contextmanager
def workers(folder: Path) -> Iterator[list[Worker]]:
    with tempfile.TemporaryDirectory(prefix="cds-pg-") as place:
        Path(place).chmod(0o755)
        cluster = Cluster(Path(place), durable=True)
        url = cluster.new_database()
        started: list[Worker] = []
        try:
            for number in range(_WORKERS):
                (folder / str(number)).mkdir()
                started.append(Worker(url, folder / str(number), {"CDS_PAGES": "demo"}))
                while ask(started[-1].port, "/readyz") != 200:
                    time.sleep(0.05)
            yield started
        finally:
            for worker in started:
                worker.stop()
            cluster.stop()


def soak(spans: int, seconds: float, measuring: float) -> Soaked:
    """So many stretches of so many seconds, after the most was measured."""
    with tempfile.TemporaryDirectory() as folder, workers(Path(folder)) as running:
        ports = [worker.port for worker in running]
        asyncio.run(drive(ports, measuring, None))
        rate = len(asyncio.run(drive(ports, measuring, None))) / measuring * _SHARE
        found = Soaked(rate, [])
        print(f"{rate:.0f} calls a second, {_SHARE:.0%} of the most", flush=True)
        for number in range(spans):
            seen = asyncio.run(drive(ports, seconds, rate))
            times = sorted(took * 1000 for _, took in seen)
            p50, p99 = (times[int(len(times) * part)] for part in (0.5, 0.99))
            found.spans.append(Span(Counter(status for status, _ in seen), p50, p99, tuple(map(_resident, running))))
            print(_line(number, found.spans[-1]), flush=True)
        return found


def _line(number: int, span: Span) -> str:
    answers = ", ".join(f"{span.statuses[status]} × {status or 'no answer'}" for status in sorted(span.statuses))
    memory = " and ".join(f"{size:.0f}" for size in span.resident)
    return f"{number + 1:>4}  {answers:<28} p50 {span.p50:6.1f} ms  p99 {span.p99:6.1f} ms  {memory} MiB"


def _compared(spans: Sequence[Span]) -> str:
    """The last third beside the third after the first."""
    third = max(1, len(spans) // 3)
    before, after = spans[third : 2 * third] or spans[:1], spans[-third:]
    memory = statistics.median(sum(span.resident) for span in after) / statistics.median(sum(span.resident) for span in before)
    p99 = statistics.median(span.p99 for span in after) / statistics.median(span.p99 for span in before)
    return f"the last third beside the middle one: memory × {memory:.2f}, p99 × {p99:.2f}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=int, default=30)
    chosen = options.parse_args()
    found = soak(chosen.minutes, 60.0, 15.0)
    failed = sum(span.failed for span in found.spans)
    print(f"{failed} calls of {sum(span.statuses.total() for span in found.spans)} failed; {_compared(found.spans)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
