"""Requests as real systems send them, each for a kind that public reports show, and what must hold of the answer."""

from __future__ import annotations

import pytest

from cds_service.errors import RequestError
from cds_service.knowledge.knowledge import Knowledge
from tests.support.as_sent import EXPECTED, FOLDER, decide

OUTCOMES = {"fires": {"fires"}, "silent": {"silent"}, "unknown": {"unknown"}, "out-of-scope": {"out-of-scope"}}
OUTCOMES |= {"silent-or-unknown": {"silent", "unknown"}}


def test_each_request_has_its_row() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} - {"expected"} == set(EXPECTED)


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
    assert row.keys() - {"kind", "says", "never", "left_out"} <= OUTCOMES.keys()
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
