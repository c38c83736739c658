"""House rules about the cases beside rules: one small function each."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain

from cds_service.errors import Problem
from cds_service.jsonlogic.typecheck import numbers
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.load import Reader
from cds_service.lint.cases import CasesFile, Observed, cases_path, fits, observe, read_cases, surviving, values_of
from cds_service.model import Outcome

Problems = Iterator[Problem]

_NEEDED = (Outcome.FIRES, Outcome.SILENT, Outcome.UNKNOWN)


def _each_cases(knowledge: Knowledge) -> Iterator[tuple[Rule, CasesFile]]:
    reader = Reader(knowledge.root)
    for rule in knowledge.rules:
        file = read_cases(reader, rule) if (knowledge.root / cases_path(rule)).is_file() else None
        if file:
            yield rule, file


def cases_can_be_read(knowledge: Knowledge) -> Problems:
    reader = Reader(knowledge.root)
    for rule in knowledge.rules:
        if (knowledge.root / cases_path(rule)).is_file():
            read_cases(reader, rule)
    yield from reader.problems


def cases_give_what_their_facts_can_be(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for where, given in [("baseline", file.baseline), *((row.says, row.given) for row in file.cases)]:
            for name, value in given.items():
                if name not in rule.facts:
                    yield Problem(cases_path(rule), f"{where}: {name!r} is no fact of the rule", "mend the name")
                elif not fits(value, knowledge.types[name]):
                    yield Problem(cases_path(rule), f"{where}: {name} cannot be {value!r}", "give a value of its type")
        says = [row.says for row in file.cases]
        for name in sorted({name for name in says if says.count(name) > 1}):
            yield Problem(cases_path(rule), f"{name!r} stands twice", "give each row its own sentence")


def cases_come_out_as_expected(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for row in file.cases:
            seen = observe(rule, values_of(file, row))
            if not seen.agrees(row):
                yield Problem(
                    cases_path(rule),
                    f"{row.says!r} gives {_say(seen)}",
                    f"expected {row.expect}: mend the rule or the row",
                )


def _say(seen: Observed) -> str:
    orders = f", suggests {list(seen.suggests)}, recommends {list(seen.recommends)}" if seen.suggests else ""
    return seen.outcome + orders


def cases_show_every_outcome(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for outcome in _NEEDED:
            if outcome.value not in {row.expect for row in file.cases}:
                yield Problem(cases_path(rule), f"no row is {outcome.value}", "write one")


def cases_stand_on_every_boundary(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        given = chain(file.baseline.values(), *(row.given.values() for row in file.cases))
        stood_on = {Decimal(value) for value in given if isinstance(value, (int, Decimal)) and not isinstance(value, bool)}
        compared = chain(numbers(rule.applies_when.source), numbers(rule.fires_when.source))
        for number in sorted({Decimal(number) for number in compared} - stood_on):
            yield Problem(cases_path(rule), f"no row stands exactly on {number}", "write one at it and one just outside")


def cases_kill_every_mutant(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for what in surviving(rule, file, knowledge):
            yield Problem(cases_path(rule), f"no row notices {what}", "write the row that would, or simplify the rule")


CASEBOOK = (
    cases_can_be_read,
    cases_give_what_their_facts_can_be,
    cases_come_out_as_expected,
    cases_show_every_outcome,
    cases_stand_on_every_boundary,
    cases_kill_every_mutant,
)
