"""Rules in shadow: the EHR gets what it would get if they did not exist, and what they find is still found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cds_service.app import build_app, prepare
from cds_service.cdshooks.request import read_request
from cds_service.cli import app
from cds_service.errors import SettingsError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.run import client_schema
from cds_service.model import Outcome
from cds_service.rules.shadow import in_shadow
from cds_service.security.clients import Client, read_clients
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT
from tests.support.cast import CAST, cards_of, conductor_of, request_of, service_of
from tests.support.people import AS_OF, RXNORM, SERVICE, body, bundle, concept, draft, observation, ordering
from tests.support.signing import ISS, clients_file

QUININE = concept("997010", RXNORM, "Quinine sulfate 324 mg capsule")
SEVERE = {"electrolytes": bundle(observation(2.0, when="2026-11-18"))}


def answered(service: DecisionService, person: Any) -> Decision:
    request = read_request(json.dumps(request_of(person)).encode(), person.hook)
    return service.answer(service_of(person), request, person.day, in_brief=True)


@cache
def all_shown() -> Mapping[str, Decision]:
    return {person.id: answered(conductor_of(person.jurisdiction), person) for person in CAST}


def removed(knowledge: Knowledge, names: frozenset[str], **settings: Any) -> DecisionService:
    """A service whose knowledge does not hold these rules."""
    rules = tuple(rule for rule in knowledge.rules if rule.id not in names)
    return DecisionService(replace(knowledge, rules=rules), Settings(**settings))


@pytest.mark.untraced
@pytest.mark.parametrize(
    "words",
    [("topic:results", "topic:ordering", "statin"), ("topic:urgent", "topic:workup", "topic:treatment", "diabetes")],
)
def test_the_answer_is_that_of_a_service_without_them_and_the_findings_are_those_of_all(
    knowledge: Knowledge, words: tuple[str, ...]
) -> None:
    names, otherwise = in_shadow(words, knowledge), 0
    for place in ("us", "uk"):
        shadowing = DecisionService(knowledge, Settings(jurisdiction=place, shadow=words))
        without = removed(knowledge, names, jurisdiction=place)
        for person in (one for one in CAST if one.jurisdiction == place):
            shown, found = all_shown()[person.id], answered(shadowing, person)
            assert cards_of(found) == cards_of(answered(without, person)), person.id
            assert found.findings == shown.findings
            fired = {item.rule_id for item in shown.findings if item.outcome is Outcome.FIRES}
            assert set(found.shadowed) == fired & names
            assert (found.with_shadow is not None) == bool(fired & names)
            if found.with_shadow:
                assert cards_of(replace(found, composed=found.with_shadow)) == cards_of(shown)
            spoken = set(chain(*shown.composed.speaks_for))
            otherwise += bool(set(chain(*found.composed.speaks_for)) - spoken)
    # Else the table would not try what a rule that replaces another leaves to be said when it is in shadow.
    assert otherwise or "topic:urgent" not in words


def test_with_everything_in_shadow_no_cards_come_and_all_is_judged(knowledge: Knowledge) -> None:
    service = DecisionService(knowledge, Settings(shadow=("all",)))
    person = next(one for one in CAST if one.id == "ada-stiffcalf")
    found = answered(service, person)
    assert found.cards == ()
    assert found.with_shadow is not None
    assert len(found.with_shadow.cards) == len(all_shown()[person.id].cards) > 0


def asked(service: DecisionService, call: dict[str, Any]) -> Decision:
    hook = call["hook"]
    return service.answer(service.knowledge.service_on(hook), read_request(json.dumps(call).encode(), hook), AS_OF)


@pytest.mark.parametrize("supplied", [None, bundle(), bundle(observation("unreadable", unit=None, code="no-such"))])
def test_what_only_a_rule_in_shadow_asks_for_is_asked_for_and_changes_no_card(knowledge: Knowledge, supplied: Any) -> None:
    shadowing = DecisionService(knowledge, Settings(shadow=("quinine-order-qt-drug",)))
    without = removed(knowledge, frozenset({"quinine-order-qt-drug"}))
    sign = knowledge.service_on("order-sign")
    assert "electrolytes" in shadowing.templates(sign)
    assert "electrolytes" not in without.templates(sign)
    given = {"electrolytes": supplied} if supplied else {}
    call = ordering(draft(QUININE), prefetch=given, without=() if supplied else ("electrolytes",))
    found = asked(shadowing, call)
    assert cards_of(found) == cards_of(asked(without, call))
    assert found.cards
    assert "electrolyte results" not in found.cards[-1].detail


def test_a_rule_in_shadow_neither_replaces_nor_silences_another(knowledge: Knowledge) -> None:
    assert "low-potassium" in knowledge.rule_by_id["severe-potassium"].file.replaces
    found = asked(DecisionService(knowledge, Settings(shadow=("severe-potassium",))), body(SEVERE))
    assert "low-potassium" in chain(*found.composed.speaks_for)
    assert found.with_shadow is not None
    assert "low-potassium" not in chain(*found.with_shadow.speaks_for)
    shown = asked(DecisionService(knowledge, Settings()), body(SEVERE))
    assert "low-potassium" not in chain(*shown.composed.speaks_for)


def test_an_override_of_a_rule_that_is_in_shadow_now_disturbs_nothing(knowledge: Knowledge) -> None:
    service = DecisionService(knowledge, Settings(shadow=("low-potassium",)))
    request = read_request(json.dumps(body({"electrolytes": bundle(observation(3.1))})).encode(), "patient-view")
    found = service.answer(SERVICE, request, AS_OF, {"low-potassium": AS_OF})
    assert found.shadowed == ("low-potassium",)
    assert not found.suppressed


def test_a_client_adds_to_what_the_site_keeps_in_shadow(knowledge: Knowledge, tmp_path: Path) -> None:
    table = {"iss": ISS, "jku": "https://ehr.example/jwks.json", "shadow": ["topic:results"]}
    (client,) = read_clients(clients_file(tmp_path, table), client_schema(knowledge))
    site = DecisionService(knowledge, Settings(shadow=("severe-potassium",)))
    own = site.for_client(client)
    assert own.shadow == {"severe-potassium"} | {rule.id for rule in knowledge.rules if rule.topic == "results"}
    assert site.for_client(Client("https://another.example")).shadow == {"severe-potassium"}
    call = body({"electrolytes": bundle(observation(3.1))})
    assert "low-potassium" in asked(own, call).shadowed
    assert asked(own, call).cards != asked(site, call).cards
    assert "low-potassium" in chain(*asked(site, call).composed.speaks_for)


def test_a_rule_in_shadow_needs_no_approval_and_is_not_served_without_its_name(knowledge: Knowledge) -> None:
    tried = DecisionService(knowledge, Settings(serve="approved", shadow=("low-potassium",)))
    assert set(tried.served) == {"low-potassium"}
    assert prepare(Settings(serve="approved", shadow=("low-potassium",))).shadow == {"low-potassium"}
    assert not DecisionService(knowledge, Settings(serve="approved")).served
    with pytest.raises(SettingsError, match="nothing would be served"):
        prepare(Settings(serve="approved"))


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("low-potasium", "write low-potassium"),
        ("topic:result", "write topic:results"),
        ("everything", "write a rule of logic/CATALOGUE.md, topic:conditions, "),
    ],
)
def test_a_word_that_is_no_rule_is_refused_with_its_remedy(
    knowledge: Knowledge, tmp_path: Path, word: str, remedy: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        DecisionService(knowledge, Settings(shadow=("low-potassium", word)))
    (problem,) = refused.value.problems
    assert (problem.place, problem.message) == ("CDS_SHADOW", f"{word!r} is no rule and no topic")
    assert remedy in problem.remedy
    table = {"iss": ISS, "jku": "https://ehr.example/jwks.json", "shadow": [word]}
    path = clients_file(tmp_path, table)
    with pytest.raises(SettingsError, match=f"shadow\\[0\\]: '{word}' cannot be"):
        build_app(Settings(clients=path), DecisionService(knowledge, Settings()))


def test_the_terminal_says_what_is_in_shadow(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(ROOT / "fixtures/patients/ada-stiffcalf.json")

    def told_by(command: str, words: str) -> str:
        monkeypatch.setenv("CDS_SHADOW", words)
        done = CliRunner().invoke(app, [command, file], catch_exceptions=False)
        assert done.exit_code == 0
        return re.sub(r"\s+", " ", done.stdout)

    assert "In shadow here, and not shown: low-potassium. Cards with them: " in told_by("run", "topic:results")
    assert "In shadow" not in told_by("run", "")
    told = told_by("explain", "topic:results, statin")
    assert "Found, but on no card: in shadow here: judged and counted, and not shown" in told
    named = len([rule for rule in knowledge.rules if rule.topic == "results"]) + 1
    assert f"Not served here ({named}) in shadow here: judged and counted, and not shown: " in told
    with pytest.raises(SettingsError, match="CDS_SHADOW: 'topic:resultz' is no rule and no topic -> write topic:results"):
        told_by("run", "topic:resultz")
