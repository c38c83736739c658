"""Facts from results: which is the latest, can it be read, and where does it lie against its range?"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from cds_service import units
from cds_service.dates import Span, read_instant, read_span
from cds_service.formats import Adjustment, FactDefinition
from cds_service.model import Evidence, Fact, Interval, State
from cds_service.r4 import Observation, Quantity, ReferenceRange, has_code, token, words
from cds_service.units import Unusable
from cds_service.view import Measured, View, known, presence, reference_to, unknown

_REPORTED = ("final", "amended", "corrected")
_LOW, _IN_RANGE, _HIGH = "low", "in-range", "high"
_INTERPRETATIONS = {
    _LOW: ("l", "ll", "<"),
    _HIGH: ("h", "hh", ">"),
    _IN_RANGE: ("n",),
}
_UNPLACED = Unusable("its date cannot be placed")
_NO_UNIT = ("", "1", "{ratio}")
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_EVER = 36500


class Taken(NamedTuple):
    """One reported measurement, placed in time but not read yet."""

    analyte: str
    measured: Measured
    when: str
    span: Span | None
    day: date

    @property
    def reference(self) -> str:
        return reference_to(self.measured.observation)


class Result(msgspec.Struct, frozen=True):
    """One reported value of one analyte. `verdict` is low, in-range, high, or why it cannot be told."""

    analyte: str
    when: str
    span: Span | None
    amount: Decimal | Interval | Unusable
    verdict: str | Unusable
    evidence: Evidence

    @property
    def instant(self) -> datetime:
        return read_instant(self.when) or _EARLIEST


def against_range(name: str, definition: FactDefinition, view: View) -> Fact:
    """The latest result of the window as low, in-range or high. UNKNOWN where there is none or it cannot be read."""
    newest = _newest(definition, view)
    if not newest:
        return _none_found(name, definition, view)
    results = _read_day(newest, definition, view)
    latest = _latest(results, definition)
    if doubt := _unadjusted(latest, results, definition, view):
        return unknown(name, State.UNUSABLE, doubt, [latest.evidence])
    if isinstance(latest.verdict, Unusable):
        return unknown(name, State.UNUSABLE, latest.verdict.reason, [latest.evidence])
    return known(name, latest.verdict, [latest.evidence])


def _none_found(name: str, definition: FactDefinition, view: View) -> Fact:
    looked = presence(name, [], view, definition.queries, _concepts(definition.analytes))
    return unknown(name, looked.state, looked.reason or _none_in(definition.days or 0))


def _none_in(days: int) -> str:
    return f"none in {days} days" if days < _EVER else "none on record"


def latest_value(name: str, definition: FactDefinition, view: View) -> Fact:
    """The latest result of the window as a number in the unit of its analyte; `lowest` takes the lowest of one time.

    Two values of the same time that differ cannot be read: nothing says which of them holds.
    """
    newest = _newest(definition, view)
    if not newest:
        return _none_found(name, definition, view)
    results = _read_day(newest, definition, view)
    readable = [item for item in results if not isinstance(item.amount, Unusable)]
    if not readable:
        reason = results[0].amount.reason if isinstance(results[0].amount, Unusable) else ""
        return unknown(name, State.UNUSABLE, reason, [results[0].evidence])
    chosen = _same_time(readable, definition)
    if len({item.amount for item in chosen}) > 1 and not definition.lowest:
        return unknown(name, State.UNUSABLE, "two results of the same time disagree", [item.evidence for item in chosen])
    least = min(chosen, key=_least)
    if doubt := _unadjusted(least, results, definition, view):
        return unknown(name, State.UNUSABLE, doubt, [least.evidence])
    assert not isinstance(least.amount, Unusable)
    return known(name, least.amount, [least.evidence])


def _least(result: Result) -> Decimal:
    amount = result.amount
    if isinstance(amount, Interval):
        return amount.low if amount.low is not None else Decimal("-Infinity")
    return amount if isinstance(amount, Decimal) else Decimal("Infinity")


def measured_within(name: str, definition: FactDefinition, view: View) -> Fact:
    """Was any of these measured in the last `days`? A result that cannot be read was measured all the same."""
    newest = _newest(definition, view)
    if newest and newest[0].span is None:
        evidence = [_read(item, view).evidence for item in newest]
        return unknown(name, State.UNUSABLE, "its date cannot be placed", evidence)
    if newest:
        return known(name, True, [_read(newest[0], view).evidence])
    return presence(name, [], view, definition.queries, _concepts(definition.analytes))


def coded_answer(name: str, definition: FactDefinition, view: View) -> Fact:
    """Does the newest Observation of the first value set answer with a code of the second? No answer is no answer."""
    asked, wanted = definition.value_sets
    reported = [item.observation for item in view.measured.get(asked, ()) if token(item.observation.status) in _REPORTED]
    dated = [item for item in reported if (span := read_span(effective(item))) and span.first <= view.as_of]
    if not dated:
        looked = presence(name, [], view, definition.queries, [asked])
        return unknown(name, looked.state, looked.reason or "never recorded")
    newest = max(dated, key=lambda item: (read_instant(effective(item)) or _EARLIEST, item.id or ""))
    answer = newest.value_codeable_concept
    evidence = [Evidence(reference_to(newest), words(answer), date=effective(newest))]
    if not view.knowledge.terminology.is_coded(answer):
        return unknown(name, State.UNUSABLE, "answered without a code", evidence)
    matched = {match.concept for match in view.knowledge.terminology.matches(answer)}
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


def _newest(definition: FactDefinition, view: View) -> list[Taken]:
    """What was measured on the newest day of the window; if nothing was, what cannot be placed, its span None."""
    if view.measured.keys().isdisjoint(_concepts(definition.analytes)):
        return []
    return view.once(("newest", definition.analytes, definition.days), partial(_find_newest, definition, view))


@lru_cache
def _concepts(analytes: tuple[str, ...]) -> tuple[str, ...]:
    """Where a view keeps what was measured of them."""
    return tuple(f"lab:{analyte}" for analyte in analytes)


def _find_newest(definition: FactDefinition, view: View) -> list[Taken]:
    since = view.as_of - timedelta(days=definition.days or 0)
    newest: list[Taken] = []
    unplaced: list[Taken] = []
    for analyte in definition.analytes:
        for item in view.once(("taken", analyte), partial(_place, analyte, view)):
            inside = item.span.within(since, view.as_of) if item.span else None
            if inside is None:
                unplaced.append(item)
            elif inside:
                if newest and item.day < newest[0].day:
                    break
                newest = [*newest, item] if newest and item.day == newest[0].day else [item]
            elif item.day < since:
                break
    return newest or [item._replace(span=None) for item in unplaced]


def _place(analyte: str, view: View) -> list[Taken]:
    """What was reported of an analyte, newest first and undated before all: of thousands one or two are read."""
    found = [
        Taken(analyte, item, when := effective(item.observation), span := read_span(when), span.last if span else date.max)
        for item in view.measured.get(f"lab:{analyte}", ())
        if item.observation.status in _REPORTED or token(item.observation.status) in _REPORTED
    ]
    found.sort(key=lambda item: (item.day, item.measured.observation.id or ""), reverse=True)
    return found


def _read(taken: Taken, view: View) -> Result:
    return view.once(("read", taken.analyte, id(taken.measured.part), taken.span), partial(_read_anew, taken, view))


def _read_anew(taken: Taken, view: View) -> Result:
    analyte, measured, when, span, _ = taken
    quantity = measured.part.value_quantity
    amount = units.convert(quantity, view.knowledge.factors[analyte])
    shown = units.say(quantity) if quantity else "no value"
    verdict, limits, note = (amount, "", "") if isinstance(amount, Unusable) else _judge(analyte, measured, amount, view)
    if quantity and isinstance(amount, Decimal) and _is_foreign(analyte, quantity, view):
        note = "; ".join(filter(None, (f"recorded as {shown}", note)))
        shown = _say_here(amount, analyte, view)
    title = view.knowledge.labs[analyte].title
    evidence = Evidence(taken.reference, title, value=shown, date=when, range=limits, note=note)
    return Result(analyte, when, span, amount, verdict, evidence)


def _unit_here(analyte: str, view: View) -> str:
    lab = view.knowledge.labs[analyte]
    return lab.shown.get(view.jurisdiction, lab.unit)


def _is_foreign(analyte: str, quantity: Quantity, view: View) -> bool:
    """Whether a result is in a unit that clinicians of this jurisdiction do not read it in."""
    factors = view.knowledge.factors[analyte]
    return factors.of(quantity) != factors.named(_unit_here(analyte, view))


def _say_here(amount: Decimal, analyte: str, view: View) -> str:
    return f"{_number_here(amount, analyte, view)} {units.say_unit(_unit_here(analyte, view))}"


def _number_here(amount: Decimal, analyte: str, view: View) -> str:
    return units.say_in(amount, view.knowledge.factors[analyte].named(_unit_here(analyte, view)))


def _range_here(low: Decimal | None, high: Decimal | None, analyte: str, view: View) -> str:
    unit = units.say_unit(_unit_here(analyte, view))
    told = [_number_here(limit, analyte, view) if limit is not None else "" for limit in (low, high)]
    return _spanning(told[0], told[1], f" {unit}" if unit not in _NO_UNIT else "")


def _judge(analyte: str, measured: Measured, amount: Decimal | Interval, view: View) -> tuple[str | Unusable, str, str]:
    """Against the laboratory's own range, else its interpretation code, else the default adult range."""
    own = _own_range(analyte, measured, view)
    if own:
        return _compare(amount, own[0], own[1]), own[2], "laboratory's range"
    for verdict, codes in _INTERPRETATIONS.items():
        if any(has_code(item, *codes) for item in measured.part.interpretation or ()):
            return verdict, "", "laboratory's interpretation"
    return _against_default(analyte, amount, view)


