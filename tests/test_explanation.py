"""Explain: why each rule fired, and what would make the others fire, tried out on each of the cast."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cds_service.cast import Person
from cds_service.changes import Change, Way, answers_of, joined, ways
from cds_service.engine import decide
from cds_service.explanation import Explanation, explain, ways_to_fire
from cds_service.facts import FactValues
from cds_service.jsonlogic import compile_rule
from cds_service.knowledge import Knowledge, Rule
from cds_service.model import UNKNOWN, FactType, Interval, Outcome
from cds_service.statements import say_answers, say_interval, statement_of, unspoken
from tests.test_cast import CAST, FIXTURES, PEOPLE, answered, conductor_of, service_of
from tests.test_cli import cds

GOLDEN = Path(__file__).parent / "golden" / "explain"
TELLING = (
    "ada-stiffcalf",
    "dex-stilldrips",
    "fern-nameless",
    "milo-nounit",
    "nell-noresults",
    "nona-allatonce",
    "pia-schoolyard",
)
STEP = Decimal("0.01")


def explanation_of(person: Person) -> Explanation:
    answer, conductor = answered(person), conductor_of(person.jurisdiction)
    speaks_when = conductor.knowledge.speaks_when[service_of(person)]
    return explain(
        answer, conductor.rules[service_of(person)], speaks_when, conductor.knowledge, person.jurisdiction, answer.cards
    )


def numbers_in(answer: Any) -> list[Any]:
    """Plain numbers inside an Interval, as near its bounds as may be; any other answer as it is."""
    if not isinstance(answer, Interval):
        return [answer]
    low = [] if answer.low is None else [answer.low + STEP if answer.low_open else answer.low]
    high = [] if answer.high is None else [answer.high - STEP if answer.high_open else answer.high]
    return low + high


def tried(way: Way) -> Iterator[dict[str, Any]]:
    """Every choice of answers that a way allows, in plain values."""
    answers = [[value for answer in change.answers for value in numbers_in(answer)] for change in way]
    for chosen in product(*answers):
        yield dict(zip((change.fact for change in way), chosen, strict=True))


def open_rules(person: Person) -> Iterator[tuple[Rule, dict[str, Any], tuple[Way, ...]]]:
    conductor = conductor_of(person.jurisdiction)
    by_id = {rule.id: rule for rule in conductor.rules[service_of(person)]}
    answer = answered(person)
    values = FactValues(answer.facts)
    for finding in answer.findings:
        if finding.outcome in (Outcome.SILENT, Outcome.UNKNOWN):
            rule = by_id[finding.rule_id]
            known = {name: values[name] for name in (*rule.applies_when.facts, *rule.fires_when.facts)}
            yield rule, known, ways_to_fire(rule, values, person.jurisdiction, conductor.knowledge.types)


@PEOPLE
def test_the_named_change_applied_makes_the_rule_fire(person: Person) -> None:
    for rule, values, found in open_rules(person):
        assert found, f"{rule.id}: nothing was found that makes it fire"
        for way in found:
            for changed in tried(way):
                outcome = decide(rule, values | changed, person.jurisdiction).outcome
                assert outcome is Outcome.FIRES, (rule.id, changed)


@PEOPLE
def test_nothing_named_is_superfluous(person: Person) -> None:
    for rule, values, found in open_rules(person):
        for way in found:
            for left_out in way:
                for changed in tried(tuple(change for change in way if change is not left_out)):
                    outcome = decide(rule, values | changed, person.jurisdiction).outcome
                    assert outcome is not Outcome.FIRES, (rule.id, left_out)


@PEOPLE
def test_every_rule_is_explained_once(person: Person) -> None:
    told = explanation_of(person)
    named = [rule.rule for card in told.cards for rule in card.rules]
    parts = (told.without_card, told.undecided, told.silent, told.out_of_scope)
    named += [rule.rule for part in parts for rule in part]
    assert sorted(named) == sorted(rule.id for rule in conductor_of(person.jurisdiction).rules[service_of(person)])
    assert all(card.rules for card in told.cards)


@PEOPLE
def test_whoever_is_not_spoken_to_is_told_what_would_change_that(person: Person) -> None:
    told = explanation_of(person)
    spoken_to = any(rule.outcome != Outcome.OUT_OF_SCOPE for part in (told.undecided, told.silent) for rule in part)
    assert bool(told.spoken_to_if) is not spoken_to
    assert all(rule.because or rule.rule.startswith("quinine") for rule in told.out_of_scope)


@pytest.mark.parametrize("name", TELLING)
def test_each_explanation_is_the_one_that_was_read(name: str) -> None:
    """Run with GOLDEN=write to write them anew; then read the difference as a tired clinician would."""
    path = GOLDEN / f"{name}.txt"
    done = cds("explain", f"fixtures/patients/{name}.json")
    assert done.returncode == 0, done.stderr
    if os.environ.get("GOLDEN") == "write":
        path.write_text(done.stdout, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == done.stdout
    assert max(map(len, done.stdout.splitlines()[1:])) <= 96


def test_no_golden_explanation_is_left_behind() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(TELLING)


def test_all_tells_each_silent_rule_and_json_tells_the_same() -> None:
    path = str(FIXTURES / "patients" / "ada-stiffcalf.json")
    everything = cds("explain", "--all", path).stdout
    assert "- Potassium above range: fires if the latest potassium is above its range" in everything
    assert "Now: no statin is on the medication list" in everything
    told = json.loads(cds("explain", "--json", path).stdout)
    assert [card["indicator"] for card in told["cards"]] == [card.indicator for card in CAST[0].cards]
    low_calcium = next(rule for rule in told["undecided"] if rule["rule"] == "low-calcium")
    assert low_calcium["because"][0]["lacks"] == "none in 90 days"
    assert low_calcium["fires_if"] == [[{"fact": "calcium_against_range", "says": "the latest calcium is below its range"}]]


def test_what_did_not_fit_on_a_card_is_told_apart_from_what_is_on_order() -> None:
    assert "Found, but on no card: did not fit beside what is more urgent" in (GOLDEN / "nona-allatonce.txt").read_text()
    waiting = cds("explain", "fixtures/patients/otto-waiting.json").stdout
    assert "Found, but on no card: its tests are on order already" in waiting


TYPES = {"old": FactType("number"), "ill": FactType("boolean"), "salt": FactType("string", ("low", "in-range", "high"))}


@pytest.mark.parametrize(
    ("logic", "values", "expected"),
    [
        ({"var": "ill"}, {"ill": False}, [{"ill": (True,)}]),
        ({"!": [{"var": "ill"}]}, {"ill": UNKNOWN}, [{"ill": (False,)}]),
        ({"!=": [{"var": "salt"}, "in-range"]}, {"salt": "in-range"}, [{"salt": ("low", "high")}]),
        (
            {"and": [{"var": "ill"}, {"==": [{"var": "salt"}, "low"]}]},
            {"ill": False, "salt": UNKNOWN},
            [{"ill": (True,), "salt": ("low",)}],
        ),
        (
            {"or": [{"var": "ill"}, {"==": [{"var": "salt"}, "low"]}]},
            {"ill": False, "salt": "high"},
            [{"ill": (True,)}, {"salt": ("low",)}],
        ),
        ({"and": [{"var": "ill"}, {"!": [{"var": "ill"}]}]}, {"ill": False}, []),
    ],
)
def test_the_fewest_changes_are_found(logic: Any, values: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    rule = compile_rule(logic, TYPES, "test")
    options = {name: answers_of(TYPES[name], ()) for name in rule.facts}
    found = ways(lambda given: rule(given).value, values, options)
    assert [{change.fact: change.answers for change in way} for way in found] == expected


@pytest.mark.parametrize(
    ("logic", "said"),
    [
        ({"<": [{"var": "old"}, 60]}, ["below 60"]),
        ({"<=": [{"var": "old"}, 60]}, ["at most 60"]),
        ({">": [{"var": "old"}, 60]}, ["more than 60"]),
        ({">=": [{"var": "old"}, 60]}, ["at least 60"]),
        ({"==": [{"var": "old"}, 60]}, ["60"]),
        ({"<=": [50, {"var": "old"}, 60]}, ["at least 50 and at most 60"]),
        ({"or": [{"<": [{"var": "old"}, 50]}, {">": [{"var": "old"}, 60]}]}, ["below 50", "more than 60"]),
    ],
)
def test_a_number_is_told_by_the_threshold_of_the_rule(logic: Any, said: list[str]) -> None:
    rule = compile_rule(logic, TYPES, "test")
    options = {"old": answers_of(TYPES["old"], [Decimal(50), Decimal(60)])}
    (way,) = ways(lambda given: rule(given).value, {"old": UNKNOWN}, options)
    (change,) = way
    assert [say_interval(item) for item in joined(item for item in change.answers if isinstance(item, Interval))] == said


def test_a_change_is_told_in_the_words_of_its_question(knowledge: Knowledge) -> None:
    change = Change("potassium_against_range", ("low", "high"))
    told = say_answers(change.fact, change.answers, knowledge)
    assert told == "the latest potassium is below its range or above its range"
    assert statement_of("taking_estrogen", knowledge).says["true"] == "an estrogen is on the medication list"


def test_every_fact_that_decides_has_words(knowledge: Knowledge) -> None:
    names = {name for rule in knowledge.rules for name in (*rule.applies_when.facts, *rule.fires_when.facts)}
    assert unspoken(sorted(names), knowledge) == {}
    assert unspoken(["potassium_on_order"], knowledge) == {"potassium_on_order": ["true", "false"]}
