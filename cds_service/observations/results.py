"""Facts from results: which is the latest, can it be read, and where does it lie against its range?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, partial

from msgspec.structs import replace

from cds_service.chart.index import ChartIndex, Measured
from cds_service.chart.presence import known, presence, reference_to, unknown
from cds_service.fhir.bundles import coded_value
from cds_service.fhir.dates import read_instant, read_span
from cds_service.fhir.resources import Observation, normal_code, text_of
from cds_service.knowledge.schema import Adjustment, FactDefinition
from cds_service.knowledge.units import Unusable
from cds_service.model import Evidence, Fact, Interval, State
from cds_service.observations.measurements import (
    EARLIEST,
    DatedMeasurement,
    Result,
    against_default,
    read,
    say_default,
    say_here,
    unit_here,
)

_REPORTED = ("final", "amended", "corrected")
_UNPLACED = Unusable("its date cannot be placed")
_EVER = 36500

Placed = tuple[date, str, str, Measured]
"""The last day that a measurement may be of, its id, its time as written, and itself."""


def against_range(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """The latest result of the window as low, in-range or high. UNKNOWN where there is none or it cannot be read."""
    newest = _newest(definition, view)
    if not newest:
        return _none_found(name, definition, view)
    results = _read_day(newest, definition, view)
    latest = _latest(results, definition)
    if doubt := _unadjusted(latest, results, definition, view):
        return unknown(name, State.UNUSABLE, doubt, partial(_tell, [latest]))
    if isinstance(latest.interpretation, Unusable):
        return unknown(name, State.UNUSABLE, latest.interpretation.reason, partial(_tell, [latest]))
    return known(name, latest.interpretation, partial(_tell, [latest]))


def _tell(results: Iterable[Result]) -> list[Evidence]:
    return [item.told() for item in results]


def _none_found(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    looked = presence(name, [], view, definition.queries, _concepts(definition.analytes))
    return unknown(name, looked.state, looked.reason or _none_in(definition.days or 0))


def _none_in(days: int) -> str:
    return f"none in {days} days" if days < _EVER else "none on record"


def latest_value(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """The latest result of the window as a number in the unit of its analyte; `lowest` and `highest` choose of one time.

    Two values of the same time that differ cannot be read: nothing says which of them holds.
    """
    newest = _newest(definition, view)
    if not newest:
        return _none_found(name, definition, view)
    results = _read_day(newest, definition, view)
    readable = [item for item in results if not isinstance(item.amount, Unusable)]
    if not readable:
        reason = results[0].amount.reason if isinstance(results[0].amount, Unusable) else ""
        return unknown(name, State.UNUSABLE, reason, partial(_tell, results[:1]))
    chosen = _same_time(readable, definition)
    if len(chosen) > 1 and len({item.amount for item in chosen}) > 1 and not (definition.lowest or definition.highest):
        return unknown(name, State.UNUSABLE, "two results of the same time disagree", partial(_tell, chosen))
    least = (max if definition.highest else min)(chosen, key=_least)
    if doubt := _unadjusted(least, results, definition, view):
        return unknown(name, State.UNUSABLE, doubt, partial(_tell, [least]))
    assert not isinstance(least.amount, Unusable)
    return known(name, least.amount, partial(_tell, [least]))


def _least(result: Result) -> Decimal:
    amount = result.amount
    if isinstance(amount, Interval):
        return amount.low if amount.low is not None else Decimal("-Infinity")
    return amount if isinstance(amount, Decimal) else Decimal("Infinity")


def measured_within(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Was any of these measured in the last `days`? A result that cannot be read was measured all the same."""
    newest = _newest(definition, view)
    if newest and newest[0].span is None:
        return unknown(name, State.UNUSABLE, _UNPLACED.reason, lambda: _tell(read(item, view) for item in newest))
    if newest:
        return known(name, True, lambda: _tell([read(newest[0], view)]))
    return presence(name, [], view, definition.queries, _concepts(definition.analytes))


