"""Facts from Conditions and the current Encounter: active problems, recent encounter diagnoses, the reason of this visit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import Given, known, presence, reference_to, unknown
from cds_service.fhir.dates import Span, read_span
from cds_service.fhir.resources import Condition, Encounter, has_code, local_reference, text_of
from cds_service.fhir.understood import status_of
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import (
    ActiveCondition,
    BeganAgainstOnset,
    BeganWithin,
    EncounterDiagnosis,
    EncounterReason,
    ProblemListItem,
    RecordedWithin,
)
from cds_service.knowledge.recognition import words_in
from cds_service.knowledge.terminology import word_pattern
from cds_service.model import Evidence, Fact, State

_NOT_DATED = "the date cannot be placed"
NOT_PLACED = "its site is coded without words"


def active_condition(fact: FactDefinition, kind: ActiveCondition, index: ChartIndex) -> Fact:
    found = [item for item in index.conditions.get(kind.condition, ()) if is_active(item, index)]
    return _or_unplaced(fact, found, kind.condition, index)


def problem(fact: FactDefinition, kind: ProblemListItem, index: ChartIndex) -> Fact:
    own = index.conditions.get(kind.condition, ())
    return _or_unplaced(fact, [item for item in own if _is_problem(item, index)], kind.condition, index)


def began_within(fact: FactDefinition, kind: BeganWithin, index: ChartIndex) -> Fact:
    found, undated = begun(of_any(kind.conditions, index, kind.unless), kind.days, index)
    if undated and not found:
        return unknown(fact.name, State.UNUSABLE, _NOT_DATED, evidence_of(undated))
    return presence(fact.name, evidence_of(found), index, fact.queries, fact.value_sets)


def recorded_within(fact: FactDefinition, kind: RecordedWithin, index: ChartIndex) -> Fact:
    since = index.as_of - timedelta(days=kind.days)
    true = [item for item in of_any(kind.conditions, index) if not is_untrue(item, index)]
    found = [item for item in true if (span := began(item)) and span.within(since, index.until)]
    return presence(fact.name, evidence_of(found), index, fact.queries, fact.value_sets)


def begun(items: Iterable[Condition], days: int, index: ChartIndex) -> tuple[list[Condition], list[Condition]]:
    """Those that are active and began in the last `days`, and those of which nobody can say."""
    since = index.as_of - timedelta(days=days)
    found, undated = [], []
    for item in items:
        if is_active(item, index):
            span = began(item)
            inside = span.within(since, index.until) if span else None
            if inside:
                found.append(item)
            elif inside is None:
                undated.append(item)
    return found, undated


def began_against_onset(fact: FactDefinition, kind: BeganAgainstOnset, index: ChartIndex) -> Fact:
    """Unknown without both dates, or where they are about the same."""
    since = index.as_of - timedelta(days=kind.days)
    active = [item for item in index.conditions.get(kind.condition, ()) if is_active(item, index)]
    dated = [(item, span) for item in active if (span := began(item))]
    recent = [(item, span) for item, span in dated if span.within(since, index.until)]
    onset_of = read_span(first_onset(kind.onset_of, index))
    if onset_of is None or not recent:
        return unknown(fact.name, State.ABSENT, f"none in {kind.days} days" if onset_of else "no onset on record")
    before = [item for item, span in recent if span.last < onset_of.first]
    if before:
        return known(fact.name, "before", evidence_of(before))
    evidence = evidence_of([item for item, _ in recent])
    if all(span.first > onset_of.last for _, span in recent):
        return known(fact.name, "after", evidence)
    return unknown(fact.name, State.KNOWN, "both began about the same time", evidence)


def encounter_diagnosis(fact: FactDefinition, kind: EncounterDiagnosis, index: ChartIndex) -> Fact:
    since = index.as_of - timedelta(days=kind.days)
    undated = []
    found = []
    for item in index.conditions.get(kind.condition, ()):
        if not _is_encounter_diagnosis(item, index):
            continue
        span = read_span(item.recorded_date or item.onset_date_time)
        inside = span.within(since, index.until) if span else None
        if inside or _of_current_encounter(item, index):
            found.append(item)
        elif inside is None:
            undated.append(item)
    if undated and not found:
        return unknown(fact.name, State.UNUSABLE, _NOT_DATED, evidence_of(undated))
    if found:
        return known(fact.name, True, evidence_of(found))
    unplaced = [item for item in index.unplaced.get(kind.condition, ()) if _is_encounter_diagnosis(item, index)]
    if unplaced:
        return unknown(fact.name, State.UNUSABLE, NOT_PLACED, evidence_of(unplaced))
    return presence(fact.name, (), index, fact.queries, fact.value_sets)


def encounter_reason(fact: FactDefinition, kind: EncounterReason, index: ChartIndex) -> Fact:
    evidence = []
    for encounter in index.chart.all(Encounter):
        for reason in encounter.reason_code or () if encounter.id == index.chart.encounter_id else ():
            if index.means(reason, (), kind.condition):
                evidence.append(Evidence(reference_to(encounter), text_of(reason), date=_start(encounter)))
    return presence(fact.name, evidence, index, fact.queries, fact.value_sets)


def is_active(condition: Condition, index: ChartIndex) -> bool:
    """Its clinicalStatus says so or is absent; not abated; not refuted; recorded by `as_of`."""
    if is_untrue(condition, index) or _after(condition, index.until) or _abated(condition, index.as_of):
        return False
    return status_of(condition.clinical_status) in ("", *index.knowledge.statuses.active_condition)


def onset(condition: Condition) -> str:
    """When it began, as written; empty if that is not on record or no date."""
    start = condition.onset_date_time or (condition.onset_period.start if condition.onset_period else None)
    return start.strip() if start and read_span(start) else ""


def began(condition: Condition) -> Span | None:
    """The onset, or failing that the first recording."""
    return read_span(onset(condition) or condition.recorded_date)


def first_onset(value_set: str, index: ChartIndex) -> str:
    """The first onset of what is active of a value set, as written: asked of everything that may have begun before it."""

    def find() -> str:
        starts = [onset(item) for item in index.conditions.get(value_set, ()) if is_active(item, index)]
        return min(filter(None, starts), default="")

    return index.memo(("onset", value_set), find)


def is_untrue(condition: Condition, index: ChartIndex) -> bool:
    return status_of(condition.verification_status) in index.knowledge.statuses.untrue_condition


def evidence_of(conditions: Sequence[Condition]) -> Given:
    return partial(_evidence_of, conditions) if conditions else ()


def _evidence_of(conditions: Iterable[Condition]) -> list[Evidence]:
    return [
        Evidence(reference_to(item), text_of(item.code), date=(onset(item) or item.recorded_date or "").strip())
        for item in conditions
    ]


def _or_unplaced(fact: FactDefinition, found: Sequence[Condition], value_set: str, index: ChartIndex) -> Fact:
    """True where something was found; unknown where something active may be at the place that is asked for."""
    unplaced = [] if found else [item for item in index.unplaced.get(value_set, ()) if is_active(item, index)]
    if unplaced:
        return unknown(fact.name, State.UNUSABLE, NOT_PLACED, evidence_of(unplaced))
    return presence(fact.name, evidence_of(found), index, fact.queries, fact.value_sets)


def of_any(value_sets: Sequence[str], index: ChartIndex, unless: Sequence[str] = ()) -> list[Condition]:
    """The conditions of these sets, each once, but for those whose words hold one of `unless`."""
    found = [item for name in value_sets for item in index.conditions.get(name, ())]
    once = list({id(item): item for item in found}.values())
    if not unless:
        return once
    words = word_pattern(unless)
    return [item for item in once if not words.search(words_in(item.code))]


def _is_problem(condition: Condition, index: ChartIndex) -> bool:
    return not _of_encounter(condition) and is_active(condition, index)


def _is_encounter_diagnosis(condition: Condition, index: ChartIndex) -> bool:
    return _of_encounter(condition) and not is_untrue(condition, index) and not _after(condition, index.until)


def _of_encounter(condition: Condition) -> bool:
    categories = condition.category or ()
    return any(has_code(item, "encounter-diagnosis") for item in categories) and not any(
        has_code(item, "problem-list-item") for item in categories
    )


def _of_current_encounter(condition: Condition, index: ChartIndex) -> bool:
    current = index.chart.encounter_id
    given = condition.encounter.reference if condition.encounter else None
    return bool(current) and local_reference(given) == f"Encounter/{current}"


def _after(condition: Condition, as_of: date) -> bool:
    span = read_span(condition.recorded_date)
    return span is not None and span.first > as_of


def _abated(condition: Condition, as_of: date) -> bool:
    period = condition.abatement_period
    given = condition.abatement_date_time or (period and (period.start or period.end))
    if given:
        span = read_span(given)
        return span is None or span.first <= as_of
    return bool(condition.abatement_boolean or (condition.abatement_string or "").strip())


def _start(encounter: Encounter) -> str:
    return (encounter.period.start or "").strip() if encounter.period else ""
