"""What an entry that was not read or not understood may be about: only what it cannot be about may be told as absent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cds_service.fhir.resources import CodeableConcept, Condition, Observation, Procedure, ServiceRequest
from cds_service.fhir.sections import Unreadable, set_aside
from cds_service.knowledge.recognition import Lexicon, words_in
from cds_service.knowledge.sites import SitedConcept

NOT_IDENTIFIED = "could not be identified"


def not_identified(resource: Condition | Observation | Procedure | ServiceRequest) -> Unreadable:
    return set_aside(resource, "", NOT_IDENTIFIED)


class WantedConcepts:
    """The concepts of a question, of which each entry that is in doubt may be one."""

    def __init__(self, lexicon: Lexicon, sited: Sequence[SitedConcept], concepts: Iterable[str]) -> None:
        self._lexicon, self._sited = lexicon, sited
        self._wanted = set(concepts)
        self._wanted |= {item.site.without_site for item in sited if item.value_set in self._wanted}

    def may_be(self, item: Unreadable) -> bool:
        """Whether an entry may be about one of these, by what can still be read of it."""
        return not item.concepts or any(self._may_mean(concept, item.resource_type) for concept in item.concepts)

    def _may_mean(self, concept: CodeableConcept, kind: str) -> bool:
        terminology, recognition = self._lexicon
        words = words_in(concept)
        matched = {match.concept for match in (terminology.matches(concept) or terminology.named(words))}
        if not matched:
            matched = set(terminology.phrased(words))
            matched |= {f"lab:{analyte}"} if kind == "Observation" and (analyte := recognition.analyte(words)) else set()
        if matched:
            return not matched.isdisjoint(self._wanted)
        if kind in ("MedicationRequest", "MedicationStatement"):
            return not recognition.is_another_drug(concept)
        another = recognition.is_another_condition if kind == "Condition" else recognition.is_another_result
        return not another(concept) or any(item.value_set in self._wanted and item.is_named(words) for item in self._sited)
