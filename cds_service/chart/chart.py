"""The chart: the FHIR data of one patient, read once, with how far each query was answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from cds_service.fhir.bundles import contained_medication
from cds_service.fhir.resources import (
    AnyResource,
    CodeableConcept,
    Component,
    DraftOrder,
    Medication,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Patient,
    Resource,
    local_reference,
)
from cds_service.fhir.sections import Unreadable
from cds_service.model import State

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Chart:
    """`query_state` maps each query to its State; `damaged` to what could not be read in its answer; `shortfalls` those that
    were not answered in full to the reason.

    `other_patients` counts the resources of another patient, which are left out, by their place; `others` are of types that
    nothing here asks for. `components` holds those of an Observation by its `id()`. `entries`: by its place each Bundle as it
    came, an entry with its `resource` or None. `oldest`: of a query whose answer is one page, newest first, the day that it
    reaches back to. `drafts` are the orders that the hook is about, with the medications that came beside them.
    """

    patient: Patient
    encounter_id: str | None
    resources: Mapping[type[Resource], Sequence[AnyResource | DraftOrder]]
    medications: Mapping[str, Medication]
    query_state: Mapping[str, State]
    damaged: Mapping[str, Sequence[Unreadable]]
    other_patients: Counter[str] = field(default_factory=Counter)
    components: Mapping[int, Sequence[Component]] = field(default_factory=dict)
    oldest: Mapping[str, date] = field(default_factory=dict)
    drafts: Sequence[DraftOrder] = ()
    draft_medications: Mapping[str, Medication] = field(default_factory=dict)
    shortfalls: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[Unreadable] = ()
    entries: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def all(self, kind: type[R]) -> Sequence[R]:
        return self.resources.get(kind, ())  # type: ignore[return-value]  # the key is the type of what it holds

    def components_of(self, observation: Observation) -> Sequence[Component]:
        return self.components.get(id(observation), ())

    def medication(self, reference: str) -> Medication | None:
        return self.medications.get(reference) or self.medications.get(local_reference(reference))

    def draft_medication(self, reference: str) -> Medication | None:
        """Of a draft: what came beside it, before what the record holds under that id."""
        beside = self.draft_medications
        return beside.get(reference) or beside.get(local_reference(reference)) or self.medication(reference)

    def drug_concept(self, source: MedicationRequest | MedicationStatement | DraftOrder) -> CodeableConcept | None:
        """The drug as a concept, by reference, contained, or as a further entry of the Bundle."""
        if source.medication_codeable_concept:
            return source.medication_codeable_concept
        given = source.medication_reference
        if given is None:
            return None
        reference = (given.reference or "").strip()
        find = self.draft_medication if isinstance(source, DraftOrder) else self.medication
        medication = contained_medication(source.contained, reference) if reference.startswith("#") else find(reference)
        if medication and medication.code:
            return medication.code
        return CodeableConcept(text=given.display) if given.display else None

    def runs_newest_first(self, queries: Sequence[str]) -> bool:
        """Whether each of these that is incomplete brought its first page alone, newest first: then the latest is on it."""
        cut = [query for query in queries if self.query_state.get(query) is not State.KNOWN]
        return all(self.oldest.get(query) for query in cut)

    def reaches(self, queries: Sequence[str], since: date) -> bool:
        """Whether these brought all since a day, though further pages hold what is older."""
        cut = [query for query in queries if self.query_state.get(query) is not State.KNOWN]
        return bool(cut) and all((day := self.oldest.get(query)) is not None and day < since for query in cut)

    def looking(self, queries: Sequence[str]) -> State:
        """KNOWN if all these queries were answered in full, else how the first of the others was not."""
        for query in queries:
            state = self.query_state.get(query, State.NOT_SUPPLIED)
            if state is not State.KNOWN:
                return state
        return State.KNOWN