def coded_answer(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Does the newest Observation of the first value set answer with a code of the second? No answer is no answer."""
    asked, wanted = definition.value_sets
    reported = [item for item, _ in view.measured.get(asked, ()) if normal_code(item.status) in _REPORTED]
    dated = [item for item in reported if (span := read_span(effective(item))) and span.first <= view.as_of]
    if not dated:
        looked = presence(name, [], view, definition.queries, [asked])
        return unknown(name, looked.state, looked.reason or "never recorded")
    newest = max(dated, key=lambda item: (read_instant(effective(item)) or EARLIEST, item.id or ""))
    told = coded_value(newest)
    evidence = [Evidence(reference_to(newest), text_of(told), date=effective(newest))]
    if not view.knowledge.terminology.is_coded(told):
        return unknown(name, State.UNUSABLE, "answered without a code", evidence)
    matched = {match.concept for match in view.knowledge.terminology.matches(told)}
    return known(name, wanted in matched, evidence)


def effective(observation: Observation) -> str:
    """When the specimen was taken, or failing that when the result was issued."""
    if observation.effective_date_time:
        return observation.effective_date_time.strip()
    period = observation.effective_period
    given = (
        observation.effective_instant,
        period and (period.end or period.start),
        observation.issued,
    )
    return next((text.strip() for text in given if text and text.strip()), "")


def last_measured(definition: FactDefinition, view: ChartIndex) -> DatedMeasurement | None:
    """What was measured last in the window, its span None where it cannot be placed; None if nothing was."""
    return next(iter(_newest(definition, view)), None)


def _newest(definition: FactDefinition, view: ChartIndex) -> list[DatedMeasurement]:
    """What was measured on the newest day of the window; if nothing was, what cannot be placed, its span None."""
    if view.measured.keys().isdisjoint(_concepts(definition.analytes)):
        return []
    return view.memo(("newest", definition.analytes, definition.days), partial(_find_newest, definition, view))


@lru_cache
def _concepts(analytes: tuple[str, ...]) -> tuple[str, ...]:
    """Where a view keeps what was measured of them."""
    return tuple(f"lab:{analyte}" for analyte in analytes)


def _find_newest(definition: FactDefinition, view: ChartIndex) -> list[DatedMeasurement]:
    since = view.as_of - timedelta(days=definition.days or 0)
    newest: list[DatedMeasurement] = []
    unplaced: list[DatedMeasurement] = []
    for analyte in definition.analytes:
        for day, _, when, measured in _placed(analyte, view):
            span = read_span(when)
            inside = span.within(since, view.as_of) if span else None
            if inside is None:
                unplaced.append(DatedMeasurement(analyte, measured, when, None, day))
            elif inside:
                if newest and day < newest[0].day:
                    break
                item = DatedMeasurement(analyte, measured, when, span, day)
                newest = [*newest, item] if newest and day == newest[0].day else [item]
            elif day < since:
                break
    return newest or unplaced


def _placed(analyte: str, view: ChartIndex) -> list[Placed]:
    return view.memo(("placed", analyte), partial(_place, analyte, view))


def _place(analyte: str, view: ChartIndex) -> list[Placed]:
    """What was reported of an analyte, newest first and undated before all: of thousands one or two are read."""
    found = []
    for item in view.measured.get(f"lab:{analyte}", ()):
        observation = item[0]
        if observation.status in _REPORTED or normal_code(observation.status) in _REPORTED:
            when = effective(observation)
            span = read_span(when)
            found.append((span.last if span else date.max, observation.id or "", when, item))
    if len(found) > 1:
        found.sort(key=_day_and_id, reverse=True)
    return found


def _day_and_id(placed: Placed) -> tuple[date, str]:
    return placed[:2]


def _read_day(taken: list[DatedMeasurement], definition: FactDefinition, view: ChartIndex) -> list[Result]:
    """The results of one day, read, and what they give together."""
    results = [read(item, view) for item in taken]
    if len(results) > 1:
        results.sort(key=lambda item: (item.reference, item.told().value))
    results = [item if item.span else replace(item, interpretation=_UNPLACED, amount=_UNPLACED) for item in results]
    return results + _adjusted(results, definition, view)


def _latest(results: list[Result], definition: FactDefinition) -> Result:
    """Of one day the preferred analyte, of that the newest result; two that disagree cannot be read."""
    same_time = _same_time(results, definition)
    readable = [item for item in same_time if not isinstance(item.interpretation, Unusable)]
    if len(readable) > 1 and len({item.interpretation for item in readable}) > 1:
        return replace(readable[0], interpretation=Unusable("two results of the same time disagree"))
    return (readable or same_time)[0]


def _same_time(results: list[Result], definition: FactDefinition) -> list[Result]:
    """Of the preferred analyte, what was measured last."""
    if len(results) == 1:
        return results
    order = (*([definition.adjustment.to] if definition.adjustment else ()), *definition.analytes)
    preferred = min(results, key=lambda item: order.index(item.analyte)).analyte
    chosen = [item for item in results if item.analyte == preferred]
    newest = max(item.instant for item in chosen)
    return sorted((item for item in chosen if item.instant == newest), key=lambda item: item.reference)


def _unadjusted(result: Result, results: list[Result], definition: FactDefinition, view: ChartIndex) -> str:
    """Why a result may not stand as it is: what would adjust it is there, but cannot be read. Empty if it may."""
    adjustment = definition.adjustment
    if adjustment is None or result.analyte != adjustment.of:
        return ""
    title = view.knowledge.labs[adjustment.by].title.lower()
    others = _same_day(results, adjustment.by, view)
    if any(read_span(when) is None for _, _, when, _ in _placed(adjustment.by, view)):
        return f"{title} has a date that cannot be placed"
    if any(isinstance(other.amount, Unusable) for other in others):
        return f"{title} of that day could not be read"
    damaged = view.damaged(definition.queries, [f"lab:{adjustment.by}"])
    return f"{title} may be in {damaged.reference or damaged.place}, which could not be read" if damaged else ""


def _same_day(results: list[Result], analyte: str, view: ChartIndex) -> list[Result]:
    """What was measured of another analyte on a day of these results."""
    days = {item.span for item in results if item.span}
    taken = [DatedMeasurement(analyte, item, when, read_span(when), day) for day, _, when, item in _placed(analyte, view)]
    return [read(item, view) for item in taken if item.span in days]


def _adjusted(results: list[Result], definition: FactDefinition, view: ChartIndex) -> list[Result]:
    """A result adjusted by another of the same day, `amount + per * (base - other)`, as `labs.json` and `facts.json` say."""
    adjustment = definition.adjustment
    if adjustment is None:
        return []
    others = {item.span: item for item in _same_day(results, adjustment.by, view)}
    return [
        _adjust(item, other, adjustment, view)
        for item in results
        if item.analyte == adjustment.of
        and item.span
        and (other := others.get(item.span))
        and isinstance(item.amount, Decimal)
        and isinstance(other.amount, Decimal)
    ]


def _adjust(result: Result, other: Result, adjustment: Adjustment, view: ChartIndex) -> Result:
    assert isinstance(result.amount, Decimal)
    assert isinstance(other.amount, Decimal)
    amount = result.amount + Decimal(adjustment.per) * (Decimal(adjustment.base) - other.amount)
    interpretation, basis = against_default(adjustment.to, amount, view.readers)

    here, lab = view.readers, view.readers.knowledge.labs[adjustment.to]

    def tell() -> Evidence:
        own, by = result.told(), other.told()
        shown = f"{amount.quantize(Decimal('0.01'))} {lab.unit}"
        if unit_here(adjustment.to, here) != lab.unit:
            shown = say_here(amount, adjustment.to, here)
        how = f"computed from {own.value} and {by.name.lower()} {by.value}; {basis.note}"
        limits = say_default(adjustment.to, here)
        return Evidence(result.reference, lab.title, value=shown, date=result.when, range=limits, note=how)

    return Result(adjustment.to, result.when, result.span, amount, interpretation, result.reference, tell)
