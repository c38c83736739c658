"""JSON Logic in words, as clinicians read it. Authors read and write it in its readable form: `jsonlogic/notation.py`."""

from __future__ import annotations

from typing import Any

from cds_service.jsonlogic.typecheck import operands

_SIGNS = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "==": "is", "!=": "is not"}


def say(logic: Any) -> str:
    """JSON Logic in words.

    >>> say({"and": [{">=": [{"var": "age_years"}, 65]}, {"!": [{"var": "on_dialysis"}]}]})
    'age years ≥ 65 and not on dialysis'
    """
    if not isinstance(logic, dict):
        return str(logic).lower() if isinstance(logic, bool) else str(logic)
    ((operator, argument),) = logic.items()
    given = operands(argument)
    if operator == "var":
        return str(given[0]).replace("_", " ")
    if operator in ("and", "or"):
        return f" {operator} ".join(_bracketed(item, operator) for item in given)
    if operator == "!":
        return f"not {_bracketed(given[0], operator)}"
    if operator in _SIGNS:
        return f" {_SIGNS[operator]} ".join(say(item) for item in given)
    return f"{operator}({', '.join(say(item) for item in given)})"


def _bracketed(logic: Any, within: str) -> str:
    junction = isinstance(logic, dict) and next(iter(logic)) in ("and", "or") and next(iter(logic)) != within
    return f"({say(logic)})" if junction else say(logic)
