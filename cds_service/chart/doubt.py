"""What an entry that was not read or not understood may be about: only what it cannot be about may be told as absent."""

from __future__ import annotations

from collections.abc import Collection

from cds_service.chart.panels import panel_of
from cds_service.fhir.resources import CodeableConcept, Condition, Observation, Procedure, ServiceRequest
from cds_service.fhir.sections import Unreadable, set_aside
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.recognition import Lexicon, words_in

NOT_IDENTIFIED = "could not be identified"
# What is over may be what ended something else, and is nothing that is active.
PAST_CONDITION = "past Condition"
OF_CONDITIONS = (Condition.__name__, PAST_CONDITION)
OF_REQUESTS = (ServiceRequest.__name__, Procedure.__name__)
IDENTIFIED = (*OF_CONDITIONS, *OF_REQUESTS, Observation.__name__)
"""The kinds of entries that are asked what they are, each when it is first asked for."""


def identified(resource_types: Collection[str]) -> tuple[str, ...]:
    """Of these types the kinds of entries that are asked what they are: conditions that are over are one of their own."""
    both = {*resource_types, PAST_CONDITION} if Condition.__name__ in resource_types else resource_types
    return tuple(kind for kind in IDENTIFIED if kind in both)


def not_identified(resource: Condition | Observation | Procedure | ServiceRequest) -> Unreadable:
    return set_aside(resource, "", NOT_IDENTIFIED)


class Meanings:
    """Of each entry in doubt the concepts that it may be of, looked up once for all facts; None: it may be of any."""

    def __init__(self, lexicon: Lexicon, knowledge: Knowledge) -> None:
        self._lexicon, self._knowledge, self._sited = lexicon, knowledge, knowledge.sited
        self._kept: dict[int, Collection[str] | None] = {}

    def meant_by(self, item: Unreadable) -> Collection[str] | None:
        """What an entry may be about, by what can still be read of it. It lives as long as this does."""
        key = id(item)
        if key not in self._kept:
            self._kept[key] = self._of(item)
        return self._kept[key]

    def without_site(self, concepts: Collection[str]) -> set[str]:
        """These concepts, and those that they are where the place in the body is not told."""
        return {*concepts, *(item.site.without_site for item in self._sited if item.value_set in concepts)}

    def _of(self, item: Unreadable) -> Collection[str] | None:
        found: set[str] = set()
        for concept in item.concepts:
            # What was set aside as not identified was asked already whether it is something else.
            meant = self._meant(concept, item.resource_type, is_asked=item.problem == NOT_IDENTIFIED)
            if meant is None:
                return None
            found |= meant
        return found if item.concepts else None

    def _meant(self, concept: CodeableConcept, kind: str, is_asked: bool) -> set[str] | None:
        terminology, recognition = self._lexicon
        words = words_in(concept)
        matched = {match.concept for match in (terminology.matches(concept) or terminology.named(words))}
        if kind == "Observation":
            # A panel, or another test, has the code under which it is ordered: what it measured is what it holds.
            panel = panel_of(concept, terminology, self._knowledge.panels)
            matched -= self._knowledge.sets_of_no_result
            matched |= {f"lab:{analyte}" for analyte in panel.holds} if panel else set()
        if not matched:
            matched = set(terminology.phrased(words))
            matched |= {f"lab:{analyte}"} if kind == "Observation" and (analyte := recognition.analyte(words)) else set()
        if matched or is_asked:
            return matched or None
        if kind in ("MedicationRequest", "MedicationStatement"):
            return set() if recognition.is_another_drug(concept) else None
        another = recognition.is_another_condition if kind == "Condition" else recognition.is_another_result
        return {item.value_set for item in self._sited if item.is_named(words)} if another(concept) else None
