"""Facts from medication lists: what is taken now, since when, and whether it began before something else did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from cds_service.chart.index import ChartIndex, Drug
from cds_service.chart.presence import known, presence, reference_to, unknown
from cds_service.facts.conditions import is_active, onset
from cds_service.facts.orders_and_procedures import done
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import MedicationRequest, MedicationStatement, Period, normal_code, text_of
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Evidence, Fact, Interval, State

_REQUESTED = ("active", "on-hold")
_STATED = ("active", "intended")
_NOT_ORDERED = ("proposal", "plan")


def taking(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is a drug of these value sets on an active list? Unknown where an active entry cannot be identified."""
    taken = [item for key in definition.value_sets for item in _taken(key, view)]
    if taken:
        return known(name, True, partial(_tell, taken))
    nameless = _active(view.drugs[1], view)
    if nameless:
        return unknown(name, State.UNUSABLE, f"{reference_to(nameless[0].drug.source)} names no drug")
    return presence(name, (), view, definition.queries, definition.value_sets)


def days_taken(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """For how many days has a drug of the value set been taken, from the first start of what is active? A partial date
    gives an Interval. Unknown where it is not taken or no start is on record.
    """
    taken = _taken(definition.value_sets[0], view)
    starts = [span for item in taken if (span := read_span(item.start))]
    if not starts:
        return unknown(name, State.NONE, "no start of the drug on record")
    first = min(starts)
    most, least = (view.as_of - first.first).days, (view.as_of - first.last).days
    days = most if most == least else Interval(Decimal(max(least, 0)), Decimal(most))
    return known(name, days, partial(_tell, taken))


def start_against_onset(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Did the drug start `before` or `after` the condition of the second value set began? Unknown without both dates."""
    drugs, condition_sets = definition.value_sets[0], definition.value_sets[1:]
    taken = _taken(drugs, view)
    start = min((item.start for item in taken if item.start), default=None)
    first = [item for item in taken if item.start == start]
    start_span, began_span = read_span(start), read_span(_began(condition_sets, view))
    if start_span is None or began_span is None:
        missing = "start of the drug" if start_span is None else "onset"
        return unknown(name, State.NONE, f"no {missing} on record")
    told = partial(_tell_starts, first)
    if start_span.last < began_span.first:
        return known(name, "before", told)
    if start_span.first > began_span.last:
        return known(name, "after", told)
    return unknown(name, State.KNOWN, "both began about the same time", told)


def _began(condition_sets: tuple[str, ...], view: ChartIndex) -> str:
    """The first onset of what is active of these: asked of every drug that may have begun before it."""

    def find() -> str:
        conditions = [item for key in condition_sets for item in view.conditions.get(key, ())]
        return onset([item for item in conditions if is_active(item, view.as_of)])

    return view.memo(("began", condition_sets), find)


def began_after_drug(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Did a condition of the further value sets begin, or failing an onset get recorded, after the drug was started?

    Each condition counts for itself: an old complaint does not hide a new one. Unknown where no order can be told.
    """
    drug_set, *condition_sets = definition.value_sets
    found = [item for key in condition_sets for item in view.conditions.get(key, ()) if is_active(item, view.as_of)]
    if not found:
        return presence(name, [], view, definition.queries, condition_sets)
    starts = [span for item in _taken(drug_set, view) if (span := read_span(item.start))]
    if not starts:
        return unknown(name, State.NONE, "no start of the drug on record")
    start = min(starts)
    began = [(item, read_span(onset([item]) or item.recorded_date)) for item in found]
    after = [item for item, span in began if span and span.first > start.last]
    if after:
        evidence = [
            Evidence(reference_to(item), text_of(item.code), date=onset([item]) or item.recorded_date or "") for item in after
        ]
        return known(name, True, evidence)
    if any(span is None or span.last >= start.first for _, span in began):
        return unknown(name, State.UNUSABLE, "whether it began after the drug cannot be told")
    return known(name, False)


def done_since_drug(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Was one of these done, or recorded as a result, on day `days` of the drug `after_drug` or later?

    Unknown where the drug has no start on record or no order can be told.
    """
    starts = [span for taken in _taken(definition.after_drug, view) if (span := read_span(taken.start))]
    if not starts:
        return unknown(name, State.NONE, "no start of the drug on record")
    first, day = min(starts), timedelta(days=definition.days or 0)
    dated = [(item, read_span(item.date)) for key in definition.value_sets for item in done(key, view)]
    placed = [(item, span) for item, span in dated if span is None or span.first <= view.as_of]
    since = [item for item, span in placed if span and span.first >= first.last + day]
    unplaced = [item for item, span in placed if span is None or span.last >= first.first + day]
    if unplaced and not since:
        return unknown(name, State.UNUSABLE, "whether it was done since then cannot be told", unplaced)
    return presence(name, since, view, definition.queries, definition.value_sets)


class CurrentMedication(NamedTuple):
    """An entry of a list that counts as taken now, with when it was first taken or ordered, as far as recorded."""

    drug: Drug
    start: str


def _taken(value_set: str, view: ChartIndex) -> Sequence[CurrentMedication]:
    held = view.drugs[0].get(value_set)
    return view.memo(("taken", value_set), lambda: _active(held, view)) if held else ()


def _active(drugs: Iterable[Drug], view: ChartIndex) -> list[CurrentMedication]:
    found = []
    for drug in drugs:
        source = drug.source
        if _is_current(source):
            periods = _periods(source)
            start = _earliest(source, periods)
            if not _ended(periods, view.as_of) and not _later(start, view.as_of):
                found.append(CurrentMedication(drug, start))
    return found


def _is_current(source: MedicationRequest | MedicationStatement) -> bool:
    if isinstance(source, MedicationStatement):
        return normal_code(source.status) in _STATED
    return (
        normal_code(source.status) in _REQUESTED
        and normal_code(source.intent) not in _NOT_ORDERED
        and not source.do_not_perform
    )


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
    return Evidence(reference_to(drug.source), text_of(drug.concept), short=drug.ingredient, date=start, note=note)
