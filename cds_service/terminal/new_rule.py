"""`new`: a rule, its cases and its card from one condition. Python words in, JSON Logic out, by way of jsonlogic-py.

jsonlogic-py emits `not` for `~` and silently drops half of `a and b` and of `1 < v < 5`, as Python does not let a
library overload these. So the condition is read as a syntax tree, and each part handed over in a form that survives.
"""

from __future__ import annotations

import ast
import json
import re
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import Any

from jsonlogic import Literal, Operand, Variable

from cds_service.errors import KnowledgeError, Problem
from cds_service.jsonlogic.compile import compile_rule
from cds_service.knowledge.knowledge import Knowledge

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*")
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "__lt__",
    ast.LtE: "__le__",
    ast.Gt: "__gt__",
    ast.GtE: "__ge__",
    ast.Eq: "__eq__",
    ast.NotEq: "__ne__",
    ast.In: "isin",
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "__add__",
    ast.Sub: "__sub__",
    ast.Mult: "__mul__",
    ast.Div: "__truediv__",
}
_TODO = "TODO"
_WIDTH = 118
_PRIORITY_STEP = 10


def to_json_logic(condition: str) -> Any:
    """The JSON Logic of a condition. Raises KnowledgeError for what JSON Logic would lose.

    >>> emit("age_years >= 65 and not on_dialysis")
    {'and': [{'>=': [{'var': 'age_years'}, 65]}, {'!': [{'var': 'on_dialysis'}]}]}
    """
    try:
        tree = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refused(condition, "is no condition", 'write facts, numbers and words, as in "age_years >= 65"') from None
    operand = _operand(tree.body)
    return _standard(operand._prepare()) if isinstance(operand, Operand) else operand


def _refused(part: str, message: str, remedy: str) -> KnowledgeError:
    return KnowledgeError([Problem("--when", f"{part!r} {message}", remedy)])


def _operand(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name):
            return Variable(name)
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.List(elts=items) if all(isinstance(item, ast.Constant) for item in items):
            return [item.value for item in items if isinstance(item, ast.Constant)]
        case ast.BoolOp(op=ast.And(), values=values):
            return reduce(lambda left, right: left & right, map(_expression, values))
        case ast.BoolOp(op=ast.Or(), values=values):
            return reduce(lambda left, right: left | right, map(_expression, values))
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return ~_expression(inner)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Compare(left=left, ops=ops, comparators=rest):
            return _comparison(left, ops, rest)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return getattr(_expression(left), _ARITHMETIC[type(op)])(_operand(right))
    raise _refused(ast.unparse(node), "has no form in our JSON Logic", "use and, or, not, comparisons, in [...] and + - * /")


def _expression(node: ast.expr) -> Any:
    """An operand that jsonlogic-py can build upon, also where it is a plain number or word."""
    operand = _operand(node)
    return operand if isinstance(operand, Operand) else Literal(operand)


def _comparison(left: ast.expr, ops: list[ast.cmpop], rest: list[ast.expr]) -> Any:
    """`1 < v < 5` compares twice, both kept."""
    sides = [left, *rest]
    parts = []
    for at, op in enumerate(ops):
        if type(op) not in _COMPARISONS:
            raise _refused(ast.unparse(ast.Compare(sides[at], [op], [sides[at + 1]])), "has no form", "use < <= > >= == != in")
        parts.append(getattr(_expression(sides[at]), _COMPARISONS[type(op)])(_operand(sides[at + 1])))
    return reduce(lambda first, second: first & second, parts)


def _standard(node: Any) -> Any:
    """jsonlogic-py's `not` in standard spelling, and nested junctions flat."""
    if isinstance(node, list):
        return [_standard(item) for item in node]
    if not isinstance(node, dict):
        return node
    ((operator, given),) = node.items()
    if operator == "var":
        return node
    items = [_standard(item) for item in given]
    if operator in ("and", "or"):
        items = [part for item in items for part in (item[operator] if _is(item, operator) else [item])]
    return {"!" if operator == "not" else operator: items}


def _is(node: Any, operator: str) -> bool:
    return isinstance(node, dict) and operator in node


