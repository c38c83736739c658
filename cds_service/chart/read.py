"""Stage 1: what the EHR sent, sorted into a chart: by patient, by type, and how far each query was answered."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from copy import copy
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from cds_service.cdshooks.request import HookRequest
from cds_service.chart.chart import Chart
from cds_service.chart.dialect import STANDARD, Dialect
from cds_service.chart.draft_orders import PLACE, read_drafts
from cds_service.errors import Problem, RequestError
from cds_service.fhir.bundles import Bundle, read_section
from cds_service.fhir.resources import (
    Component,
    DraftOrder,
    Medication,
    Observation,
    Patient,
    Resource,
    local_reference,
    normal_code,
)
from cds_service.fhir.sections import Clinical, Section, Unreadable, set_aside
from cds_service.fhir.zones import in_zone, is_to_come, write_in
from cds_service.knowledge.schema import Query
from cds_service.model import State

_NOWHERE = (State.NOT_SUPPLIED, State.FAILED)
_MOST_NAMED = 3
# To a patient, or to what is nobody: another kind of subject, such as a group, may hold the patient.
_ANOTHER = re.compile(r"(?:Patient|Device|Location)/[A-Za-z0-9.-]{1,64}")
# What tells whose a resource is, and which drug it names, wherever it stands.
_BESIDE = frozenset((Patient.__name__, Medication.__name__))
_SHORT = {
    State.NOT_SUPPLIED: "was not sent",
    State.NONE_SUPPLIED: "is null",
    State.FAILED: "holds nothing of the type that was asked for",
    State.INCOMPLETE: "was sent in part, under a key that is not ours",
}


def read_chart(request: HookRequest, queries: Mapping[str, Query], dialect: Dialect = STANDARD) -> Chart:
    """The chart of `context.patientId`, whatever of it was supplied; `require_mandatory` then asks for what must be there."""
    return ChartReader(request, queries, dialect).read()


class ChartReader:
    """Reads the chart of one request: as much of it as tells whom the rules are for, and then all. A section is read once."""

    def __init__(self, request: HookRequest, queries: Mapping[str, Query], dialect: Dialect) -> None:
        self._request, self._queries, self._dialect = request, queries, dialect
        self._read: dict[str, Section] = {}

    def read(self, only: Collection[str] | None = None) -> Chart:
        """The chart; with `only` as far as these queries go, and nothing of how the others were answered."""
        if only is None:
            return self._chart(self._queries, self._request.prefetch.keys())
        queries = {key: self._queries[key] for key in only}
        types = {query.resource_type for query in queries.values()} | _BESIDE
        return self._chart(queries, {key for key in self._request.prefetch if key in queries or self._may_hold(key, types)})

    def _may_hold(self, key: str, types: Set[str]) -> bool:
        """Whether what stands under another key may be of these types, which what was not decoded does not tell."""
        value = self._request.prefetch[key]
        if key not in self._queries or not isinstance(value, Bundle):
            return True
        return any(entry and entry.resource and type(entry.resource).__name__ in types for entry in value.entry or ())

    def _section(self, key: str) -> Section:
        section = self._read.get(key)
        if section is None:
            section = self._read[key] = read_section(self._request.prefetch[key], f"prefetch.{key}")
        return section

    def _sections(self, came: Set[str]) -> tuple[dict[str, Section], list[Section]]:
        """All of these by key, in the order of the queries, and those among them that nobody asked for."""
        asked = [key for key, query in self._queries.items() if key in came and not query.from_context]
        unasked = sorted(came - self._queries.keys())
        return {key: self._section(key) for key in (*asked, *unasked)}, [self._section(key) for key in unasked]

    def _chart(self, queries: Mapping[str, Query], came: Set[str]) -> Chart:
        """`queries`: whose answers are told; `came`: the keys of what is read."""
        request, dialect = self._request, self._dialect
        sections, unasked = self._sections(came)
        patients = [pair for section in sections.values() for pair in section.patients if pair[1].id == request.patient_id]
        subjects = _Subjects(request.patient_id, patients)
        sorter, drafts = _Sorter(subjects, dialect.zone, request.asked_at), _Sorter(subjects.of_orders())
        for key, section in sections.items():
            sorter.take(key, section, f"prefetch.{key}")
        sorter.settle_reports()
        has_encounter = bool(request.encounter_id)
        query_state = {key: _state(query, sections.get(key), dialect, has_encounter) for key, query in queries.items()}
        told = sections.keys() & queries.keys()
        query_state |= {key: State.FAILED for key in told if _is_something_else(queries[key], sections[key])}
        query_state |= _answered_in_part(unasked, queries, query_state)
        if request.draft_orders is not None:
            # A query that is answered by the call itself, kept apart from what the record holds.
            section = read_drafts(request.draft_orders, request.selections)
            for key in (key for key, query in queries.items() if query.from_context):
                drafts.take(key, section, PLACE)
                query_state[key] = State.KNOWN
        return Chart(
            patient=patients[0][1] if patients else Patient(),
            encounter_id=request.encounter_id,
            resources=sorter.resources,
            medications=sorter.medications,
            query_state=query_state,
            damaged=sorter.damaged | drafts.damaged,
            other_patients=sorter.other_patients + drafts.other_patients if drafts.other_patients else sorter.other_patients,
            components=sorter.components,
            oldest={key: day for key, section in sections.items() if (day := _reached(section, dialect))},
            drafts=drafts.resources.get(DraftOrder, ()),  # type: ignore[arg-type]  # the key is the type of what it holds
            draft_medications=drafts.medications,
            shortfalls={key: _why(state, sections.get(key)) for key, state in query_state.items() if state is not State.KNOWN},
            others=[*sorter.others, *drafts.others],
            entries=sorter.entries | drafts.entries,
        )


def _why(state: State, section: Section | None) -> str:
    """Why a query was not answered in full."""
    return (section.shortfall if section else "") or _SHORT[state]


def _reached(section: Section, dialect: Dialect) -> date | None:
    """The day that an answer goes back to; as written it may be the day before that of the zone."""
    day = section.oldest
    return day + timedelta(days=1) if day and dialect.zone and day < date.max else day


def _answered_in_part(
    unasked: Iterable[Section], queries: Mapping[str, Query], query_state: Mapping[str, State]
) -> dict[str, State]:
    """Some sites type in keys of their own, as `item1`. What stands there counts by its type; as nobody knows what was asked
    for, it proves no absence.
    """
    types = {name for section in unasked for name in section.types}
    missing = [key for key, state in query_state.items() if state is State.NOT_SUPPLIED] if types else []
    return {key: State.INCOMPLETE for key in missing if queries[key].resource_type in types}


def _state(query: Query, section: Section | None, dialect: Dialect, has_encounter: bool) -> State:
    """Absent: could not look. Null or nothing found: looked and none. An outcome of severity error: failed."""
    # Where an EHR does not have it, nothing is missing.
    only_adds = bool(query.adds_to) and not dialect.statements_apart
    if section is None:
        if "{{context.encounterId}}" in query.template and not has_encounter:
            return State.KNOWN
        return State.KNOWN if only_adds else State.NOT_SUPPLIED
    if section.is_null:
        return State.KNOWN if dialect.null_is_empty and not query.mandatory else State.NONE_SUPPLIED
    if only_adds and section.not_offered:
        return State.KNOWN
    if section.failed:
        return State.FAILED
    return State.INCOMPLETE if section.incomplete else State.KNOWN


def _is_something_else(query: Query, section: Section) -> bool:
    """Whether only resources of other types came than were asked for: such an answer says nothing about those."""
    types = section.types
    if query.resource_type in types or section.damaged:
        return False
    return bool(types - {"Medication"} or section.others)


def _always() -> bool:
    return True


def require_mandatory(queries: Mapping[str, Query], chart: Chart, is_concerned: Callable[[], bool] = _always) -> None:
    """Raises RequestError 412 naming each mandatory query that has no data, if the call concerns the service.

    Without age and problem list nothing can be said; an incomplete answer is still an answer. `is_concerned` is asked only
    where something is missing.
    """
    missing = [key for key, query in queries.items() if query.mandatory and _is_nowhere(query, key, chart)]
    if missing and is_concerned():
        raise RequestError(
            412,
            "missing-data",
            "required",
            [
                Problem(
                    f"prefetch.{key}",
                    f"{queries[key].title} is needed and {_how_lacking(queries[key], key, chart)}",
                    f"send {queries[key].template} under the key {key!r}",
                )
                for key in missing
            ],
        )


def _how_lacking(query: Query, key: str, chart: Chart) -> str:
    """Where something came, the places of what could not be read or is another patient's, and nothing of what stands there."""
    places = [item.place for item in chart.damaged.get(key, ()) if not item.is_decoded]
    if query.resource_type == "Patient" and not places and chart.other_patients[f"prefetch.{key}"]:
        return "what came is of another id than context.patientId"
    if not places and chart.query_state[key] is State.FAILED:
        return f"what came {chart.shortfalls[key]}"
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return f"nothing of what came can be read: {', '.join(places[:_MOST_NAMED])}{more}" if places else "was not supplied"


