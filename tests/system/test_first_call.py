"""The first calls of the documents, plain and signed, are done as they are written, and what comes is what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cds_service.service import DecisionService
from tests.conftest import ROOT
from tests.support.calls import CALL, assert_outcome, make
from tests.support.documents import blocks, commands
from tests.support.signing import bearer
from tests.support.sites import running

SENT = json.loads((ROOT / "fixtures/calls/patient-view.json").read_text())


def test_the_first_call_brings_the_card_that_is_shown(tmp_path: Path) -> None:
    (command,) = [item for item in commands("docs/connect.md") if item.startswith("curl -s")]
    shown = next(json.loads(block.text) for block in blocks("docs/connect.md") if block.kind == "json")
    with running(tmp_path / "cds.sqlite") as address:
        line = command.replace("http://127.0.0.1:8000", address)
        done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    first = json.loads(done.stdout)["cards"][0]
    assert shown
    assert {name: first[name] for name in shown} == shown


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    """The program of the page, written where it is run."""
    (text,) = [block.text for block in blocks("deploy/README.md") if block.kind == "python"]
    path = tmp_path / "sign.py"
    path.write_text(text)
    return path


def run(path: Path) -> str:
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, path], cwd=path.parent, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_client_that_signs_is_tried_as_it_is_written(decision_service: DecisionService, sign: Path) -> None:
    token, folder = run(sign), sign.parent
    with make(decision_service, folder, clients=folder / "try-clients.toml", allow_as_of=True) as service:

        def post(with_token: str) -> Any:
            return service.post(CALL, json=SENT, headers=bearer(with_token))

        assert post(token).json()["cards"]
        assert_outcome(post(token), 401, "not-let-in")
        assert post(run(sign)).json()["cards"], "the key stays, and each token is a new one"
    assert "try-clients.toml" in (ROOT / "deploy/README.md").read_text()
