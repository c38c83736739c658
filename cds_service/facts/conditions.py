"""Facts from Conditions and the current Encounter: active problems, recent encounter diagnoses, the reason of this visit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import partial

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import Given, known, not_understood, presence, reference_to, unknown
from cds_service.fhir.dates import Span, age_between, placed_within, read_span
from cds_service.fhir.resources import Condition, Encounter, Quantity, has_code, local_reference, normal_code, text_of
from cds_service.fhir.sections import Unreadable, set_aside
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
_TO_COME = "is dated later than now"
_END_UNREAD = "says of its end what cannot be read or placed"
_CONTRADICTED = "has a status and an end that contradict each other"
# How many of them make a year: the units of age of FHIR R4, and their names.
_AGE_UNITS = {
    **dict.fromkeys(("a", "y", "yr", "yrs", "year", "years"), Decimal(1)),
    **dict.fromkeys(("mo", "month", "months"), Decimal(12)),
    **dict.fromkeys(("wk", "week", "weeks"), Decimal(52)),
    **dict.fromkeys(("d", "day", "days"), Decimal(365)),
}
NOT_PLACED = "its site is coded without words"


def active_condition(fact: FactDefinition, kind: ActiveCondition, index: ChartIndex) -> Fact:
    found = [item for item in index.conditions.get(kind.condition, ()) if is_active(item, index)]
    return _or_unplaced(fact, found, kind.condition, index)


def problem(fact: FactDefinition, kind: ProblemListItem, index: ChartIndex) -> Fact:
    found = [item for item in index.conditions.get(kind.condition, ()) if _is_problem(item, index)]
    return _or_unplaced(fact, found, kind.condition, index, is_of_kind=lambda item: not _of_encounter(item))


def began_within(fact: FactDefinition, kind: BeganWithin, index: ChartIndex) -> Fact:
    asked = of_any(kind.conditions, index, kind.unless)
    found, undated = begun(asked, kind.days, index)
    if undated and not found:
        return _not_dated(fact, undated, index)
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
        problem = problem_with(item, index)
        if problem or is_active(item, index):
            inside = placed_within(began(item), since, index.until)
            if inside and not problem:
                found.append(item)
            elif inside is not False:
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
        inside = placed_within(read_span(item.recorded_date or item.onset_date_time), since, index.until)
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
    return _is_said_active(condition, index) and not problem_with(condition, index) and _has_ended(condition, index) is False


def problem_with(condition: Condition, index: ChartIndex) -> str:
    """Why nobody can say whether it is active: what it says of its end or its day is unreadable, or contradicts its status."""
    if is_untrue(condition, index):
        return ""
    if not _is_said_active(condition, index):
        end = read_span(condition.abatement_date_time)
        return _CONTRADICTED if end and end.first > index.until else ""
    if _after(condition, index.until):
        return _TO_COME
    has_ended = _has_ended(condition, index)
    if has_ended is None:
        return _END_UNREAD
    return _CONTRADICTED if has_ended and status_of(condition.clinical_status) else ""


def why_not_active(condition: Condition, index: ChartIndex) -> str:
    """Why it is for sure not active; empty where it is, or where nobody can say."""
    if is_active(condition, index) or problem_with(condition, index):
        return ""
    if _is_said_active(condition, index):
        return "it is over"
    status = condition.verification_status if is_untrue(condition, index) else condition.clinical_status
    return f"its status is {status_of(status)}"


def doubtful(index: ChartIndex) -> list[Unreadable]:
    """Those in doubt of any value set: beside them nothing calm may be said."""
    ours = {id(item): item for items in index.conditions.values() for item in items}
    return in_doubt(ours.values(), index)


def in_doubt(conditions: Iterable[Condition], index: ChartIndex) -> list[Unreadable]:
    """Those of which nobody can say whether they are active, with the reason."""
    found = [(item, problem) for item in conditions if (problem := problem_with(item, index))]
    return [set_aside(item, "", problem) for item, problem in found]


def _is_said_active(condition: Condition, index: ChartIndex) -> bool:
    return not is_untrue(condition, index) and status_of(condition.clinical_status) in (
        "",
        *index.knowledge.statuses.active_condition,
    )


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


def _not_dated(fact: FactDefinition, undated: Sequence[Condition], index: ChartIndex) -> Fact:
    """Of those in doubt the reason is told, else that they have no day."""
    doubts = in_doubt(undated, index)
    if doubts:
        return not_understood(fact.name, doubts, index)
    return unknown(fact.name, State.UNUSABLE, _NOT_DATED, evidence_of(undated))


def _or_unplaced(
    fact: FactDefinition,
    found: Sequence[Condition],
    value_set: str,
    index: ChartIndex,
    is_of_kind: Callable[[Condition], bool] = lambda item: True,
) -> Fact:
    """True where something was found; unknown where one may be active, or an active one be at the place that is asked for."""
    if not found:
        doubts = in_doubt(filter(is_of_kind, index.conditions.get(value_set, ())), index)
        if doubts:
            return not_understood(fact.name, doubts, index)
        unplaced = [item for item in index.unplaced.get(value_set, ()) if is_active(item, index) or problem_with(item, index)]
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
    return _of_encounter(condition) and not is_untrue(condition, index)


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


def _has_ended(condition: Condition, index: ChartIndex) -> bool | None:
    """Whether what it says of its end lies behind; None where that cannot be read or placed, or contradicts itself."""
    said = set(_said_of_end(condition, index))
    return said.pop() if len(said) == 1 else None if said else False


def _said_of_end(condition: Condition, index: ChartIndex) -> Iterator[bool | None]:
    if condition.abatement_date_time:
        yield _is_past(condition.abatement_date_time, index)
    if (period := condition.abatement_period) and (period.start or period.end):
        # While it has begun to abate and no end is told, it may not be over.
        to_begin = bool(period.start) and _is_past(period.start, index) is False
        yield _is_past(period.end, index) if period.end else False if to_begin else None
    if condition.abatement_boolean is not None:
        yield condition.abatement_boolean
    if text := (condition.abatement_string or "").strip():
        yield _is_past(text, index) if read_span(text) else _is_over_in_words(text, index)
    if condition.abatement_age:
        yield _is_past_age(condition.abatement_age, condition.abatement_age, index)
    if condition.abatement_range:
        yield _is_past_age(condition.abatement_range.low, condition.abatement_range.high, index)


def _is_past(given: str | None, index: ChartIndex) -> bool | None:
    span = read_span(given)
    if span is None:
        return None
    return True if span.last <= index.as_of else False if span.first > index.as_of else None


def _is_over_in_words(text: str, index: ChartIndex) -> bool | None:
    words, folded = index.knowledge.answer_words, text.rstrip(".!").lower()
    if folded in words.not_ended:
        return False
    return True if word_pattern(words.ended).search(folded) and not word_pattern(words.not_ended).search(folded) else None


def _is_past_age(low: Quantity | None, high: Quantity | None, index: ChartIndex) -> bool | None:
    """Whether she has passed an age, or a range of ages."""
    birth = read_span(index.chart.patient.birth_date)
    if birth is None or birth.first > index.as_of:
        return None
    least, most = age_between(birth, index.as_of)
    first, last = _years(low), _years(high)
    if last is not None and last <= least:
        return True
    return False if first is not None and first > most else None


def _years(age: Quantity | None) -> Decimal | None:
    if age is None or age.value is None or age.comparator:
        return None
    unit = _AGE_UNITS.get(normal_code(age.code or age.unit))
    return age.value / unit if unit else None


def _start(encounter: Encounter) -> str:
    return (encounter.period.start or "").strip() if encounter.period else ""