def _is_nowhere(query: Query, key: str, chart: Chart) -> bool:
    """Not supplied, failed, or nothing of what came could be read."""
    if query.resource_type == "Patient":
        return not chart.patient.id
    came = any(kind.__name__ == query.resource_type and found for kind, found in chart.resources.items())
    return chart.query_state[key] in _NOWHERE or (not came and any(not item.is_decoded for item in chart.damaged.get(key, ())))


def _is_withdrawn(resource: Clinical) -> bool:
    return isinstance(resource, Observation) and normal_code(resource.status) == "entered-in-error"


class _Subjects:
    """Whose a resource is, by its subject: of this patient, of another one, or of nobody knows whom.

    Only a reference that FHIR allows, to another id, says that it is another patient's. Where a resource names none, the query
    that it answers says whose it is.
    """

    def __init__(self, patient_id: str, patients: Iterable[tuple[str | None, Patient]]) -> None:
        self.own = {"", patient_id, f"Patient/{patient_id}", f"urn:uuid:{patient_id}"}
        self._perhaps = {f"patient/{patient_id}".casefold()}
        self._are_all_own = False
        for url, patient in patients:
            self.own |= {url} if url else set()
            for link in filter(None, patient.link or ()):
                other = local_reference(link.other.reference if link.other else None)
                # A record that this one replaces is of the same person; what else is linked may be.
                (self.own if normal_code(link.type) == "replaces" else self._perhaps).add(other)

    def of_orders(self) -> _Subjects:
        """Of what is being ordered: a call is about the orders of its patient, however the subject is spelt."""
        orders = copy(self)
        orders._are_all_own = True
        return orders

    def is_own(self, subject: str) -> bool:
        if subject in self.own:
            return True
        return self._are_all_own and not subject.startswith(("urn:", "#")) and not self.is_another(subject)

    def is_another(self, subject: str) -> bool:
        if subject in self.own or subject in self._perhaps or subject.casefold() in self._perhaps:
            return False
        return bool(_ANOTHER.fullmatch(subject))


