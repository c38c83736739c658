"""The tutorial is done as it is written: each edit and each command in turn, and what comes is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.documents import Block, blocks, run, words

TUTORIAL = "docs/tutorial.md"


def merged(held: dict[str, Any], given: dict[str, Any], *, new: bool) -> None:
    """Members of `given` into those of a file: all `new`, or all there already."""
    for name, value in given.items():
        there = held.get(name)
        if new and isinstance(there, dict):
            merged(there, value, new=True)
        else:
            assert (name in held) is not new, f"{name}: the tutorial adds what is there, or changes what is not"
            held[name] = value


def edit(folder: Path, block: Block) -> None:
    path = folder / block.file
    if block.verb == "Write":
        path.write_text(block.text, encoding="utf-8")
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    merged(held, json.loads(block.text), new=block.verb == "Add to")
    path.write_text(json.dumps(held, indent=2, ensure_ascii=False), encoding="utf-8")


def test_whoever_does_what_the_tutorial_says_sees_what_it_says(tree: Path) -> None:
    shown, commands, said = "", 0, 0
    for block in blocks(TUTORIAL):
        if block.kind == "json":
            assert block.verb, f"a block without what to do with it: {block.text[:60]}"
            edit(tree, block)
        elif block.kind == "sh":
            shown, commands = words(run(tree, block.text)), commands + 1
        else:
            assert block.kind == "text"
            for line in block.text.splitlines():
                assert words(line) in shown, line
                said += 1
    assert commands == 5
    assert said >= 8


def test_the_sample_would_be_silent_without_the_tutorial(tree: Path) -> None:
    """The card comes of the edits, and of nothing that was there."""
    edit(tree, next(block for block in blocks(TUTORIAL) if block.file == "my-patient.json"))
    assert "Free T4 8" not in words(run(tree, ".venv/bin/cds-service run my-patient.json --as-of 2026-11-20"))
