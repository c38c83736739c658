"""Small wrong turns of a rule. Its cases must notice each one, or they prove nothing about the rule."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from cds_service.jsonlogic.notation import write
from cds_service.jsonlogic.typecheck import operands
from cds_service.model import FactTypes

_SWAPS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "and": "or", "or": "and", "==": "!=", "!=": "=="}
_TERMS = 2


def mutants(logic: Any, types: FactTypes) -> Iterator[tuple[str, Any]]:
    """Each wrong turn with what was turned: a comparison or junction swapped, a term dropped, a `!` removed,
    a number moved, another word that the fact may answer."""
    if isinstance(logic, dict):
        ((operator, argument),) = logic.items()
        given = operands(argument)
        for what, changed in _of_operation(operator, given, types):
            yield f"{what} in `{write(logic)}`", changed
        for at in range(len(given)) if operator != "var" else ():
            yield from _within(operator, given, at, types)


def _of_operation(operator: str, given: list[Any], types: FactTypes) -> Iterator[tuple[str, Any]]:
    if operator in _SWAPS and (operator not in ("and", "or") or len(given) >= _TERMS):
        yield f"`{_SWAPS[operator]}` for `{operator}`", {_SWAPS[operator]: given}
    if operator == "!":
        yield "the lack of `not`", given[0]
    if operator in ("and", "or") and len(given) >= _TERMS:
        for at in range(len(given)):
            yield f"the lack of `{write(given[at])}`", {operator: given[:at] + given[at + 1 :]}
    if operator in ("==", "!="):
        yield from _other_words(operator, given, types)
    for at, number in enumerate(given):
        if isinstance(number, (int, Decimal)) and not isinstance(number, bool):
            step = Decimal(1).scaleb(Decimal(number).as_tuple().exponent) if isinstance(number, Decimal) else 1  # type: ignore[arg-type]
            for moved in (number + step, number - step):
                yield f"{moved} for {number}", {operator: [*given[:at], moved, *given[at + 1 :]]}


def _other_words(operator: str, given: list[Any], types: FactTypes) -> Iterator[tuple[str, Any]]:
    for at, item in enumerate(given):
        other = given[1 - at]
        if isinstance(item, str) and isinstance(other, dict) and "var" in other:
            for word in types[operands(other["var"])[0]].values:
                if word != item:
                    changed = [word, other] if at == 0 else [other, word]
                    yield f"{word!r} for {item!r}", {operator: changed}


def _within(operator: str, given: list[Any], at: int, types: FactTypes) -> Iterator[tuple[str, Any]]:
    for what, changed in mutants(given[at], types):
        yield what, {operator: [*given[:at], changed, *given[at + 1 :]]}