class _Sorter:
    """Puts resources where the stages look for them, and leaves out those of another patient."""

    def __init__(self, subjects: _Subjects, zone: tzinfo | None = None, asked_at: datetime | None = None) -> None:
        self.resources: dict[type[Resource], list[Clinical]] = defaultdict(list)
        self.medications: dict[str, Medication] = {}
        self.components: dict[int, Sequence[Component]] = {}
        self.damaged: dict[str, Sequence[Unreadable]] = {}
        self.other_patients: Counter[str] = Counter()
        self.others: list[Unreadable] = []
        self.entries: dict[str, Sequence[Any]] = {}
        self._subjects, self._zone, self._asked_at = subjects, zone, asked_at

    def take(self, key: str, section: Section, place: str) -> None:
        unresolved: list[Unreadable] = []
        is_own, known = self._subjects.is_own, self._subjects.own
        self.medications |= section.medications
        for kind, found in section.resources.items():
            own = [resource for subject, resource in found if subject in known or is_own(subject)]
            if len(own) != len(found):
                others = [(subject, resource) for subject, resource in found if not is_own(subject)]
                # It may be this patient or not: neither used nor taken for an absence.
                open_still = [resource for subject, resource in others if not self._subjects.is_another(subject)]
                unresolved += [set_aside(resource, place, "subject cannot be resolved") for resource in open_still]
                self.other_patients[place] += len(others) - len(open_still)
            if self._zone:
                own, to_come = self._placed(own, self._zone)
                unresolved += [set_aside(resource, place, "is dated later than now") for resource in to_come]
            self.resources[kind] += own
            if section.components:
                # By identity: only of what is kept, so that no other resource can take its place.
                kept = {id(resource) for resource in own} & section.components.keys()
                self.components |= {name: section.components[name] for name in kept}
        # Of another patient's entries nothing is asked, whether they can be read or not.
        theirs = [item for item in section.damaged if self._subjects.is_another(item.subject)]
        patients = [patient for _, patient in section.patients if not is_own(f"Patient/{patient.id}")]
        self.other_patients[place] += len(theirs) + len(patients)
        self.others += section.others
        self.entries[place] = section.entries
        damaged = [item for item in section.damaged if not self._subjects.is_another(item.subject)]
        if self._zone:
            damaged = [item._replace(when=in_zone(item.when, self._zone)) for item in damaged]
        self.damaged[key] = [*damaged, *unresolved]

    def settle_reports(self) -> None:
        """A report whose results all came says no more than they do; one of which some did not may be about anything."""
        naming = {key: items for key, items in self.damaged.items() if any(item.members for item in items)}
        if naming:
            came = {f"Observation/{item.id}" for item in self.resources.get(Observation, ()) if not _is_withdrawn(item)}
            for key, items in naming.items():
                left = [item for item in items if not (item.members and came.issuperset(item.members))]
                self.damaged[key] = [item._replace(concepts=()) if item.members else item for item in left]

    def _placed(self, found: Iterable[Clinical], zone: tzinfo) -> tuple[list[Clinical], list[Clinical]]:
        """The same with their dates in the zone, and the results of moments that had not come yet."""
        own: list[Clinical] = []
        to_come: list[Clinical] = []
        for resource in found:
            write_in(zone, resource)
            late = isinstance(resource, Observation) and self._asked_at and is_to_come(resource, self._asked_at)
            (to_come if late else own).append(resource)
        return own, to_come
