"""Which concepts the results of a chart are of, by their codes or, where no set has these, by their words and unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from cds_service.chart.chart import Chart
from cds_service.chart.doubt import not_identified
from cds_service.chart.panels import ObservedPart, members_of, panel_of, without_results
from cds_service.fhir.resources import CodeableConcept, Component, Observation, normal_code
from cds_service.fhir.sections import Unreadable, bears_value, measurement
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.recognition import Lexicon, words_in
from cds_service.knowledge.schema import Panel
from cds_service.knowledge.terminology import Match
from cds_service.knowledge.units import Unusable, convert


class MeasuredParts(NamedTuple):
    """Results by `lab:<analyte>`, Observations by value set, and those of which nobody can say what they measure."""

    found: Mapping[str, Sequence[ObservedPart]]
    not_understood: Sequence[Unreadable]


class Measuring:
    """One pass over the Observations of a chart; then its panels, which are asked whether their results came."""

    def __init__(self, chart: Chart, lexicon: Lexicon, knowledge: Knowledge) -> None:
        self._chart, self._knowledge = chart, knowledge
        self._terminology, self._recognition = lexicon
        self._matches_of, self._of_no_result = self._terminology.matches, knowledge.sets_of_no_result
        self._found: dict[str, list[ObservedPart]] = defaultdict(list)
        self._not_understood: list[Unreadable] = []
        self._panels: list[tuple[Observation, Panel]] = []

    def done(self) -> MeasuredParts:
        for observation in self._chart.all(Observation):
            if observation.component:
                self._take_parts(observation, self._chart.components_of(observation))
            elif not self._take(observation.code, observation, observation):
                self._doubt(observation)
        for panel in self._panels:
            if doubtful := without_results(*panel, self._found, self._results, self._knowledge):
                self._not_understood.append(doubtful)
        return MeasuredParts(self._found, self._not_understood)

    def _take(self, code: CodeableConcept | None, part: Observation | Component, observation: Observation) -> bool:
        """Keep a value under what it measures; False where that is no concept of ours."""
        matches: Sequence[Match] = self._matches_of(code)
        if not matches or self._of_no_result.issuperset(match.concept for match in matches):
            matches = self._named(code, part)
        for match in matches:
            self._found[match.concept].append((observation, part))
        return bool(matches)

    def _take_parts(self, observation: Observation, parts: Sequence[Component]) -> None:
        """The same of each part. Those that nobody can tell, and a value beside them that nobody can tell, stay in doubt."""
        is_ours = self._take(observation.code, observation, observation)
        unread = [part.code for part in parts if not self._take(part.code, part, observation) and self._is_open(part.code)]
        if self._recognition.is_another_result(observation.code):
            # A part without words is what the whole is about.
            unread = [code for code in unread if code is None or words_in(code)]
        if unread:
            # A part that does not say what it is may be anything.
            concepts = () if None in unread else tuple(filter(None, unread))
            self._not_understood.append(not_identified(observation)._replace(concepts=concepts))
        if is_ours:
            return
        if not parts or bears_value(observation):
            self._doubt(observation)
        else:
            self._ask_for_members(observation)

    def _is_open(self, code: CodeableConcept | None) -> bool:
        return not self._recognition.is_another_result(code)

    def _doubt(self, observation: Observation) -> None:
        """Set aside what is neither a concept of ours nor understood as something else."""
        if not self._take_panel(observation) and self._is_open(observation.code) and not self._comes_whole(observation):
            self._not_understood.append(not_identified(observation))

    def _ask_for_members(self, observation: Observation) -> None:
        """Of a panel whose parts were read: what else it holds, or names, is asked for too."""
        is_panel = self._take_panel(observation)
        if not is_panel and observation.has_member and self._is_open(observation.code) and not self._all_came(observation):
            self._not_understood.append(not_identified(observation)._replace(concepts=()))

    def _take_panel(self, observation: Observation) -> bool:
        """Keep a panel of ours, if it is one, to be asked for its results; a value of its own is none of them."""
        panel = panel_of(observation.code, self._terminology, self._knowledge.panels)
        if panel and bears_value(observation):
            self._not_understood.append(not_identified(observation))
        elif panel and normal_code(observation.status) in self._reported:
            self._panels.append((observation, panel))
        return panel is not None

    def _comes_whole(self, observation: Observation) -> bool:
        """Whether it is a panel of any kind: no value, and Observations as its members, which all came."""
        return bool(observation.has_member) and not bears_value(observation) and self._all_came(observation)

    def _all_came(self, observation: Observation) -> bool:
        members = members_of(observation)
        return bool(members) and self._results.issuperset(members or ())

    @cached_property
    def _results(self) -> frozenset[str]:
        """References of what came and was not entered in error. What names members of its own is a panel, and no result."""
        said = {*self._reported, *self._knowledge.statuses.unreported_result}
        came = (item for item in self._chart.all(Observation) if normal_code(item.status) in said)
        return frozenset(f"Observation/{item.id}" for item in came if not item.has_member)

    @cached_property
    def _reported(self) -> frozenset[str]:
        statuses = self._knowledge.statuses
        return frozenset((*statuses.reported_result, *statuses.preliminary_result))

    def _named(self, code: CodeableConcept | None, part: Observation | Component) -> Sequence[Match]:
        """What a result is of where no set has its code: by its words and a unit that leaves no doubt."""
        analyte = self._recognition.analyte(words_in(code)) if self._is_open(code) else ""
        return (Match(f"lab:{analyte}", analyte),) if analyte and self._has_unit_of(analyte, part) else ()

    def _has_unit_of(self, analyte: str, part: Observation | Component) -> bool:
        said = measurement(part)
        quantity = said.value_quantity if said else None
        return quantity is not None and not isinstance(convert(quantity, self._knowledge.factors[analyte]), Unusable)
