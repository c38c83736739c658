"""Small wrong turns of a rule. Its cases must notice each one, or they prove nothing about the rule."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from cds_service.jsonlogic.typecheck import operands
from cds_service.model import FactTypes

_SWAPS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "and": "or", "or": "and", "==": "!=", "!=": "=="}
_TERMS = 2


def mutants(logic: Any, types: FactTypes, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each wrong turn with where it was taken: a comparison or junction swapped, a term dropped, a `!` removed,
    a number moved, another word that the fact may answer."""
    if isinstance(logic, dict):
        ((operator, argument),) = logic.items()
        given = operands(argument)
        yield from _of_operation(operator, given, types, place)
        for at in range(len(given)) if operator != "var" else ():
            yield from _within(operator, given, at, types, f"{place}.{operator}[{at}]")
    elif isinstance(logic, (int, Decimal)) and not isinstance(logic, bool):
        step = Decimal(1).scaleb(Decimal(logic).as_tuple().exponent) if isinstance(logic, Decimal) else 1  # type: ignore[arg-type]
        yield f"{place} {logic} moved up", logic + step
        yield f"{place} {logic} moved down", logic - step


def _of_operation(operator: str, given: list[Any], types: FactTypes, place: str) -> Iterator[tuple[str, Any]]:
    if operator in _SWAPS and (operator not in ("and", "or") or len(given) >= _TERMS):
        yield f"{place}.{operator} as {_SWAPS[operator]}", {_SWAPS[operator]: given}
    if operator == "!":
        yield f"{place}.! removed", given[0]
    if operator in ("and", "or") and len(given) >= _TERMS:
        for at in range(len(given)):
            yield f"{place}.{operator}[{at}] dropped", {operator: given[:at] + given[at + 1 :]}
    if operator in ("==", "!="):
        yield from _other_words(operator, given, types, place)


def _other_words(operator: str, given: list[Any], types: FactTypes, place: str) -> Iterator[tuple[str, Any]]:
    for at, item in enumerate(given):
        other = given[1 - at]
        if isinstance(item, str) and isinstance(other, dict) and "var" in other:
            for word in types[operands(other["var"])[0]].values:
                if word != item:
                    changed = [word, other] if at == 0 else [other, word]
                    yield f"{place}.{operator} {word!r} for {item!r}", {operator: changed}


def _within(operator: str, given: list[Any], at: int, types: FactTypes, place: str) -> Iterator[tuple[str, Any]]:
    for where, changed in mutants(given[at], types, place):
        yield where, {operator: [*given[:at], changed, *given[at + 1 :]]}
