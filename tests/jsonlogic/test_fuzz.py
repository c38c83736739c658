"""10,000 random rules: equal to a standard engine where all is known, and never bolder than what is known."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from itertools import product
from typing import Any

import datalogic_py

from cds_service.jsonlogic.compile import compile_rule
from cds_service.model import UNKNOWN, FactType

RULES = 10_000
DOMAIN: dict[str, list[Any]] = {
    "a": [True, False],
    "b": [True, False],
    "n": [0, 3, Decimal("3.5")],
    "m": [-2, 3],
    "s": ["low", "in-range", "high"],
}
TYPES = {
    "a": FactType("boolean"),
    "b": FactType("boolean"),
    "n": FactType("number"),
    "m": FactType("number"),
    "s": FactType("string", ("low", "in-range", "high")),
}


def boolean(rng: random.Random, depth: int) -> Any:
    kinds = ["fact", "compare", "equal", "in"] + (["and", "or", "!", "if", "some", "between"] if depth else [])
    match rng.choice(kinds):
        case "fact":
            return {"var": rng.choice("ab")}
        case "compare":
            return {rng.choice(["<", "<=", ">", ">="]): [number(rng, depth - 1), number(rng, depth - 1)]}
        case "between":
            return {rng.choice(["<", "<="]): [number(rng, 0), number(rng, 0), number(rng, 0)]}
        case "equal":
            operator = rng.choice(["==", "!="])
            if rng.random() < 0.5:
                return {operator: [{"var": "s"}, rng.choice(DOMAIN["s"])]}
            return {operator: [number(rng, 0), number(rng, 0)]}
        case "in":
            return {"in": [{"var": "s"}, rng.sample(DOMAIN["s"], rng.randint(1, 3))]}
        case "!":
            return {"!": [boolean(rng, depth - 1)]}
        case "if":
            return {"if": [boolean(rng, depth - 1), boolean(rng, depth - 1), boolean(rng, depth - 1)]}
        case "some":
            among = rng.sample([-2, 0, 3, 7], rng.randint(1, 3))
            test = {rng.choice(["<", ">="]): [{"var": ""}, rng.choice([0, 3])]}
            return {rng.choice(["some", "all", "none"]): [among, test]}
        case junction:
            return {junction: [boolean(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def number(rng: random.Random, depth: int) -> Any:
    kinds = ["fact", "constant"] + (["+", "-", "*", "min", "max"] if depth > 0 else [])
    kind = rng.choice(kinds)
    if kind == "fact":
        return {"var": rng.choice("nm")}
    if kind == "constant":
        return rng.choice([0, 1, 3, Decimal("3.5")])
    return {kind: [number(rng, depth - 1) for _ in range(2)]}


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
