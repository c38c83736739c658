"""What callers see while something is broken, and what is lost: `python -m bench.faults` writes `docs/reliability.md`.

Each fault is done to the service as it is shipped, under load, for some seconds, and then lifted. A supervisor starts the
worker again when it ends, as systemd does. Lost is feedback that was answered with 200 and is not in the database afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bench.bodies import SIZES, body
from tests.support.databases import Cluster
from tests.support.fhir_servers import free_port

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "/cds-services/leg-cramps-patient-view"
_CALLERS = 4
PATIENCE = 20.0


class Seen(NamedTuple):
    """One call: when it ended, what it was, its status (0: none), how long it took, and the card that it told of."""

    at: float
    kind: str
    status: int
    seconds: float
    card: str = ""


class Row(NamedTuple):
    """What a fault did. `recovered`: seconds after it was lifted until both kinds of call were answered with 200 again."""

    fault: str
    hooks: str
    slowest: float
    feedback: str
    lost: int
    recovered: float


class Worker:
    """The shipped command, started again whenever it ends, until the block is left."""

    def __init__(self, url: str, folder: Path, env: Mapping[str, str] = MappingProxyType({})) -> None:
        self.port, self._folder, self._stopping = free_port(), folder, threading.Event()
        self._env = os.environ | {"CDS_DATABASE_URL": url, "CDS_PORT": str(self.port), "CDS_TRIAL": "true"}
        self._env |= {"CDS_PAGES": "off"} | dict(env)
        self.process = self._start()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "cds_service.cli", "serve"]
            return subprocess.Popen(command, env=self._env, cwd=ROOT, stdout=log, stderr=log)

    def _supervise(self) -> None:
        while not self._stopping.wait(0.05):
            if self.process.poll() is not None:
                self.process = self._start()

    def stop(self) -> None:
        self._stopping.set()
        self._supervisor.join()
        self.process.kill()
        self.process.wait()


def ask(port: int, path: str, sent: Any = None) -> int:
    """The status of one call, 0 where there was no answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        content = sent if isinstance(sent, bytes) or sent is None else json.dumps(sent).encode()
        connection.request("POST" if content else "GET", path, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


class Load:
    """Callers who call one after the other: a hook, then feedback on a card of their own."""

    def __init__(self, port: int) -> None:
        self._port, self._stopping, self._numbers = port, threading.Event(), count()
        self.seen: list[Seen] = []
        self._body = body(*SIZES["60 kB"])
        self._callers = [threading.Thread(target=self._call) for _ in range(_CALLERS)]
        for caller in self._callers:
            caller.start()

    def _call(self) -> None:
        while not self._stopping.is_set():
            self._note("hook", SERVICE, self._body)
            card = f"card-{next(self._numbers)}"
            told = {"card": card, "outcome": "accepted", "outcomeTimestamp": "2026-11-20T09:00:00Z"}
            self._note("feedback", f"{SERVICE}/feedback", {"feedback": [told]}, card)
            time.sleep(0.01)

    def _note(self, kind: str, path: str, sent: Any, card: str = "") -> None:
        began = time.monotonic()
        status = ask(self._port, path, sent)
        now = time.monotonic()
        self.seen.append(Seen(now, kind, status, now - began, card))

    def stop(self) -> None:
        self._stopping.set()
        for caller in self._callers:
            caller.join()


Fault = Callable[["Scene"], Iterator[None]]


class Scene(NamedTuple):
    """What a fault may lay hands on. `path`: of the SQLite file, `cluster`: the PostgreSQL, whichever is used.

    `clock`: a file that says by how much the worker's clock is wrong, where it has one of its own.
    """

    worker: Worker
    path: Path
    cluster: Cluster | None
    clock: Path


def killed(scene: Scene) -> Iterator[None]:
    scene.worker.process.kill()
    yield


def terminated(scene: Scene) -> Iterator[None]:
    scene.worker.process.send_signal(signal.SIGTERM)
    yield


def file_locked(scene: Scene) -> Iterator[None]:
    with sqlite3.connect(scene.path, timeout=30, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def file_full(scene: Scene) -> Iterator[None]:
    """The file may not grow any more, as on a full disk: held for the process by its limit on the size of files."""
    limit = scene.path.stat().st_size // 2
    subprocess.run(["prlimit", f"--pid={scene.worker.process.pid}", f"--fsize={limit}:"], check=True)
    yield
    subprocess.run(["prlimit", f"--pid={scene.worker.process.pid}", "--fsize=unlimited:"], check=True)


def database_stopped(scene: Scene) -> Iterator[None]:
    assert scene.cluster
    scene.cluster.stop("immediate")
    yield
    scene.cluster.start()


def database_hanging(scene: Scene) -> Iterator[None]:
    assert scene.cluster
    with scene.cluster.hanging():
        yield


def clock_jumping(scene: Scene) -> Iterator[None]:
    """A day ahead, and then an hour behind what it was: as where the time of a machine is set."""
    scene.clock.write_text("+1d")
    yield
    scene.clock.write_text("-1h")


def silent_callers(scene: Scene) -> Iterator[None]:
    with ExitStack() as held:
        for _ in range(200):
            held.enter_context(socket.create_connection(("127.0.0.1", scene.worker.port)))
        yield


def half_bodies(scene: Scene) -> Iterator[None]:
    head = f"POST {SERVICE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{{"
    with ExitStack() as held:
        for _ in range(200):
            held.enter_context(socket.create_connection(("127.0.0.1", scene.worker.port))).sendall(head.encode())
        yield


FAULTS: dict[str, tuple[str, Fault]] = {
    "worker killed (kill -9)": ("sqlite", killed),
    "worker told to stop (SIGTERM)": ("sqlite", terminated),
    "SQLite file locked by another program": ("sqlite", file_locked),
    "SQLite file cannot grow (disk full)": ("sqlite", file_full),
    "PostgreSQL stopped": ("postgresql", database_stopped),
    "PostgreSQL hanging": ("postgresql", database_hanging),
    "clock set a day ahead, then back to before": ("own clock", clock_jumping),
    "200 connections that say nothing": ("sqlite", silent_callers),
    "200 connections with half a body": ("sqlite", half_bodies),
}


@contextmanager
def scene_of(kind: str, folder: Path) -> Iterator[tuple[Scene, Callable[[], set[str]]]]:
    """A worker over a new database, and what tells whose feedback is in it."""
    path, clock = folder / "cds.sqlite", folder / "clock"
    if kind != "postgresql":
        worker = Worker(f"sqlite+aiosqlite:///{path}", folder, _own_clock(clock) if kind == "own clock" else {})
        try:
            yield Scene(worker, path, None, clock), lambda: _cards_in(path)
        finally:
            worker.stop()
        return
    with tempfile.TemporaryDirectory(prefix="cds-pg-") as place:
        Path(place).chmod(0o755)
        cluster = Cluster(Path(place), durable=True)
        url = cluster.new_database()
        name = url.partition("?")[0].rpartition("/")[2]
        worker = Worker(url, folder)
        try:
            yield (
                Scene(worker, path, cluster, clock),
                lambda: {row[0] for row in cluster.sql("SELECT card FROM feedback", name)},
            )
        finally:
            worker.stop()
            cluster.stop()


def _own_clock(clock: Path) -> dict[str, str]:
    """What gives a process a clock that `clock` sets, by Debian's libfaketime. What only goes forward stays as it is."""
    clock.write_text("+0")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _cards_in(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT card FROM feedback")}


def suffer(name: str, seconds: float) -> Row:
    """One fault, for so many seconds, with as long before and what it takes afterwards."""
    kind, fault = FAULTS[name]
    with tempfile.TemporaryDirectory() as folder, scene_of(kind, Path(folder)) as (scene, kept):
        until = time.monotonic() + PATIENCE
        while ask(scene.worker.port, "/readyz") != 200 and time.monotonic() < until:
            time.sleep(0.05)
        load = Load(scene.worker.port)
        time.sleep(seconds)
        began, steps = time.monotonic(), fault(scene)
        next(steps)
        time.sleep(seconds)
        next(steps, None)
        lifted = time.monotonic()
        recovered = _until_well(load, lifted)
        time.sleep(0.5)
        load.stop()
        return _told(name, load.seen, began, lifted, recovered, kept())


def _until_well(load: Load, lifted: float) -> float:
    """Seconds until calls of both kinds that began afterwards were answered with 200."""
    while time.monotonic() - lifted < PATIENCE:
        well = {item.kind: item.at for item in reversed(load.seen) if item.status == 200 and item.at - item.seconds > lifted}
        if len(well) == 2:
            return max(0.0, max(well.values()) - lifted)
        time.sleep(0.02)
    return PATIENCE


def _told(name: str, seen: list[Seen], began: float, lifted: float, recovered: float, kept: set[str]) -> Row:
    during = [item for item in seen if began <= item.at <= lifted + recovered]
    acknowledged = {item.card for item in seen if item.kind == "feedback" and item.status == 200}
    hooks = [item for item in during if item.kind == "hook"]
    return Row(
        name,
        _statuses(hooks),
        max((item.seconds for item in hooks), default=0.0),
        _statuses([item for item in during if item.kind == "feedback"]),
        len(acknowledged - kept),
        recovered,
    )


def _statuses(seen: list[Seen]) -> str:
    counts = Counter(item.status for item in seen)
    return ", ".join(f"{counts[status]} × {status or 'no answer'}" for status in sorted(counts)) or "none"


_HEAD = """# What breaks, and what is lost

Written by `python -m bench.faults` from one run on one machine of two cores; the numbers of another differ. Each fault was
done for {seconds:g} seconds under load to the shipped command, and then lifted. *Lost* is feedback that was answered with 200
and is not in the database afterwards. A supervisor starts a worker again that ended. The last column counts from when the
fault was lifted: a worker that had ended was started again by then. The same four callers tell feedback and call hooks, one
after the other, so where feedback waits for a database they call no hooks.

| fault | hooks meanwhile | slowest | feedback meanwhile | lost | well again after |
|---|---|---|---|---|---|
"""
_FOOT = """
Not in this table, and held by tests: a FHIR server that is slow, dead or hostile (`tests/fetch/test_hostile_servers.py`); a
log that nobody reads, few file descriptors and stopping with half a body (`tests/net/test_connections.py`). All faults of the
table are tried for a moment by `tests/system/test_faults.py`. What stays as it is under load for long: `python -m bench.soak`.
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--only", default="", help="do only the faults that hold this word, and write nothing")
    chosen = options.parse_args()
    rows = []
    for name in FAULTS:
        if chosen.only in name:
            row = suffer(name, chosen.seconds)
            rows.append(row)
            print(_line(row), flush=True)
    if not chosen.only:
        text = _HEAD.format(seconds=chosen.seconds) + "\n".join(map(_line, rows)) + "\n" + _FOOT
        (ROOT / "docs/reliability.md").write_text(text)


def _line(row: Row) -> str:
    return f"| {row.fault} | {row.hooks} | {row.slowest:.1f} s | {row.feedback} | {row.lost} | {row.recovered:.1f} s |"


if __name__ == "__main__":
    main()
