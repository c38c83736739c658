"""`facts` and `publish`, run as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

from cds_service.knowledge.load import load_knowledge
from tests.conftest import ROOT
from tests.support.terminal import cds

ADA = "fixtures/patients/ada-stiffcalf.json"


def test_facts_tells_each_fact_of_a_day_once_known_or_not() -> None:
    told = json.loads(cds("facts", "-", "--json", "--as-of", "2026-11-20", given=(ROOT / ADA).read_text()).stdout)
    assert told.keys() == {"facts", "unknown"}
    names = [*told["facts"], *told["unknown"]]
    assert sorted(names) == sorted(load_knowledge(ROOT).facts)
    assert told["facts"]["potassium_against_range"] == "low"
    assert told["facts"]["potassium_value"] == 3.1
    assert told["unknown"]["ordering_quinine"]


def test_facts_are_lines_for_a_person() -> None:
    lines = cds("facts", ADA).stdout.splitlines()
    assert "potassium_against_range: low" in lines
    assert len(lines) >= len(load_knowledge(ROOT).facts)


def test_publish_writes_a_package_and_says_how_much(tmp_path: Path) -> None:
    done = cds("publish", str(tmp_path / "out"))
    assert done.returncode == 0
    assert f"wrote {len(list((tmp_path / 'out/package').iterdir())) - 1} resources" in done.stdout
