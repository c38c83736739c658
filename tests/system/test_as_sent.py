"""Requests as real systems send them, each for a kind that public reports show, and what must hold of the answer."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from cds_service.cdshooks.request import AS_OF, read_request
from cds_service.errors import RequestError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT

FOLDER = ROOT / "tests/data/as-sent"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())
OUTCOMES = {"fires": {"fires"}, "silent": {"silent"}, "unknown": {"unknown"}, "out-of-scope": {"out-of-scope"}}
OUTCOMES |= {"silent-or-unknown": {"silent", "unknown"}}


def test_each_request_has_its_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} - {"expected"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_request_as_it_is_sent(knowledge: Knowledge, name: str) -> None:
    row = EXPECTED[name]
    assert row.keys() - {"kind", "status", "says", "never"} <= OUTCOMES.keys()
    body = (FOLDER / f"{name}.json").read_bytes()
    sent = json.loads(body)
    service = DecisionService(knowledge, Settings(), {})
    as_of = date.fromisoformat(sent["extension"][AS_OF])
    try:
        request = read_request(body, sent["hook"])
        decision = service.answer(knowledge.service_on(sent["hook"]), request, as_of)
    except RequestError as error:
        assert (error.status, name) == (row.get("status"), name)
        assert all(text in str(error) for text in row.get("says", ()))
        return
    assert "status" not in row
    found = {item.rule_id: item.outcome.value for item in decision.findings}
    for wanted, outcomes in OUTCOMES.items():
        for rule in row.get(wanted, ()):
            assert found[rule] in outcomes, rule
    text = "\n".join(f"{card.summary}\n{card.detail}" for card in decision.cards)
    for part in row.get("says", ()):
        assert part in text
    for part in row.get("never", ()):
        assert part not in text
