"""The tutorial is done as it is written: each edit and each command in turn, and what comes is what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import COVERAGE, ROOT

BLOCK = re.compile(r"(?:\*\*(Add to|Change in|Write) `([^`]+)`:\*\*\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
KEPT = ("logic", "cards", "fixtures")


def merged(held: dict[str, Any], given: dict[str, Any], *, new: bool) -> None:
    """Members of `given` into those of a file: all `new`, or all there already."""
    for name, value in given.items():
        there = held.get(name)
        if new and isinstance(there, dict):
            merged(there, value, new=True)
        else:
            assert (name in held) is not new, f"{name}: the tutorial adds what is there, or changes what is not"
            held[name] = value


def edit(folder: Path, verb: str, name: str, text: str) -> None:
    path = folder / name
    if verb == "Write":
        path.write_text(text, encoding="utf-8")
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    merged(held, json.loads(text), new=verb == "Add to")
    path.write_text(json.dumps(held, indent=2, ensure_ascii=False), encoding="utf-8")


def run(folder: Path, command: str) -> str:
    line = command.strip().replace(".venv/bin/cds-service", f"{sys.executable} -m cds_service.cli")
    env = {"PATH": os.environ["PATH"], "CDS_KNOWLEDGE": str(folder), "PYTHONPATH": str(ROOT)} | COVERAGE
    done = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}{done.stdout}{done.stderr}"
    return done.stdout


def words(text: str) -> str:
    """Without the breaks and spaces of a terminal."""
    return " ".join(text.split())


def test_whoever_does_what_the_tutorial_says_sees_what_it_says(tmp_path: Path) -> None:
    for name in KEPT:
        shutil.copytree(ROOT / name, tmp_path / name)
    shown, commands, said = "", 0, 0
    for verb, name, kind, text in BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8")):
        if kind == "json":
            assert verb, f"a block without what to do with it: {text[:60]}"
            edit(tmp_path, verb, name, text)
        elif kind == "sh":
            shown, commands = words(run(tmp_path, text)), commands + 1
        else:
            assert kind == "text"
            for line in text.splitlines():
                assert words(line) in shown, line
                said += 1
    assert commands == 5
    assert said >= 8


def test_the_sample_would_be_silent_without_the_tutorial(tmp_path: Path) -> None:
    """The card comes of the edits, and of nothing that was there."""
    for name in KEPT:
        shutil.copytree(ROOT / name, tmp_path / name)
    blocks = BLOCK.findall((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))
    edit(tmp_path, *next((verb, name, text) for verb, name, _, text in blocks if name == "my-patient.json"))
    assert "Free T4 8" not in words(run(tmp_path, ".venv/bin/cds-service run my-patient.json --as-of 2026-11-20"))
