"""One result: can it be read, where does it lie against its range, and in which words is it told?"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import NamedTuple

import msgspec

from cds_service.chart.index import ChartIndex, Locale
from cds_service.chart.panels import ObservedPart
from cds_service.chart.presence import reference_to
from cds_service.fhir.dates import Span, read_instant
from cds_service.fhir.resources import (
    CodeableConcept,
    Measurement,
    Observation,
    Quantity,
    ReferenceRange,
    codings,
    has_code,
    is_named,
    normal_code,
)
from cds_service.fhir.sections import measurement
from cds_service.fhir.understood import is_modified
from cds_service.knowledge import units
from cds_service.knowledge.schema import Adjustment, Statuses
from cds_service.knowledge.units import Unusable
from cds_service.model import Evidence, Interval

LOW, IN_RANGE, HIGH = "low", "in-range", "high"
_INTERPRETATIONS = {
    LOW: ("l", "ll", "lu", "<"),
    HIGH: ("h", "hh", "hu", ">"),
    IN_RANGE: ("n",),
}
_ABNORMAL = ("a", "aa", *_INTERPRETATIONS[LOW], *_INTERPRETATIONS[HIGH])
# A change since the last result, and what says that nothing is known, tell nothing of a range.
_OF_NO_RANGE = ("b", "d", "u", "w", "unk", "ni", "na", "nask", "asku", "unknown", "not-applicable")
_IN_WORDS = {"normal": "n", "low": "l", "high": "h", "abnormal": "a"}
_UNREADABLE = Unusable("it cannot be read")
_IMPOSSIBLE = Unusable("no value that a living person can have")
NOT_REPORTED = Unusable("its status says that there is no result")
RANGE_UNREAD = Unusable("its range could not be read")
FLAGGED = Unusable("its laboratory marks it otherwise than as normal")
OUTLYING = Unusable("its laboratory calls normal what is far from usual")
NO_RANGE = Unusable("no reference range")
_NO_UNIT = ("", "1", "{ratio}")
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


_TEXT_RANGE = re.compile(r"(?:(\d+(?:\.\d+)?)\s*(?:-|–|to)\s*(\d+(?:\.\d+)?)|(<=?|>=?|≤|≥)\s*(\d+(?:\.\d+)?))\s*(\S.*)?")


Amount = Decimal | Interval | Unusable
"""A number of a result, or why there is none."""


class DatedMeasurement(NamedTuple):
    """One reported measurement, placed in time but not read yet."""

    analyte: str
    measured: ObservedPart
    when: str
    span: Span | None
    day: date


class Result(msgspec.Struct):
    """One reported value of one analyte. `interpretation` is low, in-range, high, or why it cannot be told.
    `upper_limit`: that of the laboratory's own range, in the unit of the analyte.

    `describe` puts it into words, which only a card or an explanation asks for.
    """

    analyte: str
    when: str
    span: Span | None
    amount: Amount
    interpretation: str | Unusable
    reference: str
    describe: Callable[[], Evidence]
    is_preliminary: bool = False
    upper_limit: Decimal | None = None

    @property
    def instant(self) -> datetime:
        return read_instant(self.when) or EARLIEST


def says_no_result(observation: Observation, statuses: Statuses) -> bool:
    """Whether it says of itself that there is no result: registered only, cancelled, or not performed."""
    return is_not_performed(observation) or normal_code(observation.status) in statuses.unreported_result


def is_not_performed(observation: Observation) -> bool:
    return bool(observation.data_absent_reason) and has_code(observation.data_absent_reason, "not-performed")


class RangeUsed(NamedTuple):
    """What a verdict rests on: whose range or interpretation, with its limits and, if the laboratory's, as it was written."""

    note: str = ""
    low: Decimal | None = None
    high: Decimal | None = None
    written: ReferenceRange | None = None


def read(taken: DatedMeasurement, index: ChartIndex) -> Result:
    return index.memo(("read", taken.analyte, id(taken.measured[1]), taken.span), partial(_read_anew, taken, index.readers))


