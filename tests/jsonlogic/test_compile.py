"""JSON Logic that cannot lie: each operator by its own table, and what must never load."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import datalogic_py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.errors import LogicError
from cds_service.jsonlogic.compile import Expression, compile_rule, compile_untyped
from cds_service.jsonlogic.typecheck import ARITY
from cds_service.model import UNKNOWN, FactType, Interval, Seen
from tests.conftest import ROOT

CASES = json.loads((ROOT / "tests/data/jsonlogic-cases.json").read_text(), parse_float=Decimal)
TYPES = {
    "a": FactType("boolean"),
    "b": FactType("boolean"),
    "n": FactType("number"),
    "s": FactType("string", ("low", "in-range", "high")),
    "l": FactType("list"),
}


def known(value: Any) -> Any:
    if value == {"$unknown": True}:
        return UNKNOWN
    return tuple(value) if isinstance(value, list) else value


def compiled(logic: Any) -> Expression:
    """With the type that the logic turns out to have: the table holds every type. `missing` is refused where types are."""
    if isinstance(logic, dict) and "missing" in logic:
        return compile_untyped(logic)
    for kind in ("boolean", "number", "string", "list"):
        try:
            return compile_rule(logic, TYPES, "table", kind)
        except LogicError as error:
            problem = error
    raise problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['operator']} {case['says']}")
def test_each_operator_does_what_its_table_says(case: dict[str, Any]) -> None:
    answer = compiled(case["logic"])({name: known(value) for name, value in case["data"].items()})
    assert answer.value == known(case["expect"])
    if "because" in case:
        assert list(answer.because) == case["because"]


def test_every_operator_has_a_table_with_known_and_unknown() -> None:
    for operator in ARITY:
        own = [case for case in CASES if case["operator"] == operator]
        unknown = [case for case in own if {"$unknown": True} in (case["expect"], *case["data"].values())]
        assert len(own) > len(unknown) >= 1, operator


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['operator']} {case['says']}")
def test_where_all_is_known_a_standard_engine_agrees(case: dict[str, Any]) -> None:
    used = compiled(case["logic"]).facts
    if any(known(case["data"].get(name, {"$unknown": True})) is UNKNOWN for name in used):
        assert case["operator"] == "missing" or case["expect"] in ({"$unknown": True}, True, False, 1)
        return
    theirs = datalogic_py.apply(json.dumps(case["logic"], default=float), json.dumps(case["data"], default=float))
    assert theirs == json.loads(json.dumps(case["expect"], default=float))


@pytest.mark.parametrize(
    "logic",
    [
        {"<": [{"var": "n"}, Decimal("3.5")]},
        {"!": [{"var": "a"}]},
        {"!=": [{"var": "s"}, "low"]},
        {"none": [{"var": "l"}, {">": [{"var": ""}, 1]}]},
        {">=": [{"var": "n"}, 0]},
        {"<=": [{"var": "n"}, 0]},
    ],
)
def test_what_is_not_on_record_never_decides(logic: Any) -> None:
    assert compile_rule(logic, TYPES, "rule")({}).value is UNKNOWN


BELOW_3, FROM_3 = Interval(None, Decimal(3), high_open=True), Interval(Decimal(3), None)
UP_TO_3 = Interval(None, Decimal(3))


@pytest.mark.parametrize(
    ("operator", "value", "bound", "expected"),
    [
        ("<", BELOW_3, "3.5", True),
        ("<", BELOW_3, "3", True),
        ("<", BELOW_3, "2.9", UNKNOWN),
        ("<=", BELOW_3, "3", True),
        (">", BELOW_3, "3", False),
        (">=", BELOW_3, "3", False),
        ("==", BELOW_3, "3", False),
        ("!=", BELOW_3, "3", True),
        ("==", BELOW_3, "2", UNKNOWN),
        ("<", UP_TO_3, "3", UNKNOWN),
        ("<=", UP_TO_3, "3", True),
        ("==", UP_TO_3, "3", UNKNOWN),
        (">=", FROM_3, "3", True),
        (">", FROM_3, "3", UNKNOWN),
        ("<", FROM_3, "3", False),
        ("==", Interval(Decimal(3), Decimal(3)), "3", True),
    ],
)
def test_an_interval_decides_only_where_all_of_it_lies_on_one_side(
    operator: str, value: Interval, bound: str, expected: Any
) -> None:
    rule = compile_rule({operator: [{"var": "n"}, Decimal(bound)]}, TYPES, "rule")
    assert rule({"n": value}).value is expected


SEEN = Seen((Decimal("2.4"), Decimal("4.4")))


@pytest.mark.parametrize(
    ("logic", "expected"),
    [
        ({"<=": [{"var": "n"}, Decimal("2.5")]}, True),
        ({">=": [{"var": "n"}, Decimal("6.5")]}, UNKNOWN),
        ({"<": [{"var": "n"}, Decimal("2.4")]}, UNKNOWN),
        ({">": [{"var": "n"}, 4]}, True),
        ({"==": [{"var": "n"}, Decimal("4.4")]}, True),
        ({"==": [{"var": "n"}, 3]}, UNKNOWN),
        ({"!": [{"<=": [{"var": "n"}, Decimal("2.5")]}]}, False),
        ({"or": [{"<=": [{"var": "n"}, 2]}, {">=": [{"var": "n"}, Decimal("6.5")]}]}, UNKNOWN),
    ],
)
def test_what_was_seen_shows_what_it_shows_and_denies_nothing(logic: Any, expected: Any) -> None:
    assert compile_rule(logic, TYPES, "rule")({"n": SEEN}).value is expected


def test_an_interval_is_not_reckoned_with() -> None:
    assert compile_rule({"+": [{"var": "n"}, 1]}, TYPES, "rule", "number")({"n": BELOW_3}).value is UNKNOWN


def test_a_division_by_nought_is_unknown() -> None:
    assert compile_rule({"/": [1, {"var": "n"}]}, TYPES, "rule", "number")({"n": 0}).value is UNKNOWN


def deep(levels: int) -> Any:
    logic: Any = {"var": "a"}
    for _ in range(levels):
        logic = {"!": [logic]}
    return logic


HOSTILE: dict[str, tuple[Any, str, str]] = {
    "10,000 levels deep": (deep(10_000), "file.json", "deep"),
    "an unknown operator": ({"matches": [1]}, "file.json", "unknown operator 'matches'"),
    "an unknown operator inside": ({"and": [{"var": "a"}, {"eval": "1"}]}, "file.json.and[1]", "unknown operator"),
    "two operators in one object": ({"!": [True], "and": [True]}, "file.json", "2 operators"),
    "no operator": ({}, "file.json", "0 operators"),
    "too few operands": ({"==": [1]}, "file.json.==", "1 operands"),
    "too many operands": ({"!": [True, False]}, "file.json.!", "2 operands"),
    "an undeclared fact": ({"<": [{"var": "potasium"}, 3]}, "file.json.<[0].var", "'potasium'"),
    "a fact that is no name": ({"var": 3}, "file.json.var", "3"),
    "a default for what is unknown": ({"<": [{"var": ["n", 0]}, 3]}, "file.json.<[0].var", "default"),
    "a word against a number": ({"<": [{"var": "s"}, 3]}, "file.json.<[0]", "string"),
    "a number equal to a word": ({"==": [{"var": "n"}, "3"]}, "file.json.==", "number with a string"),
    "a word that the fact never answers": ({"==": [{"var": "s"}, "lowish"]}, "file.json.==", "'lowish'"),
    "the same from the other side": ({"==": ["lowish", {"var": "s"}]}, "file.json.==", "'lowish'"),
    "a list with a word never answered": ({"in": [{"var": "s"}, ["low", "lowish"]]}, "file.json.in", "'lowish'"),
    "a part of a word": ({"in": ["lo", {"var": "s"}]}, "file.json.in[1]", "never matched"),
    "arithmetic on a boolean": ({"<": [{"+": [{"var": "a"}, 1]}, 3]}, "file.json.<[0].+[0]", "boolean"),
    "a number where a yes or no is due": ({"and": [{"var": "n"}, True]}, "file.json.and[0]", "number"),
    "a number as the whole rule": ({"var": "n"}, "file.json", "number"),
    "branches of two types": ({"if": [{"var": "a"}, 1, "x"]}, "file.json.if", "number or string"),
    "no last branch": ({"if": [{"var": "a"}, True, {"var": "b"}, True]}, "file.json.if", "last branch"),
    "null": (None, "file.json", "null"),
    "NaN": ({"<": [{"var": "n"}, Decimal("NaN")]}, "file.json.<[1]", "NaN"),
    "Infinity": ({"<": [{"var": "n"}, Decimal("Infinity")]}, "file.json.<[1]", "Infinity"),
    "a mixed list": ({"in": [{"var": "n"}, [1, "x"]]}, "file.json.in[1]", "no list"),
    "an empty list": ({"in": [{"var": "n"}, []]}, "file.json.in[1]", "no list"),
    "a fact inside a list": ({"some": [{"var": "l"}, {"var": "a"}]}, "file.json.some[1].var", "inside a list"),
    "deciding on what is missing": ({"some": [{"missing": ["n"]}, True]}, "file.json.some[0].missing", "not known"),
    "equality of lists": ({"==": [{"var": "l"}, {"var": "l"}]}, "file.json.==", "list"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_rule_is_refused_at_load_with_its_place(name: str) -> None:
    logic, place, message = HOSTILE[name]
    with pytest.raises(LogicError) as caught:
        compile_rule(logic, TYPES, "file.json")
    assert [problem.place for problem in caught.value.problems] == [place]
    assert message in caught.value.problems[0].message
    assert caught.value.problems[0].remedy


def test_all_problems_of_a_rule_are_told_at_once() -> None:
    with pytest.raises(LogicError) as caught:
        compile_rule({"and": [{"var": "x"}, {"<": [{"var": "s"}, 1]}, {"foo": []}]}, TYPES, "f")
    assert [problem.place for problem in caught.value.problems] == ["f.and[0].var", "f.and[1].<[0]", "f.and[2]"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ARITY, "x"]), inner, max_size=2),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_any_json_compiles_or_is_refused_plainly(logic: Any) -> None:
    try:
        rule = compile_rule(logic, TYPES, "any")
    except LogicError:
        return
    assert rule({}).value in (True, False, UNKNOWN)
