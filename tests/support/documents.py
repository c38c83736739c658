"""Documents as they are read: their blocks in turn, and their commands as a person runs them in a clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from tests.conftest import ROOT

# The tutorial is no part: its commands need the edits that stand between them.
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "deploy/README.md",
    "docs/commands.md",
    "docs/connect.md",
    "docs/glossary.md",
    "docs/intended-use.md",
    "docs/knowledge-as-fhir.md",
    "docs/pages.md",
    "docs/population.md",
    "docs/reliability.md",
    "docs/why-no-card.md",
]
_BLOCK = re.compile(r"(?:\*\*(Add to|Change in|Write) `([^`]+)`:\*\*\n\n)?```(\w*)\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A fenced block, and for one that is put into a file what is done (`verb`) with which (`file`)."""

    verb: str
    file: str
    kind: str
    text: str


def blocks(document: str) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))]


_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/\S+|cds-service|make|docker|sh|uv|npm|python3?|curl|for)\s\S")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def commands(document: str) -> list[str]:
    """Every command of a document: the lines of its `sh` blocks, and the code within its sentences."""
    text = (ROOT / document).read_text(encoding="utf-8")
    fenced = [body for _, kind, body in _FENCE.findall(text) if kind == "sh"]
    lines = [line.partition("  #")[0] for body in fenced for line in dedent(body).splitlines() if not line.startswith(" ")]
    spans = [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", _FENCE.sub("", text))]
    found = [" ".join(item.split()) for item in [*lines, *spans]]
    return [item for item in found if _COMMAND.match(item)]


def walks(document: str) -> list[str]:
    """The blocks of a document that name no language: commands to be followed one after another."""
    return [dedent(body) for _, kind, body in _FENCE.findall((ROOT / document).read_text(encoding="utf-8")) if not kind]


def run(folder: Path, command: str) -> str:
    """What a command of the program prints in a clone. Fails where it does. Its lines are measured by other tests."""
    line = command.strip().replace(".venv/bin/cds-service", f"{sys.executable} -m cds_service.cli")
    env = {"PATH": os.environ["PATH"], "CDS_KNOWLEDGE": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}{done.stdout}{done.stderr}"
    return done.stdout


def words(text: str) -> str:
    """Without the breaks and spaces of a terminal."""
    return " ".join(text.split())
