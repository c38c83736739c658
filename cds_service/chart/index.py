"""A chart seen through the knowledge: resources by the concept that their codes mean, each looked up once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

from cds_service.chart.chart import Chart
from cds_service.fhir.bundles import Unreadable, contained_medication
from cds_service.fhir.resources import (
    CodeableConcept,
    Component,
    Condition,
    DraftOrder,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Procedure,
    Resource,
    ServiceRequest,
    text_of,
)
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.sites import SitedConcept, placed, words_of
from cds_service.model import State

_NOT_YET: Any = object()
_LISTED = (Condition, MedicationRequest, MedicationStatement, Observation, ServiceRequest, Procedure)

T = TypeVar("T")
Coded = TypeVar("Coded", Condition, ServiceRequest, Procedure)


ObservedPart = tuple[Observation, Observation | Component]
"""One measured value: an Observation, and what of it holds the value: itself, or one of its components."""

P = TypeVar("P", MedicationRequest | MedicationStatement, DraftOrder)


class Identified(NamedTuple, Generic[P]):
    """One entry of a medication list, or one draft, with the concept of its drug, wherever that was written."""

    source: P
    concept: CodeableConcept | None
    ingredient: str


Drug = Identified[MedicationRequest | MedicationStatement]
Draft = Identified[DraftOrder]


class Locale(NamedTuple):
    """For whom results are told: what is known of them, and the ranges and units of a jurisdiction.

    A result keeps this and not the view that keeps it, for a ring of objects would outlive its request.
    """

    knowledge: Knowledge
    jurisdiction: str


@dataclass
class ChartIndex:
    """What the pickers see. Everything in it is a pure function of chart, knowledge and `as_of`."""

    chart: Chart
    knowledge: Knowledge
    as_of: date
    jurisdiction: str
    _kept: dict[Hashable, Any] = field(default_factory=dict)
    _whole: dict[tuple[str, ...], bool] = field(default_factory=dict)
    _short: dict[tuple[str, ...], tuple[State, str]] = field(default_factory=dict)

    @cached_property
    def readers(self) -> Locale:
        return Locale(self.knowledge, self.jurisdiction)

    def since(self, days: int | None) -> date:
        """The first day that counts of the last `days`; without these all of time does."""
        return date.min if days is None else self.as_of - timedelta(days=days)

    def memo(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` gives, worked out at the first asking: many facts look at the same results."""
        found: T = self._kept.get(key, _NOT_YET)
        if found is _NOT_YET:
            found = self._kept[key] = work()
        return found

    @property
    def conditions(self) -> Mapping[str, Sequence[Condition]]:
        """By value set; of one with a place in the body only what is there."""
        return self._conditions[0]

    @property
    def unplaced(self) -> Mapping[str, Sequence[Condition]]:
        """Conditions that may be of such a value set: their body site cannot be read."""
        return self._conditions[1]

    @cached_property
    def _conditions(self) -> tuple[Mapping[str, Sequence[Condition]], Mapping[str, Sequence[Condition]]]:
        found = self._by_concept(self.chart.all(Condition))
        unplaced: dict[str, list[Condition]] = {}
        for sited in self.knowledge.sited:
            own = {id(item) for item in found.get(sited.value_set, ())}
            for condition in self.chart.all(Condition):
                is_here = id(condition) in own or self._is_here(sited, condition.code, condition.body_site or ())
                if is_here is None:
                    unplaced.setdefault(sited.value_set, []).append(condition)
                elif is_here and id(condition) not in own:
                    found[sited.value_set].append(condition)
        return found, unplaced

    def _is_here(
        self, sited: SitedConcept, code: CodeableConcept | None, sites: Iterable[CodeableConcept | None]
    ) -> bool | None:
        """Whether a thing that no code places is at this place; None where its site cannot be read."""
        terminology = self.knowledge.terminology
        if terminology.means(code, sited.site.without_site):
            return placed(sited, code, sites, terminology, self.jurisdiction)
        if code is None or terminology.is_coded(code):
            return False
        words = " | ".join(words_of(item) for item in (code, *sites) if item)
        return not terminology.denies(words) and sited.is_named(words.replace(" | ", " "))

    def means(self, concept: CodeableConcept | None, sites: Iterable[CodeableConcept | None], value_set: str) -> bool | None:
        """Whether a concept belongs to a value set of conditions; None where its body site cannot be read."""
        terminology = self.knowledge.terminology
        if terminology.means(concept, value_set):
            return True
        if not terminology.is_coded(concept) and value_set in terminology.phrased(text_of(concept)):
            return True
        sited = next((item for item in self.knowledge.sited if item.value_set == value_set), None)
        return self._is_here(sited, concept, sites) if sited else False

    @cached_property
    def orders(self) -> Mapping[str, Sequence[ServiceRequest]]:
        return self._by_concept(self.chart.all(ServiceRequest))

    @cached_property
    def procedures(self) -> Mapping[str, Sequence[Procedure]]:
        return self._by_concept(self.chart.all(Procedure))

    def _by_concept(self, resources: Iterable[Coded]) -> dict[str, list[Coded]]:
        terminology = self.knowledge.terminology
        found: dict[str, list[Coded]] = defaultdict(list)
        for resource in resources:
            concept = resource.code
            matched = {match.concept for match in terminology.matches(concept)}
            if not matched and concept and not terminology.is_coded(concept):
                matched = set(terminology.phrased(text_of(concept)))
            for name in matched:
                found[name].append(resource)
        return found

    @cached_property
    def measured(self) -> Mapping[str, Sequence[ObservedPart]]:
        """Results by `lab:<analyte>`, and Observations by value set of their code."""
        matches = self.knowledge.terminology.matches
        found: dict[str, list[ObservedPart]] = defaultdict(list)
        for observation in self.chart.all(Observation):
            for concept, _ in matches(observation.code):
                found[concept].append((observation, observation))
            if observation.component:
                for component in self.chart.components_of(observation):
                    for concept, _ in matches(component.code):
                        found[concept].append((observation, component))
        return found

    @cached_property
    def drugs(self) -> tuple[Mapping[str, Sequence[Drug]], Sequence[Drug]]:
        """Drugs by value set, and those that nothing identifies: neither a known code nor a word."""
        return self._identified([*self.chart.all(MedicationRequest), *self.chart.all(MedicationStatement)])

    @cached_property
    def drafts(self) -> tuple[Mapping[str, Sequence[Draft]], Sequence[Draft]]:
        """The drugs of the orders that the hook is about, in the same way."""
        return self._identified(self.chart.drafts)

    def _identified(self, sources: Sequence[P]) -> tuple[dict[str, list[Identified[P]]], list[Identified[P]]]:
        terminology = self.knowledge.terminology
        found: dict[str, list[Identified[P]]] = defaultdict(list)
        unidentified: list[Identified[P]] = []
        for source in sources:
            concept = self._drug_concept(source)
            matches = terminology.matches(concept)
            if not matches and not terminology.is_listed(concept):
                matches = terminology.named(_all_words(concept))
            for match in matches:
                found[match.concept].append(Identified(source, concept, match.name))
            if not matches and not terminology.is_coded(concept) and not _all_words(concept).strip(" |"):
                unidentified.append(Identified(source, concept, ""))
        return found, unidentified

    @cached_property
    def unmatched(self) -> Sequence[Resource]:
        """The entries of every list that nothing in the knowledge is about: they may be anything."""
        groups = (self.conditions, self.orders, self.procedures)
        matched = {id(item) for group in groups for found in group.values() for item in found}
        matched |= {id(observation) for found in self.measured.values() for observation, _ in found}
        matched |= {id(drug.source) for found in self.drugs[0].values() for drug in found}
        return [item for kind in _LISTED for item in self.chart.all(kind) if id(item) not in matched]

    def _drug_concept(self, source: MedicationRequest | MedicationStatement | DraftOrder) -> CodeableConcept | None:
        """The drug as a concept, by reference, contained, or as a further entry of the Bundle."""
        if source.medication_codeable_concept:
            return source.medication_codeable_concept
        given = source.medication_reference
        if given is None:
            return None
        reference = (given.reference or "").strip()
        find = self.chart.draft_medication if isinstance(source, DraftOrder) else self.chart.medication
        medication = contained_medication(source.contained, reference) if reference.startswith("#") else find(reference)
        if medication and medication.code:
            return medication.code
        return CodeableConcept(text=given.display) if given.display else None

    def all_read(self, queries: tuple[str, ...]) -> bool:
        """Whether these queries were answered in full and all of it could be read: only then is an absence an absence."""
        whole = self._whole.get(queries)
        if whole is None:
            damaged = any(map(self.chart.damaged.get, queries))
            whole = self._whole[queries] = not damaged and self.chart.looking(queries) is State.KNOWN
        return whole

    def shortfall(self, queries: tuple[str, ...]) -> tuple[State, str]:
        """How the first of these queries that was not answered in full was not, and which they are."""
        found = self._short.get(queries)
        if found is None:
            state = self.chart.looking(queries)
            titles = [self.knowledge.queries[query].title for query in queries if self.chart.looking([query]) is state]
            found = self._short[queries] = (state, f"{', '.join(titles)}: {state.value}")
        return found

    def damaged(self, queries: Sequence[str], concepts: Iterable[str]) -> Unreadable | None:
        """The first resource that could not be read and may have been about one of these concepts."""
        if not any(map(self.chart.damaged.get, queries)):
            return None
        wanted = set(concepts)
        wanted |= {sited.site.without_site for sited in self.knowledge.sited if sited.value_set in wanted}
        terminology = self.knowledge.terminology
        for query in queries:
            for damaged in self.chart.damaged.get(query, ()):
                coded = [concept for concept in damaged.concepts if terminology.is_coded(concept)]
                meant = {match.concept for concept in coded for match in terminology.matches(concept)}
                if not coded or meant & wanted:
                    return damaged
        return None


def _all_words(concept: CodeableConcept | None) -> str:
    if concept is None:
        return ""
    displays = [coding.display or "" for coding in concept.coding or () if coding]
    return " | ".join([concept.text or "", *displays])
