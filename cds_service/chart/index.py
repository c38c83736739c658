"""A chart seen through the knowledge: resources by the concept that their codes mean, each looked up once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

from cds_service.chart.chart import Chart
from cds_service.chart.dialect import STANDARD, Dialect
from cds_service.chart.doubt import IDENTIFIED, OF_CONDITIONS, OF_REQUESTS, Meanings, not_identified
from cds_service.chart.measured import MeasuredParts, Measuring
from cds_service.chart.panels import ObservedPart
from cds_service.fhir.resources import (
    CodeableConcept,
    Condition,
    DraftOrder,
    Immunization,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Procedure,
    Resource,
    ServiceRequest,
    normal_code,
)
from cds_service.fhir.sections import Unreadable
from cds_service.fhir.understood import status_of
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.recognition import Lexicon, words_in
from cds_service.knowledge.sites import SitedConcept, placed
from cds_service.model import State

_NOT_YET: Any = object()
# What is looked up once for a part of a chart and for the whole.
_ONCE = ("lexicon", "_conditions", "_unknown_conditions", "drugs")
_DISPENSE = "MedicationDispense/"

T = TypeVar("T")
Coded = TypeVar("Coded", Condition, ServiceRequest, Procedure, Immunization)


P = TypeVar("P", MedicationRequest | MedicationStatement, DraftOrder)


class Identified(NamedTuple, Generic[P]):
    """One entry of a medication list, or one draft, with the concept of its drug, wherever that was written."""

    source: P
    concept: CodeableConcept | None
    ingredient: str


Drug = Identified[MedicationRequest | MedicationStatement]
Draft = Identified[DraftOrder]


class _Conditions(NamedTuple):
    """Conditions by value set, those that may be of one and cannot be placed, and those that are of none of ours."""

    found: Mapping[str, Sequence[Condition]]
    unplaced: Mapping[str, Sequence[Condition]]
    others: Sequence[Condition]


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
    dialect: Dialect = STANDARD
    _kept: dict[Hashable, Any] = field(default_factory=dict)
    _whole: dict[tuple[str, ...], bool] = field(default_factory=dict)
    _short: dict[tuple[str, ...], tuple[State, str]] = field(default_factory=dict)

    @cached_property
    def lexicon(self) -> Lexicon:
        return self.dialect.lexicon or self.knowledge.lexicon

    @cached_property
    def readers(self) -> Locale:
        return Locale(self.knowledge, self.jurisdiction)

    def take_over(self, part: ChartIndex) -> None:
        """What was looked up already in a part of the same chart that holds every condition and drug: it stays so."""
        self.__dict__ |= {name: part.__dict__[name] for name in _ONCE if name in part.__dict__}

    def since(self, days: int | None) -> date:
        """The first day that counts of the last `days`; without these all of time does."""
        return date.min if days is None else self.as_of - timedelta(days=days)

    @cached_property
    def until(self) -> date:
        """The last day that counts: in a zone that is known the day asked about; else the next, which has begun somewhere."""
        if self.dialect.zone:
            return self.as_of
        return self.as_of + timedelta(days=1) if self.as_of < date.max else self.as_of

    def memo(self, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` gives, worked out at the first asking: many facts look at the same results."""
        found: T = self._kept.get(key, _NOT_YET)
        if found is _NOT_YET:
            found = self._kept[key] = work()
        return found

    @property
    def conditions(self) -> Mapping[str, Sequence[Condition]]:
        """By value set; of one with a place in the body only what is there."""
        return self._conditions.found

    @property
    def unplaced(self) -> Mapping[str, Sequence[Condition]]:
        """Conditions that may be of such a value set: their body site cannot be read."""
        return self._conditions.unplaced

    @cached_property
    def _conditions(self) -> _Conditions:
        found: dict[str, list[Condition]] = defaultdict(list)
        unplaced: dict[str, list[Condition]] = defaultdict(list)
        others: list[Condition] = []
        matches_of, words_of_ours = self.lexicon.terminology.matches, self.knowledge.condition_words
        for condition in self.chart.all(Condition):
            if not (condition.body_site or matches_of(condition.code) or words_of_ours.stands_in(words_in(condition.code))):
                others.append(condition)
                continue
            names, is_other = set(self._concepts_of(condition.code)), True
            sites = condition.body_site or ()
            words = _words_with_places(condition.code, sites)
            for sited in self.knowledge.sited:
                is_here = sited.value_set in names or self._is_here(sited, condition.code, sites, words)
                if is_here is None:
                    unplaced[sited.value_set].append(condition)
                    is_other = False
                elif is_here:
                    names.add(sited.value_set)
            for name in names:
                found[name].append(condition)
            if is_other and not names:
                others.append(condition)
        return _Conditions(found, unplaced, others)

    def _is_here(
        self, sited: SitedConcept, code: CodeableConcept | None, sites: Iterable[CodeableConcept | None], words: str
    ) -> bool | None:
        """Whether a thing that no code places is at this place; None where its site cannot be read."""
        terminology = self.lexicon.terminology
        matches = terminology.matches(code)
        if any(match.concept == sited.site.without_site for match in matches):
            return placed(sited, code, sites, terminology, self.jurisdiction)
        if code is None or matches:
            return False
        return sited.is_named(words) and not terminology.denies(sited.allowed.sub(" ", words))

    def means(self, concept: CodeableConcept | None, sites: Iterable[CodeableConcept | None], value_set: str) -> bool | None:
        """Whether a concept belongs to a value set of conditions; None where its body site or its words cannot be read."""
        if value_set in self._concepts_of(concept):
            return True
        sited = next((item for item in self.knowledge.sited if item.value_set == value_set), None)
        sites = list(sites)
        is_here = self._is_here(sited, concept, sites, _words_with_places(concept, sites)) if sited else False
        if is_here is not False or self._concepts_of(concept) or self.lexicon.recognition.is_another_condition(concept):
            return is_here
        return None

    @cached_property
    def orders(self) -> Mapping[str, Sequence[ServiceRequest]]:
        return self._by_concept(self.chart.all(ServiceRequest))

    @cached_property
    def procedures(self) -> Mapping[str, Sequence[Procedure]]:
        return self._by_concept(self.chart.all(Procedure))

    @cached_property
    def vaccinations(self) -> Mapping[str, Sequence[Immunization]]:
        return self._by_concept(self.chart.all(Immunization))

    def _by_concept(self, resources: Iterable[Coded]) -> dict[str, list[Coded]]:
        found: dict[str, list[Coded]] = defaultdict(list)
        for resource in resources:
            for name in self._concepts_of(resource.code):
                found[name].append(resource)
        return found

    def _concepts_of(self, concept: CodeableConcept | None) -> Collection[str]:
        """The value sets that a concept belongs to: by its codes, and by its words too, which may name more than a code tells.

        Only a code of a system in which our sets are complete says all.
        """
        terminology = self.lexicon.terminology
        matched = {match.concept for match in terminology.matches(concept)}
        if matched and terminology.is_listed(concept):
            return matched
        return matched.union(terminology.phrased(words_in(concept)))

    @property
    def measured(self) -> Mapping[str, Sequence[ObservedPart]]:
        """Results by `lab:<analyte>`, and Observations by value set of their code."""
        return self._results.found

    @cached_property
    def _results(self) -> MeasuredParts:
        return Measuring(self.chart, self.lexicon, self.knowledge).done()

    @cached_property
    def drugs(self) -> tuple[Mapping[str, Sequence[Drug]], Sequence[Drug]]:
        """Drugs by value set, and those that are not understood: neither one of ours nor a known other."""
        return self._identified([*self.chart.all(MedicationRequest), *self.chart.all(MedicationStatement)])

    @cached_property
    def drafts(self) -> tuple[Mapping[str, Sequence[Draft]], Sequence[Draft]]:
        """The drugs of the orders that the hook is about, in the same way."""
        return self._identified(self.chart.drafts)

    def _identified(self, sources: Sequence[P]) -> tuple[dict[str, list[Identified[P]]], list[Identified[P]]]:
        terminology, recognition = self.lexicon
        found: dict[str, list[Identified[P]]] = defaultdict(list)
        unidentified: list[Identified[P]] = []
        for source in sources:
            concept = self.chart.drug_concept(source)
            matches = terminology.matches(concept) or terminology.named(words_in(concept))
            for match in matches:
                found[match.concept].append(Identified(source, concept, match.name))
            if not matches and not recognition.is_another_drug(concept):
                unidentified.append(Identified(source, concept, ""))
        return found, unidentified

    @cached_property
    def not_understood(self) -> Mapping[str, Sequence[Unreadable]]:
        """All entries that came and of which nobody can say what they are, by resource type. Drugs stand in `drugs`."""
        return {kind: self.not_understood_of(kind) for kind in IDENTIFIED}

    def not_understood_of(self, kind: str) -> Sequence[Unreadable]:
        """Those of one resource type: of the other types nothing is looked at."""
        if kind in OF_CONDITIONS:
            current, past = self._unknown_conditions
            return current if kind == Condition.__name__ else past
        if kind in OF_REQUESTS:
            return self._unknown_requests[kind]
        return self._results.not_understood if kind == Observation.__name__ else ()

    @cached_property
    def _unknown_conditions(self) -> tuple[list[Unreadable], list[Unreadable]]:
        """Those that are there now or may be, and those that are over."""
        unknown = [item for item in self._conditions.others if not self.lexicon.recognition.is_another_condition(item.code)]
        told = ("", *self.knowledge.statuses.active_condition)
        current = [not_identified(item) for item in unknown if status_of(item.clinical_status) in told]
        return current, [not_identified(item) for item in unknown if status_of(item.clinical_status) not in told]

    @cached_property
    def _unknown_requests(self) -> Mapping[str, list[Unreadable]]:
        recognition, statuses = self.lexicon.recognition, self.knowledge.statuses
        orders = [item for item in self.chart.all(ServiceRequest) if normal_code(item.status) in statuses.open_order]
        done = [item for item in self.chart.all(Procedure) if normal_code(item.status) not in statuses.undone_procedure]
        own = {id(item) for index in (self.orders, self.procedures) for items in index.values() for item in items}
        asked: Sequence[Sequence[ServiceRequest | Procedure]] = (orders, done)
        unknown = [[item for item in items if id(item) not in own] for items in asked]
        found = [[not_identified(item) for item in items if not recognition.is_another_result(item.code)] for items in unknown]
        return dict(zip(OF_REQUESTS, found, strict=True))

    def not_understood_by_type(self, kinds: Collection[str] = IDENTIFIED) -> Counter[str]:
        """How many entries could not be read, or of these types be understood: a type that no query asks for is `other`."""
        asked = {query.resource_type for query in self.knowledge.queries.values()}
        put_aside = chain.from_iterable((*self.chart.damaged.values(), *map(self.not_understood_of, kinds)))
        types = [
            *(item.resource_type for item in put_aside),
            *(kind for kind, _ in self._unidentified_drugs),
        ]
        return Counter(name if name in asked else "other" for name in types)

    def unidentified(self, kinds: Collection[str] = IDENTIFIED) -> list[tuple[str, CodeableConcept]]:
        """What could not be identified of these types, and drugs, each with its resource type."""
        put_aside = [
            (item.resource_type, concept)
            for items in map(self.not_understood_of, kinds)
            for item in items
            for concept in item.concepts
        ]
        return [*put_aside, *((kind, concept) for kind, concept in self._unidentified_drugs if concept)]

    @property
    def _unidentified_drugs(self) -> Iterator[tuple[str, CodeableConcept | None]]:
        """Those on record and those being ordered, each with its resource type."""
        for drug in self.drugs[1]:
            yield str(type(drug.source).__struct_config__.tag), drug.concept
        for draft in self.drafts[1]:
            yield str(type(draft.source).__struct_config__.tag), draft.concept

    @cached_property
    def unmatched(self) -> Sequence[Resource]:
        """Entries beside which nothing calm may be said: not understood, or about a leg, a muscle, a nerve, a vessel."""
        recognition = self.lexicon.recognition
        known = {id(item) for items in self.conditions.values() for item in items}
        told = [
            item
            for item in self.chart.all(Condition)
            if id(item) not in known and recognition.concerns_muscle_or_leg(words_in(item.code))
        ]
        return [*told, *(drug.source for drug in self.drugs[1])]

    def all_read(self, queries: tuple[str, ...]) -> bool:
        """Whether these queries were answered in full and all of it was understood: only then is an absence an absence."""
        whole = self._whole.get(queries)
        if whole is None:
            understood = not any(self._doubtful(query) for query in queries)
            whole = understood and self.chart.looking(queries) is State.KNOWN
            self._whole[queries] = whole
        return whole

    @cached_property
    def is_clear(self) -> bool:
        """Whether all that came was read and understood, as it mostly is."""
        return not any(self.chart.damaged.values()) and not any(self.not_understood.values())

    def _doubtful(self, query: str) -> Sequence[Unreadable]:
        """What came under a query and could not be read or understood."""
        definition = self.knowledge.queries[query]
        own = self.chart.damaged.get(query, ())
        if definition.from_context:
            return own
        kind = definition.resource_type
        # What stands under another key counts by its type, and so does what could not be read of it.
        elsewhere = [
            item
            for key, items in self.chart.damaged.items()
            if key != query and not self._is_from_context(key)
            for item in items
            if item.resource_type == kind
        ]
        return [*own, *elsewhere, *self.not_understood_of(kind)]

    def _is_from_context(self, key: str) -> bool:
        return key in self.knowledge.queries and self.knowledge.queries[key].from_context

    def shortfall(self, queries: tuple[str, ...]) -> tuple[State, str]:
        """How the first of these queries that was not answered in full was not, and which they are."""
        found = self._short.get(queries)
        if found is None:
            state = self.chart.looking(queries)
            titles = [self.knowledge.queries[query].title for query in queries if self.chart.looking([query]) is state]
            found = self._short[queries] = (state, f"{', '.join(titles)}: {state.value}")
        return found

    def damaged(self, queries: Sequence[str], concepts: Iterable[str]) -> Unreadable | None:
        """The first entry that was not read or understood and may be about one of these concepts."""
        return next(iter(self.doubts(queries, concepts)), None)

    def doubts(self, queries: Sequence[str], concepts: Iterable[str]) -> list[Unreadable]:
        """The entries that were not read or understood and may be about one of these concepts."""
        doubtful = self._all_doubtful(tuple(queries))
        if not doubtful:
            return []
        wanted = self._meanings.without_site(set(concepts))
        return [item for item, meant in doubtful if meant is None or not wanted.isdisjoint(meant)]

    def handed_over(self, drug: str) -> list[Unreadable]:
        """Dispenses of a drug with the day of each. They are no part of a list, so nothing else is decided by them."""
        given = (item for items in self.chart.damaged.values() for item in items if item.reference.startswith(_DISPENSE))
        return [item for item in given if item.when and drug in (self._meanings.meant_by(item) or ())]

    @cached_property
    def _meanings(self) -> Meanings:
        return Meanings(self.lexicon, self.knowledge)

    def _all_doubtful(self, queries: tuple[str, ...]) -> list[tuple[Unreadable, Collection[str] | None]]:
        """Each entry once that came under one of these queries and could not be read or understood, with what it may mean."""

        def gather() -> list[tuple[Unreadable, Collection[str] | None]]:
            once = {id(item): item for query in queries for item in self._doubtful(query)}.values()
            return [(item, self._meanings.meant_by(item)) for item in once]

        return self.memo(("doubtful", queries), gather)


def _words_with_places(code: CodeableConcept | None, sites: Iterable[CodeableConcept | None]) -> str:
    return " ".join([words_in(item).replace(" | ", " ") for item in (code, *sites) if item])
