"""The cases beside a rule: one baseline, each row one difference, and what the rule must answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from cds_service.jsonlogic.compile import Expression, compile_rule
from cds_service.knowledge.knowledge import Knowledge, Rule, Suggestable
from cds_service.knowledge.load import Reader
from cds_service.lint.mutants import mutants
from cds_service.model import UNKNOWN, FactType, Outcome
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
    rows = [(row, values_of(file, row)) for row in file.cases]
    for what, mutant in mutated(rule, knowledge):
        if all(observe(mutant, values).agrees(row) for row, values in rows):
            yield what


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
