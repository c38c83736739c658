"""The readable form of conditions: each comes back as the JSON that it was made of, and a mistake is told with its column."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.errors import LogicError, Problem
from cds_service.jsonlogic.compile import compile_rule
from cds_service.jsonlogic.notation import MAX_LENGTH, read, refused, write
from cds_service.jsonlogic.typecheck import ARITY
from cds_service.knowledge.knowledge import Knowledge
from tests.conftest import ROOT
from tests.support.random_rules import DOMAIN, TYPES, boolean

A, B, C, N = {"var": "a"}, {"var": "b"}, {"var": "c"}, {"var": "n"}

FORMS: list[tuple[str, Any]] = [
    ("a", A),
    ("True", True),
    ("not a", {"!": [A]}),
    ("a and not b", {"and": [A, {"!": [B]}]}),
    ("a or (b and c)", {"or": [A, {"and": [B, C]}]}),
    ("not (a or b)", {"!": [{"or": [A, B]}]}),
    ("not (not a)", {"!": [{"!": [A]}]}),
    ('potassium_against_range == "low"', {"==": [{"var": "potassium_against_range"}, "low"]}),
    ('not (s == "low")', {"!": [{"==": [{"var": "s"}, "low"]}]}),
    ('s in ["low", "high"]', {"in": [{"var": "s"}, ["low", "high"]]}),
    ("n not in [1, -2.5]", {"!": [{"in": [N, [1, -2.5]]}]}),
    ('"a \\"b\\" \\\\ c" == s', {"==": ['a "b" \\ c', {"var": "s"}]}),
    ('"a\\U0000202eb" == s', {"==": ["a\u202eb", {"var": "s"}]}),
    ("18 <= n and n < 65", {"and": [{"<=": [18, N]}, {"<": [N, 65]}]}),
    ("(a == b) != c", {"!=": [{"==": [A, B]}, C]}),
    ("n + 1 + 2 > 0.5", {">": [{"+": [N, 1, 2]}, 0.5]}),
    ("n - (1 - 2) >= -n", {">=": [{"-": [N, {"-": [1, 2]}]}, {"-": [N]}]}),
    ("n - 1 - 2 >= -(-1)", {">=": [{"-": [{"-": [N, 1]}, 2]}, {"-": [-1]}]}),
    ("(n + 1) * 2 / (n * 3) < 4", {"<": [{"/": [{"*": [{"+": [N, 1]}, 2]}, {"*": [N, 3]}]}, 4]}),
    ("min(n, 3) > max(1)", {">": [{"min": [N, 3]}, {"max": [1]}]}),
    ("a if b else not c if c else True", {"if": [B, A, C, {"!": [C]}, True]}),
    ("(a if b else c) and b", {"and": [{"if": [B, A, C]}, B]}),
    (
        'some(l, item == "x" or item == "y")',
        {"some": [{"var": "l"}, {"or": [{"==": [{"var": ""}, "x"]}, {"==": [{"var": ""}, "y"]}]}]},
    ),
    ("all([1, 2], item > 1)", {"all": [[1, 2], {">": [{"var": ""}, 1]}]}),
    ("none(l, item in [3]) and item", {"and": [{"none": [{"var": "l"}, {"in": [{"var": ""}, [3]]}]}, {"var": "item"}]}),
]


@pytest.mark.parametrize(("text", "logic"), FORMS, ids=[text for text, _ in FORMS])
def test_each_form_is_written_and_read(text: str, logic: Any) -> None:
    assert write(logic) == text
    assert exactly(read(text)) == exactly(logic)
    assert refused(logic, "here") == []


def test_the_forms_hold_every_operator() -> None:
    text = json.dumps([logic for _, logic in FORMS])
    # What is missing never decides: the type check refuses it.
    assert [operator for operator in ARITY if f'"{operator}":' not in text] == ["missing"]


def exactly(logic: Any) -> str:
    return json.dumps(logic)


def conditions(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every condition of a file: what is called `when` or `..._when` and is no sentence."""
    if isinstance(node, list):
        for at, item in enumerate(node):
            yield from conditions(item, f"{place}[{at}]")
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "when" or (key.endswith("_when") and key != "may_mislead_when"):
            yield f"{place}.{key}", value
        else:
            yield from conditions(value, f"{place}.{key}")


SHIPPED = [
    found
    for folder in ("logic", "cards")
    for path in sorted((ROOT / folder).rglob("*.json"))
    if not path.name.endswith(".cases.json")
    for found in conditions(json.loads(path.read_text()), path.relative_to(ROOT).as_posix())
]


