"""The type check that a rule passes at load: what is refused here can never misfire there.

Standard JSON Logic compares anything with anything, takes an absence for null and a part of a word for the word.
A clinical rule must not, so that operators are known, facts declared and types equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from typing import Any

from cds_service.errors import Problem
from cds_service.jsonlogic.notation import write
from cds_service.model import FactType, FactTypes

MAX_DEPTH = 64
_SHOWN = 120

BOOLEAN, NUMBER, STRING, LIST = (FactType("boolean"), FactType("number"), FactType("string"), FactType("list"))

# The least and the most operands of each operator; None: any number.
ARITY: dict[str, tuple[int, int | None]] = {
    "var": (1, 2),
    "and": (1, None),
    "or": (1, None),
    "!": (1, 1),
    "==": (2, 2),
    "!=": (2, 2),
    "<": (2, 3),
    "<=": (2, 3),
    ">": (2, 2),
    ">=": (2, 2),
    "in": (2, 2),
    "if": (3, None),
    "some": (2, 2),
    "all": (2, 2),
    "none": (2, 2),
    "missing": (1, None),
    "+": (1, None),
    "-": (1, 2),
    "*": (1, None),
    "/": (2, 2),
    "min": (1, None),
    "max": (1, None),
}


def operands(argument: Any) -> list[Any]:
    """`{"!": x}` is short for `{"!": [x]}`, as in every JSON Logic."""
    return argument if isinstance(argument, list) else [argument]


def too_deep(logic: object) -> bool:
    """Whether logic is nested beyond MAX_DEPTH; asked with a list, not by recursion, which it would exhaust."""
    waiting: list[tuple[object, int]] = [(logic, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return True
        if isinstance(node, dict):
            waiting += [(child, depth + 1) for child in node.values()]
        elif isinstance(node, list):
            waiting += [(child, depth + 1) for child in node]
    return False


class TypeCheck:
    """Walks a rule once and gathers every problem, each with its place: `fires_when.and[1].<[0]`."""

    def __init__(self, declared: FactTypes) -> None:
        self.problems: list[Problem] = []
        self._declared = declared
        self._element: FactType | None = None
        self._around: list[Any] = []

    def expect(self, node: object, wanted: FactType, place: str) -> None:
        found = self.type_of(node, place)
        if found and found.name != wanted.name:
            self._refuse(place, f"is a {found.name}, not a {wanted.name}", f"give a {wanted.name} here")

    def type_of(self, node: object, place: str) -> FactType | None:
        """The type of a node, None where a problem was found in it."""
        if isinstance(node, dict):
            return self._operation(node, place)
        if isinstance(node, bool):
            return BOOLEAN
        if isinstance(node, (int, Decimal)):
            return self._number(node, place)
        if isinstance(node, str):
            return FactType("string", (node,))
        if isinstance(node, list):
            return self._list(node, place)
        return self._refuse(place, f"is {_name(node)}", "an unknown is never written: ask a fact whose picker is not_known")

    def _number(self, node: int | Decimal, place: str) -> FactType | None:
        if isinstance(node, Decimal) and not node.is_finite():
            return self._refuse(place, f"is {node}", "give a finite number")
        return NUMBER

    def _list(self, node: list[object], place: str) -> FactType | None:
        types = [self.type_of(item, f"{place}[{at}]") for at, item in enumerate(node)]
        if any(isinstance(item, (dict, list)) for item in node) or len({item.name for item in types if item}) != 1:
            return self._refuse(place, "is no list of words or of numbers", "list constants of one type")
        return FactType("list", tuple(item for item in node if isinstance(item, str)))

    def _operation(self, node: dict[str, Any], place: str) -> FactType | None:
        if len(node) != 1:
            return self._refuse(place, f"has {len(node)} operators", "write one operator an object")
        ((operator, argument),) = node.items()
        if operator not in ARITY:
            return self._refuse(place, f"unknown operator {operator!r}", f"use one of {' '.join(ARITY)}")
        given = operands(argument)
        least, most = ARITY[operator]
        if len(given) < least or (most is not None and len(given) > most):
            return self._refuse(f"{place}.{operator}", f"has {len(given)} operands", f"give {_count(least, most)}")
        if operator == "var":
            return self.var(operator, given, f"{place}.var")
        self._around.append(node)
        found = _CHECKS[operator](self, operator, given, f"{place}.{operator}")
        self._around.pop()
        return found

    def var(self, operator: str, given: list[Any], place: str) -> FactType | None:
        name = given[0]
        if len(given) > 1:
            return self._refuse(place, "has a default", "leave it out: an unknown fact stays unknown")
        if self._element and name == "":
            return self._element
        if not isinstance(name, str) or name not in self._declared:
            return self._refuse(place, f"undeclared fact {name!r}", "declare it in logic/facts/, or mend the name")
        if self._element:
            return self._refuse(place, f"fact {name!r} inside a list", 'only {"var": ""} is known there')
        return self._declared[name]

    def all_boolean(self, operator: str, given: list[Any], place: str) -> FactType:
        self._each(given, BOOLEAN, place)
        return BOOLEAN

    def all_numbers(self, operator: str, given: list[Any], place: str) -> FactType:
        self._each(given, NUMBER, place)
        return NUMBER

    def ordering(self, operator: str, given: list[Any], place: str) -> FactType:
        self._each(given, NUMBER, place)
        return BOOLEAN

    def _each(self, given: list[Any], wanted: FactType, place: str) -> None:
        for at, item in enumerate(given):
            self.expect(item, wanted, f"{place}[{at}]")

    def equality(self, operator: str, given: list[Any], place: str) -> FactType:
        left, right = (self.type_of(item, f"{place}[{at}]") for at, item in enumerate(given))
        if left and right:
            if left.name != right.name or left.name == "list":
                self._refuse(place, f"compares a {left.name} with a {right.name}", "compare like with like")
            self._words_fit(left, right, place)
        return BOOLEAN

    def membership(self, operator: str, given: list[Any], place: str) -> FactType:
        item, among = (self.type_of(part, f"{place}[{at}]") for at, part in enumerate(given))
        if item and item.name not in ("string", "number"):
            self._refuse(f"{place}[0]", f"is a {item.name}", "look for a word or a number")
        if among and among.name != "list":
            self._refuse(f"{place}[1]", f"is a {among.name}, and parts of words are never matched", "give a list")
        elif item and among:
            self._words_fit(item, among, place)
        return BOOLEAN

    def _words_fit(self, left: FactType, right: FactType, place: str) -> None:
        """A word that a fact never answers would make a rule silently dead."""
        if not left.values or not right.values or not {left.name, right.name} <= {"string", "list"}:
            return
        stranger = [word for word in right.values if word not in left.values]
        if stranger and (len(right.values) == 1 or right.name == "list"):
            left_is_one = len(left.values) == 1 and right.name == "string"
            if not left_is_one or left.values[0] not in right.values:
                self._refuse(place, f"{stranger[0]!r} is never answered", f"use one of {', '.join(left.values)}")
        elif stranger and left.values[0] not in right.values:
            self._refuse(place, f"{left.values[0]!r} is never answered", f"use one of {', '.join(right.values)}")

    def choice(self, operator: str, given: list[Any], place: str) -> FactType | None:
        if len(given) % 2 == 0:
            return self._refuse(place, "has no last branch", "give condition, value, …, and a value for otherwise")
        self._each_condition(given, place)
        branches = [*given[1::2], given[-1]]
        types = [self.type_of(item, f"{place}[{at}]") for at, item in enumerate(branches)]
        names = {item.name for item in types if item}
        if len(names) > 1:
            return self._refuse(place, f"answers {' or '.join(sorted(names))}", "answer one type in every branch")
        return next((FactType(item.name) for item in types if item), None)

    def _each_condition(self, given: list[Any], place: str) -> None:
        for at in range(0, len(given) - 1, 2):
            self.expect(given[at], BOOLEAN, f"{place}[{at}]")

    def quantifier(self, operator: str, given: list[Any], place: str) -> FactType | None:
        self.expect(given[0], LIST, f"{place}[0]")
        if self._element:
            return self._refuse(place, "stands inside another list", "write it flat")
        self._element = self._element_of(given[0])
        self.expect(given[1], BOOLEAN, f"{place}[1]")
        self._element = None
        return BOOLEAN

    def _element_of(self, node: Any) -> FactType:
        """What a list holds: words where it is of words, or declares them, else numbers."""
        if isinstance(node, list):
            return STRING if any(isinstance(item, str) for item in node) else NUMBER
        declared = self._declared.get(str(operands(node["var"])[0])) if _is(node, "var") else None
        if declared is not None:
            return FactType("string", declared.values) if declared.values else NUMBER
        return STRING

    def absent(self, operator: str, given: list[Any], place: str) -> FactType | None:
        """`missing` is of the standard, but hard to read where it decides: a fact of its own says it in words."""
        remedy = "ask a fact whose picker is not_shown or not_known"
        return self._refuse(place, f"decides on what is not known, by `{operator}`", remedy)

    def _refuse(self, place: str, message: str, remedy: str) -> FactType | None:
        """Note a problem, with the operation that it stands in; what is refused has no type."""
        text = write(self._around[-1]) if self._around else ""
        where = f", in `{text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'}`" if text else ""
        self.problems.append(Problem(place, message + where, remedy))
        return None


def _is(node: Any, operator: str) -> bool:
    return isinstance(node, dict) and operator in node


def _name(node: object) -> str:
    return "null" if node is None else f"a {type(node).__name__}"


def _count(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    return f"{least}" if least == most else f"{least} to {most}"


_Check = Callable[[TypeCheck, str, list[Any], str], FactType | None]
_CHECKS: dict[str, _Check] = {
    "and": TypeCheck.all_boolean,
    "or": TypeCheck.all_boolean,
    "!": TypeCheck.all_boolean,
    "==": TypeCheck.equality,
    "!=": TypeCheck.equality,
    **dict.fromkeys(("<", "<=", ">", ">="), TypeCheck.ordering),
    "in": TypeCheck.membership,
    "if": TypeCheck.choice,
    **dict.fromkeys(("some", "all", "none"), TypeCheck.quantifier),
    "missing": TypeCheck.absent,
    **dict.fromkeys(("+", "-", "*", "/", "min", "max"), TypeCheck.all_numbers),
}


def numbers(logic: Any) -> Iterator[int | Decimal]:
    """Every number that a rule compares with."""
    if isinstance(logic, dict):
        for argument in logic.values():
            yield from numbers(argument)
    elif isinstance(logic, list):
        for item in logic:
            yield from numbers(item)
    elif isinstance(logic, (int, Decimal)) and not isinstance(logic, bool):
        yield logic


def compared(logic: Any) -> Iterator[tuple[str, int | Decimal]]:
    """Each fact with each number beside which it stands in a comparison."""
    for operator, argument in logic.items() if isinstance(logic, dict) else ():
        given = operands(argument)
        names = [str(operands(item["var"])[0]) for item in given if isinstance(item, dict) and "var" in item]
        yield from product(names, numbers([item for item in given if not isinstance(item, (dict, list))]))
        for item in given if operator != "var" else ():
            yield from compared(item)
