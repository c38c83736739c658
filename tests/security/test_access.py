"""With no client configured the service answers this machine alone, and does not start where others could call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.errors import RequestError, SettingsError
from cds_service.security.access import LoopbackOnly, demand_guard, is_nearby
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.conftest import COVERAGE, ROOT
from tests.support.calls import CALL, assert_outcome, make
from tests.support.people import body

NEAR = {"client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8000), "headers": [(b"host", b"127.0.0.1:8000")]}
PATHS = [("GET", "/cds-services"), ("POST", CALL), ("POST", f"{CALL}/feedback")]


async def admits(**differing: Any) -> bool:
    try:
        await LoopbackOnly(guarded=False).admit(NEAR | differing, "")
    except RequestError:
        return False
    return True


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("scope", "let_in"),
    [
        ({}, True),
        ({"client": ("::1", 5000), "server": ("::1", 8000)}, True),
        ({"client": ("127.0.0.9", 5000)}, True),
        ({"client": ("10.0.0.9", 5000)}, False),
        ({"client": ("0.0.0.0", 5000)}, False),
        ({"client": None}, False),
        ({"client": ("", 0)}, False),
        ({"server": ("10.0.0.1", 8000)}, False),
        ({"server": ("/run/cds.sock", None)}, False),
        ({"server": None}, False),
        ({"headers": [(b"host", b"localhost")]}, True),
        ({"headers": [(b"host", b"LOCALHOST:8000")]}, True),
        ({"headers": [(b"host", b"[::1]:8000")]}, True),
        ({"headers": [(b"host", b"cds.hospital.example")]}, False),
        ({"headers": [(b"host", b"localhost.example:8000")]}, False),
        ({"headers": [(b"host", b"127.0.0.1.example")]}, False),
        ({"headers": [(b"host", b"\xff")]}, False),
        ({"headers": []}, False),
        ({"headers": [*NEAR["headers"], (b"x-forwarded-for", b"127.0.0.1")]}, False),
        ({"headers": [*NEAR["headers"], (b"forwarded", b"for=127.0.0.1")]}, False),
        ({"headers": [*NEAR["headers"], (b"via", b"1.1 proxy")]}, False),
    ],
    ids=str,
)
async def test_only_calls_within_this_machine_are_let_in(scope: dict[str, Any], let_in: bool) -> None:
    assert await admits(**scope) is let_in


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_from_elsewhere_every_endpoint_says_what_to_configure(
    decision_service: DecisionService, tmp_path: Path, method: str, path: str
) -> None:
    far = make(decision_service, tmp_path, ("203.0.113.9", 5000))
    answer = far.request(method, path, json=body() if method == "POST" else None)
    (issue,) = assert_outcome(answer, 403, "no-client-configured")
    assert "CDS_CLIENTS" in issue["diagnostics"]
    assert "www-authenticate" not in answer.headers


def test_health_and_leaflets_are_for_everyone(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path, ("203.0.113.9", 5000)) as far:
        for path in ("/healthz", "/readyz", "/leaflets/leg-cramps", "/Questionnaire/leg-cramp-history"):
            assert far.get(path).status_code == 200


def test_behind_a_guard_all_are_let_in(decision_service: DecisionService, tmp_path: Path) -> None:
    far = make(decision_service, tmp_path, ("203.0.113.9", 5000), guarded=True, host="0.0.0.0")
    answer = far.post(CALL, json=body(), headers={"X-Forwarded-For": "198.51.100.7", "Host": "cds.hospital.example"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "chosen", "starts"),
    [
        ("127.0.0.1", {}, True),
        ("127.0.0.1", {"trial": False}, False),
        ("0.0.0.0", {"trial": False, "guarded": True}, True),
        ("localhost", {}, True),
        ("::1", {}, True),
        ("0.0.0.0", {}, False),
        ("::", {}, False),
        ("10.0.0.1", {}, False),
        ("cds.hospital.example", {}, False),
        ("", {}, False),
        ("0.0.0.0", {"guarded": True}, True),
        ("0.0.0.0", {"clients": "clients.toml"}, True),
    ],
)
def test_it_starts_only_where_no_stranger_can_call_unasked(host: str, chosen: dict[str, Any], starts: bool) -> None:
    settings = Settings(host=host, **chosen)
    if starts:
        demand_guard(settings)
    else:
        with pytest.raises(SettingsError, match=r"no client is configured|nobody would look who calls") as caught:
            demand_guard(settings)
        assert caught.value.problems[0].place == ("CDS_HOST" if settings.trial else "CDS_CLIENTS")


@pytest.mark.parametrize(
    "command",
    [["-m", "cds_service.cli", "serve"], ["-m", "uvicorn", "--factory", "cds_service.app:create_app", "--host", "127.0.0.1"]],
    ids=["serve", "uvicorn"],
)
def test_a_start_that_is_refused_says_why(tmp_path: Path, command: list[str]) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CDS_HOST": "0.0.0.0", "CDS_PORT": "0"} | COVERAGE
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "CDS_CLIENTS: is not set, and nobody would look who calls" in done.stderr
    assert "serve --try" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_unix_socket_is_not_this_machine_alone() -> None:
    assert not is_nearby({"client": None, "server": ("/run/cds.sock", None), "headers": []})


def test_the_app_refuses_to_be_built_for_others(decision_service: DecisionService) -> None:
    with pytest.raises(SettingsError):
        TestClient(build_app(Settings(host="0.0.0.0"), decision_service))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "https://sandbox.example"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "http://127.0.0.1:8000.evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_web_page_from_elsewhere_can_write_nothing(
    decision_service: DecisionService, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    """A page can send what it cannot read: without this any page that is open on this machine could."""
    with make(decision_service, tmp_path, cors_origins="https://sandbox.example", pages="demo") as client:
        for path, content in ((f"{CALL}/feedback", b'{"feedback": []}'), (CALL, json.dumps(body()).encode())):
            assert client.post(path, content=content, headers=headers).status_code == status
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        pasted = client.post("/try", content=b"text=x", headers=headers | form).status_code
        assert pasted == (400 if status == 200 else 403)
