"""House rules about the cases beside facts: each fact has some, they come out as expected, and they notice every wrong turn."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from cds_service.errors import Problem
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import FactKind
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import Reader
from cds_service.lint.fact_cases import CaseCharts, FactCase, FactCases, agrees, read_fact_cases
from cds_service.lint.fact_mutants import fact_mutants, status_mutants

Problems = Iterator[Problem]


def facts_have_cases(knowledge: Knowledge) -> Problems:
    """Also those that a topic has of facts which it does not define: nobody would read them again."""
    reader = Reader(knowledge.root)
    topics: dict[str, set[str]] = {}
    for fact in knowledge.facts.values():
        topics.setdefault(fact.topic, set()).add(fact.name)
    for topic, names in topics.items():
        before = len(reader.problems)
        cases = read_fact_cases(reader, topic)
        if len(reader.problems) > before:
            continue
        for name in sorted(names - set(cases)):
            yield Problem(f"logic/facts/{topic}.cases.json", f"has no case of {name!r}", "give charts with the value expected")
        for name in sorted(set(cases) - names):
            yield Problem(f"logic/facts/{topic}.cases.json", f"{name!r} is no fact of the topic", "mend the name, or remove it")
    yield from reader.problems


def fact_cases_come_out_as_expected(knowledge: Knowledge) -> Problems:
    charts = CaseCharts(knowledge)
    for fact, cases in _each(knowledge):
        for case in cases:
            value = charts.value(fact, fact.kind, case)
            if not agrees(value, case.expect):
                text = f"{case.says!r} gives {value!r}"
                yield Problem(fact.place, text, f"expected {case.expect!r}: mend the fact or the case")


def fact_cases_notice_every_wrong_turn(knowledge: Knowledge) -> Problems:
    charts = CaseCharts(knowledge)
    for fact, cases in _each(knowledge):
        for where, kind in fact_mutants(fact.kind, knowledge):
            if not any(_is_noticed(charts, fact, kind, case) for case in cases):
                yield Problem(fact.place, f"no case notices: {where}", "add a case on which the two differ")


def fact_cases_notice_every_status(knowledge: Knowledge) -> Problems:
    """Each status that counts, and each that does not, is looked at by some case."""
    cases = [
        (fact, case)
        for fact, own in _each(knowledge)
        for case in own
        if any(entry.status or entry.verification or entry.intent != "order" for entry in case.chart)
    ]
    for where, status, statuses in status_mutants(knowledge.statuses):
        other = copy.copy(knowledge)
        object.__setattr__(other, "statuses", statuses)
        charts = CaseCharts(other)
        # Those that hold the status come first: one of them nearly always notices.
        likely_first = sorted(cases, key=lambda pair: not _holds(pair[1], status))
        if not any(_is_noticed(charts, fact, fact.kind, case) for fact, case in likely_first):
            yield Problem("logic/statuses.json", f"no case of a fact notices: {where}", "add a case with that status")


def _holds(case: FactCase, status: str) -> bool:
    return any(status in (entry.status, entry.verification, entry.intent) for entry in case.chart)


def _is_noticed(charts: CaseCharts, fact: FactDefinition, kind: FactKind, case: FactCase) -> bool:
    return not agrees(charts.value(fact, kind, case), case.expect)


def _each(knowledge: Knowledge) -> Iterator[tuple[FactDefinition, tuple[FactCase, ...]]]:
    reader = Reader(knowledge.root)
    read: dict[str, FactCases] = {}
    for fact in knowledge.facts.values():
        if fact.topic not in read:
            read[fact.topic] = read_fact_cases(reader, fact.topic)
        if cases := read[fact.topic].get(fact.name):
            yield fact, cases


FACT_CASE_RULES = (
    facts_have_cases,
    fact_cases_come_out_as_expected,
    fact_cases_notice_every_wrong_turn,
    fact_cases_notice_every_status,
)
