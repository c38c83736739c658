"""Explain: why each rule fired, and what would make the others fire, tried out on each of the cast."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any

import msgspec
import pytest

from cds_service.cards.footer import REASONS
from cds_service.explain.counterfactuals import Change, Way, answers_of, joined, smallest_changes
from cds_service.explain.explanation import Explanation, explain, ways_to_fire
from cds_service.explain.fact_text import say_answers, say_interval, statement_of, unspoken
from cds_service.explain.reasons import deciding, reasons
from cds_service.jsonlogic.compile import compile_rule
from cds_service.knowledge.composed_kinds import NotKnown, NotShown
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.model import UNKNOWN, FactType, Interval, LineState, Outcome
from cds_service.rules.evaluate import decide
from cds_service.samples.people import Person
from tests.conftest import ROOT
from tests.support.cast import CAST, FIXTURES, PEOPLE, conductor_of, decision, service_of
from tests.support.terminal import cds

GOLDEN = ROOT / "tests/golden/explain"
TELLING = (
    "ada-stiffcalf",
    "dex-stilldrips",
    "dora-doubled",
    "fern-nameless",
    "lars-lastpage",
    "milo-nounit",
    "nell-noresults",
    "nona-allatonce",
    "pia-schoolyard",
)
# No other age would make the service speak about these.
ORDERS_OF_ANOTHER_DRUG = {"paul-plainpill"}
STEP = Decimal("0.01")


def explanation_of(person: Person) -> Explanation:
    return _explained(person.id)


@cache
def _explained(name: str) -> Explanation:
    """Once for all tests: most of it is the search for what would make each rule fire."""
    return explain(decision(next(person for person in CAST if person.id == name)))


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
    decision_service = conductor_of(person.jurisdiction)
    by_id = {rule.id: rule for rule in decision_service.rules[service_of(person)]}
    answer = decision(person)
    values = answer.values
    for finding in answer.findings:
        if finding.outcome in (Outcome.SILENT, Outcome.UNKNOWN):
            rule = by_id[finding.rule_id]
            known = {name: values[name] for name in (*rule.applies_when.facts, *rule.fires_when.facts)}
            yield (
                rule,
                known,
                ways_to_fire(rule, values, person.jurisdiction, decision_service.knowledge.types).smallest_changes,
            )


@pytest.mark.untraced
@PEOPLE
def test_the_named_change_applied_makes_the_rule_fire(person: Person) -> None:
    for rule, values, found in open_rules(person):
        assert found, f"{rule.id}: nothing was found that makes it fire"
        for way in found:
            for changed in tried(way):
                outcome = decide(rule, values | changed, person.jurisdiction).outcome
                assert outcome is Outcome.FIRES, (rule.id, changed)


@pytest.mark.untraced
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


@pytest.mark.untraced
@PEOPLE
def test_whoever_is_not_spoken_to_is_told_what_would_change_that(person: Person) -> None:
    told = explanation_of(person)
    assert bool(told.spoken_to_if) is (bool(decision(person).silent_because) and person.id not in ORDERS_OF_ANOTHER_DRUG)
    served = {rule.id: rule.file for rule in conductor_of(person.jurisdiction).rules[service_of(person)]}
    elsewhere = {name for name, file in served.items() if person.jurisdiction not in file.jurisdiction}
    assert {rule.rule for rule in told.out_of_scope if not rule.because} <= elsewhere


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("bert-quietleg", "no recurrent leg cramps are on record; no quinine is on the medication list"),
        ("paul-plainpill", "no quinine is being ordered; no magnesium or potassium supplement is being ordered"),
        ("pia-schoolyard", "the patient's age is 16"),
        ("dora-doubled", "this record was merged into another"),
        ("wyn-nameless", "it could not be decided whether recurrent leg cramps are on record"),
        ("ada-stiffcalf", ""),
        ("xavi-faraway", ""),
    ],
)
def test_whoever_gets_no_card_is_told_why(name: str, because: str) -> None:
    told = explanation_of(next(person for person in CAST if person.id == name)).no_cards_as
    assert told.startswith(because)
    assert bool(told) is bool(because)


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


@pytest.mark.parametrize(
    ("name", "scope", "would_speak"),
    [
        ("pia-schoolyard", "the patient's age is 16", "the patient's age is at least 18"),
        ("lars-lastpage", "a death is on record", "no death is on record"),
        (
            "dora-doubled",
            "this record was merged into another: the record to open [Patient/dora-kept]",
            "this record was not merged into another",
        ),
    ],
)
def test_whom_the_service_does_not_speak_to_is_said_plainly(name: str, scope: str, would_speak: str) -> None:
    told = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert f"   {scope}\n" in told
    assert f"So this service stays silent. It would speak if {would_speak}." in " ".join(told.split())


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
    found = smallest_changes(lambda given: rule(given).value, values, options).smallest_changes
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
    ((way,), _) = smallest_changes(lambda given: rule(given).value, {"old": UNKNOWN}, options)
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


def test_what_is_not_shown_or_not_known_is_told_in_words(knowledge: Knowledge) -> None:
    made = [name for name, item in knowledge.facts.items() if isinstance(item.kind, (NotShown, NotKnown))]
    assert made
    assert unspoken(made, knowledge) == {}
    told = {name: say_answers(name, [True], knowledge) for name in made}
    assert told["diabetes_not_shown"] == "it is not shown that diabetes is an active condition"
    assert told["told_often_not_known"] == "the cramp history leaves open whether the cramps come at least once a week"
    assert all("not shown that " in text or "not show that " in text for name, text in told.items() if "not_shown" in name)
    assert all("not known whether " in text or "open whether " in text for name, text in told.items() if "not_known" in name)


def test_a_search_too_long_stops_and_says_so() -> None:
    """Of twenty facts that must all change there are a million sets to try."""
    names = [f"f{at}" for at in range(20)]
    rule = compile_rule({"and": [{"var": name} for name in names]}, dict.fromkeys(names, FactType("boolean")), "test")
    asked = []

    def judge(given: Any) -> Any:
        asked.append(given)
        return rule(given).value

    found = smallest_changes(judge, dict.fromkeys(names, False), dict.fromkeys(names, (True, False)), most_tries=500)
    assert found == ((), True)
    assert len(asked) == 500


def test_what_was_found_before_the_search_stopped_is_kept() -> None:
    rule = compile_rule({"or": [{"var": "ill"}, {"==": [{"var": "salt"}, "low"]}]}, TYPES, "test")
    options = {name: answers_of(TYPES[name], ()) for name in rule.facts}
    found = smallest_changes(lambda given: rule(given).value, {"ill": False, "salt": "high"}, options, most_tries=4)
    assert found.stopped
    assert found.smallest_changes == ((Change("ill", (True,)),),)


@pytest.mark.untraced
def test_no_search_on_the_cast_is_cut_short() -> None:
    for person in CAST:
        told = explanation_of(person)
        assert not [rule.rule for rule in (*told.undecided, *told.silent) if rule.search_stopped]


def test_a_search_that_stopped_is_told_at_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from cds_service.terminal.output import show_explanation

    told = explanation_of(CAST[0])
    cut = msgspec.structs.replace(told.silent[0], fires_if=(), search_stopped=True)
    show_explanation(msgspec.structs.replace(told, silent=(cut,)), CAST[0].day, everything=True)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{cut.title}: no change of its facts was found that makes it fire; the search stopped after 20000 tries" in said


@pytest.mark.parametrize(
    ("logic", "values", "expected"),
    [
        ({"or": [{"var": "a"}, {"var": "b"}, {"var": "c"}]}, {"a": True, "b": False, "c": True}, ("a", "c")),
        ({"and": [{"var": "a"}, {"var": "b"}, {"var": "c"}]}, {"a": False, "b": True, "c": False}, ("a", "c")),
        ({"or": [{"var": "a"}, {"var": "b"}]}, {"a": True, "b": UNKNOWN}, ("a",)),
        ({"or": [{"var": "a"}, {"var": "b"}]}, {"a": UNKNOWN, "b": False}, ("a",)),
        ({"or": [{"var": "a"}, {"var": "b"}]}, {"a": False, "b": False}, ("a", "b")),
        (
            {"and": [{"var": "a"}, {"!": [{"or": [{"var": "b"}, {"var": "c"}]}]}]},
            {"a": True, "b": True, "c": True},
            ("b", "c"),
        ),
        ({"or": [{"and": [{"var": "a"}, {"var": "b"}]}, {"var": "c"}]}, {"a": True, "b": True, "c": True}, ("a", "b", "c")),
        ({"if": [{"var": "a"}, {"var": "b"}, {"var": "c"}]}, {"a": True, "b": True, "c": True}, ("a", "b")),
    ],
)
def test_every_part_that_decides_is_named(logic: Any, values: dict[str, Any], expected: tuple[str, ...]) -> None:
    rule = compile_rule(logic, dict.fromkeys("abc", FactType("boolean")), "test")
    assert deciding(rule, values) == expected


@pytest.mark.untraced
@PEOPLE
def test_what_the_engine_names_is_among_what_is_told(person: Person) -> None:
    """The engine stops at the first part that decides; explain names the others beside it, never others instead."""
    decision_service, answer = conductor_of(person.jurisdiction), decision(person)
    values = answer.values
    by_id = {rule.id: rule for rule in decision_service.rules[service_of(person)]}
    for finding in answer.findings:
        assert set(finding.because) <= set(reasons(finding, by_id[finding.rule_id], values)), finding.rule_id


@pytest.mark.untraced
@PEOPLE
def test_each_card_is_explained_by_the_rules_that_its_extension_names(person: Person) -> None:
    answer = decision(person)
    versions = {rule.id: rule.file.version for rule in conductor_of(person.jurisdiction).rules[service_of(person)]}
    for card, names in zip(answer.cards, answer.composed.speaks_for, strict=True):
        assert card.extension is not None
        told = [(rule["id"], rule["version"]) for rule in card.extension[REASONS]["rules"]]
        assert told == [(name, versions[name]) for name in names]


@PEOPLE
def test_each_line_of_a_rule_that_fires_stands_or_says_why_not(person: Person) -> None:
    answer, told = decision(person), explanation_of(person)
    for card, explained in zip(answer.cards, told.cards, strict=True):
        shown = f"{card.summary}\n{card.detail}".lower()
        # A line does not say again what the summary of its card says in full.
        ends = tuple(line.removeprefix("- ") for line in shown.splitlines() if line.startswith("- "))
        only_named = "also on record:" in shown
        for rule in explained.rules:
            assert {line.state for line in rule.lines} <= {state.value for state in LineState}
            stand = [line.says.lower() for line in rule.lines if line.state == LineState.STANDS]
            assert all(stand)
            for says in stand:
                parts = [part.strip("().") for part in says.split(": ", 1)]
                assert only_named or says.endswith(ends) or all(part in shown for part in parts)
    assert not any(rule.lines for rule in (*told.silent, *told.undecided, *told.out_of_scope))


@pytest.mark.untraced
def test_between_them_lines_are_left_out_for_every_reason() -> None:
    found = {
        line.state
        for person in CAST
        for told in [explanation_of(person)]
        for rule in (*(rule for card in told.cards for rule in card.rules), *told.without_card)
        for line in rule.lines
    }
    assert found == {state.value for state in LineState}
