"""10,000 random rules: equal to a standard engine where all is known, and never bolder than what is known."""

from __future__ import annotations

import json
import random
from itertools import product
from typing import Any

import datalogic_py

from cds_service.jsonlogic.compile import compile_rule
from cds_service.model import UNKNOWN
from tests.support.random_rules import DOMAIN, TYPES, boolean

RULES = 10_000


def standard(logic: Any, facts: dict[str, Any]) -> Any:
    return datalogic_py.apply(json.dumps(logic, default=float), json.dumps(facts, default=float))


def test_random_rules_agree_with_a_standard_engine_and_never_say_more_than_is_known() -> None:
    rng = random.Random(20261120)
    undecided = decided_early = 0
    for _ in range(RULES):
        logic = boolean(rng, rng.randint(1, 4))
        rule = compile_rule(logic, TYPES, "fuzz")
        facts = {name: rng.choice(values) for name, values in DOMAIN.items()}
        answer = rule(facts)
        assert answer.value == standard(logic, facts), (logic, facts)
        assert set(answer.because) <= set(rule.facts)

        hidden = [name for name in rule.facts if rng.random() < 0.5]
        partial = rule({name: UNKNOWN if name in hidden else value for name, value in facts.items()})
        completions = {
            rule(facts | dict(zip(hidden, values, strict=True))).value for values in product(*(DOMAIN[name] for name in hidden))
        }
        if partial.value is UNKNOWN:
            undecided += 1
            assert set(partial.because) & set(hidden), (logic, hidden)
        else:
            decided_early += bool(hidden)
            assert completions == {partial.value}, (logic, hidden, facts)
            assert not set(partial.because) & set(hidden), "an unknown fact cannot have settled it"
    assert undecided > RULES // 20
    assert decided_early > RULES // 20
