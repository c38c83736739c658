"""Whatever the terminal is like, what is said can be read there; and what programs read is JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.people import bundle, concept, condition, medication, patient
from tests.support.terminal import cds

ADA = "fixtures/patients/ada-stiffcalf.json"
ESCAPE = "\x1b["


def odd_names() -> str:
    """A record of what nobody knows, in letters that few terminals have."""
    names = [condition(concept(text="Wadenkrämpfe – “nachts” łódź")), medication(concept(text="薬 20 µg"))]
    return json.dumps(bundle(patient(), *names))


def on_a_terminal(*arguments: str, columns: int, **env: str) -> str:
    """What a person sees at a terminal of so many columns."""
    own, theirs = pty.openpty()
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TERM": "xterm"} | env
    command = [sys.executable, "-m", "cds_service.cli", *arguments]
    done = subprocess.Popen(command, cwd=ROOT, env=given, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while select.select([own], [], [], 60)[0]:
        try:
            part = os.read(own, 65536)
        except OSError:  # the other end is closed
            break
        seen += part
    done.wait(timeout=60)
    os.close(own)
    return seen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("command", [["run", ADA], ["explain", "--all", ADA], ["fixtures", "list"]])
@pytest.mark.parametrize("columns", [44, 200])
def test_what_is_said_fits_the_terminal(command: list[str], columns: int) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_a_terminal(*command, columns=columns))
    lines = shown.splitlines()
    assert len(lines) > 20
    # What has no place to break, such as an id, stays whole.
    assert [line for line in lines if len(line) > min(columns, 96) and " " in line.strip()] == []
    assert max(map(len, lines)) > min(columns, 96) - 16


def test_colours_are_for_a_terminal_that_wants_and_knows_them() -> None:
    assert ESCAPE in on_a_terminal("run", ADA, columns=80)
    assert ESCAPE in on_a_terminal("run", "nowhere.json", columns=80)
    for given in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        for arguments in (["run", ADA], ["run", "nowhere.json"], ["explain", ADA]):
            assert ESCAPE not in on_a_terminal(*arguments, columns=80, **given)
    assert ESCAPE not in cds("run", ADA).stdout + cds("run", "nowhere.json").stderr


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"PYTHONIOENCODING": "ascii"}, ['"Wadenkrampfe - "nachts" lodz"', '"? 20 ug"']),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, ['"Wadenkrampfe - "nachts" lodz"', '"? 20 ug"']),
        ({"PYTHONIOENCODING": "latin-1"}, ['"Wadenkrämpfe - "nachts" lódz"', '"? 20 µg"']),
        ({"PYTHONIOENCODING": "utf-8"}, ["“Wadenkrämpfe – “nachts” łódź”", "“薬 20 µg”"]),
    ],
    ids=["ascii", "C", "latin-1", "utf-8"],
)
def test_what_a_terminal_cannot_show_is_written_readably(tmp_path: Path, env: dict[str, str], words: list[str]) -> None:
    path = tmp_path / "odd.json"
    path.write_text(odd_names(), encoding="utf-8")
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | env
    for command in ("run", "explain", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "cds_service.cli", command, str(path)],
            cwd=ROOT, env=given, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        text = done.stdout.decode(env.get("PYTHONIOENCODING", "ascii"))
        assert done.returncode == 0, done.stderr
        assert all(word in text for word in words), text
    wrong = subprocess.run(
        [sys.executable, "-m", "cds_service.cli", "run", "nirgendwo–ł.json"],
        cwd=ROOT, env=given, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert b"Traceback" not in wrong.stderr
    assert b"cannot be read" in wrong.stderr


def test_the_response_as_json_is_that_of_the_service_whatever_the_locale(tmp_path: Path) -> None:
    told = json.loads(cds("run", "--json", ADA, PYTHONIOENCODING="ascii").stdout)
    assert set(told) == {"cards"}
    assert told["cards"][0]["summary"] == "Potassium 3.1 mmol/L (12 Nov) may contribute to leg cramps"
    assert {"uuid", "indicator", "source", "overrideReasons"} <= told["cards"][0].keys()
    assert json.loads(cds("run", "--json", "fixtures/patients/pia-schoolyard.json").stdout) == {"cards": []}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["run"], "Potassium 3.1 mmol/L (12 Nov)"),
        (["explain"], "About this patient"),
        (["check"], "standard input: no problems found"),
    ],
)
def test_a_record_is_read_from_standard_input(command: list[str], says: str) -> None:
    text = (ROOT / ADA).read_text(encoding="utf-8")
    day = [] if command == ["check"] else ["--as-of", "2026-11-20"]
    assert says in cds(*command, "-", *day, given=text).stdout
    lines = "\n".join(json.dumps(entry["resource"]) for entry in json.loads(text)["entry"])
    assert says in cds(*command, "-", *day, given=lines).stdout


@pytest.mark.parametrize("command", ["run", "explain", "check"])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("<!doctype html><p>Sign in", "standard input: is a page of HTML"),
        ('<Bundle xmlns="http://hl7.org/fhir"/>', "standard input: is XML -> ask the server for JSON"),
        (json.dumps(bundle(patient(), condition(concept(text="x"), clinicalStatus="active"))), "as FHIR DSTU2 and STU3 do"),
    ],
)
def test_what_is_no_fhir_r4_is_named(command: str, given: str, says: str) -> None:
    done = cds(command, "-", given=given)
    assert done.returncode == 1
    assert says in done.stderr
    assert "1 problem found." in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["run", ADA],
        ["explain", ADA],
        ["check"],
        ["catalogue"],
        ["value-sets"],
        ["serve", "--try"],
        ["new", "a/b", "--when", "c"],
    ],
)
def test_a_folder_without_knowledge_is_one_plain_line(tmp_path: Path, command: list[str]) -> None:
    for place, says in ((tmp_path / "nowhere", "is no folder"), (tmp_path, "holds no logic/ and no cards/")):
        done = cds(*command, knowledge=place, CDS_PORT="0")
        assert done.returncode == 1, done.stdout
        assert f"CDS_KNOWLEDGE: {place} {says} -> name the folder" in done.stderr
        assert len(done.stderr.splitlines()) == 2


def test_the_value_sets_are_verified_without_a_word_if_that_is_wanted() -> None:
    done = cds("value-sets", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
