"""The service is killed under load: every feedback that was answered with 200 is in the database."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cds_service.store.tables import feedback
from tests.conftest import COVERAGE, ROOT
from tests.support.feedback import OVERRIDDEN, rows
from tests.support.fhir_servers import free_port
from tests.support.people import SERVICE, body

CALL = f"/cds-services/{SERVICE}"
ENOUGH = 60
CALLERS = 6


@contextmanager
def served(url: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "cds_service.app:create_app", "--port", str(port)]
    env = {"PATH": os.environ["PATH"], "CDS_DATABASE_URL": url, "CDS_TRIAL": "true", **COVERAGE}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=log, stderr=log)
    try:
        for _ in range(1200):
            if process.poll() is None and status(port, "GET", "/readyz") == 200:
                break
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()


def status(port: int, method: str, path: str, sent: Any = None) -> int:
    """0 where there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        content = json.dumps(sent) if sent else None
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_no_feedback_that_was_answered_is_lost(database_url: str, tmp_path: Path) -> None:
    decision: list[str] = []
    with served(database_url, tmp_path) as (process, port):

        def call(caller: int) -> None:
            for number in range(10_000):
                card = f"card-{caller}-{number}"
                came = status(port, "POST", f"{CALL}/feedback", {"feedback": [OVERRIDDEN | {"card": card}]})
                if came == 0:
                    return
                if came == 200:
                    decision.append(card)
                status(port, "POST", CALL, body())

        callers = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
        for thread in callers:
            thread.start()
        while len(decision) < ENOUGH and any(thread.is_alive() for thread in callers):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        for thread in callers:
            thread.join()
    stored = [row.card for row in asyncio.run(rows(database_url, feedback))]
    assert len(decision) >= ENOUGH
    assert not set(decision) - set(stored)
    assert len(stored) == len(set(stored))
    # It starts again over what was left behind, and goes on taking feedback.
    with served(database_url, tmp_path) as (_, port):
        assert status(port, "POST", f"{CALL}/feedback", {"feedback": [OVERRIDDEN | {"card": "after"}]}) == 200
