"""`value-sets`: what of the codes is verified, what cannot be, and where a table says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cds_service.cli import app
from cds_service.errors import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.code_provenance import codes_of, compare, report, verify

SNOMED = "http://snomed.info/sct"


def table(folder: Path, *rows: str, head: str = "system,code,display") -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_the_shipped_codes_have_no_problem(knowledge: Knowledge) -> None:
    assert verify(knowledge) == []


def test_the_report_names_every_set_with_its_release_and_what_it_cannot_verify(knowledge: Knowledge) -> None:
    told = list(report(knowledge))
    for name, parts in knowledge.value_sets.items():
        assert any(line.startswith(f"{name} (") for line in told)
        assert f"  release: {parts[0].release}" in told
    assert any("rest on one source" in line for line in told)
    assert any("whether a code is active today" in line for line in told)
    total = sum(len(list(codes_of(parts))) for parts in knowledge.value_sets.values())
    assert any(f"{total} codes" in line for line in told)


@pytest.mark.parametrize(
    ("display", "differs"),
    [
        ("Hypothyroidism (disorder)", False),
        ("hypothyroidism", False),
        ("Hyperthyroidism (disorder)", True),
    ],
)
def test_a_display_that_differs_from_the_table_is_told(
    knowledge: Knowledge, tmp_path: Path, display: str, differs: bool
) -> None:
    compared = compare(knowledge, table(tmp_path, f"{SNOMED},40930008,{display}"))
    assert compared.found == 1
    assert bool(compared.differing) is differs
    assert compared.lacking["loinc"] > 0


def test_a_table_without_its_columns_is_refused_plainly(knowledge: Knowledge, tmp_path: Path) -> None:
    with pytest.raises(KnowledgeError, match="lacks the column 'display'"):
        compare(knowledge, table(tmp_path, head="system,code"))


def test_the_command_ends_with_one_where_the_table_says_otherwise(tmp_path: Path) -> None:
    runner = CliRunner()
    agreeing = runner.invoke(app, ["value-sets"])
    assert agreeing.exit_code == 0
    assert "No problems found." in agreeing.stdout
    wrong = runner.invoke(app, ["value-sets", "--against", str(table(tmp_path, f"{SNOMED},40930008,Gout"))])
    assert wrong.exit_code == 1
    missing = runner.invoke(app, ["value-sets", "--against", str(tmp_path / "none.csv")])
    assert missing.exit_code == 2
