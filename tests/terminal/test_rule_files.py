"""`edit`: a condition is written anew into the file of its rule, or nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cds_service.errors import Mendable
from cds_service.knowledge.knowledge import Knowledge
from cds_service.terminal.rule_files import edit_rule, pretty
from tests.conftest import ROOT
from tests.support.terminal import cds

RULE, PLACE = "low-potassium", "logic/rules/results/low-potassium.json"
WAS = 'potassium_against_range == "low"'


def rule(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / PLACE).read_text())
    return loaded


def test_only_the_condition_changes_and_what_changed_is_told(tree: Path, knowledge: Knowledge) -> None:
    before = rule(tree)
    told = edit_rule(tree, knowledge, RULE, {"fires_when": f"{WAS} and not on_dialysis"})
    assert told[:4] == [f"{RULE} fires_when", f"  was: {WAS}", f"  is:  {WAS} and not on_dialysis", f"wrote {PLACE}"]
    assert f"({before['version']})" in told[4]
    assert rule(tree) == before | {"fires_when": {"and": [before["fires_when"], {"!": [{"var": "on_dialysis"}]}]}}
    assert (tree / PLACE).read_text() == pretty(rule(tree)) + "\n"
    edit_rule(tree, knowledge, RULE, {"fires_when": WAS})
    assert (tree / PLACE).read_bytes() == (ROOT / PLACE).read_bytes()


def test_a_long_condition_stands_on_several_lines_and_both_may_change(tree: Path, knowledge: Knowledge) -> None:
    long = " and ".join(f'{name}_against_range == "low"' for name in ("potassium", "sodium", "calcium", "magnesium"))
    told = edit_rule(tree, knowledge, RULE, {"fires_when": long, "applies_when": "True"})
    assert f"{RULE} applies_when" in told
    assert rule(tree)["applies_when"] is True
    text = (tree / PLACE).read_text()
    assert text == pretty(rule(tree)) + "\n"
    assert '    "and": [\n      {"==": [{"var": "potassium_against_range"}, "low"]},\n' in text


def test_a_file_that_is_written_otherwise_keeps_its_shape(tree: Path, knowledge: Knowledge) -> None:
    (tree / PLACE).write_text(json.dumps(rule(tree) | {"why": 'Says "fires_when": {.'}))
    before = (tree / PLACE).read_text()
    edit_rule(tree, knowledge, RULE, {"fires_when": "on_dialysis"})
    kept = before.replace('{"==": [{"var": "potassium_against_range"}, "low"]}', '{"var": "on_dialysis"}')
    assert (tree / PLACE).read_text() == kept


@pytest.mark.parametrize(
    ("name", "conditions", "message"),
    [
        ("low-potasium", {"fires_when": WAS}, "low-potasium: is no rule -> did you mean low-potassium"),
        (RULE, {"fires_when": "on_dialisis"}, "--when column 1: 'on_dialisis' is no fact -> did you mean on_dialysis"),
        (RULE, {"fires_when": WAS + " and"}, "--when column 37: ends too early"),
        (RULE, {"fires_when": "on_dialysis", "applies_when": "age_years"}, "--applies-when: is a number"),
        (
            RULE,
            {"fires_when": 'potassium_against_range == "lo"'},
            "--when.==: 'lo' is never answered, in `potassium_against_range",
        ),
    ],
)
def test_a_mistake_is_told_and_writes_nothing(
    tree: Path, knowledge: Knowledge, name: str, conditions: dict[str, str], message: str
) -> None:
    with pytest.raises(Mendable) as caught:
        edit_rule(tree, knowledge, name, conditions)
    assert str(caught.value).startswith(message)
    assert (tree / PLACE).read_bytes() == (ROOT / PLACE).read_bytes()


def test_the_same_in_another_spelling_writes_nothing(tree: Path, knowledge: Knowledge) -> None:
    stamp = (tree / PLACE).stat().st_mtime_ns
    told = edit_rule(tree, knowledge, RULE, {"fires_when": "(potassium_against_range=='low')"})
    assert told == [f"{PLACE} says that already: nothing was written"]
    assert (tree / PLACE).stat().st_mtime_ns == stamp


def test_the_command_says_what_changed_and_what_check_says_of_it(tree: Path) -> None:
    changed = f"{WAS} and not (age_years > 90)"
    done = cds("edit", RULE, "--when", changed, knowledge=tree)
    assert done.returncode == 1
    assert f"is:  {changed}" in done.stdout
    assert "no row stands exactly on 90" in done.stderr
    assert f"no row notices the lack of `not (age_years > 90)` in `{changed}` of fires_when" in done.stderr
    back = cds("edit", RULE, "--when", WAS, knowledge=tree)
    assert back.returncode == 0, back.stderr
    assert "no problems found" in back.stdout
    nothing = cds("edit", RULE, knowledge=tree)
    assert nothing.returncode == 1
    assert "give --when or --applies-when" in nothing.stderr
