"""JSON Logic that cannot lie: a strict subset with three truth values, compiled once to closures.

*False and unknown* is false, *true and unknown* is unknown, any comparison with an unknown is unknown. Where all facts
are known the answer is that of any standard engine (jsonlogic.com). Each answer names the facts that settled it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec

from cds_service.errors import LogicError, Problem
from cds_service.jsonlogic.operators import among, arithmetic, at_most, between, equal, less, negated, product, truthy
from cds_service.jsonlogic.typecheck import ARITY, MAX_DEPTH, TypeCheck, operands, too_deep
from cds_service.model import UNKNOWN, FactType, FactTypes, ValueType


class Evaluation(msgspec.Struct, frozen=True):
    """A value with the names of the facts that settled it, in the order of the rule."""

    value: Any
    because: tuple[str, ...]


Node = Callable[[Any, Any], Evaluation]
"""A compiled operation: (facts, element of the list that is being walked) -> Answer."""

_NOTHING: Any = object()


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled rule. `expression({"age_years": 71})` answers; a fact that is not in the mapping is unknown."""

    source: Any
    facts: tuple[str, ...]
    key: str
    node: Node = field(repr=False, compare=False)

    def __call__(self, values: Mapping[str, Any]) -> Evaluation:
        return self.node(values, _NOTHING)


def compile_rule(logic: object, declared: FactTypes, place: str, expects: ValueType = "boolean") -> Expression:
    """Compile a rule over declared facts. Raises LogicError with every problem, each with file and place."""
    if too_deep(logic):
        raise LogicError([Problem(place, f"is nested more than {MAX_DEPTH} deep", "write flatter logic")])
    check = TypeCheck(declared)
    check.expect(logic, FactType(expects), place)
    if check.problems:
        raise LogicError(check.problems)
    return _expression(logic)


def compile_untyped(logic: object) -> Expression:
    """Compile without declared facts, for the standard's own cases. Raises LogicError for unknown operators."""
    if too_deep(logic):
        raise LogicError([Problem("logic", f"is nested more than {MAX_DEPTH} deep", "write flatter logic")])
    return _expression(logic)


def _expression(logic: object) -> Expression:
    names: dict[str, None] = {}
    node = _compile(logic, names)
    return Expression(logic, tuple(names), json.dumps(logic, sort_keys=True, default=str), node)


def _compile(logic: Any, names: dict[str, None]) -> Node:
    if isinstance(logic, list):
        return _literal_list([_compile(item, names) for item in logic])
    if not isinstance(logic, dict):
        constant = Evaluation(logic, ())
        return lambda values, element: constant
    if len(logic) != 1:
        raise LogicError([Problem("logic", f"has {len(logic)} operators", "write one operator an object")])
    ((operator, argument),) = logic.items()
    if operator not in ARITY:
        raise LogicError([Problem("logic", f"unknown operator {operator!r}", f"use one of {' '.join(ARITY)}")])
    given = operands(argument)
    if operator == "var":
        return _var(given, names)
    if operator == "missing":
        return _missing(given, names)
    if operator not in _WORK:
        return _BUILDERS[operator](operator, [_compile(item, names) for item in given])
    first, *others = [_compile(item, names) for item in given]
    if len(others) == 1 and not isinstance(given[1], (dict, list)):
        return _against(_WORK[operator], first, given[1])
    return _operation(_WORK[operator], [first, *others])


def _literal_list(items: list[Node]) -> Node:
    def node(values: Any, element: Any) -> Evaluation:
        answers = [item(values, element) for item in items]
        if any(answer.value is UNKNOWN for answer in answers):
            return Evaluation(UNKNOWN, _unknown(answers))
        return Evaluation(tuple(answer.value for answer in answers), _all(answers))

    return node


def _var(given: list[Any], names: dict[str, None]) -> Node:
    path = "" if not given or given[0] is None else str(given[0])
    default = given[1] if len(given) > 1 else UNKNOWN
    if path:
        names.setdefault(path)
    because = (path,)
    # Most facts are yes, no or unknown: these answers are made once.
    alike = {value: Evaluation(value, because) for value in (True, False)}
    unknown = Evaluation(UNKNOWN, because)

    def node(values: Any, element: Any) -> Evaluation:
        if element is not _NOTHING:
            return Evaluation(_walk(element, path, default), ())
        return Evaluation(_walk(values, path, default), because)

    def fact(values: Any, element: Any) -> Evaluation:
        if element is not _NOTHING:
            return Evaluation(_walk(element, path, default), ())
        try:
            value = values[path]
        except (KeyError, TypeError, IndexError):
            return unknown
        if value is UNKNOWN:
            return unknown
        return alike[value] if value is True or value is False else Evaluation(value, because)

    return fact if path and "." not in path and len(given) == 1 and not path.isdigit() else node


def _walk(data: Any, path: str, default: Any) -> Any:
    """A dotted path, as the standard has it; facts have plain names and take the short way."""
    for step in path.split(".") if path else ():
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, (list, tuple)) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        else:
            return default
    return tuple(data) if isinstance(data, list) else data


