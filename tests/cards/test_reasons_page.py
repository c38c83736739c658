"""Why this card: the page behind the link of a card tells of its rules, whole, and of nobody."""

from __future__ import annotations

from html import unescape

import pytest
from fastapi.testclient import TestClient

from cds_service.app import build_app
from cds_service.cards.approvals import Approval, Approvals
from cds_service.cards.reasons_page import render
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings


def test_every_rule_is_told_with_its_statements_and_sources(client: TestClient, decision_service: DecisionService) -> None:
    knowledge = decision_service.knowledge
    for rule in knowledge.rules:
        answer = client.get(f"/why-this-card?rules={rule.id}")
        assert answer.status_code == 200
        shown = unescape(answer.text)
        assert rule.file.why in shown
        assert all(knowledge.evidence[name].says in shown and f", {name}" in shown for name in rule.file.evidence), rule.id
        assert all(knowledge.sources[name].title in shown for name in rule.file.sources), rule.id
        assert rule.file.may_mislead_when in shown
        assert f"version {rule.file.version}, not clinically reviewed" in shown


def test_the_page_names_who_reviewed_a_rule(knowledge: Knowledge) -> None:
    rule = knowledge.rule_by_id["low-potassium"]
    signed = {(rule.id, rule.file.version): Approval(rule.id, rule.file.version, "Dr Anna <b>Sample</b>", "2026-11-01")}
    shown = render(knowledge, [rule], "uk", signed).content.decode()
    assert "reviewed here by Dr Anna &lt;b&gt;Sample&lt;/b&gt;, 2026-11-01" in shown
    assert 'lang="en-GB"' in shown


@pytest.mark.parametrize("given", ["", "no-such-rule", "low-potassium,no-such-rule", "<script>", "Patient/1"])
def test_only_rules_that_exist_are_told(client: TestClient, given: str) -> None:
    answer = client.get("/why-this-card", params={"rules": given})
    assert answer.status_code == 404
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_page_that_was_read_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/why-this-card?rules=abi,thyroid")
    again = client.get("/why-this-card?rules=abi,thyroid", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "script" not in first.headers["content-security-policy"]


def test_more_rules_than_a_card_has_are_refused_and_not_cut(client: TestClient, knowledge: Knowledge) -> None:
    names = ",".join(list(knowledge.rule_by_id)[:41])
    answer = client.get("/why-this-card", params={"rules": names})
    assert answer.status_code == 404
    assert "41 named, and at most 40" in answer.text


@pytest.mark.parametrize(("place", "status"), [("us", 200), ("uk", 404), ("Patient/1", 404)])
def test_it_tells_the_rules_as_a_jurisdiction_of_a_client_has_them(client: TestClient, place: str, status: int) -> None:
    assert client.get("/why-this-card", params={"rules": "abi", "for": place}).status_code == status


def test_of_a_site_that_serves_what_it_signed_only_that_is_told(knowledge: Knowledge) -> None:
    rule = knowledge.rule_by_id["low-potassium"]
    signed = {(rule.id, rule.file.version): Approval(rule.id, rule.file.version, "Dr Anna Sample", "2026-11-01")}
    app = build_app(Settings(serve="approved"), DecisionService(knowledge, Settings(serve="approved"), Approvals(signed, {})))
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1)) as asked:
        assert asked.get("/why-this-card?rules=low-potassium").status_code == 200
        assert asked.get("/why-this-card?rules=high-potassium").status_code == 404
