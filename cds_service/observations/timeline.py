"""When results were measured: those of a window, the newest day of it, and what cannot be placed in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache, partial

from cds_service.chart.index import ChartIndex
from cds_service.chart.panels import ObservedPart
from cds_service.fhir.dates import Span, first_day, is_credible, read_span
from cds_service.fhir.resources import Observation, effective, normal_code
from cds_service.fhir.sections import measurement
from cds_service.knowledge.fact_kinds import OfAnalytes
from cds_service.observations.measurements import DatedMeasurement, is_not_performed, says_no_result

_SOON_ISSUED = timedelta(days=366)

Placing = tuple[list[DatedMeasurement], list[DatedMeasurement]]
"""What was reported of an analyte, and what of it has no whole date."""


def in_window(kind: OfAnalytes, index: ChartIndex) -> Iterator[DatedMeasurement]:
    """What was measured in the window, of each analyte the newest first."""
    since = index.since(kind.days)
    for analyte in kind.analytes:
        for item in placed_of(analyte, index):
            if item.span and item.span.within(since, index.until):
                yield item


def is_preliminary(item: DatedMeasurement, index: ChartIndex) -> bool:
    return normal_code(item.measured[0].status) in index.knowledge.statuses.preliminary_result


def is_final(item: DatedMeasurement, index: ChartIndex) -> bool:
    """Whether it is reported, and nothing of it says that there is no result."""
    return not (is_preliminary(item, index) or says_no_result(item.measured[0], index.knowledge.statuses))


def last_measured(kind: OfAnalytes, index: ChartIndex) -> DatedMeasurement | None:
    """What was measured last in the window, its span None where it cannot be placed; None if nothing was."""
    return next(iter(newest_of(kind, index)), None)


def newest_of(kind: OfAnalytes, index: ChartIndex) -> list[DatedMeasurement]:
    """What was measured on the newest day of the window; if nothing was, what cannot be placed, its span None."""
    if index.measured.keys().isdisjoint(concepts_of(kind.analytes)):
        return []
    return index.memo(("newest", kind.analytes, kind.days), partial(_find_newest, kind, index))


@lru_cache
def concepts_of(analytes: tuple[str, ...]) -> tuple[str, ...]:
    """Where a index keeps what was measured of them."""
    return tuple(f"lab:{analyte}" for analyte in analytes)


def _find_newest(kind: OfAnalytes, index: ChartIndex) -> list[DatedMeasurement]:
    since = index.since(kind.days)
    newest: list[DatedMeasurement] = []
    unplaced: list[DatedMeasurement] = []
    for analyte in kind.analytes:
        for item in placed_of(analyte, index):
            span = item.span
            # A date that has not come yet is a mistake: nobody can say when it was.
            inside = span.within(since, index.until) if span and span.first <= index.until else None
            if inside is None:
                unplaced.append(item._replace(span=None))
            elif inside:
                if newest and item.day < newest[0].day:
                    break
                if newest and item.day > newest[0].day:
                    newest = []
                newest.append(item)
            elif item.day < since:
                break
    return newest or unplaced


def unplaced_of(kind: OfAnalytes, index: ChartIndex) -> list[DatedMeasurement]:
    """What was measured on a day that may lie in the window or not."""
    measured = [name for name in kind.analytes if f"lab:{name}" in index.measured]
    without_day = [item for name in measured for item in placing_of(name, index)[1]]
    if not without_day:
        return []
    since = index.since(kind.days)
    return [
        item._replace(span=None)
        for item in without_day
        if (span := item.span) is None or span.first > index.until or span.within(since, index.until) is None
    ]


def awaited_of(analyte: str, index: ChartIndex) -> list[DatedMeasurement]:
    """What is registered and was not followed by a result. It makes no older result unknown, and nobody calm."""
    measured, awaited = index.measured.get(f"lab:{analyte}", ()), index.knowledge.statuses.awaited_result
    registered = [item for item in measured if normal_code(item[0].status) in awaited]
    latest = max((item.day for item in placed_of(analyte, index)), default=date.min) if registered else date.min
    first = first_day(index.chart.patient.birth_date, index.as_of)
    dated = [_dated(analyte, item, first, index.until) for item in registered]
    return [item for item in dated if item.day >= latest]


def placed_of(analyte: str, index: ChartIndex) -> list[DatedMeasurement]:
    """What was reported of an analyte, newest first and undated before all: of thousands one or two are read."""
    return placing_of(analyte, index)[0]


def placing_of(analyte: str, index: ChartIndex) -> Placing:
    return index.memo(("placed", analyte), partial(_place, analyte, index))


def _place(analyte: str, index: ChartIndex) -> Placing:
    found, without_day = list[DatedMeasurement](), list[DatedMeasurement]()
    first, until = first_day(index.chart.patient.birth_date, index.as_of), index.until
    for item in index.measured.get(f"lab:{analyte}", ()):
        if _is_reported(item, index):
            placed = _dated(analyte, item, first, until)
            span = placed.span
            found.append(placed)
            if span is None or span.first is not span.last or span.first > until:
                without_day.append(placed)
    if len(found) > 1:
        found.sort(key=_day_and_id, reverse=True)
    return found, without_day


def _dated(analyte: str, item: ObservedPart, first: date, until: date) -> DatedMeasurement:
    span = days_of(item[0], first, until)
    return DatedMeasurement(analyte, item, effective(item[0]), span, span.last if span else date.max)


def _day_and_id(item: DatedMeasurement) -> tuple[date, str]:
    return item.day, item.measured[0].id or ""


def _is_reported(item: ObservedPart, index: ChartIndex) -> bool:
    """Also where it bears a number though its status says that there is none: nobody knows which of the two is true."""
    observation, statuses = item[0], index.knowledge.statuses
    status = normal_code(observation.status)
    if status in statuses.reported_result or status in statuses.preliminary_result:
        return not is_not_performed(observation) or _has_number(item)
    return status in statuses.unreported_result and _has_number(item)


def _has_number(item: ObservedPart) -> bool:
    said = measurement(item[1])
    return said is None or bool(said.value_quantity and said.value_quantity.value is not None)


def days_of(observation: Observation, first: date, until: date) -> Span | None:
    """The days that a result may be of, none of them before `first`; None where its date cannot be meant.

    Where a period is open, or the laboratory issued it long after, it may be of any day up to the issue: nobody mostly knows
    a result for a year and keeps it, and a year mistyped makes a result of today an old one.
    """
    span, issued = read_span(effective(observation)), read_span(observation.issued)
    begun = _open_since(observation)
    if begun:
        span = Span(begun.first, issued.last if is_credible(issued, first) else max(until, begun.last))
    elif span and is_credible(issued, first) and issued.last - span.first > _SOON_ISSUED:
        span = Span(max(span.first, first), issued.last)
    return span if is_credible(span, first) else None


def _open_since(observation: Observation) -> Span | None:
    """When a period began that has no end, where no moment is given."""
    period = observation.effective_period
    if period is None or period.end or observation.effective_date_time or observation.effective_instant:
        return None
    return read_span(period.start)
