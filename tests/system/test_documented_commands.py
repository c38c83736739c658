"""Every command of a document is run, parsed by the program, or listed here with the reason why it is not."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.main import get_command

from cds_service.cli import app
from tests.conftest import ROOT
from tests.support import command_reference
from tests.support.documents import DOCUMENTS, commands, run

NOT_RUN = {
    "docker compose -f deploy/compose.yaml up --build": "needs a container engine; test_container.py reads the files",
    "sh deploy/pin-image.sh": "needs a registry of images",
    "npm ci": "needs the sandbox of CDS Hooks and a registry",
    "npm run build": "needs the sandbox of CDS Hooks",
    "python3 -m http.server 8080 --bind 127.0.0.1": "serves the sandbox until it is stopped",
    "python -m bench.faults": "takes minutes; tests/system/test_faults.py tries each fault for a moment",
    "python -m bench.soak": "takes minutes",
    ".venv/bin/python sign.py": "needs its file; tests/system/test_first_call.py writes and runs it",
    ".venv/bin/sekmet serve -c settings.yaml": "serves until it is stopped; fhir_servers.py starts the same server",
}
NOT_RUN_BY_START = {
    "uv pip compile": "needs a registry of packages",
    "GOLDEN=write": "writes the answers of the cast anew, which is only for a person to read",
    "for each in out": "needs a FHIR server on that port",
    "CDS_CORS_ORIGINS=": "serves until it is stopped",
    "CDS_CLIENTS=": "serves until it is stopped; tests/system/test_first_call.py serves in the same way",
    "curl -": "needs the service on that port; tests/system/test_first_call.py gives it another",
}
# Targets that CI or a test runs. The others are only looked for.
RUN_BY_MAKE = {"check": ".ci/run", "test": ".ci/run", "docs": "tests/system/test_site.py"}
EVERY = sorted({command for document in DOCUMENTS for command in commands(document)})
IN_A_CLONE = [command for command in EVERY if command.startswith(".venv/bin/cds-service ")]
OF_THE_PROGRAM = [command for command in EVERY if re.match(r"(?:[A-Z_]+=\S+ )*cds-service ", command)]


@pytest.fixture
def clone(tree: Path) -> Path:
    shutil.copytree(ROOT / "docs", tree / "docs")
    return tree


def test_the_documents_hold_commands() -> None:
    assert len(IN_A_CLONE) >= 15
    assert len(OF_THE_PROGRAM) >= 15


@pytest.mark.parametrize("command", IN_A_CLONE)
def test_every_command_in_a_clone_runs(clone: Path, command: str) -> None:
    assert run(clone, command).strip()


@pytest.mark.parametrize("command", OF_THE_PROGRAM)
def test_every_command_that_is_named_is_one_with_these_options(command: str) -> None:
    known = {
        name.removeprefix("cds-service "): found for name, found in command_reference.commands(get_command(app), "cds-service")
    }
    given = [part for part in shlex.split(command[command.index("cds-service ") :])[1:] if part != "[OPTIONS]"]
    name = next(text for text in (" ".join(given[:2]), given[0]) if text in known)
    options = {option for item in known[name].params for option in item.opts} | {"--help"}
    assert {part for part in given if part.startswith("--")} <= options


def test_make_targets_of_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for command in EVERY for name in re.findall(r"\bmake ([a-z]+)$", command)}
    assert {"run", "test", "demo", "check", "docs", "commands"} <= named <= targets
    for target, place in RUN_BY_MAKE.items():
        assert f"make {target}" in (ROOT / place).read_text(), target


def test_every_other_command_stands_in_the_table_with_its_reason() -> None:
    others = [
        item for item in EVERY if item not in {*IN_A_CLONE, *OF_THE_PROGRAM} and not re.match(r"(?:[A-Z_]+=\S+ )*make ", item)
    ]
    by_start = {item for item in others if item.startswith(tuple(NOT_RUN_BY_START))}
    assert set(others) - by_start == set(NOT_RUN)
    every = [*others, *EVERY]
    assert [start for start in NOT_RUN_BY_START if not any(item.startswith(start) for item in every)] == []
