"""Facts from medication lists: what is taken now, since when, and whether it began before something else did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial

from cds_service.conditions import is_active, onset
from cds_service.dates import read_span
from cds_service.formats import FactDefinition
from cds_service.model import Evidence, Fact, Interval, State
from cds_service.r4 import MedicationRequest, MedicationStatement, Period, token, words
from cds_service.view import Drug, View, known, presence, reference_to, unknown

_REQUESTED = ("active", "on-hold")
_STATED = ("active", "intended")
_NOT_ORDERED = ("proposal", "plan")


def taking(name: str, definition: FactDefinition, view: View) -> Fact:
    """Is a drug of these value sets on an active list? Unknown where an active entry cannot be identified."""
    evidence = [_evidence(drug, view) for key in definition.value_sets for drug in _active(key, view)]
    nameless = [drug for drug in view.drugs[1] if _is_active(drug, view)]
    if nameless and not evidence:
        reason = f"{reference_to(nameless[0].source)} names no drug"
        return unknown(name, State.UNUSABLE, reason)
    return presence(name, evidence, view, definition.queries, definition.value_sets)


def days_taken(name: str, definition: FactDefinition, view: View) -> Fact:
    """For how many days has a drug of the value set been taken, from the first start of what is active? A partial date
    gives an Interval. Unknown where it is not taken or no start is on record.
    """
    active = _active(definition.value_sets[0], view)
    starts = [span for drug in active if (span := read_span(_start(drug, view)))]
    if not starts:
        return unknown(name, State.NONE, "no start of the drug on record")
    first = min(starts)
    most, least = (view.as_of - first.first).days, (view.as_of - first.last).days
    evidence = [_evidence(drug, view) for drug in active]
    return known(name, most if most == least else Interval(Decimal(max(least, 0)), Decimal(most)), evidence)


def start_against_onset(name: str, definition: FactDefinition, view: View) -> Fact:
    """Did the drug start `before` or `after` the condition of the second value set began? Unknown without both dates."""
    drugs, condition_sets = definition.value_sets[0], definition.value_sets[1:]
    active = _active(drugs, view)
    starts = sorted(start for drug in active if (start := _start(drug, view)))
    conditions = [item for key in condition_sets for item in view.conditions.get(key, ())]
    began = onset([item for item in conditions if is_active(item, view.as_of)])
    start_span, began_span = read_span(starts[0] if starts else None), read_span(began)
    if start_span is None or began_span is None:
        missing = "start of the drug" if start_span is None else "onset"
        return unknown(name, State.NONE, f"no {missing} on record")
    evidence = [Evidence(reference_to(drug.source), drug.ingredient, date=_start(drug, view)) for drug in active]
    if start_span.last < began_span.first:
        return known(name, "before", evidence)
    if start_span.first > began_span.last:
        return known(name, "after", evidence)
    return unknown(name, State.KNOWN, "both began about the same time", evidence)


def began_after_drug(name: str, definition: FactDefinition, view: View) -> Fact:
    """Did a condition of the further value sets begin, or failing an onset get recorded, after the drug was started?

    Each condition counts for itself: an old complaint does not hide a new one. Unknown where no order can be told.
    """
    drug_set, *condition_sets = definition.value_sets
    found = [item for key in condition_sets for item in view.conditions.get(key, ()) if is_active(item, view.as_of)]
    if not found:
        return presence(name, [], view, definition.queries, condition_sets)
    starts = [span for drug in _active(drug_set, view) if (span := read_span(_start(drug, view)))]
    if not starts:
        return unknown(name, State.NONE, "no start of the drug on record")
    start = min(starts)
    began = [(item, read_span(onset([item]) or item.recorded_date)) for item in found]
    after = [item for item, span in began if span and span.first > start.last]
    if after:
        evidence = [
            Evidence(reference_to(item), words(item.code), date=onset([item]) or item.recorded_date or "") for item in after
        ]
        return known(name, True, evidence)
    if any(span is None or span.last >= start.first for _, span in began):
        return unknown(name, State.UNUSABLE, "whether it began after the drug cannot be told")
    return known(name, False)


def _active(value_set: str, view: View) -> Sequence[Drug]:
    def find() -> list[Drug]:
        return [drug for drug in view.drugs[0].get(value_set, ()) if _is_active(drug, view)]

    return view.once(("active", value_set), find)


def _is_active(drug: Drug, view: View) -> bool:
    source = drug.source
    if isinstance(source, MedicationStatement):
        current = token(source.status) in _STATED
    else:
        current = token(source.status) in _REQUESTED and token(source.intent) not in _NOT_ORDERED and not source.do_not_perform
    return current and not _ended(source, view.as_of) and not _later(_start(drug, view), view.as_of)


def _ended(source: MedicationRequest | MedicationStatement, as_of: date) -> bool:
    """Past its own end. A list that says active beyond that is stale."""
    ends = [read_span(period.end) for period in _periods(source) if period and period.end]
    return bool(ends) and all(span is not None and span.last < as_of for span in ends)


def _periods(source: MedicationRequest | MedicationStatement) -> list[Period | None]:
    if isinstance(source, MedicationStatement):
        return [source.effective_period]
    if not source.dosage_instruction:
        return [source.dispense_request.validity_period] if source.dispense_request else []
    timings = [item.timing for item in source.dosage_instruction or () if item]
    bounds = [timing.repeat.bounds_period for timing in timings if timing and timing.repeat]
    return [period for period in bounds if period] or [
        source.dispense_request.validity_period if source.dispense_request else None
    ]


def _start(drug: Drug, view: View) -> str:
    """When it was first taken or ordered, as far as recorded. One entry is asked by every set that its drug is in."""
    return view.once(("start", id(drug.source)), partial(_earliest, drug.source))


def _earliest(source: MedicationRequest | MedicationStatement) -> str:
    starts = [period.start for period in _periods(source) if period and period.start]
    given = source.authored_on if isinstance(source, MedicationRequest) else source.effective_date_time
    return min((text.strip() for text in (*starts, given) if text and read_span(text)), default="")


def _later(start: str, as_of: date) -> bool:
    span = read_span(start)
    return span is not None and span.first > as_of


def _evidence(drug: Drug, view: View) -> Evidence:
    note = "on hold" if token(drug.source.status) == "on-hold" else ""
    return Evidence(reference_to(drug.source), words(drug.concept), short=drug.ingredient, date=_start(drug, view), note=note)
