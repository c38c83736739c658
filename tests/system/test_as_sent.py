"""Requests as real systems send them, each for a kind that public reports show, and what must hold of the answer."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from cds_service.cdshooks.request import AS_OF, read_request
from cds_service.errors import RequestError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT

FOLDER = ROOT / "tests/data/as-sent"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())
OUTCOMES = {"fires": {"fires"}, "silent": {"silent"}, "unknown": {"unknown"}, "out-of-scope": {"out-of-scope"}}
OUTCOMES |= {"silent-or-unknown": {"silent", "unknown"}}


def test_each_request_has_its_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} - {"expected"} == set(EXPECTED)


def decide(knowledge: Knowledge, name: str) -> Decision:
    body = (FOLDER / f"{name}.json").read_bytes()
    sent = json.loads(body)
    service = DecisionService(knowledge, Settings(), {})
    request = read_request(body, sent["hook"])
    return service.answer(knowledge.service_on(sent["hook"]), request, date.fromisoformat(sent["extension"][AS_OF]))


@pytest.mark.parametrize("name", [name for name, row in EXPECTED.items() if "status" in row])
def test_what_cannot_be_answered_is_refused(knowledge: Knowledge, name: str) -> None:
    row = EXPECTED[name]
    with pytest.raises(RequestError) as caught:
        decide(knowledge, name)
    assert caught.value.status == row["status"]
    assert all(text in str(caught.value) for text in row.get("says", ()))


@pytest.mark.parametrize("name", [name for name, row in EXPECTED.items() if "status" not in row])
def test_a_request_as_it_is_sent(knowledge: Knowledge, name: str) -> None:
    row = EXPECTED[name]
    assert row.keys() - {"kind", "says", "never"} <= OUTCOMES.keys()
    decision = decide(knowledge, name)
    found = {item.rule_id: item.outcome.value for item in decision.findings}
    for wanted, outcomes in OUTCOMES.items():
        for rule in row.get(wanted, ()):
            assert found[rule] in outcomes, rule
    text = "\n".join(f"{card.summary}\n{card.detail}" for card in decision.cards)
    for part in row.get("says", ()):
        assert part in text
    for part in row.get("never", ()):
        assert part not in text
