"""Random rules over five facts, of every operator that a rule may have, with what each fact can be."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from cds_service.model import FactType

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
