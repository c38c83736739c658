"""Stage 1: what the EHR sent, read into a chart. Also the templates that ask for it, derived from the facts in use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from cds_service.cdshooks.request import HookRequest
from cds_service.chart.chart import Chart
from cds_service.chart.draft_orders import read_drafts
from cds_service.errors import Problem, RequestError
from cds_service.fhir.bundles import Section, Unreadable, components, read_section
from cds_service.fhir.resources import (
    AnyResource,
    Condition,
    DraftOrder,
    Medication,
    Observation,
    OperationOutcome,
    Patient,
    Procedure,
    Resource,
    ServiceRequest,
    is_named,
    local_reference,
)
from cds_service.knowledge.schema import Query
from cds_service.model import State

_NOWHERE = (State.NOT_SUPPLIED, State.FAILED)
_CODED = frozenset((Condition, Observation, Procedure, ServiceRequest))

Readable = AnyResource | DraftOrder


def read_chart(request: HookRequest, queries: Mapping[str, Query]) -> Chart:
    """The chart of `context.patientId`, whatever of it was supplied; `require_mandatory` then asks for what must be there."""
    asked = [key for key, query in queries.items() if key in request.prefetch and not query.from_context]
    readings = {key: read_section(request.prefetch[key], f"prefetch.{key}") for key in asked}
    unasked = {key: read_section(request.prefetch[key], f"prefetch.{key}") for key in request.prefetch.keys() - queries.keys()}
    readings |= unasked
    found = [pair for reading in readings.values() for pair in reading.resources]
    patient = _patient(found, request.patient_id)
    sorter = _Sorter(request.patient_id, found)
    for key, reading in readings.items():
        sorter.take(key, reading)
    query_state = {key: _state(query, key, readings.get(key), request) for key, query in queries.items()}
    query_state |= _answered_in_part(unasked.values(), queries, query_state)
    drafts = _drafts(request, queries, sorter, query_state, found)
    return Chart(
        patient=patient or Patient(),
        encounter_id=request.encounter_id,
        resources=sorter.resources,
        medications=sorter.medications,
        query_state=query_state,
        damaged=sorter.damaged,
        other_patients=sorter.other_patients + drafts.other_patients,
        drafts=drafts.resources.get(DraftOrder, ()),  # type: ignore[arg-type]  # the key is the type of what it holds
        draft_medications=drafts.medications,
    )


def _answered_in_part(
    unasked: Iterable[Section], queries: Mapping[str, Query], query_state: Mapping[str, State]
) -> dict[str, State]:
    """Some sites type in keys of their own, as `item1`. What stands there counts by its type; as nobody knows what was asked
    for, it proves no absence.
    """
    kinds = {type(resource).__name__ for reading in unasked for _, resource in reading.resources}
    missing = [key for key, state in query_state.items() if state is State.NOT_SUPPLIED] if kinds else []
    return {key: State.INCOMPLETE for key in missing if queries[key].resource_type in kinds}


def _drafts(
    request: HookRequest,
    queries: Mapping[str, Query],
    sorter: _Sorter,
    query_state: dict[str, State],
    found: Iterable[tuple[str | None, Readable]],
) -> _Sorter:
    """The orders of the hook's context: a query that is answered by the call itself, kept apart from what the record holds."""
    if request.draft_orders is None:
        return _Sorter(request.patient_id, ())
    drafts = _Sorter(request.patient_id, found)
    reading = read_drafts(request.draft_orders, request.selections)
    for key in (key for key, query in queries.items() if query.from_context):
        drafts.take(key, reading)
        sorter.damaged[key] = drafts.damaged[key]
        query_state[key] = State.KNOWN
    return drafts


def _patient(found: Iterable[tuple[str | None, Readable]], patient_id: str) -> Patient | None:
    patients = (resource for _, resource in found if isinstance(resource, Patient))
    return next((patient for patient in patients if patient.id == patient_id), None)


def _state(query: Query, key: str, reading: Section | None, request: HookRequest) -> State:
    """Absent: could not look. Null or nothing found: looked and none. An outcome of severity error: failed."""
    if reading is None:
        if "{{context.encounterId}}" in query.template and not request.encounter_id:
            return State.KNOWN
        return State.NOT_SUPPLIED
    if reading.failed:
        return State.FAILED
    return State.INCOMPLETE if reading.incomplete else State.KNOWN


def require_mandatory(queries: Mapping[str, Query], chart: Chart) -> None:
    """Raises RequestError 412 naming each mandatory query that has no data.

    Without age and problem list nothing can be said; an incomplete answer is still an answer.
    """
    missing = [
        key
        for key, query in queries.items()
        if query.mandatory
        and (chart.query_state[key] in _NOWHERE or (query.resource_type == "Patient" and not chart.patient.id))
    ]
    if missing:
        raise RequestError(
            412,
            "missing-data",
            "required",
            [
                Problem(
                    f"prefetch.{key}",
                    f"{queries[key].title} is needed and was not supplied",
                    f"send {queries[key].template} under the key {key!r}",
                )
                for key in missing
            ],
        )


def _unreadable(resource: Condition | Observation | Procedure | ServiceRequest) -> str:
    """Why a resource that says that something is does not say what: no absence can be told beside it."""
    code = resource.code
    if code is None or not (code.text or is_named(code)):
        return "has neither code nor words"
    if isinstance(resource, Observation) and resource.component and components(resource) is None:
        return "its components cannot be read"
    return ""


class _Sorter:
    """Puts resources where the stages look for them, and leaves out those of another patient."""

    def __init__(self, patient_id: str, found: Iterable[tuple[str | None, Readable]]) -> None:
        self.resources: dict[type[Resource], list[Readable]] = defaultdict(list)
        self.medications: dict[str, Medication] = {}
        self.damaged: dict[str, list[Unreadable]] = {}
        self.other_patients = 0
        self._hers: set[str | None] = set()
        self._own = {f"Patient/{patient_id}", f"urn:uuid:{patient_id}"}
        self._own |= {url for url, item in found if url and isinstance(item, Patient) and item.id == patient_id}

    def take(self, key: str, reading: Section) -> None:
        self.damaged[key] = list(reading.damaged)
        hers, resources = self._hers, self.resources
        for full_url, resource in reading.resources:
            kind = type(resource)
            if isinstance(resource, Medication):
                self._take_medication(full_url, resource)
            elif not isinstance(resource, (Patient, OperationOutcome)):
                given = resource.subject.reference if resource.subject else None
                if kind in _CODED and (problem := _unreadable(resource)):  # type: ignore[arg-type]  # by its kind
                    self._put_aside(key, resource, problem)
                elif given in hers:
                    resources[kind].append(resource)
                else:
                    self._take_by_subject(key, resource, given)

    def _put_aside(self, key: str, resource: Readable, problem: str) -> None:
        kind = type(resource).__name__
        self.damaged[key].append(Unreadable(kind, f"{kind}/{resource.id or '?'}", (), f"prefetch.{key}", problem))

    def _take_medication(self, full_url: str | None, medication: Medication) -> None:
        self.medications[f"Medication/{medication.id}"] = medication
        if full_url:
            self.medications[full_url] = medication

    def _take_by_subject(self, key: str, resource: Readable, given: str | None) -> None:
        reference = local_reference(given)
        if not reference or reference in self._own:
            # Nearly all subjects are written alike: the next is known.
            self._hers.add(given)
            self.resources[type(resource)].append(resource)
        elif reference.startswith(("urn:", "#")):
            # It may be hers or not: neither used nor taken for an absence.
            self._put_aside(key, resource, "subject cannot be resolved")
        else:
            self.other_patients += 1