def _against_default(analyte: str, amount: Decimal | Interval, view: View) -> tuple[str | Unusable, str, str]:
    lab = view.knowledge.labs[analyte]
    default = lab.ranges.get(view.jurisdiction)
    if default is None:
        return Unusable("no reference range"), "", ""
    low, high = Decimal(default.low), Decimal(default.high)
    told = f"{default.low} to {default.high} {lab.unit}"
    if _unit_here(analyte, view) != lab.unit:
        told = _range_here(low, high, analyte, view)
    return _compare(amount, low, high), told, "default adult range"


def _own_range(analyte: str, measured: Measured, view: View) -> tuple[Decimal | None, Decimal | None, str] | None:
    """The one normal range that the laboratory gave for this result; None where it gave none or several."""
    normal = [item for item in measured.part.reference_range or () if item and _is_normal(item)]
    if len(normal) != 1:
        return None
    low = _limit(analyte, normal[0].low, measured, view)
    high = _limit(analyte, normal[0].high, measured, view)
    if isinstance(low, Unusable) or isinstance(high, Unusable) or (low is None and high is None):
        return None
    if low is not None and high is not None and low >= high:
        return None
    quantity = measured.part.value_quantity
    if quantity and _is_foreign(analyte, quantity, view):
        return low, high, _range_here(low, high, analyte, view)
    return low, high, _say_range(normal[0], measured)


