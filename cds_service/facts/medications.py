"""Facts from medication lists: what is taken now, since when, and whether it began before something else did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from cds_service.chart.index import NOT_IDENTIFIED, ChartIndex, Drug
from cds_service.chart.presence import UNNAMED, known, presence, reference_to, unknown
from cds_service.facts.conditions import began, evidence_of, first_onset, is_active
from cds_service.facts.orders_and_procedures import done
from cds_service.fhir.dates import Span, read_span
from cds_service.fhir.resources import MedicationRequest, MedicationStatement, Period, normal_code, text_of
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import ConditionAfterDrug, DaysTaken, DoneSinceDrug, StartedAgainstOnset, Taking
from cds_service.knowledge.recognition import words_in
from cds_service.model import Evidence, Fact, Interval, State

_NO_START = "no start of the drug on record"


def taking(fact: FactDefinition, kind: Taking, index: ChartIndex) -> Fact:
    """Unknown where an active entry cannot be identified."""
    taken = _taken(kind.drug, index)
    if taken:
        return known(fact.name, True, partial(_tell, taken))
    nameless = _active(index.drugs[1], index)
    if nameless:
        named = [Evidence(reference_to(item.drug.source), text_of(item.drug.concept) or UNNAMED) for item in nameless]
        return unknown(fact.name, State.NOT_UNDERSTOOD, f"{reference_to(nameless[0].drug.source)} {NOT_IDENTIFIED}", named)
    return presence(fact.name, (), index, fact.queries, fact.value_sets)


def days_taken(fact: FactDefinition, kind: DaysTaken, index: ChartIndex) -> Fact:
    """A partial date gives an Interval. Unknown where it is not taken or no start is on record."""
    taken, first = _taken(kind.drug, index), _first_start(kind.drug, index)
    if first is None:
        return unknown(fact.name, State.ABSENT, _NO_START)
    most, least = (index.as_of - first.first).days, (index.as_of - first.last).days
    most, least = max(most, 0), max(least, 0)
    days = most if most == least else Interval(Decimal(least), Decimal(most))
    return known(fact.name, days, partial(_tell, taken))


def started_against_onset(fact: FactDefinition, kind: StartedAgainstOnset, index: ChartIndex) -> Fact:
    """Unknown without both dates, or where they are about the same."""
    taken = _taken(kind.drug, index)
    start = min((item.start for item in taken if item.start), default=None)
    first = [item for item in taken if item.start == start]
    start_span, began = read_span(start), read_span(first_onset(kind.onset_of, index))
    if start_span is None or began is None:
        missing = "start of the drug" if start_span is None else "onset"
        return unknown(fact.name, State.ABSENT, f"no {missing} on record")
    evidence = partial(_tell_starts, first)
    if start_span.last < began.first:
        return known(fact.name, "before", evidence)
    if start_span.first > began.last:
        return known(fact.name, "after", evidence)
    return unknown(fact.name, State.KNOWN, "both began about the same time", evidence)


def condition_after_drug(fact: FactDefinition, kind: ConditionAfterDrug, index: ChartIndex) -> Fact:
    """Each condition counts for itself: an old complaint does not hide a new one. Unknown where no order can be found."""
    found = [item for item in index.conditions.get(kind.condition, ()) if is_active(item, index)]
    if not found:
        return presence(fact.name, [], index, fact.queries, (kind.condition,))
    start = _first_start(kind.drug, index)
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
    start, day = _first_start(kind.drug, index), timedelta(days=kind.days)
    if start is None:
        return unknown(fact.name, State.ABSENT, _NO_START)
    dated = [(item, read_span(item.date)) for item in done(kind.done, index)]
    placed = [(item, span) for item, span in dated if span is None or span.first <= index.until]
    since = [item for item, span in placed if span and span.first >= start.last + day]
    unplaced = [item for item, span in placed if span is None or span.last >= start.first + day]
    if unplaced and not since:
        return unknown(fact.name, State.UNUSABLE, "whether it was done since then is not on record", unplaced)
    return presence(fact.name, since, index, fact.queries, (kind.done,))


def _first_start(drug: str, index: ChartIndex) -> Span | None:
    """The first start among what is taken of a drug, as far as recorded."""
    return min((span for item in _taken(drug, index) if (span := read_span(item.start))), default=None)


class CurrentMedication(NamedTuple):
    """An entry of a list that counts as taken now, with when it was first taken or ordered, as far as recorded."""

    drug: Drug
    start: str


def _taken(value_set: str, index: ChartIndex) -> Sequence[CurrentMedication]:
    held = index.drugs[0].get(value_set)
    return index.memo(("taken", value_set), lambda: _active(held, index)) if held else ()


def _active(drugs: Iterable[Drug], index: ChartIndex) -> list[CurrentMedication]:
    found = []
    for drug in drugs:
        source = drug.source
        if _is_current(source, index):
            periods = _periods(source)
            start = _earliest(source, periods)
            if not _ended(periods, index.as_of) and not _later(start, index.until):
                found.append(CurrentMedication(drug, start))
    return found


def _is_current(source: MedicationRequest | MedicationStatement, index: ChartIndex) -> bool:
    statuses = index.knowledge.statuses
    if isinstance(source, MedicationStatement):
        return normal_code(source.status) in statuses.current_statement
    intended = normal_code(source.intent) not in statuses.intent_without_order
    return normal_code(source.status) in statuses.current_request and intended and not source.do_not_perform


def _ended(periods: Sequence[Period], as_of: date) -> bool:
    """Past its own end. A list that says active beyond that is stale."""
    if not periods:
        return False
    ends = [read_span(period.end) for period in periods if period.end]
    return bool(ends) and all(span is not None and span.last < as_of for span in ends)


def _periods(source: MedicationRequest | MedicationStatement) -> Sequence[Period]:
    if isinstance(source, MedicationStatement):
        return (source.effective_period,) if source.effective_period else ()
    timings = [item.timing for item in source.dosage_instruction or () if item]
    bounds = [timing.repeat.bounds_period for timing in timings if timing and timing.repeat and timing.repeat.bounds_period]
    if bounds or not source.dispense_request or not source.dispense_request.validity_period:
        return bounds
    return (source.dispense_request.validity_period,)


def _earliest(source: MedicationRequest | MedicationStatement, periods: Sequence[Period]) -> str:
    given = source.authored_on if isinstance(source, MedicationRequest) else source.effective_date_time
    if not periods:
        return given.strip() if given and read_span(given) else ""
    starts = [text.strip() for text in (*(period.start for period in periods), given) if text and read_span(text)]
    return min(starts, default="")


def _later(start: str, as_of: date) -> bool:
    span = read_span(start)
    return span is not None and span.first > as_of


def period_of(source: MedicationRequest | MedicationStatement) -> tuple[str, str]:
    """From when to when an entry of a list says that a drug is taken, as written; empty where it does not say."""
    periods = _periods(source)
    return _earliest(source, periods), max((period.end for period in periods if period.end), default="")


def _tell(taken: Iterable[CurrentMedication]) -> list[Evidence]:
    return [_evidence(drug, start) for drug, start in taken]


def _tell_starts(taken: Iterable[CurrentMedication]) -> list[Evidence]:
    return [Evidence(reference_to(drug.source), drug.ingredient, date=start) for drug, start in taken]


def _evidence(drug: Drug, start: str) -> Evidence:
    note = "on hold" if normal_code(drug.source.status) == "on-hold" else ""
    return Evidence(reference_to(drug.source), _name(drug), short=drug.ingredient, date=start, note=note)


def _name(drug: Drug) -> str:
    """As the record has it. A bare code says nothing to a clinician, so its ingredient stands before it."""
    given = text_of(drug.concept)
    return given if words_in(drug.concept) else f"{drug.ingredient} ({given})"
