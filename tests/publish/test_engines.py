"""Where all facts of a rule are known, any JSON Logic engine decides it as ours does. Two others do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import datalogic_py
import pytest
from json_logic import jsonLogic

from cds_service.cdshooks.response import encode
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import Reader
from cds_service.lint.cases import read_cases, values_of
from cds_service.model import UNKNOWN, Fact, Interval, Seen, State, Value
from cds_service.publish.package import RULES, package_of
from cds_service.terminal.publication import facts_of
from tests.support.cast import CAST, decision

HIDDEN = "not known exactly"


class Engines:
    """Two engines beside ours. Each has its logic from `rules.json`, and of the facts only those that this logic asks for."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._rules: dict[str, dict[str, Any]] = json.loads(encode(package_of(knowledge)[RULES]))
        self._ours = {rule.id: {"applies_when": rule.applies_when, "fires_when": rule.fires_when} for rule in knowledge.rules}
        assert self._rules.keys() == self._ours.keys()
        self.answers: dict[tuple[str, str], Counter[bool]] = {}

    def compare(self, rule_id: str, values: Mapping[str, Value], given: Mapping[str, Any], says: str) -> None:
        """`values` is what ours decides on, `given` what others get of it."""
        for member, expression in self._ours[rule_id].items():
            if given.keys() >= set(expression.facts):
                ours, logic = expression(values).value, self._rules[rule_id][member]
                asked = {name: given[name] for name in expression.facts}
                theirs = [datalogic_py.apply(json.dumps(logic), json.dumps(asked)), jsonLogic(logic, asked)]
                assert theirs == [ours, ours], (says, rule_id, member)
                self.answers.setdefault((rule_id, member), Counter())[ours] += 1


@pytest.mark.untraced
def test_two_other_engines_decide_as_ours_does_for_the_whole_cast(knowledge: Knowledge) -> None:
    engines = Engines(knowledge)
    for person in CAST:
        decided = decision(person)
        given: dict[str, Any] = json.loads(encode(facts_of(decided.facts)))["facts"]
        for rule in knowledge.rules:
            engines.compare(rule.id, decided.values, given, person.id)
    decided_by = {rule for (rule, member), answers in engines.answers.items() if member == "fires_when" and len(answers) == 2}
    assert len(decided_by) > 0.9 * len(knowledge.rules)


def test_two_other_engines_decide_as_ours_does_in_every_case_of_a_rule_where_all_is_known(knowledge: Knowledge) -> None:
    engines, reader = Engines(knowledge), Reader(knowledge.root)
    for rule in knowledge.rules:
        cases = read_cases(reader, rule)
        assert cases is not None
        for row in cases.cases:
            values = values_of(cases, row)
            known = {name: value for name, value in values.items() if value is not UNKNOWN}
            engines.compare(rule.id, values, json.loads(encode(known)), row.says)
    fires = {rule: answers for (rule, member), answers in engines.answers.items() if member == "fires_when"}
    assert [rule.id for rule in knowledge.rules if fires.get(rule.id, Counter())[True] == 0] == []
    assert [rule.id for rule in knowledge.rules if fires[rule.id][False] == 0] == []


@pytest.mark.parametrize(
    ("value", "state", "told"),
    [
        (True, State.KNOWN, {"facts": {"x": True}, "unknown": {}}),
        (False, State.ABSENT, {"facts": {"x": False}, "unknown": {}}),
        (Decimal("3.10"), State.KNOWN, {"facts": {"x": 3.1}, "unknown": {}}),
        ("low", State.KNOWN, {"facts": {"x": "low"}, "unknown": {}}),
        (("a", "b"), State.KNOWN, {"facts": {"x": ["a", "b"]}, "unknown": {}}),
        (UNKNOWN, State.NOT_SUPPLIED, {"facts": {}, "unknown": {"x": "not supplied"}}),
        (UNKNOWN, State.UNUSABLE, {"facts": {}, "unknown": {"x": "could not be read"}}),
        (Interval(None, Decimal(3)), State.KNOWN, {"facts": {}, "unknown": {"x": HIDDEN}}),
        (Seen((Decimal(3),)), State.KNOWN, {"facts": {}, "unknown": {"x": HIDDEN}}),
    ],
)
def test_only_what_is_known_exactly_is_given_to_other_engines(value: Value, state: State, told: dict[str, Any]) -> None:
    assert json.loads(encode(facts_of({"x": Fact("x", value, state)}))) == told
