"""A site's own sign-off: bound to what was signed, refused where it cannot be meant, and lapsed where something changed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace as with_members

from cds_service.app import build_app, prepare
from cds_service.cards.approvals import Approval, Approvals, basis_of, changes, read_approvals, signatures_of
from cds_service.errors import SettingsError
from cds_service.explain.explanation import explain
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.calls import CALL, make
from tests.support.people import AS_OF, body, bundle, observation
from tests.support.terminal import cds

TODAY = date(2026, 11, 28)
RULE = "low-potassium"


def signed(knowledge: Knowledge, named: str = RULE, **changes: Any) -> dict[str, Any]:
    rule = knowledge.rule_by_id[named]
    item = {"rule": named, "version": rule.file.version, "name": "Dr Anna Sample", "date": "2026-11-01"}
    return item | {"basis": basis_of(rule, knowledge)} | changes


def written(folder: Path, *items: Any) -> Path:
    path = folder / "approvals.json"
    path.write_text(json.dumps(items))
    return path


def test_what_was_signed_and_has_not_changed_counts(knowledge: Knowledge, tmp_path: Path) -> None:
    found = read_approvals(written(tmp_path, signed(knowledge), signed(knowledge, "thyroid")), knowledge, TODAY)
    assert {name for name, _ in found.signed} == {RULE, "thyroid"}
    assert found.lapsed == {}
    assert read_approvals(None, knowledge, TODAY) == Approvals({}, {})


def test_everything_that_cannot_be_meant_is_refused_at_once(knowledge: Knowledge, tmp_path: Path) -> None:
    wrong = [
        signed(knowledge, rule="low-potasium"),
        signed(knowledge, version="9.0.0"),
        signed(knowledge, "thyroid", name="  "),
        signed(knowledge, "abi", date="2026-02-31"),
        signed(knowledge, "diuretic", date="2027-01-01"),
        signed(knowledge, "statin", until="2026-11-27"),
        signed(knowledge, "dialysis", basis={}),
        signed(knowledge, "abi"),
    ]
    with pytest.raises(SettingsError) as refused:
        read_approvals(written(tmp_path, *wrong), knowledge, TODAY)
    told = [str(item).split("approvals.json: ")[1].split(" -> ")[0][:60] for item in refused.value.problems]
    assert told == [
        "[0].rule: 'low-potasium' is no rule",
        f"[1].version: low-potassium '9.0.0' was signed, and {knowledge.rule_by_id[RULE].file.version} is what would be served"[
            :60
        ],
        "[2].name: is empty",
        "[3].date: '2026-02-31' is no day on which it can have been signed"[:60],
        "[4].date: '2027-01-01' is no day on which it can have been signed"[:60],
        "[5].until: '2026-11-27' is over, or no day",
        "[6].basis: is missing: nobody can tell what was signed",
        "abi: is signed twice",
    ]
    assert all(item.remedy for item in refused.value.problems)


@pytest.mark.parametrize("content", ["{", "{}", '[{"rule": 1}]', '[{"rule": "abi"}]'])
def test_another_shape_is_refused(knowledge: Knowledge, tmp_path: Path, content: str) -> None:
    path = tmp_path / "approvals.json"
    path.write_text(content)
    with pytest.raises(SettingsError):
        read_approvals(path, knowledge, TODAY)
    with pytest.raises(SettingsError):
        read_approvals(tmp_path / "nowhere.json", knowledge, TODAY)


def changed(knowledge: Knowledge, part: str) -> Knowledge:
    """The knowledge with one thing otherwise that the rule rests on, or that it does not."""
    if part == "codes potassium":
        labs = dict(knowledge.labs)
        us = with_members(labs["potassium"].ranges["us"], low="3.4")
        labs["potassium"] = with_members(labs["potassium"], ranges=labs["potassium"].ranges | {"us": us})
        return replace(knowledge, labs=labs)
    if part == "card":
        card = knowledge.cards[RULE]
        file = with_members(card.file, headline="Otherwise")
        return replace(knowledge, cards={**knowledge.cards, RULE: replace(card, file=file)})
    if part == "group results":
        louder = [with_members(group, indicator="critical") if group.id == "results" else group for group in knowledge.groups]
        return replace(knowledge, groups=tuple(louder))
    if part == "fact potassium_against_range":
        facts = dict(knowledge.facts)
        kind: Any = facts["potassium_against_range"].kind
        facts["potassium_against_range"] = replace(facts["potassium_against_range"], kind=with_members(kind, days=1))
        return replace(knowledge, facts=facts)
    labs = dict(knowledge.labs)
    labs["ferritin"] = labs["potassium"]
    return replace(knowledge, labs=labs)


@pytest.mark.parametrize("part", ["card", "codes potassium", "group results", "fact potassium_against_range", "nothing of it"])
def test_an_approval_ends_where_what_it_rests_on_changes_and_only_there(knowledge: Knowledge, part: str) -> None:
    after, told = changed(knowledge, part), [] if part == "nothing of it" else [part]
    rule = knowledge.rule_by_id[RULE]
    assert changes(basis_of(rule, knowledge), basis_of(rule, after)) == told
    assert (signatures_of(knowledge)[RULE] == signatures_of(after)[RULE]) is (told == [])
    assert signatures_of(knowledge)[RULE].startswith(f"{rule.file.version}+")


def test_a_lapsed_one_is_named_and_not_served(knowledge: Knowledge, tmp_path: Path) -> None:
    basis = basis_of(knowledge.rule_by_id[RULE], knowledge) | {"card": "otherwise"}
    path = written(tmp_path, signed(knowledge, basis=basis), signed(knowledge, "thyroid"))
    approvals = read_approvals(path, knowledge, TODAY)
    assert approvals.lapsed == {RULE: ("card",)}
    service = DecisionService(knowledge, Settings(serve="approved"), approvals)
    client = make(service, tmp_path)
    with client:
        ready = client.get("/readyz").json()
        assert (ready["rules"], ready["served"], ready["lapsed"]) == (len(knowledge.rules), 1, 1)
        (card,) = client.post(CALL, json=body({"electrolytes": bundle(observation(3.1))})).json()["cards"]
    assert card["summary"] == "Leg cramps, not tested recently: TSH"
    assert "reviewed here by Dr Anna Sample, 2026-11-01" in card["detail"]


def test_explain_says_of_what_is_not_served_why(knowledge: Knowledge) -> None:
    approvals = Approvals({}, {RULE: ("card", "codes potassium")})
    service = DecisionService(knowledge, Settings(serve="approved"), approvals)
    from cds_service.cdshooks.request import read_request

    request = read_request(json.dumps(body()).encode(), "patient-view")
    told = explain(service.answer(knowledge.service_on("patient-view"), request, AS_OF)).not_served
    assert told[RULE] == "not approved any more, as this changed: card, codes potassium"
    assert told["thyroid"] == "not approved here"


@pytest.mark.parametrize("items", [[], ["lapsed"]])
def test_a_site_that_would_serve_nothing_does_not_start(knowledge: Knowledge, tmp_path: Path, items: list[str]) -> None:
    path = written(tmp_path, *[signed(knowledge, basis={"card": "otherwise"}) for _ in items])
    with pytest.raises(SettingsError, match="nothing would be served"):
        prepare(Settings(serve="approved", approvals=path))


def test_what_lapsed_is_logged_at_start(
    decision_service: DecisionService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = DecisionService(decision_service.knowledge, Settings(), Approvals({}, {RULE: ("card",)}))
    url = f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"
    with TestClient(build_app(Settings(database_url=url), service), base_url="http://127.0.0.1:8000"):
        pass
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "lapsed" in line]
    assert [(line["event"], line["rule"], line["changed"]) for line in lines] == [("approval lapsed", RULE, ["card"])]


def test_approve_shows_what_is_signed_and_what_changed_since(knowledge: Knowledge, tmp_path: Path) -> None:
    path = tmp_path / "approvals.json"
    first = cds("approve", RULE, "--name", "Dr Anna Sample", "--file", str(path), "--yes")
    assert first.returncode == 0, first.stderr
    assert "Speaks when: potassium against range is low" in first.stdout
    assert "Not signed before." in first.stdout
    (item,) = json.loads(path.read_text())
    assert Approval(**item).basis == basis_of(knowledge.rule_by_id[RULE], knowledge)
    path.write_text(json.dumps([item | {"basis": item["basis"] | {"card": "otherwise"}}]))
    again = cds("approve", RULE, "--name", "Dr Boris Example", "--file", str(path), "--yes")
    assert f"Signed by Dr Anna Sample on {item['date']}; changed since: card." in again.stdout
    assert json.loads(path.read_text())[0]["name"] == "Dr Boris Example"
    assert cds("approve", "no-such-rule", "--name", "Dr Anna Sample", "--file", str(path)).returncode == 1


def test_an_equation_and_what_adjusts_a_result_are_signed_too(knowledge: Knowledge) -> None:
    assert any(name.startswith("equation ") for name in basis_of(knowledge.rule_by_id["reduced-egfr"], knowledge))
    assert "codes albumin" in basis_of(knowledge.rule_by_id["low-calcium"], knowledge)
    assert "test tsh" in basis_of(knowledge.rule_by_id["thyroid"], knowledge)
