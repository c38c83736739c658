"""Moments as the day they are in one place: a result of 23:30 in New York is of the next day in London.

Where a site has named its time zone, each date that names an offset is written anew in that zone as the chart is read. So it
is counted, compared and told as the day of that place. A date without a time, or a time without an offset, stays as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cds_service.fhir.resources import (
    Condition,
    Encounter,
    Immunization,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Period,
    Procedure,
    QuestionnaireResponse,
    Resource,
    ServiceRequest,
    effective,
)

CLOCKS_DIFFER = timedelta(minutes=10)
"""So far the clock of an EHR, or of a laboratory, may be ahead of ours."""

# Every member that holds a date, or a period, of what the engine reads.
_MEMBERS: Mapping[type[Resource], tuple[str, ...]] = {
    Condition: ("onset_date_time", "onset_period", "abatement_date_time", "abatement_period", "recorded_date"),
    Observation: ("effective_date_time", "effective_period", "effective_instant", "issued"),
    MedicationRequest: ("authored_on",),
    MedicationStatement: ("effective_date_time", "effective_period", "date_asserted"),
    ServiceRequest: ("authored_on", "occurrence_date_time"),
    Procedure: ("performed_date_time", "performed_period"),
    Encounter: ("period",),
    QuestionnaireResponse: ("authored",),
    Immunization: ("occurrence_date_time",),
}


def zone_named(name: str) -> ZoneInfo:
    """A zone by its IANA name. Raises ValueError if this machine knows none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(
            f"{name!r} is no time zone that is known here: write one like 'Europe/London', or install tzdata"
        ) from None


def today(zone: tzinfo | None) -> date:
    """The day that it is there; without a zone, where this machine stands."""
    return datetime.now(zone).date()


def write_in(zone: tzinfo, resource: object) -> None:
    """Write its dates in this zone, in its place. Doing so again changes nothing."""
    for name in _MEMBERS.get(type(resource), ()):  # type: ignore[arg-type]  # what has no such members is left alone
        given = getattr(resource, name)
        if isinstance(given, str):
            setattr(resource, name, in_zone(given, zone))
        elif given is not None:
            _write_period(given, zone)
    if isinstance(resource, MedicationRequest):
        for period in _periods_of(resource):
            _write_period(period, zone)


def _write_period(period: Period, zone: tzinfo) -> None:
    period.start = period.start and in_zone(period.start, zone)
    period.end = period.end and in_zone(period.end, zone)


def _periods_of(request: MedicationRequest) -> list[Period]:
    timings = [item.timing for item in request.dosage_instruction or () if item]
    found = [timing.repeat.bounds_period for timing in timings if timing and timing.repeat]
    found += [request.dispense_request.validity_period] if request.dispense_request else []
    return [period for period in found if period]


@lru_cache(maxsize=8192)
def in_zone(text: str, zone: tzinfo) -> str:
    """A moment with an offset as it is written there; anything else as it stands."""
    moment = _moment(text)
    try:
        return text if moment is None else moment.astimezone(zone).isoformat()
    except OverflowError:
        return text


def is_to_come(observation: Observation, asked_at: datetime) -> bool:
    """Whether it is of a moment that, however the clocks differ, had not come when the call came."""
    moment = _moment(effective(observation))
    return moment is not None and moment > asked_at + CLOCKS_DIFFER


def _moment(text: str) -> datetime | None:
    """None where it names no offset, or cannot be read."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo else None