def _read_anew(taken: DatedMeasurement, here: Locale) -> Result:
    analyte, (observation, part), when, span, _ = taken
    said = measurement(part)
    amount = units.convert(said.value_quantity, here.knowledge.factors[analyte]) if said else _UNREADABLE
    said = said or Measurement()
    if says_no_result(observation, here.knowledge.statuses):
        amount = NOT_REPORTED
    elif not isinstance(amount, Unusable) and not _is_possible(amount, analyte, here):
        amount = _IMPOSSIBLE
    interpretation: str | Unusable
    interpretation, basis = (amount, RangeUsed()) if isinstance(amount, Unusable) else _judge(analyte, said, amount, here)
    text = partial(_tell, taken, said, amount, basis, here)
    preliminary = normal_code(observation.status) in here.knowledge.statuses.preliminary_result
    limit = basis.high if basis.written else None
    return Result(analyte, when, span, amount, interpretation, reference_to(observation), text, preliminary, limit)


def _tell(
    taken: DatedMeasurement, said: Measurement, amount: Decimal | Interval | Unusable, basis: RangeUsed, here: Locale
) -> Evidence:
    analyte, quantity, note, recorded = taken.analyte, said.value_quantity, basis.note, ""
    shown = units.say(quantity) if quantity else units.NO_VALUE
    if quantity and isinstance(amount, Decimal) and _is_foreign(analyte, quantity, here):
        shown, recorded = say_here(amount, analyte, here), f"recorded as {shown}"
        note = "; ".join(filter(None, (recorded, note)))
    limits = _say_limits(analyte, quantity, basis, here)
    title = here.knowledge.labs[analyte].title
    where = reference_to(taken.measured[0])
    return Evidence(where, title, value=shown, date=taken.when, range=limits, note=note, recorded=recorded)


def _judge(analyte: str, said: Measurement, amount: Decimal | Interval, here: Locale) -> tuple[str | Unusable, RangeUsed]:
    """A result is in range only where nothing that its laboratory says of it speaks against that."""
    verdict, basis = _judge_by(analyte, said, amount, here)
    if verdict != IN_RANGE:
        return verdict, basis
    marks = [mark for item in said.interpretation or () if (mark := _mark(item))]
    is_default = basis.written is None and IN_RANGE not in marks
    if _ABNORMAL_MARK in marks or (is_default and _UNREAD_MARK in marks):
        return FLAGGED, basis
    usual = here.knowledge.labs[analyte].usual
    if usual and not is_default and compare(amount, *usual.limits) != IN_RANGE:
        return OUTLYING, basis
    return verdict, basis


_ABNORMAL_MARK, _UNREAD_MARK = "abnormal", "unread"


def _mark(interpretation: CodeableConcept | None) -> str:
    """What an interpretation says: in range, abnormal, or something that cannot be read; empty where it says nothing."""
    if interpretation is None or not is_named(interpretation):
        return ""
    word = normal_code(interpretation.text)
    given = [normal_code(coding.code) for coding in codings(interpretation)] + [_IN_WORDS.get(word, word)]
    if any(code in _ABNORMAL for code in given):
        return _ABNORMAL_MARK
    if any(code in _INTERPRETATIONS[IN_RANGE] for code in given):
        return IN_RANGE
    return "" if any(code in _OF_NO_RANGE for code in given) else _UNREAD_MARK


def _judge_by(analyte: str, said: Measurement, amount: Decimal | Interval, here: Locale) -> tuple[str | Unusable, RangeUsed]:
    """Against the laboratory's own range, else its interpretation code, else the default adult range."""
    own = _own_range(analyte, said, here)
    if own:
        return compare(amount, own.low, own.high), own
    ranges_unread = any(item and _may_be_own(item) for item in said.reference_range or ())
    for interpretation, codes in _INTERPRETATIONS.items():
        if any(has_code(item, *codes) for item in said.interpretation or ()):
            return interpretation, RangeUsed("laboratory's interpretation")
    if ranges_unread:
        return RANGE_UNREAD, RangeUsed()
    return against_default(analyte, amount, here)


