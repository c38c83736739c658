"""How each rule was received, on the command line; and what explain says of a rule that was overridden."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cds_service.audit.acceptance import Acceptance, add_up
from cds_service.audit.queries import Reaction, record_feedback
from cds_service.cli import app
from cds_service.errors import SettingsError
from cds_service.service import DecisionService
from cds_service.store.database import Store
from tests.conftest import ROOT
from tests.support.calls import CALL, make
from tests.support.feedback import ACCEPTED, OVERRIDDEN, read
from tests.support.people import SERVICE, body, bundle, observation

ADA = str(ROOT / "fixtures/patients/ada-stiffcalf.json")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def reaction(card: str, outcome: str, accepted: tuple[str, ...] = (), reason: str = "") -> Reaction:
    return Reaction(card, outcome, accepted, reason, [("a", "1.0.0"), ("b", "2.0.0")], [("s1", "a", "x"), ("s2", "b", "y")])


def test_an_accepted_suggestion_counts_for_its_rule_and_an_override_for_all_of_the_card() -> None:
    shown = [([("a", "1.0.0"), ("b", "2.0.0")], 5), ([("a", "1.0.0")], 2)]
    came = [
        reaction("c1", "accepted", ("s1",)),
        reaction("c1", "accepted", ("s1",)),
        reaction("c2", "accepted"),
        reaction("c3", "overridden", reason="action-completed"),
        reaction("c4", "overridden"),
        Reaction("gone", "overridden", (), "", (), ()),
    ]
    found = {one.rule: one for one in add_up(shown, came)}
    assert (found["a"].shown, found["a"].accepted, found["a"].overridden) == (7, 2, 2)
    assert (found["b"].shown, found["b"].accepted, found["b"].overridden) == (5, 1, 2)
    assert dict(found["a"].reasons) == {"action-completed": 1, "no reason given": 1}
    assert found["unknown card"] == Acceptance("unknown card", "", 0, 0, 1, found["unknown card"].reasons)


def test_the_command_tells_what_was_shown_accepted_and_overridden(
    decision_service: DecisionService, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDS_DATABASE_URL", database_url)
    assert "No cards shown" in run("feedback")
    with make(decision_service, tmp_path, database_url=database_url) as client:
        for _ in range(2):
            cards = client.post(CALL, json=body({"electrolytes": bundle(observation(3.1))})).json()["cards"]
        results = next(card for card in cards if "Potassium" in card["summary"])
        tests = next(card for card in cards if card.get("suggestions"))
        first = {"id": tests["suggestions"][0]["uuid"]}
        sent = [OVERRIDDEN | {"card": results["uuid"]}, ACCEPTED | {"card": tests["uuid"], "acceptedSuggestions": [first]}]
        assert client.post(f"{CALL}/feedback", json={"feedback": sent}).status_code == 200
    told = {one["rule"]: one for one in json.loads(run("feedback", "--json"))["received"]}
    assert (told["low-potassium"]["shown"], told["low-potassium"]["overridden"]) == (2, 1)
    assert told["low-potassium"]["reasons"] == {"reason-code": 1}
    assert sum(one["accepted"] for one in told.values()) == 1
    shown = run("feedback")
    assert "low-potassium" in shown
    assert "reason-code" in shown


def test_the_command_purges_what_is_too_old(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def old() -> None:
        store = Store(database_url)
        await record_feedback(store, SERVICE, read(ACCEPTED), datetime(2001, 1, 1, tzinfo=UTC))
        await store.close()

    asyncio.run(old())
    monkeypatch.setenv("CDS_DATABASE_URL", database_url)
    assert "Deleted: 0 answers, 0 cards, 1 feedback." in run("purge")
    assert "Deleted: 0 answers, 0 cards, 0 feedback." in run("purge")


def test_a_database_that_is_not_to_be_had_is_told_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CDS_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/file/cds.sqlite")
    with pytest.raises(SettingsError, match="CDS_DATABASE_URL: cannot be reached"):
        CliRunner().invoke(app, ["feedback"], catch_exceptions=False)


def test_explain_says_that_a_rule_was_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = json.loads(run("explain", ADA, "--json"))
    rule = plain["cards"][0]["rules"][0]["rule"]
    silent = run("explain", ADA, "--overridden", rule)
    assert "overridden or shown lately for this patient" in silent
    assert "overridden or shown lately" not in run("explain", ADA, "--overridden", f"{rule}@2020-01-01")
    told = {
        one["rule"]: one["without_card"]
        for one in json.loads(run("explain", ADA, "--json", "--overridden", rule))["without_card"]
    }
    assert "overridden" in told[rule]
    for wrong in ("no-such-rule", f"{rule}@soon"):
        with pytest.raises(SettingsError, match="--overridden"):
            CliRunner().invoke(app, ["explain", ADA, "--overridden", wrong], catch_exceptions=False)
