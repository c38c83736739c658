"""The cases beside a rule: one baseline, each row one difference, and what the rule must answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from cds_service.jsonlogic.compile import Expression, compile_rule
from cds_service.jsonlogic.notation import write
from cds_service.jsonlogic.typecheck import operands
from cds_service.knowledge.knowledge import Knowledge, Rule, Suggestable
from cds_service.knowledge.load import Reader
from cds_service.model import UNKNOWN, FactType, FactTypes, Outcome
from cds_service.rules.evaluate import decide

UNKNOWN_WORD = "unknown"


class CaseRow(msgspec.Struct, forbid_unknown_fields=True):
    """One sentence, one difference from the baseline. `suggests` and `recommends` name orders, where they matter."""

    says: str
    given: dict[str, Any]
    expect: str
    suggests: tuple[str, ...] | None = None
    recommends: tuple[str, ...] | None = None


class CasesFile(msgspec.Struct, forbid_unknown_fields=True):
    rule: str
    baseline: dict[str, Any]
    cases: tuple[CaseRow, ...]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a rule answered to one row."""

    outcome: str
    suggests: tuple[str, ...]
    recommends: tuple[str, ...]

    def agrees(self, row: CaseRow) -> bool:
        return (
            self.outcome == row.expect
            and (row.suggests is None or self.suggests == row.suggests)
            and (row.recommends is None or self.recommends == row.recommends)
        )


def cases_path(rule: Rule) -> str:
    return rule.place.removesuffix(".json") + ".cases.json"


def read_cases(reader: Reader, rule: Rule) -> CasesFile | None:
    return reader.read(cases_path(rule), CasesFile)


def observe(rule: Rule, values: Mapping[str, Any]) -> Observed:
    """The outcome, and if it fires the orders that it suggests and recommends."""
    finding = decide(rule, values, rule.file.jurisdiction[0])
    if finding.outcome is not Outcome.FIRES:
        return Observed(finding.outcome.value, (), ())
    suggested = [use for use in rule.orders if use.when(values).value is True]
    recommended = [use.order for use in suggested if use.recommended_when(values).value is True]
    return Observed(finding.outcome.value, tuple(use.order for use in suggested), tuple(recommended))


def values_of(file: CasesFile, row: CaseRow) -> dict[str, Any]:
    given = file.baseline | row.given
    return {name: UNKNOWN if value == UNKNOWN_WORD else value for name, value in given.items()}


def fits(value: Any, kind: FactType) -> bool:
    """Whether a value of a case is one that the fact can have."""
    if value == UNKNOWN_WORD:
        return True
    if kind.name == "boolean":
        return isinstance(value, bool)
    if kind.name == "number":
        return isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return isinstance(value, str) and (not kind.values or value in kind.values)


def surviving(rule: Rule, file: CasesFile, knowledge: Knowledge) -> Iterator[str]:
    """The mutants that no row of the cases notices, each by what was turned."""
    tried = [(row, values_of(file, row)) for row in file.cases]
    rows = [((row, _as_seen(row, observe(rule, values))), values) for row, values in tried]
    for what, mutant in mutated(rule, knowledge):
        if all(any(map(observe(mutant, values).agrees, either)) for either, values in rows):
            yield what


def _as_seen(row: CaseRow, seen: Observed) -> CaseRow:
    """A row that comes out otherwise than expected is told by itself, and must not seem to notice every mutant."""
    if seen.agrees(row):
        return row
    orders = {name: getattr(seen, name) for name in ("suggests", "recommends") if getattr(row, name) is not None}
    return msgspec.structs.replace(row, expect=seen.outcome, **orders)


def mutated(rule: Rule, knowledge: Knowledge) -> Iterator[tuple[str, Rule]]:
    """The rule with one wrong turn in one of its parts."""
    for part in ("applies_when", "fires_when"):
        for what, logic in mutants(getattr(rule, part).source, knowledge.types):
            changed: dict[str, Any] = {part: _compiled(logic, knowledge)}
            yield f"{what} of {part}", replace(rule, **changed)
    for at, use in enumerate(rule.orders):
        for part in ("when", "recommended_when"):
            for what, logic in mutants(getattr(use, part).source, knowledge.types):
                turned: dict[str, Any] = {part: _compiled(logic, knowledge)}
                orders = _replaced(rule.orders, at, replace(use, **turned))
                yield f"{what} of orders[{at}].{part}", replace(rule, orders=orders)


def _replaced(orders: tuple[Suggestable, ...], at: int, changed: Suggestable) -> tuple[Suggestable, ...]:
    return (*orders[:at], changed, *orders[at + 1 :])


def _compiled(logic: Any, knowledge: Knowledge) -> Expression:
    return compile_rule(logic, knowledge.types, "mutant")


# Small wrong turns of a rule. Its cases must notice each one, or they prove nothing about the rule.
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
