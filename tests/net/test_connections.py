"""Slow and silent callers against the service as it is shipped, over real sockets: nobody waits for them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.conftest import COVERAGE, ROOT
from tests.support.calls import CALL
from tests.support.fhir_servers import free_port
from tests.support.people import body

TIMEOUT = 1.0


@contextmanager
def served(folder: Path, files: int = 256, unread_log: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The shipped command with so many file descriptors, until the block ends."""
    port = free_port()
    command = f"ulimit -n {files}; exec {sys.executable} -m cds_service.cli serve --try"
    env = {
        "PATH": os.environ["PATH"],
        "CDS_PORT": str(port),
        "CDS_RECEIVE_TIMEOUT": str(TIMEOUT),
        "CDS_DATABASE_URL": f"sqlite+aiosqlite:///{folder}/cds.sqlite",
        "PYTHONPATH": str(ROOT),
        **COVERAGE,
    }
    with (folder / "log").open("wb") as log:
        sink = subprocess.PIPE if unread_log else log
        process = subprocess.Popen(["/bin/sh", "-c", command], env=env, cwd=ROOT, stdout=log, stderr=sink)
    try:
        for _ in range(600):
            try:
                if urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).status == 200:
                    break
            except OSError:
                time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def cards(port: int) -> int:
    request = Request(f"http://127.0.0.1:{port}{CALL}", json.dumps(body()).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=5) as answer:
        return len(json.loads(answer.read())["cards"])


def opened(port: int, *said: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    for part in said:
        connection.sendall(part)
    return connection


HALF = (
    f"POST {CALL} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode()
    + b'{"hook": '
)


@pytest.mark.parametrize("said", [b"", b"POST /cds-ser", HALF], ids=["nothing", "half a head", "half a body"])
def test_a_caller_who_does_not_go_on_is_let_go(tmp_path: Path, said: bytes) -> None:
    with served(tmp_path) as (_, port), opened(port, said) as connection:
        began = time.monotonic()
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            answer = b""
        assert time.monotonic() - began < 3 * TIMEOUT + 3
        assert answer == b"" if said is not HALF else answer.startswith(b"HTTP/1.1 408 ")
        assert cards(port) > 0


def test_with_few_file_descriptors_and_many_silent_connections_honest_calls_are_answered(tmp_path: Path) -> None:
    with served(tmp_path, files=64) as (_, port), ExitStack() as silent:
        for _ in range(80):
            silent.enter_context(opened(port))
        began = time.monotonic()
        assert cards(port) > 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("said", [b"", HALF], ids=["silent", "half a body"])
def test_nobody_holds_the_process_when_it_is_to_stop(tmp_path: Path, said: bytes) -> None:
    with served(tmp_path) as (process, port), opened(port, said):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)


def test_a_log_that_nobody_reads_holds_up_no_answer(tmp_path: Path) -> None:
    """A pipe takes 64 kB; each answer logs some hundred bytes."""
    with served(tmp_path, unread_log=True) as (_, port):
        for _ in range(400):
            assert cards(port) > 0


def test_a_connection_that_is_kept_alive_is_used_again(tmp_path: Path) -> None:
    with served(tmp_path) as (_, port), opened(port) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(4096)
            assert b"200 OK" in answer
            time.sleep(TIMEOUT / 4)