def _is_normal(item: ReferenceRange) -> bool:
    """A range for some state (pregnancy, therapy) or for some group is not read as this person's."""
    return (item.type is None or has_code(item.type, "normal")) and not item.applies_to and item.age is None


def _limit(analyte: str, limit: Quantity | None, measured: Measured, view: View) -> Decimal | Unusable | None:
    """A limit without a unit is in the unit of its result."""
    if limit is None or limit.value is None:
        return None
    own = measured.part.value_quantity
    if own and not (limit.unit or limit.code):
        limit = Quantity(value=limit.value, unit=own.unit, system=own.system, code=own.code)
    converted = units.convert(limit, view.knowledge.factors[analyte])
    return Unusable("limit is no number") if isinstance(converted, Interval) else converted


def _say_range(item: ReferenceRange, measured: Measured) -> str:
    low = units.say_number(item.low.value) if item.low and item.low.value is not None else ""
    high = units.say_number(item.high.value) if item.high and item.high.value is not None else ""
    given = next((limit for limit in (item.low, item.high, measured.part.value_quantity) if limit and limit.unit), None)
    shown = units.say_unit(given.unit or "") if given else ""
    return _spanning(low, high, f" {shown}" if shown not in _NO_UNIT else "")


def _spanning(low: str, high: str, unit: str) -> str:
    if low and high:
        return f"{low} to {high}{unit}"
    return f"at least {low}{unit}" if low else f"at most {high}{unit}"


