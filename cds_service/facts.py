"""Stage 2: the chart and `facts.json` give facts, each worked out when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from cds_service import conditions, history, medications, orders, person, results
from cds_service.chart import Chart
from cds_service.formats import FactDefinition
from cds_service.knowledge import Knowledge
from cds_service.model import UNKNOWN, Fact, State, Value
from cds_service.view import View, known, nothing, unknown

Picker = Callable[[str, FactDefinition, View], Fact]

PICKERS: Mapping[str, Picker] = {
    "age_years": person.age_years,
    "deceased": person.deceased,
    "active_condition": conditions.active_condition,
    "began_within": conditions.began_within,
    "problem": conditions.problem,
    "encounter_diagnosis": conditions.encounter_diagnosis,
    "encounter_reason": conditions.encounter_reason,
    "began_after_drug": medications.began_after_drug,
    "taking": medications.taking,
    "days_taken": medications.days_taken,
    "start_against_onset": medications.start_against_onset,
    "against_range": results.against_range,
    "latest_value": results.latest_value,
    "measured_within": results.measured_within,
    "coded_answer": results.coded_answer,
    "answered": history.answered,
    "history_taken": history.history_taken,
    "on_order": orders.on_order,
    "done_within": orders.done_within,
}


Pool = Callable[[View], Mapping[str, Any] | None]
"""What a chart holds, by value set; None where something in it cannot be told, so that no absence can."""

POOLS: Mapping[str, Pool] = {
    "active_condition": lambda view: view.conditions,
    "began_within": lambda view: view.conditions,
    "taking": lambda view: None if view.drugs[1] else view.drugs[0],
    "on_order": lambda view: view.orders,
    "done_within": lambda view: view.procedures,
}


class Absence(NamedTuple):
    """Facts of one picker on the same queries: all false together, but for those whose value set the chart holds."""

    pool: Pool
    queries: tuple[str, ...]
    facts: dict[str, Fact]
    by_set: dict[str, list[str]]

    def of(self, view: View) -> dict[str, Fact]:
        pool = self.pool(view) if view.all_read(self.queries) else None
        if pool is None:
            return {}
        absent = self.facts.copy()
        for held in pool.keys() & self.by_set.keys():
            for name in self.by_set[held]:
                absent.pop(name, None)
        return absent


@lru_cache(maxsize=8)
def absences(knowledge: Knowledge) -> tuple[Absence, ...]:
    """Most facts of most patients are absences: prepared once, so that only what a chart holds is worked out."""
    found: dict[tuple[str, tuple[str, ...]], Absence] = {}
    for name, item in knowledge.facts.items():
        if item.picker in POOLS:
            key = (item.picker, item.queries)
            absence = found.setdefault(key, Absence(POOLS[item.picker], item.queries, {}, {}))
            absence.facts[name] = nothing(name)
            for value_set in (*item.value_sets, *([item.site.value_set] if item.site else [])):
                absence.by_set.setdefault(value_set, []).append(name)
    return tuple(found.values())


class ChartFacts(Mapping[str, Fact]):
    """The facts of one chart. Asking twice costs once; what nobody asks is never worked out."""

    def __init__(self, chart: Chart, knowledge: Knowledge, as_of: date, jurisdiction: str) -> None:
        self._view = View(chart, knowledge, as_of, jurisdiction)
        self._definitions = knowledge.facts
        self._found: dict[str, Fact] = {}
        for absence in absences(knowledge):
            self._found |= absence.of(self._view)

    def __getitem__(self, name: str) -> Fact:
        fact = self._found.get(name)
        if fact is None:
            fact = self._found[name] = self._pick(name, self._definitions[name])
        return fact

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def settled(self) -> dict[str, Value]:
        """The values of the facts that are worked out already."""
        return {name: fact.value for name, fact in self._found.items()}

    def _pick(self, name: str, definition: FactDefinition) -> Fact:
        if definition.facts:
            return COMPOSED[definition.picker](name, [self[part] for part in definition.facts])
        return PICKERS[definition.picker](name, definition, self._view)


class FactValues(dict[str, Value]):
    """The same facts as the bare values that rules decide on, each fetched when a rule first asks."""

    def __init__(self, facts: Mapping[str, Fact]) -> None:
        super().__init__(facts.settled() if isinstance(facts, ChartFacts) else {})
        self._facts = facts

    def __missing__(self, name: str) -> Value:
        value = self[name] = self._facts[name].value
        return value


def any_of(name: str, parts: list[Fact]) -> Fact:
    """True if any is, false if all are, else unknown as the first unknown part."""
    true = [part for part in parts if part.value is True]
    if true:
        return known(name, True, [item for part in true for item in part.evidence])
    for part in parts:
        if part.value is UNKNOWN:
            return unknown(name, part.state, part.reason, part.evidence)
    return known(name, False, (), State.NONE)


def all_of(name: str, parts: list[Fact]) -> Fact:
    """False if any is, true if all are, else unknown as the first unknown part."""
    if any(part.value is False for part in parts):
        return known(name, False, (), State.NONE)
    for part in parts:
        if part.value is UNKNOWN:
            return unknown(name, part.state, part.reason, part.evidence)
    return known(name, True, [item for part in parts for item in part.evidence])


COMPOSED: Mapping[str, Callable[[str, list[Fact]], Fact]] = {"any_of": any_of, "all_of": all_of}