def against_default(analyte: str, amount: Decimal | Interval, here: Locale) -> tuple[str | Unusable, RangeUsed]:
    default = here.knowledge.labs[analyte].ranges.get(here.jurisdiction)
    if default is None:
        return NO_RANGE, RangeUsed()
    basis = RangeUsed("default adult range", *default.limits)
    return compare(amount, basis.low, basis.high), basis


def _own_range(analyte: str, said: Measurement, here: Locale) -> RangeUsed | None:
    """The one normal range that the laboratory gave for this result; None where it gave none or several."""
    normal: list[ReferenceRange] = []
    for item in said.reference_range or ():
        # Some laboratories give the same range twice.
        if item and _is_normal(item) and item not in normal:
            normal.append(item)
        if len(normal) > 1:
            return None
    if not normal:
        return None
    given = _with_limits(normal[0])
    low = _limit(analyte, given.low, said, here)
    high = _limit(analyte, given.high, said, here)
    if isinstance(low, Unusable) or isinstance(high, Unusable):
        return None
    if low is not None and high is not None and low >= high:
        return None
    if (possible := here.knowledge.labs[analyte].possible) is not None:
        least, most = _number(possible.low), _number(possible.high)
        if (high is not None and not least < high <= most) or (low is not None and low >= most):
            return None
        # From nought on: no lower limit. If that was the only one, there is no range.
        low = None if low is not None and low <= least else low
    return None if low is None and high is None else RangeUsed("laboratory's range", low, high, given)


def _with_limits(item: ReferenceRange) -> ReferenceRange:
    """A range that is given as text alone, `3.5 - 5.2` or `<5`, with its limits."""
    match = _TEXT_RANGE.fullmatch((item.text or "").strip()) if not (item.low or item.high) else None
    if match is None:
        return item
    low, high, sign, limit, unit = match.groups()
    least, most = (low, high) if low else (limit, None) if sign in (">", ">=", "≥") else (None, limit)
    return ReferenceRange(low=_quantity(least, unit), high=_quantity(most, unit), type=item.type, text=item.text)


def _quantity(number: str | None, unit: str | None) -> Quantity | None:
    return Quantity(value=Decimal(number), unit=unit or None) if number else None


def _may_be_own(item: ReferenceRange) -> bool:
    """Whether a range says something of this person's result, be it read or not: none of therapy or of a target does."""
    return item.type is None or not item.type.coding or has_code(item.type, "normal")


def _is_possible(amount: Decimal | Interval, analyte: str, here: Locale) -> bool:
    """Whether some of it is: a comparator may leave nothing, such as `<0`."""
    bounds = here.knowledge.labs[analyte].possible
    return bounds is None or compare(amount, _number(bounds.low), _number(bounds.high)) not in (LOW, HIGH)


@lru_cache
def _number(text: str) -> Decimal:
    """A number of the knowledge, which writes them as text, exactly."""
    return Decimal(text)


def _is_normal(item: ReferenceRange) -> bool:
    """A range for some state (pregnancy, therapy) or for some group is not read as this person's."""
    normal = item.type is None or not item.type.coding or has_code(item.type, "normal")
    return normal and not item.applies_to and item.age is None and not is_modified(item)


def _limit(analyte: str, limit: Quantity | None, said: Measurement, here: Locale) -> Decimal | Unusable | None:
    """A limit without a unit is in the unit of its result."""
    if limit is None or limit.value is None:
        return None
    own = said.value_quantity
    if own and not (limit.unit or limit.code):
        limit = Quantity(value=limit.value, unit=own.unit, system=own.system, code=own.code)
    converted = units.convert(limit, here.knowledge.factors[analyte])
    return Unusable("limit is no number") if isinstance(converted, Interval) else converted


