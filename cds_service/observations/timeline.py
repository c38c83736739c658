"""When results were measured: those of a window, the newest day of it, and what cannot be placed in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import lru_cache, partial
from operator import itemgetter

from cds_service.chart.index import ChartIndex
from cds_service.chart.measured import ObservedPart
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import effective, has_code, normal_code
from cds_service.knowledge.fact_kinds import OfAnalytes
from cds_service.observations.measurements import DatedMeasurement

_day_and_id = itemgetter(0, 1)

Placed = tuple[date, str, str, ObservedPart]
"""The last day that a measurement may be of, its id, its time as written, and itself."""


def in_window(kind: OfAnalytes, index: ChartIndex) -> Iterator[DatedMeasurement]:
    """What was measured in the window, of each analyte the newest first."""
    since = index.since(kind.days)
    for analyte in kind.analytes:
        for day, _, when, measured in placed_of(analyte, index):
            span = read_span(when)
            if span and span.within(since, index.until):
                yield DatedMeasurement(analyte, measured, when, span, day)


def is_preliminary(item: DatedMeasurement, index: ChartIndex) -> bool:
    return normal_code(item.measured[0].status) in index.knowledge.statuses.preliminary_result


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
        for day, _, when, measured in placed_of(analyte, index):
            span = read_span(when)
            # A date that has not come yet is a mistake: nobody can say when it was.
            inside = span.within(since, index.until) if span and span.first <= index.until else None
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


def unplaced_of(kind: OfAnalytes, index: ChartIndex) -> list[DatedMeasurement]:
    """What was measured on a day that may lie in the window or not."""
    measured = [name for name in kind.analytes if f"lab:{name}" in index.measured]
    without_day = [(name, placed) for name in measured for placed in placing_of(name, index)[1]]
    if not without_day:
        return []
    since = index.since(kind.days)
    return [
        DatedMeasurement(analyte, measured, when, None, day)
        for analyte, (day, _, when, measured) in without_day
        if (span := read_span(when)) is None or span.first > index.until or span.within(since, index.until) is None
    ]


def placed_of(analyte: str, index: ChartIndex) -> list[Placed]:
    return placing_of(analyte, index)[0]


def placing_of(analyte: str, index: ChartIndex) -> tuple[list[Placed], list[Placed]]:
    return index.memo(("placed", analyte), partial(_place, analyte, index))


def _place(analyte: str, index: ChartIndex) -> tuple[list[Placed], list[Placed]]:
    """What was reported of an analyte, newest first and undated before all: of thousands one or two are read.

    And of these, what has no whole date.
    """
    found, without_day = list[Placed](), list[Placed]()
    known_statuses, until = index.knowledge.statuses, index.until
    statuses = (*known_statuses.reported_result, *known_statuses.preliminary_result)
    for item in index.measured.get(f"lab:{analyte}", ()):
        observation = item[0]
        if observation.data_absent_reason and has_code(observation.data_absent_reason, "not-performed"):
            continue
        if observation.status in statuses or normal_code(observation.status) in statuses:
            when = effective(observation)
            span = read_span(when)
            placed = (span.last if span else date.max, observation.id or "", when, item)
            found.append(placed)
            if span is None or span.first is not span.last or span.first > until:
                without_day.append(placed)
    if len(found) > 1:
        found.sort(key=_day_and_id, reverse=True)
    return found, without_day