def test_every_condition_of_the_repository_comes_back_from_its_readable_form() -> None:
    assert len(SHIPPED) > 400
    for place, logic in SHIPPED:
        text = write(logic)
        assert exactly(read(text)) == exactly(logic), place
        assert write(read(text)) == text, place
        assert "\n" not in text


def test_the_lines_of_the_catalogue_can_be_given_to_edit(knowledge: Knowledge) -> None:
    text = (ROOT / "logic/CATALOGUE.md").read_text()
    for member, label in (("applies_when", "For whom"), ("fires_when", "Speaks when")):
        told = sorted(exactly(read(line)) for line in re.findall(f"^- {label}: `(.*)`$", text, re.MULTILINE))
        files = [json.loads((ROOT / rule.place).read_text()) for rule in knowledge.rules]
        assert told == sorted(exactly(file[member]) for file in files)


@pytest.mark.untraced
def test_random_rules_come_back_or_are_refused_for_a_reason_that_can_be_mended() -> None:
    rng, kept = random.Random(20261129), 0
    for _ in range(4_000):
        logic = json.loads(json.dumps(boolean(rng, rng.randint(1, 4)), default=float))
        told, text = refused(logic, "fuzz"), write(logic)
        mended = read(text)
        assert (exactly(mended) == exactly(logic)) is (not told), text
        assert write(mended) == text or told, text
        assert all("come back" not in problem.message for problem in told), "each refused spelling is known by name"
        assert refused(mended, "mended") == [], text
        facts = {name: rng.choice(values) for name, values in DOMAIN.items()}
        answers = [compile_rule(json.loads(exactly(item), parse_float=Decimal), TYPES, "f")(facts) for item in (mended, logic)]
        assert answers[0].value == answers[1].value, text
        kept += not told
    assert kept > 1_000


LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from("abc").map(lambda name: {"var": name}),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
)


def operations(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def of(operator: str) -> st.SearchStrategy[Any]:
        least, most = ARITY[operator]
        return st.lists(inner, min_size=least, max_size=most or 4).map(lambda given: {operator: given})

    return st.sampled_from([name for name in ARITY if name not in ("var", "missing")]).flatmap(of)


@given(st.recursive(LEAVES, operations, max_leaves=12))
@settings(max_examples=600, derandomize=True, deadline=None)
def test_any_expression_comes_back_exactly_or_is_refused(logic: Any) -> None:
    if refused(logic, "any"):
        return
    text = write(logic)
    assert exactly(read(text)) == exactly(logic)
    assert write(read(text)) == text


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("ab12 ()[]\"'<>=!+-*/.,#&|:\\\n"), max_size=40))
@settings(max_examples=600, derandomize=True, deadline=None)
def test_any_text_is_read_or_refused_plainly(text: str) -> None:
    logic: Any = True
    problems: tuple[Problem, ...] = ()
    try:
        logic = read(text, "any")
    except LogicError as error:
        problems = error.problems
    assert all(problem.place.startswith("any") and problem.remedy for problem in problems)
    assert exactly(read(write(logic))) == exactly(logic)


NORMALISED: list[tuple[str, str]] = [
    ("a and (b and c)", "a and b and c"),
    ("a and 18 <= n < 65", "a and 18 <= n and n < 65"),
    ("n + (1 + 2) > 0", "n + 1 + 2 > 0"),
    ("a if b else (b if c else a)", "a if b else b if c else a"),
    ("  (a)\n", "a"),
    ("s=='low'", 's == "low"'),
    ("not s in ['low']", 's not in ["low"]'),
    ("n > 1_000", "n > 1000"),
]


@pytest.mark.parametrize(("text", "normal"), NORMALISED)
def test_what_means_the_same_is_written_alike(text: str, normal: str) -> None:
    assert write(read(text)) == normal


