"""Stage 2: the chart and `facts.json` give facts, each worked out when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, unknown
from cds_service.facts import conditions, medications
from cds_service.facts import draft_orders as ordering
from cds_service.facts import episodes as courses
from cds_service.facts import orders_and_procedures as orders
from cds_service.facts import patient as person
from cds_service.facts import questionnaire as history
from cds_service.facts.baseline import affected_by, baseline_of
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import UNKNOWN, Fact, State, Value
from cds_service.observations import estimates, results

Picker = Callable[[str, FactDefinition, ChartIndex], Fact]

PICKERS: Mapping[str, Picker] = {
    "age_years": person.age_years,
    "deceased": person.deceased,
    "replaced": person.replaced,
    "unmatched": person.unmatched,
    "active_condition": conditions.active_condition,
    "began_within": conditions.began_within,
    "began_against_onset": conditions.began_against_onset,
    "under_way": courses.ongoing,
    "problem": conditions.problem,
    "encounter_diagnosis": conditions.encounter_diagnosis,
    "encounter_reason": conditions.encounter_reason,
    "began_after_drug": medications.began_after_drug,
    "taking": medications.taking,
    "days_taken": medications.days_taken,
    "done_since_drug": medications.done_since_drug,
    "start_against_onset": medications.start_against_onset,
    "against_range": results.against_range,
    "latest_value": results.latest_value,
    "latest_or_estimated": estimates.latest_or_estimated,
    "is_estimated": estimates.is_estimated,
    "measured_within": results.measured_within,
    "coded_answer": results.coded_answer,
    "answered": history.boolean_answer,
    "chosen": history.coded_answers,
    "counted": history.integer_answer,
    "counted_up_to": history.integer_at_least,
    "history_taken": history.history_taken,
    "being_ordered": ordering.being_ordered,
    "order_reason": ordering.order_reason,
    "on_order": orders.on_order,
    "done_within": orders.done_within,
}


class ChartFacts(Mapping[str, Fact]):
    """The facts of one chart, each worked out when it is first asked for. Asking twice costs once.

    What nothing in the chart bears on is taken from the baseline, unless `whole` asks for all to be worked out. `affected`
    names the others.
    """

    def __init__(self, view: ChartIndex, *, whole: bool = False) -> None:
        self._view, self._definitions = view, view.knowledge.facts
        self._found: dict[str, Fact] = {}
        self.baseline = None if whole else baseline_of(view, _work_out)
        self.affected: Set[str] = affected_by(view) if self.baseline else self._definitions.keys()

    def __getitem__(self, name: str) -> Fact:
        fact = self._found.get(name)
        if fact is None:
            if self.baseline and name not in self.affected:
                return self.baseline.facts[name]
            fact = self._found[name] = self._pick(name, self._definitions[name])
        return fact

    def __iter__(self) -> Iterator[str]:
        return iter(self._definitions)

    def __len__(self) -> int:
        return len(self._definitions)

    def precomputed(self) -> dict[str, Value]:
        """The values that are known without looking into the chart."""
        if self.baseline is None:
            return {}
        values = dict(self.baseline.values)
        for name in self.affected:
            del values[name]
        return values

    def _pick(self, name: str, definition: FactDefinition) -> Fact:
        if definition.facts:
            return COMPOSED[definition.picker](name, [self[part] for part in definition.facts])
        return PICKERS[definition.picker](name, definition, self._view)


def _work_out(view: ChartIndex) -> ChartFacts:
    return ChartFacts(view, whole=True)


class FactValues(dict[str, Value]):
    """The same facts as the bare values that rules decide on, each fetched when a rule first asks."""

    def __init__(self, facts: Mapping[str, Fact]) -> None:
        super().__init__(facts.precomputed() if isinstance(facts, ChartFacts) else {})
        self._facts = facts

    def __missing__(self, name: str) -> Value:
        value = self[name] = self._facts[name].value
        return value


def any_of(name: str, parts: list[Fact]) -> Fact:
    """True if any is, false if all are, else unknown as the first unknown part."""
    true = [part for part in parts if part.value is True]
    if true:
        return known(name, True, lambda: [item for part in true for item in part.evidence])
    for part in parts:
        if part.value is UNKNOWN:
            return unknown(name, part.state, part.reason, part.told)
    return known(name, False, (), State.NONE)


def all_of(name: str, parts: list[Fact]) -> Fact:
    """False if any is, true if all are, else unknown as the first unknown part."""
    if any(part.value is False for part in parts):
        return known(name, False, (), State.NONE)
    for part in parts:
        if part.value is UNKNOWN:
            return unknown(name, part.state, part.reason, part.told)
    return known(name, True, lambda: [item for part in parts for item in part.evidence])


def all_shown(name: str, parts: list[Fact]) -> Fact:
    """True if all are true. What is not known is not shown either, so false whenever one of them is not true."""
    if all(part.value is True for part in parts):
        return known(name, True, lambda: [item for part in parts for item in part.evidence])
    return known(name, False, (), State.NONE)


COMPOSED: Mapping[str, Callable[[str, list[Fact]], Fact]] = {"any_of": any_of, "all_of": all_of, "all_shown": all_shown}
