"""Stage 2: the chart and `facts.json` give facts, each worked out when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, unknown
from cds_service.facts import conditions, draft_orders, episodes, medications, orders_and_procedures, patient, questionnaire
from cds_service.facts.baseline import affected_by, baseline_of
from cds_service.fhir.dates import read_span
from cds_service.knowledge import composed_kinds
from cds_service.knowledge import fact_kinds as kinds
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.model import UNKNOWN, Fact, State, Value
from cds_service.observations import coded, estimates, results, values

Picker = Callable[[FactDefinition, Any, ChartIndex], Fact]

PICKERS: Mapping[type[Any], Picker] = {
    kinds.Age: patient.age_years,
    kinds.Deceased: patient.deceased,
    kinds.Replaced: patient.replaced,
    kinds.Unmatched: patient.unmatched,
    kinds.ActiveCondition: conditions.active_condition,
    kinds.ProblemListItem: conditions.problem,
    kinds.EncounterDiagnosis: conditions.encounter_diagnosis,
    kinds.EncounterReason: conditions.encounter_reason,
    kinds.BeganWithin: conditions.began_within,
    kinds.RecordedWithin: conditions.recorded_within,
    kinds.BeganAgainstOnset: conditions.began_against_onset,
    kinds.Ongoing: episodes.ongoing,
    kinds.DoneAfterCondition: episodes.done_after_condition,
    kinds.MeasuredSince: episodes.measured_since,
    kinds.VaccinatedBefore: episodes.vaccinated_before,
    kinds.ConditionAfterDrug: medications.condition_after_drug,
    kinds.Taking: medications.taking,
    kinds.DaysTaken: medications.days_taken,
    kinds.StartedAgainstOnset: medications.started_against_onset,
    kinds.DoneSinceDrug: medications.done_since_drug,
    kinds.AgainstRange: results.against_range,
    kinds.LatestValue: values.latest_value,
    kinds.TimesUpperLimit: values.times_upper_limit,
    kinds.AsLowBefore: values.as_low_before,
    kinds.FellBy: estimates.fell_by,
    kinds.Measured: results.measured_within,
    kinds.ReportedOrEstimated: estimates.reported_or_estimated,
    kinds.IsEstimated: estimates.is_estimated,
    kinds.CodedAnswer: coded.coded_answer,
    kinds.HistoryCompleted: questionnaire.history_completed,
    kinds.BooleanAnswer: questionnaire.boolean_answer,
    kinds.CodedAnswers: questionnaire.coded_answers,
    kinds.IntegerAnswer: questionnaire.integer_answer,
    kinds.IntegerAtLeast: questionnaire.integer_at_least,
    kinds.OtherAnswers: questionnaire.other_answers,
    kinds.BeingOrdered: draft_orders.being_ordered,
    kinds.OrderReason: draft_orders.order_reason,
    kinds.OnOrder: orders_and_procedures.on_order,
    kinds.Done: orders_and_procedures.done_within,
}
"""What works out a fact of each kind that looks into the chart."""


class ChartFacts(Mapping[str, Fact]):
    """The facts of one chart, each worked out when it is first asked for. Asking twice costs once.

    What nothing in the chart bears on is taken from the baseline, unless `whole` asks for all to be worked out. `affected`
    names the others. `found`: facts that are known already.
    """

    def __init__(self, view: ChartIndex, *, whole: bool = False, found: ChartFacts | None = None) -> None:
        self._view, self._definitions = view, view.knowledge.facts
        self._found: dict[str, Fact] = dict(found._found) if found else {}
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
            return COMPOSED[type(definition.kind)](name, [self[part] for part in definition.facts])
        return PICKERS[type(definition.kind)](definition, definition.kind, self._view)


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
            return unknown(name, part.state, part.reason, part.evidence_source)
    return known(name, False, (), State.ABSENT)


def all_of(name: str, parts: list[Fact]) -> Fact:
    """False if any is, true if all are, else unknown as the first unknown part."""
    if any(part.value is False for part in parts):
        return known(name, False, (), State.ABSENT)
    for part in parts:
        if part.value is UNKNOWN:
            return unknown(name, part.state, part.reason, part.evidence_source)
    return known(name, True, lambda: [item for part in parts for item in part.evidence])


def all_shown(name: str, parts: list[Fact]) -> Fact:
    """True if all are true. What is not known is not shown either, so false whenever one of them is not true."""
    if all(part.value is True for part in parts):
        return known(name, True, lambda: [item for part in parts for item in part.evidence])
    return known(name, False, (), State.ABSENT)


def newer_than(name: str, parts: list[Fact]) -> Fact:
    """What the first is where it is not true; unknown where the days do not tell which of the two is newer."""
    first, second = parts
    if first.value is not True or second.value is False:
        return Fact(name, first.value, first.state, first.evidence_source, first.reason)
    if second.value is UNKNOWN:
        return unknown(name, second.state, second.reason, second.evidence_source)
    spans = [read_span(part.evidence[0].date) if part.evidence else None for part in parts]
    if spans[0] is None or spans[1] is None:
        return unknown(name, State.UNUSABLE, "which of the two is newer is not on record")
    return known(name, spans[0].first > spans[1].last, first.evidence_source)


def not_shown(name: str, parts: list[Fact]) -> Fact:
    """True where the one part is false or not known, so that a text can say what holds as far as anybody knows."""
    (part,) = parts
    return known(name, part.value is not True, lambda: part.evidence)


def not_known(name: str, parts: list[Fact]) -> Fact:
    """True where the one part is not known, so that a text can say so. Never unknown itself."""
    (part,) = parts
    return known(name, part.value is UNKNOWN, lambda: part.evidence)


COMPOSED: Mapping[type[Any], Callable[[str, list[Fact]], Fact]] = {
    composed_kinds.AnyOf: any_of,
    composed_kinds.AllOf: all_of,
    composed_kinds.AllShown: all_shown,
    composed_kinds.NewerThan: newer_than,
    composed_kinds.NotShown: not_shown,
    composed_kinds.NotKnown: not_known,
}
