"""Facts from medication lists: what is taken now, since when, and whether it began before something else did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, NamedTuple

from cds_service.chart.doubt import NOT_IDENTIFIED
from cds_service.chart.index import ChartIndex, Drug, Identified
from cds_service.chart.presence import UNNAMED, known, not_understood, presence, reference_to, unknown, words_of
from cds_service.facts.conditions import began, evidence_of, first_onset, in_doubt, is_active
from cds_service.facts.orders_and_procedures import done
from cds_service.fhir.dates import Span, first_day, is_credible, read_span
from cds_service.fhir.resources import MedicationRequest, MedicationStatement, Period, normal_code, text_of
from cds_service.fhir.sections import Unreadable
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import ConditionAfterDrug, DaysTaken, DoneSinceDrug, StartedAgainstOnset, Taking
from cds_service.knowledge.recognition import words_in
from cds_service.knowledge.terminology import word_pattern
from cds_service.model import Evidence, Fact, Interval, State, ordered

_STRENGTH = re.compile(r"\d")
_PLANNED_AHEAD = timedelta(days=366)
_NO_START = "no start of the drug on record"


def taking(fact: FactDefinition, kind: Taking, index: ChartIndex) -> Fact:
    """Unknown where an active entry cannot be identified."""
    taken = _taken(kind.drug, index)
    if taken:
        return known(fact.name, True, partial(_tell, taken))
    nameless = index.memo("nameless", lambda: _nameless(index))
    if nameless:
        return unknown(fact.name, State.NOT_UNDERSTOOD, f"{nameless[0].reference} {NOT_IDENTIFIED}", lambda: nameless)
    return presence(fact.name, (), index, fact.queries, fact.value_sets)


def _nameless(index: ChartIndex) -> tuple[Evidence, ...]:
    """What is taken and cannot be identified: it may be any drug."""
    active = _active(index.drugs[1], index)
    return ordered(Evidence(reference_to(item.drug.source), text_of(item.drug.concept) or UNNAMED) for item in active)


def days_taken(fact: FactDefinition, kind: DaysTaken, index: ChartIndex) -> Fact:
    """A partial date gives an Interval. Unknown where it is not taken or no start is on record."""
    first = _first_start(kind, index)
    if first is None:
        return unknown(fact.name, State.ABSENT, _NO_START)
    most, least = (index.as_of - first.first).days, (index.as_of - first.last).days
    most, least = max(most, 0), max(least, 0)
    days = most if most == least else Interval(Decimal(least), Decimal(most))
    return known(fact.name, days, partial(_tell, [item for item in _course(kind, index) if read_span(item.start) == first]))


def started_against_onset(fact: FactDefinition, kind: StartedAgainstOnset, index: ChartIndex) -> Fact:
    """Unknown without both dates, or where they are about the same."""
    course = _course(kind, index)
    start = min((item.start for item in course if item.start), default=None)
    first = [item for item in course if item.start == start]
    start_span, began = read_span(start), read_span(first_onset(kind.onset_of, index))
    if start_span is None or began is None:
        missing = "start of the drug" if start_span is None else "onset"
        return unknown(fact.name, State.ABSENT, f"no {missing} on record")
    evidence = partial(_tell_starts, first)
    if start_span.last < began.first:
        return known(fact.name, "before", evidence)
    if start_span.first > began.last:
        return known(fact.name, "after" if _is_first(first, fact, index) else "issued-after", evidence)
    return unknown(fact.name, State.KNOWN, "both began about the same time", evidence)


def condition_after_drug(fact: FactDefinition, kind: ConditionAfterDrug, index: ChartIndex) -> Fact:
    """Each condition counts for itself: an old complaint does not hide a new one. Unknown where no order can be found."""
    found = [item for item in index.conditions.get(kind.condition, ()) if is_active(item, index)]
    if not found:
        doubts = in_doubt(index.conditions.get(kind.condition, ()), index)
        if doubts:
            return not_understood(fact.name, doubts, index)
        return presence(fact.name, [], index, fact.queries, (kind.condition,))
    start = _first_start(kind, index)
    if start is None:
        return unknown(fact.name, State.ABSENT, _NO_START)
    dated = [(item, began(item)) for item in found]
    after = [item for item, span in dated if span and span.first > start.last]
    if after:
        return known(fact.name, True, evidence_of(after))
    if any(span is None or span.last >= start.first for _, span in dated):
        return unknown(fact.name, State.UNUSABLE, "whether it began after the drug is not on record")
    return known(fact.name, False)


def done_since_drug(fact: FactDefinition, kind: DoneSinceDrug, index: ChartIndex) -> Fact:
    """Unknown where the drug has no start on record or no order can be found."""
    start, day = _first_start(kind, index), timedelta(days=kind.days)
    if start is None:
        return unknown(fact.name, State.ABSENT, _NO_START)
    dated = [(item, read_span(item.date)) for item in done(kind.done, index)]
    placed = [(item, span) for item, span in dated if span is None or span.first <= index.until]
    since = [item for item, span in placed if span and span.first >= start.last + day]
    unplaced = [item for item, span in placed if span is None or span.last >= start.first + day]
    if unplaced and not since:
        return unknown(fact.name, State.UNUSABLE, "whether it was done since then is not on record", unplaced)
    return presence(fact.name, since, index, fact.queries, (kind.done,))


_OfCourse = DaysTaken | ConditionAfterDrug | DoneSinceDrug | StartedAgainstOnset


def _first_start(kind: _OfCourse, index: ChartIndex) -> Span | None:
    """The first start of the course of a drug that is taken, as far as recorded."""
    return min((span for item in _course(kind, index) if (span := read_span(item.start))), default=None)


def _course(kind: _OfCourse, index: ChartIndex) -> Sequence[CurrentMedication]:
    """What is taken of a drug, with the issues before it that have ended and belong to the same course: its repeats."""
    return index.memo(("course", kind.drug, kind.repeats), lambda: _joined(kind, index))


def _joined(kind: _OfCourse, index: ChartIndex) -> Sequence[CurrentMedication]:
    course = list(_taken(kind.drug, index))
    first = min((span.first for item in course if (span := read_span(item.start))), default=None)
    ended = [
        CurrentMedication(drug, _start(drug.source, _periods(drug.source), index))
        for drug in index.drugs[0].get(kind.drug, ())
        if _is_ended(drug.source, index)
    ]
    ended += [_handed_over(item, course[0].drug) for item in index.handed_over(kind.drug) if course]
    for item in sorted(ended, key=lambda item: item.start, reverse=True):
        span = read_span(item.start)
        if first is not None and span is not None and span.first <= first <= span.last + timedelta(days=kind.repeats or 0):
            course.append(item)
            first = span.first
    return course


def _handed_over(item: Unreadable, drug: Drug) -> CurrentMedication:
    return CurrentMedication(drug, item.when, Evidence(item.reference, words_of(item), date=item.when))


def _is_ended(source: MedicationRequest | MedicationStatement, index: ChartIndex) -> bool:
    """An issue that was taken to its end. A course that was stopped is no repeat of the one that is taken now."""
    statuses = index.knowledge.statuses
    # Most of a list is active: its status is asked for first.
    if normal_code(source.status) not in statuses.ended_request or isinstance(source, MedicationStatement):
        return False
    return normal_code(source.intent) not in statuses.intent_without_order and not source.do_not_perform


def _is_first(first: Sequence[CurrentMedication], fact: FactDefinition, index: ChartIndex) -> bool:
    """Whether a start is that of the first use: it is stated so, or the whole list is there, the ended issues included."""
    if any(isinstance(item.drug.source, MedicationStatement) for item in first):
        return True
    whole = index.chart.looking(fact.queries) is State.KNOWN
    return whole and index.memo("ended requests", lambda: _has_ended(index))


def _has_ended(index: ChartIndex) -> bool:
    return any(_is_ended(item, index) for item in index.chart.all(MedicationRequest))


class CurrentMedication(NamedTuple):
    """An entry of a list that counts as taken now, with when it was first taken or ordered, as far as recorded.

    `handed_over`: what shows an earlier issue of it, where that is not an entry of a list.
    """

    drug: Drug
    start: str
    handed_over: Evidence | None = None


def _taken(value_set: str, index: ChartIndex) -> Sequence[CurrentMedication]:
    held = index.drugs[0].get(value_set)
    return index.memo(("taken", value_set), lambda: _active(held, index)) if held else ()


def _active(drugs: Iterable[Drug], index: ChartIndex) -> list[CurrentMedication]:
    starts = [(drug, _start_if_taken(drug.source, index)) for drug in drugs]
    return [CurrentMedication(drug, start) for drug, start in starts if start is not None]


def is_taken(source: MedicationRequest | MedicationStatement, index: ChartIndex) -> bool:
    """Whether an entry of a list counts as taken on the day judged."""
    return _start_if_taken(source, index) is not None


def _start_if_taken(source: MedicationRequest | MedicationStatement, index: ChartIndex) -> str | None:
    """When it was begun, as written, empty where nobody says; None where it does not count as taken."""
    if not _is_current(source, index):
        return None
    periods = _periods(source)
    start = _start(source, periods, index)
    return None if _ended(source, periods, index) or _later(start, index.until) else start


def _is_current(source: MedicationRequest | MedicationStatement, index: ChartIndex) -> bool:
    statuses = index.knowledge.statuses
    if isinstance(source, MedicationStatement):
        return normal_code(source.status) in statuses.current_statement
    intended = normal_code(source.intent) not in statuses.intent_without_order
    return normal_code(source.status) in statuses.current_request and intended and not source.do_not_perform


def _ended(source: MedicationRequest | MedicationStatement, periods: Sequence[Period], index: ChartIndex) -> bool:
    """Past its own end. A list that says active beyond that is stale."""
    ending = [period for period in periods if period.end] if periods else ()
    return bool(ending) and all(_is_over(source, period, index) for period in ending)


def _is_over(source: MedicationRequest | MedicationStatement, period: Period, index: ChartIndex) -> bool:
    """An end before its own start, before the order or before birth cannot be meant, and ends nothing."""
    begun = [read_span(text) for text in _credible((period.start, _given(source)), index)]
    first = max((span.first for span in begun if span), default=date.min)
    end = read_span(period.end)
    return is_credible(end, max(first, _first_day(index))) and end.last < index.as_of


def _periods(source: MedicationRequest | MedicationStatement) -> Sequence[Period]:
    if isinstance(source, MedicationStatement):
        return (source.effective_period,) if source.effective_period else ()
    timings = [item.timing for item in source.dosage_instruction or () if item]
    bounds = [timing.repeat.bounds_period for timing in timings if timing and timing.repeat and timing.repeat.bounds_period]
    if bounds or not source.dispense_request or not source.dispense_request.validity_period:
        return bounds
    return (source.dispense_request.validity_period,)


def _given(source: MedicationRequest | MedicationStatement) -> str | None:
    return source.authored_on if isinstance(source, MedicationRequest) else source.effective_date_time


def _start(source: MedicationRequest | MedicationStatement, periods: Sequence[Period], index: ChartIndex) -> str:
    return min(_credible((*(period.start for period in periods), _given(source)), index), default="")


def _credible(starts: Iterable[str | None], index: ChartIndex) -> Iterator[str]:
    """Those that can be meant: not before birth, nor so far to come that nobody plans it."""
    for text in starts:
        if text and is_credible(span := read_span(text), _first_day(index)) and span.first <= index.until + _PLANNED_AHEAD:
            yield text.strip()


def _first_day(index: ChartIndex) -> date:
    return index.memo("first day", lambda: first_day(index.chart.patient.birth_date, index.as_of))


def _later(start: str, as_of: date) -> bool:
    span = read_span(start)
    return span is not None and span.first > as_of


@lru_cache(maxsize=1024)
def _whole(ingredient: str) -> re.Pattern[str]:
    return word_pattern([ingredient])


def short_name(drug: Identified[Any]) -> str:
    """The drug in few words, as the record names it: ingredient or brand in its own letters, else what it begins with.

    A contraceptive is told by its own name, not as the estrogen that it holds.
    """
    text = text_of(drug.concept) if words_in(drug.concept) else ""
    written = _whole(drug.ingredient).search(text) if drug.ingredient else None
    return written.group() if written else _STRENGTH.split(text)[0].strip(" ,") or drug.ingredient


def period_of(source: MedicationRequest | MedicationStatement) -> tuple[str, str]:
    """From when to when an entry of a list says that a drug is taken, as written; empty where it does not say."""
    periods = _periods(source)
    starts = [text for period in periods if (text := period.start) and read_span(text)]
    given = _given(source)
    starts += [given] if given and read_span(given) else []
    return min(starts, default="").strip(), max((period.end for period in periods if period.end), default="")


def _tell(taken: Iterable[CurrentMedication]) -> list[Evidence]:
    return [item.handed_over or _evidence(item.drug, item.start) for item in taken]


def _tell_starts(taken: Iterable[CurrentMedication]) -> list[Evidence]:
    return [Evidence(reference_to(drug.source), short_name(drug), date=start) for drug, start, _ in taken]


def _evidence(drug: Drug, start: str) -> Evidence:
    note = "on hold" if normal_code(drug.source.status) == "on-hold" else ""
    return Evidence(reference_to(drug.source), _name(drug), short=short_name(drug), date=start, note=note)


def _name(drug: Drug) -> str:
    """As the record has it. A bare code says nothing to a clinician, so its ingredient stands before it."""
    given = text_of(drug.concept)
    return given if words_in(drug.concept) else f"{drug.ingredient} ({given})"