MISTAKES: dict[str, tuple[str, str, str]] = {
    "nothing": (" ", "--when: is empty", "write a condition"),
    "too long": ("a or " * 1_000 + "a", f"--when: has {5 * 1_000 + 1} characters", str(MAX_LENGTH)),
    "nested too deeply": ("-" * 90 + "a", "--when: is nested more than 64 deep", "flatter"),
    "beyond what Python reads": ("-" * 3_900 + "a", "--when: ", "->"),
    "too many brackets": ("(" * 300 + "a" + ")" * 300, "--when column 201: cannot be read", "brackets"),
    "= for ==": ("a = 1", "--when column 3: cannot be read from '= 1' on", "=="),
    "=> for >=": ("n => 70", "--when column 3: cannot be read from '=> 70' on", ">="),
    "=< for <=": ("n =< 70", "--when column 3: cannot be read from '=< 70' on", "<="),
    "&& for and": ("a && b", "--when column 4", "`and`"),
    "& for and": ("a & b", "--when column 1: 'a & b' has no form", "`and`"),
    "! for not": ("a or !b", "--when column 6", "`not`"),
    "typographic quotes": ("s == “low”", "--when column 6", "straight quotes"),
    "an open bracket": ("(a and b", "--when column 1: cannot be read from '(a and b' on: '(' was never closed", "brackets"),
    "an end too early": ("a and", "--when column 6: ends too early", "there"),
    "a name that is no fact": ("a and potasium", "--when column 7: 'potasium' is no fact", "did you mean potassium?"),
    "a JSON word": ("true", "--when column 1: 'true' is no fact", "write True"),
    "null": ("a == None", "--when column 6: 'None' is no constant", "a word in quotes"),
    "behind letters of two bytes": ('"é" == s and a.b', "--when column 14: 'a.b' has no form", "and, or, not"),
    "on the second line": ("(a and\n  b[0])", "--when line 2 column 3: 'b[0]' has no form", "and, or, not"),
    "a call": ("__import__('os').system('x')", "--when column 1: ", "has no form"),
    "an unknown function": ("abs(n) > 1", "--when column 1: 'abs(n)' has no form", "min()"),
    "a lambda": ("(lambda: a)()", "--when column 1: ", "has no form"),
    "a walrus": ("(a := True)", "--when column 2: ", "has no form"),
    "a list of facts": ("s in [a]", "--when column 7: 'a' is no constant", "a word in quotes"),
    "is": ("a is True", "--when column 1: 'a is True' compares by `is`", "write =="),
    "a comment": ("a # and b", "--when column 3: '#' begins a comment", "no comments"),
    "digits that would be lost": ("n > 0.10000000000000000001", "--when column 5: ", "more digits"),
    "a number beyond all": ("n > 1e999", "--when column 5: ", "more digits"),
    "a quantifier of one": ("some(l)", "--when column 1: 'some(l)' has 1 part", "item =="),
    "an unknown escape": ("s == '\\d'", "--when column 6: cannot be read", "quotes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_column_and_remedy(name: str) -> None:
    text, message, remedy = MISTAKES[name]
    with pytest.raises(LogicError) as caught:
        read(text, "--when", ["a", "b", "n", "s", "l", "potassium"])
    told = str(caught.value.problems[0])
    assert told.startswith(message), told
    assert remedy in told
    assert caught.value.problems[0].remedy


def test_all_mistakes_are_told_at_once_but_never_without_bound() -> None:
    with pytest.raises(LogicError) as caught:
        read("x and y.z and not w()", "--when", ["a"])
    assert [problem.place for problem in caught.value.problems] == [f"--when column {at}" for at in (1, 7, 19)]
    with pytest.raises(LogicError) as caught:
        read(" and ".join(["x"] * 50), "--when", ["a"])
    assert len(caught.value.problems) == 20


REFUSED: dict[str, tuple[Any, str, str]] = {
    "and within and": ({"and": [A, {"and": [B, C]}]}, "f.and[1]: is `and` within `and`", "outer"),
    "deeper": ({"!": [{"or": [{"or": [A, B]}, C]}]}, "f.!.or[0]: is `or` within `or`".replace(".!.", ".![0]."), "outer"),
    "three values": ({"<": [1, N, 5]}, "f.<: compares three values", "two comparisons"),
    "one part": ({"and": [A]}, "f.and: joins one part", "alone"),
    "no list": ({"!": A}, "f.!: has its operand in no list", '{"!": [...]}'),
    "a fact in a list": ({"!": [{"var": ["a"]}]}, "f.![0].var: has its fact in a list", '{"var": "a"}'),
    "a fact named as a word of the notation": ({"var": "not"}, "f.var: asks 'not'", "letters"),
    "a fact with a hyphen": ({"var": "in-range"}, "f.var: asks 'in-range'", "letters"),
    "a branch within the last branch": ({"if": [A, B, {"if": [B, A, C]}]}, "f.if[2]: is `if` within `if`", "outer"),
    "a negative of a number": ({">": [N, {"-": [5]}]}, "f.>[1].-: is the negative of 5", "write -5"),
    "a fact called item in a list": ({"some": [{"var": "l"}, {"var": "item"}]}, "f: does not come back", "write"),
    "longer than can be read": ({"or": [{"==": [{"var": "s"}, "x" * MAX_LENGTH]}, A]}, "f: cannot be written", "write at most"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_json_that_would_not_come_back_is_refused_with_its_place(name: str) -> None:
    logic, message, remedy = REFUSED[name]
    (problem,) = refused(logic, "f")
    assert str(problem).startswith(message), problem
    assert remedy in problem.remedy
