"""FHIR dates as they come: partial, with or without time, offset or seconds.

The day is the day as written: a result of 23:30 in Denver belongs to that day in Denver, whatever the server's clock says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple, TypeGuard

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_DECEMBER = 12
_DAY = 10
_BEFORE_TIME = ("T", " ")
_NONE = timedelta(0)
_FURTHEST_ZONE = timedelta(hours=14)
_LONGEST_LIFE = 130
# The day of a clock that was never set, here and west of Greenwich.
_NEVER_SET = (date(1970, 1, 1), date(1969, 12, 31))


class Span(NamedTuple):
    """The days that a date may mean: `2024-02` is 1 to 29 February 2024."""

    first: date
    last: date

    def within(self, since: date, until: date) -> bool | None:
        """True or False where every day of the span agrees, else None.

        >>> Span(date(2024, 1, 1), date(2024, 12, 31)).within(date(2024, 6, 1), date(2024, 12, 31)) is None
        True
        """
        if self.last < since or self.first > until:
            return False
        return True if self.first >= since and self.last <= until else None


def placed_within(span: Span | None, since: date, until: date) -> bool | None:
    """Whether it lies in a window that ends now; None where it cannot be placed, as there is none, or it is still to come."""
    return None if span is None or span.first > until else span.within(since, until)


def read_span(text: str | None) -> Span | None:
    """The days meant by a FHIR date, dateTime or instant; None if it is none, such as `2024-02-31`."""
    if not text:
        return None
    text = text.strip()
    # The time of day plays no part, so that all instants of a day are one look-up.
    return _span(text[:_DAY] if text[_DAY : _DAY + 1] in _BEFORE_TIME else text)


@lru_cache(maxsize=8192)
def _span(text: str) -> Span | None:
    match = _DATE.match(text)
    if not match or text[match.end() : match.end() + 1] not in ("", "T", " "):
        return None
    year, month, day = (int(part) if part else None for part in match.groups())
    assert year is not None
    try:
        if month is None:
            return Span(date(year, 1, 1), date(year, 12, 31))
        if day is None:
            return Span(date(year, month, 1), _last_day(year, month))
        whole = date(year, month, day)
        return Span(whole, whole)
    except ValueError:
        return None


def _last_day(year: int, month: int) -> date:
    following = date(year + 1, 1, 1) if month == _DECEMBER else date(year, month + 1, 1)
    return following - timedelta(days=1)


@lru_cache(maxsize=8192)
def read_instant(text: str | None) -> datetime | None:
    """A key to order what happened on one day. A time without an offset is taken as UTC, a day as its start."""
    span = read_span(text)
    if span is None:
        return None
    try:
        instant = datetime.fromisoformat((text or "").strip())
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.combine(span.first, datetime.min.time(), UTC)


@lru_cache(maxsize=8192)
def is_later(text: str, than: str) -> bool:
    """Whether one moment of a day is later than another for sure: without a time of day, or of a zone, it may not be.

    >>> is_later("2026-11-19T08:00:00Z", "2026-11-19"), is_later("2026-11-19T08:30", "2026-11-19T09:00:00+02:00")
    (False, False)
    """
    one, other = _clock(text), _clock(than)
    if one is None or other is None:
        return False
    by = one.replace(tzinfo=None) - other.replace(tzinfo=None) - (one.utcoffset() or _NONE) + (other.utcoffset() or _NONE)
    return by > (_NONE if (one.tzinfo is None) == (other.tzinfo is None) else _FURTHEST_ZONE)


def latest_of(texts: Sequence[str]) -> list[bool]:
    """Of each of these moments of a day whether none other is later for sure; each is looked at once."""
    placed = [_placed(_clock(text)) for text in texts]
    last = {kind: max(found) for kind in (False, True) if (found := [item[0] for item in placed if item and item[1] is kind])}
    return [
        not item or all(at - item[0] <= (_NONE if kind is item[1] else _FURTHEST_ZONE) for kind, at in last.items())
        for item in placed
    ]


def _placed(clock: datetime | None) -> tuple[timedelta, bool] | None:
    """How long after the first day of all, by Greenwich as far as is known, and whether that is not known."""
    if clock is None:
        return None
    since = timedelta(clock.toordinal(), clock.hour * 3600 + clock.minute * 60 + clock.second, clock.microsecond)
    return since - (clock.utcoffset() or _NONE), clock.tzinfo is None


def _clock(text: str) -> datetime | None:
    """None where it has no time of day. Midnight to the second is how many systems write a day alone."""
    if len(text.strip()) <= _DAY:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment if moment.time() != time.min else None


def first_day(birth_date: str | None, as_of: date) -> date:
    """Before it nothing can have been: the day of birth or, where that cannot be read, the longest life ago."""
    birth = read_span(birth_date)
    return birth.first if birth and birth.first <= as_of else years_before(as_of, min(_LONGEST_LIFE, as_of.year - 1))


def is_credible(span: Span | None, first: date) -> TypeGuard[Span]:
    """Whether a date can be meant: not before `first`, nor the day at which clocks begin that nobody has set."""
    return span is not None and span.last >= first and not (span.first in _NEVER_SET and span.first == span.last)


@lru_cache(maxsize=8192)
def say_date(text: str, as_of: date) -> str:
    """A date as a clinician reads it: `12 Nov`, with the year if it is not this year's: `12 Nov 2024`, `Nov 2024`, `2024`."""
    span = read_span(text)
    if span is None:
        return "undated"
    if span.first == span.last:
        short = f"{span.first.day} {span.first:%b}"
        return short if span.first.year == as_of.year else f"{short} {span.first.year}"
    return f"{span.first:%b %Y}" if span.first.month == span.last.month else f"{span.first.year}"


def age_between(birth: Span, as_of: date) -> tuple[int, int]:
    """The least and the greatest age in whole years at `as_of`."""
    return _age(birth.last, as_of), _age(birth.first, as_of)


def _age(birth: date, as_of: date) -> int:
    return as_of.year - birth.year - ((as_of.month, as_of.day) < (birth.month, birth.day))


def years_before(day: date, years: int) -> date:
    """The same day of an earlier year; of 29 February the day before it, where that year has none.

    >>> years_before(date(2024, 2, 29), 5), years_before(date(2026, 11, 9), 10)
    (datetime.date(2019, 2, 28), datetime.date(2016, 11, 9))
    """
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)
