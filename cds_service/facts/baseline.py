"""Most facts of most patients are those of an empty chart, so these are worked out once and kept.

Why. A service asks some 170 facts, and a common chart holds something that bears on a third of them. To work out the
others for each request would find again and again that nothing was there: at 60 kB a quarter of the time of an answer.

What is kept. An `EmptyChartBaseline`: every fact of a chart that holds nothing, and beside it what each rule finds on these
facts (`BaselineFindings`). There is one for each way in which the queries can have been answered, since an absence is
"none" where all was looked at and "not supplied" where it was not. It names no patient and nothing on any record.

Why it is sound. A fact reads a chart only through what its definition names: concepts, analytes, drugs, or resources of a
kind (`_bearings`). So a chart that holds none of these gives the same fact as an empty one (`affected_by` names all other
facts), whatever the day. Three kinds of care make it whole:

- what asks for the record itself, such as age, is never taken from here (`_OF_THE_RECORD`);
- a chart of which anything was not read or not understood has no baseline at all, as an absence may be just that;
- a finding is taken only where it does not fire, and for a rule of which no fact is affected that could decide it otherwise:
  where one fact alone keeps a rule silent, the others may be what they will.

`tests/system` works out all facts and findings of every invented patient with it and without, and compares them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from cds_service.chart.chart import Chart
from cds_service.chart.index import ChartIndex
from cds_service.fhir.resources import DraftOrder, Encounter, Patient, QuestionnaireResponse
from cds_service.knowledge import fact_kinds as kinds
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.model import Fact, Finding, Outcome, State, Value

_MOST_KEPT = 64

_ALWAYS = "always"
_UNNAMED = "a drug without a name"


class EmptyChartBaseline(NamedTuple):
    """What a chart with nothing in it says. `states`: how far each query was answered."""

    states: str
    facts: Mapping[str, Fact]
    values: Mapping[str, Value]


def baseline_of(view: ChartIndex, work_out: Callable[[ChartIndex], Mapping[str, Fact]]) -> EmptyChartBaseline | None:
    """That of an empty chart whose queries were answered as far as those of this one; None where a resource is in doubt.

    `work_out` gives all facts of a chart without looking here.
    """
    if any(view.chart.damaged.values()) or any(view.not_understood.values()):
        return None
    states = view.chart.query_state
    return _baseline(view.knowledge, view.jurisdiction, "|".join(states), "|".join(states.values()), work_out)


@lru_cache(maxsize=_MOST_KEPT)
def _baseline(
    knowledge: Knowledge, jurisdiction: str, queries: str, states: str, work_out: Callable[[ChartIndex], Mapping[str, Fact]]
) -> EmptyChartBaseline:
    query_state = {query: State(state) for query, state in zip(queries.split("|"), states.split("|"), strict=True)}
    nobody = Chart(Patient(), None, {}, {}, query_state, {})
    facts = work_out(ChartIndex(nobody, knowledge, date.max, jurisdiction))
    return EmptyChartBaseline(states, facts, {name: facts[name].value for name in facts})


def affected_by(view: ChartIndex) -> Set[str]:
    """The facts on which something in the chart may bear: all others are those of an empty chart."""
    bearing = _borne_on(view.knowledge)
    return frozenset().union(*(bearing[thing] for thing in _held(view) if thing in bearing))


class BaselineFindings:
    """What the rules of one service find on an empty chart, by how far its queries were answered."""

    def __init__(self, rules: Iterable[Rule], precompute: Callable[[Mapping[str, Value]], Mapping[str, Finding]]) -> None:
        self._precompute, self._rules = precompute, tuple(rules)
        self._kept: dict[str, tuple[Mapping[str, Finding], Mapping[str, set[str]]]] = {}

    def settled(self, baseline: EmptyChartBaseline | None, affected: Set[str]) -> Mapping[str, Finding]:
        """The findings that hold for a chart as well: those of rules that no `affected` fact can decide otherwise."""
        if baseline is None:
            return {}
        kept = self._kept.get(baseline.states)
        if kept is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            found = self._precompute(baseline.values)
            kept = self._kept[baseline.states] = (found, self._deciding(found))
        found, deciding = kept
        afresh = set().union(*(deciding[name] for name in affected if name in deciding))
        return {name: finding for name, finding in found.items() if name not in afresh}

    def _deciding(self, found: Mapping[str, Finding]) -> Mapping[str, set[str]]:
        """By fact the rules that it can decide otherwise.

        What settled a silent rule keeps it silent whatever its other facts are: one false part makes the whole false.
        """
        deciding: dict[str, set[str]] = defaultdict(set)
        for rule in self._rules:
            finding = found.get(rule.id)
            is_silent = finding is not None and finding.outcome is Outcome.SILENT and finding.because
            for name in finding.because if finding is not None and is_silent else rule.fires_when.facts:
                deciding[name].add(rule.id)
        return deciding


def _bearings(fact: FactDefinition) -> tuple[str, ...]:
    """What in a chart may bear on a fact: the concepts that it asks for, or resources of a kind."""
    kind = fact.kind
    if fact.facts:
        return ()
    if isinstance(kind, kinds.OfHistory):
        return (QuestionnaireResponse.__name__,)
    if isinstance(kind, (kinds.BeingOrdered, kinds.OrderReason)):
        return (DraftOrder.__name__,)
    if isinstance(kind, kinds.EncounterReason):
        return (Encounter.__name__,)
    measured = tuple(f"lab:{analyte}" for analyte in (*fact.analytes, *fact.adjusted_by))
    unnamed = (_UNNAMED,) if isinstance(kind, kinds.Taking) else ()
    return (*fact.value_sets, *measured, *unnamed) or (_ALWAYS,)


@lru_cache(maxsize=8)
def _borne_on(knowledge: Knowledge) -> Mapping[str, frozenset[str]]:
    """The facts that each thing in a chart may bear on, those included that are made of others."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in knowledge.facts:
        for part in _parts(name, knowledge.facts):
            for bearing in _bearings(knowledge.facts[part]):
                found[bearing].add(name)
    return {bearing: frozenset(names) for bearing, names in found.items()}


def _parts(name: str, facts: Mapping[str, FactDefinition]) -> Iterator[str]:
    yield name
    for part in facts[name].facts:
        yield from _parts(part, facts)


def _held(view: ChartIndex) -> Iterator[str]:
    """What a chart holds that may bear on a fact."""
    yield _ALWAYS
    yield from view.conditions
    yield from view.unplaced
    yield from view.measured
    drugs, unnamed = view.drugs
    yield from drugs
    yield from view.orders
    yield from view.procedures
    yield from view.vaccinations
    if unnamed:
        yield _UNNAMED
    if view.chart.drafts:
        yield DraftOrder.__name__
    for kind in (Encounter, QuestionnaireResponse):
        if view.chart.all(kind):
            yield kind.__name__