def write_rule(root: Path, knowledge: Knowledge, name: str, condition: str) -> list[str]:
    """Write the three files of a new rule and return their paths. Raises KnowledgeError or LogicError; then writes nothing."""
    if not _NAME.fullmatch(name):
        raise KnowledgeError([Problem(name, "is no TOPIC/RULE", "use small letters, digits and hyphens: results/low-iron")])
    topic, rule_id = name.split("/")
    logic = to_json_logic(condition)
    expression = compile_rule(json.loads(json.dumps(logic), parse_float=Decimal), knowledge.types, "--when")
    paths = [
        f"logic/rules/{topic}/{rule_id}.json",
        f"logic/rules/{topic}/{rule_id}.cases.json",
        f"cards/{topic}/{rule_id}.json",
    ]
    _demand_room(root, knowledge, topic, rule_id, paths)
    contents = [
        _rule(topic, rule_id, logic, knowledge),
        _cases(rule_id, expression.facts, knowledge),
        {
            "rule": rule_id,
            "headline": f"{_TODO} what and how much",
            "lines": [{"say": f"{_TODO} why, and what to consider."}],
        },
    ]
    for path, content in zip(paths, contents, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(pretty(content) + "\n", encoding="utf-8")
    return paths


def _demand_room(root: Path, knowledge: Knowledge, topic: str, rule_id: str, paths: list[str]) -> None:
    topics = [name for service in knowledge.services.values() for name in service.topics]
    problems = [Problem(path, "exists already", "choose another name") for path in paths if (root / path).exists()]
    if topic not in topics:
        problems.append(Problem(topic, "is no topic of a service", f"use one of {', '.join(topics)}"))
    if any(rule.id == rule_id for rule in knowledge.rules):
        problems.append(Problem(rule_id, "is a rule already", "choose another name"))
    if problems:
        raise KnowledgeError(problems)


def _rule(topic: str, rule_id: str, logic: Any, knowledge: Knowledge) -> dict[str, Any]:
    reason = next(iter(knowledge.services.values())).reason_fact
    return {
        "id": rule_id,
        "version": "0.1.0",
        "status": "draft",
        "title": f"{_TODO} one line",
        "why": f"{_TODO} why it matters, one sentence.",
        "hooks": [next(iter(knowledge.services.values())).hook],
        "jurisdiction": ["us", "uk"],
        "applies_when": {"var": reason},
        "fires_when": logic,
        "group": topic,
        "priority": _next_priority(topic, knowledge),
        "replaces": [],
        "orders": [],
        "evidence": [],
        "sources": [],
        "may_mislead_when": f"{_TODO} when it may be wrong.",
        "authored_by": _TODO,
        "checked_by": None,
        "review_by": (date.today() + timedelta(days=365)).isoformat(),
    }


def _next_priority(group: str, knowledge: Knowledge) -> int:
    """Behind all rules of the group, in steps that leave room between two."""
    taken = [rule.file.priority for rule in knowledge.rules if rule.file.group == group]
    return (max(taken, default=0) // _PRIORITY_STEP + 1) * _PRIORITY_STEP


def _cases(rule_id: str, facts: tuple[str, ...], knowledge: Knowledge) -> dict[str, Any]:
    """All that can be said before the author speaks: with nothing known the rule is unknown."""
    reason = next(iter(knowledge.services.values())).reason_fact
    baseline = {reason: True, **dict.fromkeys(facts, "unknown")}
    return {
        "rule": rule_id,
        "baseline": baseline,
        "cases": [{"says": "nothing is known", "given": {}, "expect": "unknown"}],
    }


def pretty(node: Any, indent: int = 0, width: int = _WIDTH) -> str:
    """JSON with short things on one line, as the files of logic/ and cards/ are written."""
    line = json.dumps(node, ensure_ascii=False)
    if len(line) + indent <= width and not (indent == 0 and isinstance(node, dict)):
        return line
    pad = " " * (indent + 2)
    if isinstance(node, dict):
        rows = [f"{pad}{json.dumps(key)}: {pretty(value, indent + 2, width - len(key) - 4)}" for key, value in node.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    if isinstance(node, list):
        return "[\n" + ",\n".join(pad + pretty(item, indent + 2, width) for item in node) + "\n" + " " * indent + "]"
    return line