def _missing(given: list[Any], names: dict[str, None]) -> Node:
    asked = [str(name) for item in given for name in operands(item)]
    for name in asked:
        names.setdefault(name)

    def node(values: Any, element: Any) -> Evaluation:
        found = tuple(name for name in asked if _fact(values, name) in (UNKNOWN, None, ""))
        return Evaluation(found, tuple(asked))

    return node


def _fact(values: Any, name: str) -> Any:
    """Asked for by key: a mapping may work a value out only then."""
    try:
        return values[name]
    except (KeyError, TypeError, IndexError):
        return _walk(values, name, UNKNOWN)


def _all(answers: Sequence[Evaluation]) -> tuple[str, ...]:
    if len(answers) == 1:
        return answers[0].because
    return tuple(dict.fromkeys(chain.from_iterable([answer.because for answer in answers])))


def _unknown(answers: Sequence[Evaluation]) -> tuple[str, ...]:
    return _all([answer for answer in answers if answer.value is UNKNOWN])


def _junction(operator: str, items: list[Node]) -> Node:
    """`and`, `or`: the first operand that decides, alone; else all of them, or those that are unknown."""
    deciding = operator == "or"

    def node(values: Any, element: Any) -> Evaluation:
        answers: list[Evaluation] = []
        doubt = False
        for item in items:
            answer = item(values, element)
            if answer.value is UNKNOWN:
                doubt = True
            elif truthy(answer.value) is deciding and (not doubt or isinstance(answer.value, bool)):
                return answer
            answers.append(answer)
        if doubt:
            return Evaluation(UNKNOWN, _unknown(answers))
        return Evaluation(answers[-1].value, _all(answers))

    return node


def _not(operator: str, items: list[Node]) -> Node:
    inner = items[0]

    def node(values: Any, element: Any) -> Evaluation:
        answer = inner(values, element)
        return Evaluation(UNKNOWN if answer.value is UNKNOWN else not truthy(answer.value), answer.because)

    return node


def _if(operator: str, items: list[Node]) -> Node:
    pairs, otherwise = list(zip(items[:-1:2], items[1::2], strict=False)), items[-1] if len(items) % 2 else None

    def node(values: Any, element: Any) -> Evaluation:
        settled: list[Evaluation] = []
        for condition, branch in pairs:
            test = condition(values, element)
            if test.value is UNKNOWN:
                return Evaluation(UNKNOWN, test.because)
            settled.append(test)
            if truthy(test.value):
                chosen = branch(values, element)
                return Evaluation(chosen.value, chosen.because if chosen.value is UNKNOWN else _all([*settled, chosen]))
        chosen = otherwise(values, element) if otherwise else Evaluation(None, ())
        return Evaluation(chosen.value, chosen.because if chosen.value is UNKNOWN else _all([*settled, chosen]))

    return node


def _operation(work: Callable[..., Any], items: list[Node]) -> Node:
    """An operator on known operands; unknown as soon as one of them is."""

    def node(values: Any, element: Any) -> Evaluation:
        answers = [item(values, element) for item in items]
        for answer in answers:
            if answer.value is UNKNOWN:
                return Evaluation(UNKNOWN, _unknown(answers))
        return Evaluation(work(*(answer.value for answer in answers)), _all(answers))

    return node


def _against(work: Callable[..., Any], item: Node, constant: Any) -> Node:
    """The same for what most rules hold: one fact against one constant."""

    def node(values: Any, element: Any) -> Evaluation:
        answer = item(values, element)
        return answer if answer.value is UNKNOWN else Evaluation(work(answer.value, constant), answer.because)

    return node


def _quantifier(operator: str, items: list[Node]) -> Node:
    """`some`, `all`, `none` over a list, each element judged in three values."""
    source, predicate = items

    def node(values: Any, element: Any) -> Evaluation:
        listed = source(values, element)
        if listed.value is UNKNOWN:
            return listed
        judged = [predicate(values, item).value for item in listed.value or ()]
        truths = [value if value is UNKNOWN else truthy(value) for value in judged]
        return Evaluation(_quantified(operator, truths), listed.because)

    return node


def _quantified(operator: str, truths: list[Any]) -> Any:
    if operator == "all":
        if not truths or False in truths:
            return False
        return UNKNOWN if UNKNOWN in truths else True
    if True in truths:
        return operator == "some"
    return UNKNOWN if UNKNOWN in truths else operator == "none"


_BUILDERS: dict[str, Callable[[str, list[Node]], Node]] = {
    "and": _junction,
    "or": _junction,
    "!": _not,
    "if": _if,
    "some": _quantifier,
    "all": _quantifier,
    "none": _quantifier,
}

_WORK: dict[str, Callable[..., Any]] = {
    "==": equal,
    "!=": lambda left, right: negated(equal(left, right)),
    "<": between(less),
    "<=": between(at_most),
    ">": lambda left, right: less(right, left),
    ">=": lambda left, right: at_most(right, left),
    "in": among,
    "+": arithmetic(sum),
    "-": arithmetic(lambda n: -n[0] if len(n) == 1 else n[0] - n[1]),
    "*": arithmetic(product),
    "/": arithmetic(lambda n: Decimal(n[0]) / Decimal(n[1])),
    "min": arithmetic(min),
    "max": arithmetic(max),
}
