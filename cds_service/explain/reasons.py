"""Why a rule is settled, told whole: every part that decides, where the engine stops at the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cds_service.jsonlogic.compile import Expression, compile_untyped
from cds_service.jsonlogic.typecheck import operands
from cds_service.knowledge.knowledge import Rule
from cds_service.model import Finding, Outcome


def reasons(finding: Finding, rule: Rule, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The facts that settled a rule, or leave it open, in its order: of an `or` that is true every part that is true.

    Where a rule is out of scope without a fact to blame, as in another country, there are none.
    """
    if finding.outcome is Outcome.FIRES:
        return tuple(dict.fromkeys((*deciding(rule.applies_when, values), *deciding(rule.fires_when, values))))
    if finding.outcome is Outcome.SILENT:
        return deciding(rule.fires_when, values)
    return finding.because


def deciding(expression: Expression, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The facts of every part that gives an expression its value."""
    return tuple(dict.fromkeys(_deciding(expression.source, values)))


def _deciding(logic: Any, values: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(logic, dict):
        ((operator, argument),) = logic.items()
        if operator in ("and", "or", "!"):
            parts = [(part, compile_untyped(part)(values).value) for part in operands(argument)]
            whole = compile_untyped(logic)(values).value
            agreeing = [part for part, value in parts if operator == "!" or value is whole]
            return tuple(name for part in agreeing for name in _deciding(part, values))
    return compile_untyped(logic)(values).because
