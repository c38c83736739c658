"""What came and was not used, each with its place, what the record calls it, and the reason; and what did not come whole.

Explanations, the terminal and the pages tell the same list, so that nobody takes silence for a record without fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from cds_service.cards.text import clip, listed, plain
from cds_service.chart.doubt import NOT_IDENTIFIED
from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import UNNAMED, words_of
from cds_service.explain.fact_text import say_fact, statement_of
from cds_service.facts.conditions import NOT_PLACED, problem_with, why_not_active
from cds_service.facts.questionnaire import doubtful_responses
from cds_service.fhir.resources import CodeableConcept, Condition, Observation, Resource, text_of
from cds_service.fhir.sections import Unreadable
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.recognition import words_in
from cds_service.knowledge.units import NO_VALUE, Unusable
from cds_service.model import UNKNOWN, Fact, Outcome, State
from cds_service.observations.measurements import FLAGGED, OUTLYING, RANGE_UNREAD, Result, read
from cds_service.observations.results import UNPLACED
from cds_service.observations.timeline import placed_of
from cds_service.service import Decision

MOST_TOLD = 20
_MOST_BLAMED = 3
_ELSEWHERE, _DENIED = "it names another place, or none", "its words deny it"
_LONGEST_NAME = 80
_LONGEST_MONTH = 31
_DIGITS = re.compile(r"(\d+)")


class LeftOut(msgspec.Struct, frozen=True):
    """One entry, or one answer as a whole, with why it was not used.

    `place` is its path in the request, `reference` its `Type/id` as far as known, `name` what the record calls it; each may
    be empty.
    """

    place: str
    reference: str
    name: str
    reason: str

    @property
    def where(self) -> str:
        """What it is found by: its reference where it has an id, else its type and place."""
        return self.reference if "/" in self.reference else f"{self.reference} at {self.place}".removeprefix(" at ")


class Omissions(msgspec.Struct, frozen=True):
    """`entries`: at most MOST_TOLD, those first that may change the answer, and how many `more`. `answers`: queries that were
    not answered in full.
    """

    entries: tuple[LeftOut, ...] = ()
    more: int = 0
    answers: tuple[LeftOut, ...] = ()


def left_out(view: ChartIndex, places: Mapping[str, str] = MappingProxyType({})) -> Omissions:
    """The one list of what was left out or not understood. `places`: what a path in the request is called instead."""
    found = [_renamed(item, places) for item in _Finder(view).entries()]
    answers = [
        LeftOut(f"prefetch.{key}", "", view.knowledge.queries[key].title, why) for key, why in view.chart.shortfalls.items()
    ]
    return Omissions(tuple(found[:MOST_TOLD]), len(found[MOST_TOLD:]), tuple(answers))


def _renamed(item: LeftOut, places: Mapping[str, str]) -> LeftOut:
    return replace(item, place=places.get(item.place, item.place))


class _Finder:
    """Looks through a chart, with the place of each resource in the request by its `id()`."""

    def __init__(self, view: ChartIndex) -> None:
        self._view = view
        self._places = {
            id(entry.resource): f"{place}.entry[{number}].resource"
            for place, entries in view.chart.entries.items()
            for number, entry in enumerate(entries)
            if entry and entry.resource
        }

    def entries(self) -> list[LeftOut]:
        """What may be about something first; then what is nobody's question: of another patient, of another type."""
        doubtful = sorted(chain(self._put_aside(), self._unidentified(), self._unread_results()), key=_in_order)
        others = sorted(map(self._told, self._view.chart.others), key=_in_order)
        found = [*doubtful, *self._of_other_patients(), *others]
        # The same entry may answer two queries.
        return list({(item.where, item.name, item.reason): item for item in found}.values())

    def _put_aside(self) -> Iterator[LeftOut]:
        chart = self._view.chart
        put_aside = (*chart.damaged.values(), *self._view.not_understood.values(), doubtful_responses(self._view))
        return map(self._told, chain.from_iterable(put_aside))

    def _told(self, item: Unreadable) -> LeftOut:
        name = words_of(item)
        name = "" if name == UNNAMED else name
        if item.resource:
            return self._left_out(item.resource, name, self._reason(item), item.place)
        return LeftOut(item.place, item.reference or item.resource_type, clip(name, _LONGEST_NAME), item.problem)

    def _reason(self, item: Unreadable) -> str:
        """Of a result in words alone nothing is wrong but its unit, which else would tell that it was understood rightly."""
        code = item.resource.code if isinstance(item.resource, Observation) else None
        if item.problem == NOT_IDENTIFIED and self._view.lexicon.recognition.analyte(words_in(code)):
            return f"{NOT_IDENTIFIED}: without a code that is known it needs a value in a unit that is read"
        return item.problem

    def _left_out(self, resource: Resource, name: str, reason: str, place: str = "") -> LeftOut:
        kind = str(type(resource).__struct_config__.tag)
        reference = f"{kind}/{resource.id}" if resource.id else kind
        return LeftOut(self._places.get(id(resource), place), reference, clip(name, _LONGEST_NAME), reason)

    def _unidentified(self) -> Iterator[LeftOut]:
        drugs: list[tuple[Resource, CodeableConcept | None]] = [(drug.source, drug.concept) for drug in self._view.drugs[1]]
        drugs += [(draft.source, draft.concept) for draft in self._view.drafts[1]]
        for source, concept in drugs:
            yield self._left_out(source, text_of(concept), NOT_IDENTIFIED)
        for condition in self._view.chart.all(Condition):
            if problem := problem_with(condition, self._view):
                yield self._left_out(condition, text_of(condition.code), problem)
        for condition in chain.from_iterable(self._view.unplaced.values()):
            yield self._left_out(condition, text_of(condition.code), NOT_PLACED)

    def passed_over(self, value_sets: Iterable[str]) -> list[LeftOut]:
        """What names one of these and for sure does not count, with the reason."""
        found = []
        for name in value_sets:
            own = [(item, why_not_active(item, self._view)) for item in self._view.conditions.get(name, ())]
            found += [(item, reason) for item, reason in own if reason]
            found += self._at_another_place(name)
        told = [self._left_out(item, text_of(item.code), reason) for item, reason in found]
        return list({item.where: item for item in told}.values())

    def _at_another_place(self, value_set: str) -> Iterator[tuple[Condition, str]]:
        view, terminology = self._view, self._view.lexicon.terminology
        here = {id(item) for of in (view.conditions, view.unplaced) for item in of.get(value_set, ())}
        for sited in (item for item in view.knowledge.sited if item.value_set == value_set):
            for item in (item for item in view.chart.all(Condition) if id(item) not in here):
                words, coded = words_in(item.code), terminology.matches(item.code)
                if sited.things.search(words) or any(match.concept == sited.site.without_site for match in coded):
                    yield item, _DENIED if terminology.denies(sited.allowed.sub(" ", words)) else _ELSEWHERE

    def _unread_results(self) -> Iterator[LeftOut]:
        """Results of which it is known what they measure, and whose value, range or day cannot be read."""
        for analyte in self._view.knowledge.labs:
            for item in placed_of(analyte, self._view):
                result = read(item, self._view)
                problem = _problem(result)
                if problem:
                    said = result.describe()
                    name = said.name if said.value == NO_VALUE else f"{said.name} {said.value}"
                    yield self._left_out(item.measured[0], name, problem.reason)

    def _of_other_patients(self) -> Iterator[LeftOut]:
        for place, count in self._view.chart.other_patients.items():
            if count:
                yield LeftOut(place, "", "", f"{count} resource{'s' if count > 1 else ''} of another patient")


