"""Facts from Conditions and the current Encounter: active problems, recent encounter diagnoses, the reason of this visit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import Given, known, presence, reference_to, unknown
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import (
    CodeableConcept,
    Condition,
    Encounter,
    codings,
    has_code,
    local_reference,
    normal_code,
    text_of,
)
from cds_service.knowledge.schema import BodySite, FactDefinition
from cds_service.knowledge.terminology import word_pattern
from cds_service.model import Evidence, Fact, State

_ACTIVE = ("active", "recurrence", "relapse")
_NOT_TRUE = ("refuted", "entered-in-error")


def active_condition(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is an active condition of these value sets on record, as a problem or as a diagnosis not resolved since?"""
    found = [item for item in _coded(definition, view) if is_active(item, view.as_of)]
    return presence(name, evidence_of(found), view, definition.queries, definition.value_sets)


def problem(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """As `active_condition`, but only what is more than the diagnosis of one encounter."""
    found = [item for item in _coded(definition, view) if not _of_encounter(item) and is_active(item, view.as_of)]
    return _placed(name, definition, view, found)


def began_within(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is one of these active that began in the last `days`, or failing an onset was recorded then?"""
    found, undated = begun(_coded(definition, view), definition, view)
    if undated and not found:
        return unknown(name, State.UNUSABLE, "the date cannot be placed", evidence_of(undated))
    return presence(name, evidence_of(found), view, definition.queries, definition.value_sets)


def begun(items: Iterable[Condition], definition: FactDefinition, view: ChartIndex) -> tuple[list[Condition], list[Condition]]:
    """Those that are active and began in the last `days`, and those of which it cannot be told."""
    since = view.as_of - timedelta(days=definition.days or 0)
    found, undated = [], []
    for item in items:
        if is_active(item, view.as_of):
            span = read_span(onset([item]) or item.recorded_date)
            inside = span.within(since, view.as_of) if span else None
            if inside:
                found.append(item)
            elif inside is None:
                undated.append(item)
    return found, undated


def began_against_onset(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Did a condition of the first value set, of the last `days`, begin `before` or `after` those of the others began?

    Unknown without both dates, or where they are about the same.
    """
    first, *others = definition.value_sets
    since = view.as_of - timedelta(days=definition.days or 0)
    active = [item for item in view.conditions.get(first, ()) if is_active(item, view.as_of)]
    dated = [(item, span) for item in active if (span := read_span(onset([item]) or item.recorded_date))]
    recent = [(item, span) for item, span in dated if span.within(since, view.as_of)]
    found = [item for key in others for item in view.conditions.get(key, ())]
    began = read_span(onset([item for item in found if is_active(item, view.as_of)]))
    if began is None or not recent:
        return unknown(name, State.NONE, f"none in {definition.days} days" if began else "no onset on record")
    before = [item for item, span in recent if span.last < began.first]
    if before:
        return known(name, "before", evidence_of(before))
    told = evidence_of([item for item, _ in recent])
    if all(span.first > began.last for _, span in recent):
        return known(name, "after", told)
    return unknown(name, State.KNOWN, "both began about the same time", told)


def encounter_diagnosis(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is one of these the diagnosis of an encounter of the last `days`, or of the current one?"""
    since = view.as_of - timedelta(days=definition.days or 0)
    undated = []
    found = []
    for item in _coded(definition, view):
        if not _of_encounter(item) or is_untrue(item) or _after(item, view.as_of):
            continue
        span = read_span(item.recorded_date or item.onset_date_time)
        inside = span.within(since, view.as_of) if span else None
        if inside or _of_current_encounter(item, view):
            found.append(item)
        elif inside is None:
            undated.append(item)
    if undated and not found:
        return unknown(name, State.UNUSABLE, "the date cannot be placed", evidence_of(undated))
    return _placed(name, definition, view, found)


def encounter_reason(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is one of these the reason of the encounter that is open?"""
    evidence = []
    for encounter in view.chart.all(Encounter):
        for reason in encounter.reason_code or () if encounter.id == view.chart.encounter_id else ():
            if matches_concept(reason, (), definition, view):
                evidence.append(Evidence(reference_to(encounter), text_of(reason), date=_start(encounter)))
    return presence(name, evidence, view, definition.queries, definition.value_sets)


def matches_concept(
    concept: CodeableConcept | None, sites: Iterable[CodeableConcept | None], definition: FactDefinition, view: ChartIndex
) -> bool | None:
    """Whether a concept is one of those that a fact asks for; None where its site cannot be read."""
    if _in_sets(concept, definition.value_sets, view):
        return True
    site = definition.site
    return _site_of(concept, sites, site, view) if site and _in_sets(concept, (site.value_set,), view) else False


def is_active(condition: Condition, as_of: date) -> bool:
    """clinicalStatus active, recurrence, relapse or absent; not abated; not refuted; known by `as_of`."""
    if is_untrue(condition) or _after(condition, as_of) or _abated(condition, as_of):
        return False
    status = condition.clinical_status
    return status is None or has_code(status, *_ACTIVE) or normal_code(text_of(status)) in ("", *_ACTIVE)


def onset(conditions: Iterable[Condition]) -> str:
    """The earliest onset on record, as written; empty if there is none."""
    starts = [item.onset_date_time or (item.onset_period.start if item.onset_period else None) for item in conditions]
    return min((start.strip() for start in starts if start and read_span(start)), default="")


def _coded(definition: FactDefinition, view: ChartIndex) -> list[Condition]:
    if definition.site is None and len(definition.value_sets) == 1:
        return list(view.conditions.get(definition.value_sets[0], ()))
    sets = (*definition.value_sets, definition.site.value_set) if definition.site else definition.value_sets
    found = [item for name in sets for item in view.conditions.get(name, ())]
    if not found:
        return found
    return list({id(item): item for item in found}.values())


def _placed(name: str, definition: FactDefinition, view: ChartIndex, found: list[Condition]) -> Fact:
    """Leave out what a code without a site says about another part of the body; unknown where the site cannot be read."""
    placed = [(item, _is_placed(item, definition, view)) for item in found]
    sure = [item for item, where in placed if where is True]
    unsure = [item for item, where in placed if where is None]
    if unsure and not sure:
        return unknown(name, State.UNUSABLE, "its site is coded without words", evidence_of(unsure))
    concepts = [*definition.value_sets, *([definition.site.value_set] if definition.site else [])]
    return presence(name, evidence_of(sure), view, definition.queries, concepts)


def _is_placed(condition: Condition, definition: FactDefinition, view: ChartIndex) -> bool | None:
    if definition.site is None or _in_sets(condition.code, definition.value_sets, view):
        return True
    return _site_of(condition.code, condition.body_site or (), definition.site, view)


def _in_sets(concept: CodeableConcept | None, sets: Iterable[str], view: ChartIndex) -> bool:
    terminology = view.knowledge.terminology
    matched = {match.concept for match in terminology.matches(concept)}
    if not terminology.is_coded(concept):
        matched |= set(terminology.phrased(text_of(concept)))
    return not matched.isdisjoint(sets)


def _site_of(
    code: CodeableConcept | None, sites: Iterable[CodeableConcept | None], site: BodySite, view: ChartIndex
) -> bool | None:
    """True where words place it in the leg, or where nothing names another place and the jurisdiction assumes it."""
    given = [item for item in sites if item]
    if any(codings(item) and not words_of(item) for item in given):
        return None
    said = " | ".join(words_of(item) for item in (code, *given) if item)
    if word_pattern(site.words).search(said):
        return not view.knowledge.terminology.denies(said)
    if given or word_pattern(site.other_words).search(said):
        return False
    assumed = site.assumed_in.get(view.jurisdiction, ())
    short = view.knowledge.terminology.short_system
    return any(f"{short(item.system)}|{(item.code or '').strip()}" in assumed for item in codings(code))


def words_of(concept: CodeableConcept) -> str:
    return " | ".join([concept.text or "", *(item.display or "" for item in codings(concept))]).strip(" |")


def _of_encounter(condition: Condition) -> bool:
    categories = condition.category or ()
    return any(has_code(item, "encounter-diagnosis") for item in categories) and not any(
        has_code(item, "problem-list-item") for item in categories
    )


def _of_current_encounter(condition: Condition, view: ChartIndex) -> bool:
    current = view.chart.encounter_id
    given = condition.encounter.reference if condition.encounter else None
    return bool(current) and local_reference(given) == f"Encounter/{current}"


def is_untrue(condition: Condition) -> bool:
    status = condition.verification_status
    return status is not None and (has_code(status, *_NOT_TRUE) or normal_code(text_of(status)) in _NOT_TRUE)


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


def evidence_of(conditions: Sequence[Condition]) -> Given:
    return partial(_tell, conditions) if conditions else ()


def _tell(conditions: Iterable[Condition]) -> list[Evidence]:
    return [_evidence(item) for item in conditions]


def _evidence(condition: Condition) -> Evidence:
    since = onset([condition]) or condition.recorded_date or ""
    return Evidence(reference_to(condition), text_of(condition.code), date=since.strip())


def _start(encounter: Encounter) -> str:
    return (encounter.period.start or "").strip() if encounter.period else ""
