"""A condition as one line that people read and write: `potassium_against_range == "low" and taking_diuretic`.

It is spelled as Python and read as a syntax tree, never run. From the tree the condition is built with jsonlogic-py, whose
operators write the JSON. `read(write(logic))` is `logic`; JSON of which that is not so is refused by `check`.
"""

from __future__ import annotations

import ast
import json
import operator
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from keyword import iskeyword
from typing import Any, NamedTuple

from jsonlogic import Expression, Literal, Operation, Variable

from cds_service.errors import LogicError, Problem

MAX_LENGTH = 4_000
MAX_DEPTH = 64
ELEMENT = "item"
"""What an element of a list is called in `some(list, item == "low")`; in JSON it is `{"var": ""}`."""

_MOST_PROBLEMS = 20
_SHOWN = 60
_QUANTIFIERS = ("some", "all", "none")
_CALLS = ("min", "max", *_QUANTIFIERS)
_FLAT = ("and", "or", "+", "*")

# How strongly the parts of a condition hold together, from the weakest to the strongest.
_CHOICE, _OR, _AND, _NOT, _COMPARED, _SUM, _PRODUCT, _SIGNED, _WHOLE = range(9)


class _Infix(NamedTuple):
    """How strongly an operator holds together, and how strongly its first part and the others must."""

    itself: int
    first: int
    others: int


_INFIX: dict[str, _Infix] = {
    # `and` within `or` would need no brackets, but not everybody knows that.
    "or": _Infix(_OR, _NOT, _NOT),
    "and": _Infix(_AND, _NOT, _NOT),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in", "not in"), _Infix(_COMPARED, _SUM, _SUM)),
    "+": _Infix(_SUM, _SUM, _PRODUCT),
    "-": _Infix(_SUM, _SUM, _PRODUCT),
    "*": _Infix(_PRODUCT, _PRODUCT, _SIGNED),
    "/": _Infix(_PRODUCT, _PRODUCT, _SIGNED),
}


def write(logic: Any) -> str:
    """The readable form of JSON Logic. What has none is shown as well as can be; whether it has one says `refused`.

    >>> write({"and": [{">=": [{"var": "age_years"}, 65]}, {"!": [{"in": [{"var": "stage"}, ["mild", "none"]]}]}]})
    'age_years >= 65 and stage not in ["mild", "none"]'
    """
    return _form(logic)[0]


def _form(logic: Any) -> tuple[str, int]:
    """The text of a part, and how strongly it holds together."""
    if not isinstance(logic, dict) or len(logic) != 1:
        return _constant(logic)
    ((name, argument),) = logic.items()
    given = argument if isinstance(argument, list) else [argument]
    if name == "var" and len(given) == 1:
        return str(given[0]) or ELEMENT, _WHOLE
    if name == "!" and len(given) == 1:
        return _negation(given[0])
    if name == "-" and len(given) == 1:
        return f"-{_bracketed(given[0], _WHOLE)}", _SIGNED
    if name == "if" and len(given) % 2:
        return _choice(given), _CHOICE
    if name in _INFIX and given:
        return _infix(name, given), _INFIX[name].itself
    return f"{name}({', '.join(map(write, given))})", _WHOLE


def _bracketed(logic: Any, least: int) -> str:
    text, strength = _form(logic)
    return text if strength >= least else f"({text})"


def _infix(name: str, given: list[Any]) -> str:
    _, first, others = _INFIX[name]
    return f" {name} ".join(_bracketed(item, others if at else first) for at, item in enumerate(given))


def _negation(logic: Any) -> tuple[str, int]:
    if isinstance(logic, dict) and isinstance(given := logic.get("in"), list) and len(given) == 2 and len(logic) == 1:
        return _infix("not in", given), _COMPARED
    return f"not {_bracketed(logic, _WHOLE)}", _NOT