def _in_order(item: LeftOut) -> list[tuple[int, str]]:
    """As they stand in the request: entry 9 before entry 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(item.place)]


def _problem(result: Result) -> Unusable | None:
    if isinstance(result.amount, Unusable):
        return result.amount
    if isinstance(result.interpretation, Unusable) and result.interpretation in (RANGE_UNREAD, FLAGGED, OUTLYING):
        return result.interpretation
    span = result.span
    return UNPLACED if span is None or (span.last - span.first).days > _LONGEST_MONTH else None


def why_no_cards(decision: Decision, places: Mapping[str, str] = MappingProxyType({})) -> str:
    """`it could not be decided whether …, because of …`, or `no recurrent leg cramps are on record; …. Seen, and …`.

    Empty where there are cards, and where rules are for this patient and find nothing.
    """
    if decision.cards:
        return ""
    found: dict[str, list[str]] = {}
    for fact in _left_open(decision):
        found.setdefault(_blame(fact, decision.view, places), []).append(_question(fact, decision.knowledge))
    if found:
        return "; ".join(f"it could not be decided {'; nor '.join(asked)}{blame}" for blame, asked in found.items())
    settled = list(dict.fromkeys(_settled_by(decision)))
    text = "; ".join(say_fact(decision.facts[name], decision.knowledge) for name in settled)
    asked = [decision.knowledge.facts[part] for name in settled for part in decision.knowledge.with_parts(name)]
    value_sets = dict.fromkeys(key for fact in asked for key in fact.value_sets)
    seen = [_renamed(item, places) for item in _Finder(decision.view).passed_over(value_sets)]
    return f"{text}. Seen, and does not count: {_named(seen)}" if seen else text


def is_elsewhere(decision: Decision) -> bool:
    """Whether the call is for sure about something else, such as another drug: then nothing was asked of the patient."""
    return decision.knowledge.concerned_when[decision.service_id](decision.values).value is False


def _settled_by(decision: Decision) -> Iterable[str]:
    """The facts by which it is decided that no rule is for this patient; none where one is."""
    if is_elsewhere(decision):
        return decision.knowledge.concerned_when[decision.service_id](decision.values).because
    if any(item.outcome is not Outcome.OUT_OF_SCOPE for item in decision.findings):
        return ()
    return decision.silent_because or chain.from_iterable(item.because for item in decision.findings)


def _left_open(decision: Decision) -> list[Fact]:
    """The facts for which nobody knows whether the call concerns the service, or whom a rule is for."""
    concerned = decision.knowledge.concerned_when[decision.service_id](decision.values)
    if concerned.value is False:
        return []
    if decision.silent_because:
        return _unknown(decision, decision.silent_because)
    if concerned.value is UNKNOWN:
        return _unknown(decision, concerned.because)
    waiting = {item.rule_id for item in decision.findings if item.outcome is Outcome.UNKNOWN}
    scopes = [rule.applies_when(decision.values) for rule in decision.rules if rule.id in waiting]
    facts = _unknown(decision, [name for scope in scopes if scope.value is UNKNOWN for name in scope.because])
    # What was looked for and is not on record, such as the reason of an order that nobody gives, leaves nothing to mend.
    return [fact for fact in facts if fact.state not in (State.KNOWN, State.ABSENT)]


def _unknown(decision: Decision, names: Iterable[str]) -> list[Fact]:
    return [fact for name in dict.fromkeys(names) if (fact := decision.facts[name]).value is UNKNOWN]


def _question(fact: Fact, knowledge: Knowledge) -> str:
    text = statement_of(fact.name, knowledge)
    return f"whether {text.says['true']}" if "true" in text.says else f"what the {text.about} is"


def _blame(fact: Fact, view: ChartIndex, places: Mapping[str, str]) -> str:
    """The entries at fault, or failing that the reason of the fact itself."""
    wanted = {(item.reference.removesuffix("/?"), clip(item.name, _LONGEST_NAME)) for item in fact.evidence}
    at_fault = [
        _renamed(item, places)
        for item in _Finder(view).entries()
        if not wanted.isdisjoint((name, item.name or UNNAMED) for name in (item.reference, item.place))
    ]
    return f", because of {_named(at_fault)}" if at_fault else f" ({plain(fact.reason or fact.state.value)})"


def _named(found: Iterable[LeftOut]) -> str:
    """`Condition/c1 “Leg cramps” (its status is resolved) and 2 more`."""
    named = [(f"{item.where} “{plain(item.name)}”" if item.name else item.where, plain(item.reason)) for item in found]
    return listed([f"{name} ({reason})" for name, reason in named], _MOST_BLAMED)