def _compare(amount: Decimal | Interval, low: Decimal | None, high: Decimal | None) -> str | Unusable:
    """Limits belong to the range. An interval decides only where all of it lies on one side."""
    least, most = (amount.low, amount.high) if isinstance(amount, Interval) else (amount, amount)
    if low is not None and most is not None and (most < low or (most == low and _open(amount, "high_open"))):
        return _LOW
    if high is not None and least is not None and (least > high or (least == high and _open(amount, "low_open"))):
        return _HIGH
    above = low is None or (least is not None and least >= low)
    below = high is None or (most is not None and most <= high)
    return _IN_RANGE if above and below else Unusable("the comparator leaves open which side of the range it is on")


def _open(amount: Decimal | Interval, side: str) -> bool:
    return isinstance(amount, Interval) and bool(getattr(amount, side))


def _read_day(taken: list[Taken], definition: FactDefinition, view: View) -> list[Result]:
    """The results of one day, read, and what they give together."""
    results = [_read(item, view) for item in taken]
    results.sort(key=lambda item: (item.evidence.reference, item.evidence.value))
    results = [item if item.span else replace(item, verdict=_UNPLACED, amount=_UNPLACED) for item in results]
    return results + _adjusted(results, definition, view)


def _latest(results: list[Result], definition: FactDefinition) -> Result:
    """Of one day the preferred analyte, of that the newest result; two that disagree cannot be read."""
    same_time = _same_time(results, definition)
    readable = [item for item in same_time if not isinstance(item.verdict, Unusable)]
    if len({item.verdict for item in readable}) > 1:
        return replace(readable[0], verdict=Unusable("two results of the same time disagree"))
    return (readable or same_time)[0]


def _same_time(results: list[Result], definition: FactDefinition) -> list[Result]:
    """Of the preferred analyte, what was measured last."""
    if len(results) == 1:
        return results
    order = (*([definition.adjustment.to] if definition.adjustment else ()), *definition.analytes)
    preferred = min(results, key=lambda item: order.index(item.analyte)).analyte
    chosen = [item for item in results if item.analyte == preferred]
    newest = max(item.instant for item in chosen)
    return sorted((item for item in chosen if item.instant == newest), key=lambda item: item.evidence.reference)


def _unadjusted(result: Result, results: list[Result], definition: FactDefinition, view: View) -> str:
    """Why a result may not stand as it is: what would adjust it is there, but cannot be read. Empty if it may."""
    adjustment = definition.adjustment
    if adjustment is None or result.analyte != adjustment.of:
        return ""
    title = view.knowledge.labs[adjustment.by].title.lower()
    taken = view.once(("taken", adjustment.by), partial(_place, adjustment.by, view))
    days = {item.span for item in results}
    if any(item.span in days and isinstance(_read(item, view).amount, Unusable) for item in taken):
        return f"{title} of that day could not be read"
    damaged = view.damaged(definition.queries, [f"lab:{adjustment.by}"])
    return f"{title} may be in {damaged.reference or damaged.place}, which could not be read" if damaged else ""


def _adjusted(results: list[Result], definition: FactDefinition, view: View) -> list[Result]:
    """A result adjusted by another of the same day, `amount + per * (base - other)`, as `labs.json` and `facts.json` say."""
    adjustment = definition.adjustment
    if adjustment is None:
        return []
    days = {item.span for item in results if item.span}
    taken = view.once(("taken", adjustment.by), partial(_place, adjustment.by, view))
    others = {item.span: _read(item, view) for item in taken if item.span in days}
    return [
        _adjust(item, other, adjustment, view)
        for item in results
        if item.analyte == adjustment.of
        and item.span
        and (other := others.get(item.span))
        and isinstance(item.amount, Decimal)
        and isinstance(other.amount, Decimal)
    ]


def _adjust(result: Result, other: Result, adjustment: Adjustment, view: View) -> Result:
    assert isinstance(result.amount, Decimal)
    assert isinstance(other.amount, Decimal)
    amount = result.amount + Decimal(adjustment.per) * (Decimal(adjustment.base) - other.amount)
    verdict, limits, note = _against_default(adjustment.to, amount, view)
    lab = view.knowledge.labs[adjustment.to]
    shown = f"{amount.quantize(Decimal('0.01'))} {lab.unit}"
    if _unit_here(adjustment.to, view) != lab.unit:
        shown = _say_here(amount, adjustment.to, view)
    how = f"computed from {result.evidence.value} and {other.evidence.name.lower()} {other.evidence.value}; {note}"
    evidence = Evidence(result.evidence.reference, lab.title, value=shown, date=result.when, range=limits, note=how)
    return Result(adjustment.to, result.when, result.span, amount, verdict, evidence)