def _choice(given: list[Any]) -> str:
    *pairs, otherwise = given
    parts = [
        f"{_bracketed(value, _OR)} if {_bracketed(condition, _OR)}"
        for condition, value in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    return " else ".join([*parts, _form(otherwise)[0]])


def _constant(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        return _quoted(value), _WHOLE
    text = f"[{', '.join(map(write, value))}]" if isinstance(value, list) else str(value)
    return text, _SIGNED if text.startswith("-") else _WHOLE


def _quoted(text: str) -> str:
    """In double quotes. What cannot be seen is escaped, so that no text looks like another."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in quoted)


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda item, among: item.isin(among),
    ast.NotIn: lambda item, among: ~item.isin(among),
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_BITWISE: dict[type, str] = {ast.BitAnd: "write `and`", ast.BitOr: "write `or`", ast.Invert: "write `not`"}
_FORMS = "use and, or, not, < <= > >= == !=, in [...], + - * /, if ... else, min(), max(), some(), all(), none()"
_SLIPS = {
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, or != between two values",
    "=": "write == to compare",
    "=>": "write >= for at least",
    "=<": "write <= for at most",
    **dict.fromkeys("\u201c\u201d\u2018\u2019", 'write straight quotes: "'),
    "\u2264": "write <=",
    "\u2265": "write >=",
    "\u2260": "write !=",
}


def read(text: str, place: str = "condition", facts: Collection[str] | None = None) -> Any:
    """The JSON Logic of a condition, junctions flat. `facts`: the names that it may ask; None: any.

    Raises LogicError with every mistake (up to twenty), each with its column.

    >>> read("age_years >= 65 and not on_dialysis")
    {'and': [{'>=': [{'var': 'age_years'}, 65]}, {'!': [{'var': 'on_dialysis'}]}]}
    """
    text = text.strip().replace("\r", " ")
    reading = _Reading(text, place, facts)
    built = reading.operand(_parsed(text, place))
    if reading.problems:
        raise LogicError(reading.problems[:_MOST_PROBLEMS])
    return _standard(built._prepare())


def _parsed(text: str, place: str) -> ast.expr:
    if not text:
        raise LogicError([Problem(place, "is empty", 'write a condition, such as "age_years >= 65"')])
    if len(text) > MAX_LENGTH:
        raise LogicError([Problem(place, f"has {len(text)} characters", f"write at most {MAX_LENGTH}: make a part a fact")])
    try:
        with warnings.catch_warnings():
            # What Python only warns of, such as an unknown escape, is a mistake here.
            warnings.simplefilter("error")
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise LogicError([_broken(text, error, place)]) from None
    except (ValueError, RecursionError, MemoryError):
        raise LogicError([Problem(place, "cannot be read", "write fewer brackets, and no signs that cannot be seen")]) from None
    if _too_deep(tree):
        raise LogicError([Problem(place, f"is nested more than {MAX_DEPTH} deep", "write it flatter: make a part a fact")])
    # What stands behind it would be lost.
    if text.count("#") > sum(str(node.value).count("#") for node in ast.walk(tree) if isinstance(node, ast.Constant)):
        raise LogicError([Problem(_at(place, text, 1, text.index("#")), "'#' begins a comment", "write no comments")])
    return tree


def _broken(text: str, error: SyntaxError, place: str) -> Problem:
    """Where Python could not go on, what stands there, and why, where it says more than that."""
    lines = text.split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    column = error.offset - 1 if error.offset else len(lines[line - 1])
    before, rest = lines[line - 1][:column], lines[line - 1][column:].strip()
    why = "" if error.msg.startswith("invalid") else f": {error.msg}"
    message = f"cannot be read from {_short(rest)!r} on{why}" if rest else "ends too early"
    slip = before[-1:] if before.endswith(("&", "|")) else rest[:2] if rest[:2] in _SLIPS else rest[:1]
    return Problem(_at(place, text, line, column), message, _SLIPS.get(slip, "see the brackets, quotes and words there"))


def _at(place: str, text: str, line: int, column: int) -> str:
    """`column` counts from 0, what is told from 1, and the line only where there are several."""
    return f"{place} {f'line {line} ' if chr(10) in text else ''}column {column + 1}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _too_deep(tree: ast.expr) -> bool:
    """Asked level by level, not by recursion, which it would exhaust."""
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    return bool(level)


class _Reading:
    """Builds a condition from its syntax tree with jsonlogic-py, and gathers what has no form in JSON Logic."""

    def __init__(self, text: str, place: str, facts: Collection[str] | None) -> None:
        self.problems: list[Problem] = []
        self._text, self._place, self._facts = text, place, facts
        self._element = False

    def operand(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return self._variable(node, name)
            case ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
                return Literal(self._constant(node))
            case ast.List(elts=items):
                return Literal([self._constant(item) for item in items])
            case ast.BoolOp(op=junction, values=values):
                work = operator.and_ if isinstance(junction, ast.And) else operator.or_
                return _joined(work, [self.operand(value) for value in values])
            case ast.Compare(left=left, ops=ops, comparators=rest):
                return self._comparison(node, [left, *rest], ops)
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return ~self.operand(inner)
        return self._worked_out(node)

    def _worked_out(self, node: ast.expr) -> Any:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _ARITHMETIC[type(op)](self.operand(left), self.operand(right))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return _called("-", [self.operand(inner)])
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                return _called("if", [self.operand(part) for part in (test, body, otherwise)])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CALLS and args:
                return self._call(node, name, args)
        sign = type(getattr(node, "op", None))
        return self._refuse(node, "has no form here", _BITWISE.get(sign, _FORMS))

    def _variable(self, node: ast.expr, name: str) -> Any:
        if self._element and name == ELEMENT:
            return Variable("")
        if self._facts is not None and name not in self._facts:
            near = get_close_matches(name, self._facts, n=1)
            remedy = f"did you mean {near[0]}?" if near else "see the facts of logic/facts/"
            return self._refuse(node, "is no fact", "write True or False" if name in ("true", "false") else remedy)
        return Variable(name)

    def _constant(self, node: ast.expr) -> Any:
        inner, sign = (node.operand, -1) if isinstance(node, ast.UnaryOp) else (node, 1)
        match inner:
            case ast.Constant(value=bool() | str() as value) if inner is node:
                return value
            case ast.Constant(value=float() as value) if Decimal(self._source(inner)) != Decimal(repr(value)):
                self._refuse(node, "has more digits than a number keeps", "write at most 15")
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return sign * value
            case _:
                self._refuse(node, "is no constant", "write a word in quotes, a number, True or False")
        return ""

    def _comparison(self, node: ast.expr, sides: list[ast.expr], ops: list[ast.cmpop]) -> Any:
        """`1 < v < 5` compares twice, both kept."""
        if any(type(op) not in _COMPARISONS for op in ops):
            return self._refuse(node, "compares by `is`", "write == or !=")
        found = [self.operand(side) for side in sides]
        parts = [_COMPARISONS[type(op)](found[at], found[at + 1]) for at, op in enumerate(ops)]
        return _joined(operator.and_, parts)

    def _call(self, node: ast.expr, name: str, args: list[ast.expr]) -> Any:
        if name not in _QUANTIFIERS:
            return _called(name, [self.operand(item) for item in args])
        if len(args) != 2:
            return self._refuse(node, f"has {len(args)} parts", f'write {name}(a list, {ELEMENT} == "...")')
        source, outside = self.operand(args[0]), self._element
        self._element = True
        predicate = self.operand(args[1])
        self._element = outside
        return _called(name, [source, predicate])

    def _refuse(self, node: ast.expr, message: str, remedy: str) -> Any:
        """Note a mistake; what stands in for the part is never used."""
        line = self._text.split("\n")[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode())
        place = _at(self._place, self._text, node.lineno, column)
        self.problems.append(Problem(place, f"{_short(self._source(node))!r} {message}", remedy))
        return Literal(False)

    def _source(self, node: ast.expr) -> str:
        return ast.get_source_segment(self._text, node) or ""


def _joined(work: Callable[[Any, Any], Any], parts: Sequence[Any]) -> Any:
    """Two by two, by halves, so that many parts are not nested deeply."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return work(_joined(work, parts[:middle]), _joined(work, parts[middle:]))


def _called(name: str, parts: list[Any]) -> Any:
    """What JSON Logic has, and jsonlogic-py has no operator for."""
    return Expression(Operation(name, None), *parts)


def _standard(node: Any) -> Any:
    """As jsonlogic-py wrote it, in standard spelling: its `not`, and flat where an operator stands within itself."""
    if not isinstance(node, dict):
        return node
    ((name, given),) = node.items()
    if name == "var":
        return node
    items = [_standard(item) for item in given]
    if name in _FLAT:
        items = [part for item in items for part in (item[name] if _is(item, name) else [item])]
    if name == "if" and _is(items[-1], "if"):
        items = [*items[:-1], *items[-1]["if"]]
    return {"!" if name == "not" else name: items}


def _is(node: Any, name: str) -> bool:
    return isinstance(node, dict) and name in node


def refused(logic: Any, place: str) -> list[Problem]:
    """What of valid JSON Logic would not come back from its readable form, each with its place; mostly nothing."""
    found = list(_strange(logic, place))
    if found:
        return found
    text = write(logic)
    try:
        back = read(text)
    except LogicError as error:
        return [Problem(place, f"cannot be written in a line: {error.problems[0].message}", error.problems[0].remedy)]
    if _alike(back, logic):
        return []
    return [Problem(place, f"does not come back from {_short(text)!r}", f"write {_short(json.dumps(back))}")]


def _strange(logic: Any, place: str) -> Iterator[Problem]:
    """Spellings that have the same meaning as another, which is the one to write."""
    if not isinstance(logic, dict):
        return
    ((name, argument),) = logic.items()
    if odd := _odd(name, argument):
        yield Problem(f"{place}.{name}", *odd)
    for at, item in enumerate(argument if isinstance(argument, list) and name != "var" else ()):
        here = f"{place}.{name}[{at}]"
        if _is(item, name) and (name in _FLAT or (name == "if" and at == len(argument) - 1)):
            yield Problem(here, f"is `{name}` within `{name}`", f"move its parts into the outer `{name}`")
        yield from _strange(item, here)


def _odd(name: str, argument: Any) -> tuple[str, str] | None:
    match name, argument:
        case "var", str():
            plain = argument.isascii() and argument.isidentifier() and not iskeyword(argument)
            remedy = "name the fact with letters, digits and _"
            return None if plain or not argument else (f"asks {argument!r}, which is no name here", remedy)
        case "var", list():
            return "has its fact in a list", f'write {{"var": {json.dumps(argument[0])}}}'
        case (("<" | "<="), [_, _, _]):
            return "compares three values", f"write two comparisons by {name}, joined by `and`"
        case "-", [int() | float() | Decimal() as number] if not str(number).startswith("-"):
            return f"is the negative of {number}", f"write -{number}"
        case _, [_] if name in _FLAT:
            return "joins one part", "write the part alone"
    return None if isinstance(argument, list) else ("has its operand in no list", f'write {{"{name}": [...]}}')


def _alike(first: Any, second: Any) -> bool:
    """Equal as JSON: 1 is not true, and a number is what it says."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_alike, first, second))
    if isinstance(first, (bool, str)) or isinstance(second, (bool, str)):
        return type(first) is type(second) and first == second
    return type(first) not in (dict, list) and Decimal(str(first)) == Decimal(str(second))
