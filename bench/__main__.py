"""One command, one run: throughput and latency beside the floors, memory, cold start, and where the time goes."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from bench.bodies import DAYS, HUGE, SIZES, body, day
from bench.stages import time_keeping, time_stages

HOST = "127.0.0.1"
SERVICE = "/cds-services/leg-cramps-patient-view"
CONTESTANTS = {"service": SERVICE, "constant card": "/constant", "fhir.resources": "/validating"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--at-once", type=int, nargs="*", default=[1, 8, 32], help="requests under way")
    options.add_argument("--only", default="", help="measure only this size, such as '113 kB'")
    chosen = options.parse_args()
    with server("cds_service.app:create_app", factory=True) as ours, server("bench.floor:app") as floor:
        print(f"cold start to ready: {ours.cold_start:.2f} s")
        ports = {"service": ours.port, "constant card": floor.port, "fhir.resources": floor.port}
        for name, size in SIZES.items():
            if not chosen.only or chosen.only == name:
                compare(f"{name}, leg cramps on record", [body(*size)], ports, chosen)
        for name, size in DAYS.items():
            if not chosen.only or chosen.only == name:
                compare(f"{name}, a day: one of 32 has leg cramps", day(*size), ports, chosen)
                compare(f"{name}, such a day, encounters not supplied", day(*size, encounter=False), ports, chosen)
        huge(ours)
        print(f"\nresident memory of the worker: {ours.resident():.0f} MiB")
    for name, size in SIZES.items():
        print(f"\nwhere the time goes, {name}, in microseconds: {time_stages(body(*size))}")
        print(f"what is kept of it, in microseconds: {time_keeping(body(*size))}")


class Server:
    """One uvicorn worker with uvloop and httptools, in a process of its own."""

    def __init__(self, target: str, factory: bool, folder: str) -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = int(probe.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            target,
            "--port",
            str(self.port),
            "--no-access-log",
            "--log-level",
            "warning",
        ]
        command += ["--loop", "uvloop", "--http", "httptools", *(["--factory"] if factory else [])]
        env = os.environ | {"CDS_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/cds.sqlite"}
        started = time.perf_counter()
        self.log = Path(folder, "log").open("wb")  # noqa: SIM115  closed with the server
        self.process = subprocess.Popen(command, env=env, stderr=self.log)
        self._wait()
        self.cold_start = time.perf_counter() - started

    def _wait(self) -> None:
        while self.process.poll() is None:
            try:
                if asyncio.run(one(self.port, "/readyz", b"", "GET")):
                    return
            except OSError:
                time.sleep(0.01)
        raise SystemExit("a server did not start")

    def resident(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


@contextmanager
def server(target: str, *, factory: bool = False) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        running = Server(target, factory, folder)
        try:
            yield running
        finally:
            running.process.terminate()
            running.process.wait()
            running.log.close()


def request(path: str, content: bytes, method: str = "POST") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def answer(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(length)
    return head.startswith(b"HTTP/1.1 200")


async def one(port: int, path: str, content: bytes, method: str = "POST") -> bool:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request(path, content, method))
    good = await answer(reader)
    writer.close()
    return good


async def load(port: int, path: str, contents: Sequence[bytes], concurrency: int, seconds: float) -> list[float]:
    """The time of each request in seconds, `concurrency` of them always under way; the bodies come in turn."""
    sent, times = cycle([request(path, content) for content in contents]), []
    until = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection(HOST, port, limit=2**20)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(next(sent))
            if not await answer(reader):
                raise SystemExit(f"{path} did not answer 200")
            times.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return times


def compare(name: str, contents: Sequence[bytes], ports: dict[str, int], chosen: argparse.Namespace) -> None:
    """Contestants take turns, so that a noisy minute hits all of them."""
    print(f"\n{name} ({len(contents[0])} bytes)")
    print(f"{'':<16}{'at once':>8}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'p99/p50':>9}{'of floor':>10}")
    for concurrency in chosen.at_once:
        rates: dict[str, list[float]] = {key: [] for key in CONTESTANTS}
        times: dict[str, list[float]] = {key: [] for key in CONTESTANTS}
        for _ in range(chosen.rounds):
            for key, path in CONTESTANTS.items():
                began = time.perf_counter()
                found = asyncio.run(load(ports[key], path, contents, concurrency, chosen.seconds))
                rates[key].append(len(found) / (time.perf_counter() - began))
                times[key] += found
        floor = statistics.median(rates["constant card"])
        for key in CONTESTANTS:
            rate, slowest = statistics.median(rates[key]), sorted(times[key])
            p50, p99 = (slowest[int(len(slowest) * part)] * 1000 for part in (0.5, 0.99))
            row = f"{key:<16}{concurrency:>8}{rate:>9.0f}{p50:>9.2f}{p99:>9.2f}{p99 / p50:>9.1f}{rate / floor:>10.2f}"
            print(row, flush=True)


def huge(ours: Server) -> None:
    """The largest patient, alone, while small requests go on beside it."""
    content, small = body(*HUGE), body(*SIZES["60 kB"])

    async def beside() -> tuple[float, list[float]]:
        others = asyncio.create_task(load(ours.port, SERVICE, [small], 1, 1.5))
        await asyncio.sleep(0.3)
        began = time.perf_counter()
        await one(ours.port, SERVICE, content)
        return time.perf_counter() - began, await others

    took, others = asyncio.run(beside())
    print(f"\n{len(content) / 1e6:.1f} MB, 7,000 Observations and 480 Conditions: {took * 1000:.0f} ms; ", end="")
    print(f"the slowest 60 kB request beside it took {max(others) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
