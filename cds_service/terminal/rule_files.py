"""`new` and `edit`: the files of a rule, written from conditions in their readable form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cds_service.errors import KnowledgeError, Problem
from cds_service.jsonlogic import notation
from cds_service.jsonlogic.compile import Expression, compile_rule
from cds_service.knowledge.knowledge import Knowledge

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*")
_COLON = re.compile(r"\s*:\s*")
_OPTIONS = {"fires_when": "--when", "applies_when": "--applies-when"}
_TODO = "TODO"
_WIDTH = 118
_PRIORITY_STEP = 10


def write_rule(root: Path, knowledge: Knowledge, name: str, condition: str) -> list[str]:
    """Write the three files of a new rule and return their paths. Raises KnowledgeError or LogicError; then writes nothing."""
    if not _NAME.fullmatch(name):
        raise KnowledgeError([Problem(name, "is no TOPIC/RULE", "use small letters, digits and hyphens: results/low-iron")])
    topic, rule_id = name.split("/")
    logic, expression = _understood(condition, "--when", knowledge)
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


def edit_rule(root: Path, knowledge: Knowledge, rule_id: str, conditions: Mapping[str, str]) -> list[str]:
    """Write new conditions, by member, into the file of a rule; return what changed, line by line.

    All else in the file stays as it is. Raises KnowledgeError or LogicError; then writes nothing.
    """
    rule = knowledge.rule_by_id.get(rule_id)
    if rule is None:
        near = get_close_matches(rule_id, knowledge.rule_by_id, n=1)
        remedy = f"did you mean {near[0]}?" if near else "see logic/CATALOGUE.md"
        raise KnowledgeError([Problem(rule_id, "is no rule", remedy)])
    path, told = root / rule.place, []
    text = path.read_text(encoding="utf-8")
    for member, condition in conditions.items():
        begin, end = _member(text, member)
        was = notation.write(json.loads(text[begin:end]))
        logic, _ = _understood(condition, _OPTIONS[member], knowledge)
        if notation.write(logic) != was:
            text = text[:begin] + pretty(logic, 2, _WIDTH - len(member) - 4) + text[end:]
            told += [f"{rule_id} {member}", f"  was: {was}", f"  is:  {notation.write(logic)}"]
    if not told:
        return [f"{rule.place} says that already: nothing was written"]
    path.write_text(text, encoding="utf-8")
    return [*told, f"wrote {rule.place}", f"Raise its version ({rule.file.version}) as CONTRIBUTING.md says."]


def _member(text: str, name: str) -> tuple[int, int]:
    """Where the value of a member of a file begins and ends, the file being one object."""
    decode, at, found = json.JSONDecoder().raw_decode, 0, ""
    while found != name:
        at = text.index('"', at)
        found, at = decode(text, at)
        begin = at + len(_COLON.match(text, at)[0])  # type: ignore[index]
        _, at = decode(text, begin)
    return begin, at


def _understood(condition: str, option: str, knowledge: Knowledge) -> tuple[Any, Expression]:
    """The JSON Logic of a condition, and compiled. Raises LogicError."""
    logic = notation.read(condition, option, knowledge.types)
    return logic, compile_rule(json.loads(json.dumps(logic), parse_float=Decimal), knowledge.types, option)


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