def compare(amount: Decimal | Interval, low: Decimal | None, high: Decimal | None) -> str | Unusable:
    """Limits belong to the range. An interval decides only where all of it lies on one side."""
    least, most = (amount.low, amount.high) if isinstance(amount, Interval) else (amount, amount)
    if low is not None and most is not None and (most < low or (most == low and _open(amount, "high_open"))):
        return LOW
    if high is not None and least is not None and (least > high or (least == high and _open(amount, "low_open"))):
        return HIGH
    above = low is None or (least is not None and least >= low)
    below = high is None or (most is not None and most <= high)
    return IN_RANGE if above and below else Unusable("the comparator leaves open which side of the range it is on")


def _open(amount: Decimal | Interval, side: str) -> bool:
    return isinstance(amount, Interval) and bool(getattr(amount, side))


def unit_here(analyte: str, here: Locale) -> str:
    """The unit in which clinicians of this jurisdiction read an analyte."""
    lab = here.knowledge.labs[analyte]
    return lab.shown.get(here.jurisdiction, lab.unit)


def say_here(amount: Decimal, analyte: str, here: Locale) -> str:
    return f"{_number_here(amount, analyte, here)} {units.say_unit(unit_here(analyte, here))}"


def say_default(analyte: str, here: Locale) -> str:
    """The default range, as its source prints it where that is the unit read here."""
    lab = here.knowledge.labs[analyte]
    default = lab.ranges.get(here.jurisdiction)
    if default is None:
        return ""
    if unit_here(analyte, here) == lab.unit:
        return units.spanning(default.low, default.high, f" {lab.unit}")
    return _range_here(*default.limits, analyte, here)


def _is_foreign(analyte: str, quantity: Quantity, here: Locale) -> bool:
    factors = here.knowledge.factors[analyte]
    return factors.of(quantity) != factors.named(unit_here(analyte, here))


def _number_here(amount: Decimal, analyte: str, here: Locale) -> str:
    return units.say_in(amount, here.knowledge.factors[analyte].named(unit_here(analyte, here)))


def _range_here(low: Decimal | None, high: Decimal | None, analyte: str, here: Locale) -> str:
    unit = units.say_unit(unit_here(analyte, here))
    text = [_number_here(limit, analyte, here) if limit is not None else "" for limit in (low, high)]
    return units.spanning(text[0], text[1], f" {unit}" if unit not in _NO_UNIT else "")


def _say_limits(analyte: str, quantity: Quantity | None, basis: RangeUsed, here: Locale) -> str:
    if basis.low is None and basis.high is None:
        return ""
    if basis.written is None:
        return say_default(analyte, here)
    if quantity and _is_foreign(analyte, quantity, here):
        return _range_here(basis.low, basis.high, analyte, here)
    return _say_range(basis.written, quantity)


def _say_range(item: ReferenceRange, quantity: Quantity | None) -> str:
    low = units.say_number(item.low.value) if item.low and item.low.value is not None else ""
    high = units.say_number(item.high.value) if item.high and item.high.value is not None else ""
    given = next((limit for limit in (item.low, item.high, quantity) if limit and limit.unit), None)
    shown = units.say_unit(given.unit or "") if given else ""
    return units.spanning(low, high, f" {shown}" if shown not in _NO_UNIT else "")


def adjust(result: Result, other: Result, to: str, adjustment: Adjustment, index: ChartIndex) -> Result:
    assert isinstance(result.amount, Decimal)
    assert isinstance(other.amount, Decimal)
    amount = result.amount + Decimal(adjustment.per) * (Decimal(adjustment.base) - other.amount)
    interpretation, basis = against_default(to, amount, index.readers)

    here, lab = index.readers, index.readers.knowledge.labs[to]

    def tell() -> Evidence:
        own, by = result.describe(), other.describe()
        shown = f"{amount.quantize(Decimal('0.01'))} {lab.unit}"
        if unit_here(to, here) != lab.unit:
            shown = say_here(amount, to, here)
        how = f"computed from {own.value} and {by.name.lower()} {by.value}; {basis.note}"
        limits = say_default(to, here)
        return Evidence(result.reference, lab.title, value=shown, date=result.when, range=limits, note=how)

    preliminary = result.is_preliminary or other.is_preliminary
    return Result(to, result.when, result.span, amount, interpretation, result.reference, tell, preliminary)
