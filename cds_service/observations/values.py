"""Facts from the number of a result: the latest one, and how many times the laboratory's upper limit it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, presence, unknown
from cds_service.fhir.dates import say_date
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import AsLowBefore, LatestValue, TimesUpperLimit
from cds_service.knowledge.units import Unusable
from cds_service.model import Evidence, Fact, Interval, Seen, State
from cds_service.observations.measurements import HIGH, LOW, Result, compare, read
from cds_service.observations.results import (
    DISAGREE,
    doubt_about,
    newer_unread,
    none_found,
    note_of,
    older_abnormal,
    older_readable,
    read_day,
    same_time,
    tell,
    unadjusted,
)
from cds_service.observations.timeline import concepts_of, in_window, newest_of

Amount = Decimal | Interval
_NO_LIMIT = "its laboratory gave no upper limit"


class _Latest(NamedTuple):
    """The latest results that were read. `in_doubt`: a newer one may not have been understood, or these disagree.

    `beside`: newer ones that leave open whether it is still so; they count, and the note tells of them.
    """

    results: Sequence[Result]
    note: str
    in_doubt: bool
    beside: Sequence[Result] = ()


def latest_value(fact: FactDefinition, kind: LatestValue, index: ChartIndex) -> Fact:
    """The latest result of the window as a number in the unit of its analyte; `lowest` and `highest` choose of one time.

    Two values of the same time that differ cannot be read: nothing says which of them holds. With `alarms` they are `Seen`.
    """
    return _answer(fact, _find(fact, kind, index), _amount)


def times_upper_limit(fact: FactDefinition, kind: TimesUpperLimit, index: ChartIndex) -> Fact:
    """The latest result divided by the upper limit of its laboratory; unknown where that gave none."""
    return _answer(fact, _find(fact, _alarming(kind), index), _times)


def as_low_before(fact: FactDefinition, kind: AsLowBefore, index: ChartIndex) -> Fact:
    """Of the results before the day of the latest, final and read. What is no plain number was not as low."""
    found = _find(fact, _alarming(kind), index)
    if isinstance(found, Fact):
        return presence(fact.name, (), index, fact.queries, concepts_of(kind.analytes))
    # Where two of one time disagree, the lower is the danger.
    latest = min((*found.results, *found.beside), key=_least)
    earlier = [
        read(item, index) for item in in_window(kind, index) if latest.span and item.span and item.span.last < latest.span.first
    ]
    as_low = [item for item in earlier if not item.is_preliminary and _is_at_most(item, latest, kind.within)]
    return presence(fact.name, tell(as_low), index, fact.queries, concepts_of(kind.analytes))


def _alarming(kind: TimesUpperLimit | AsLowBefore) -> LatestValue:
    """The latest result as it is asked for a danger."""
    return LatestValue(question=kind.question, analytes=kind.analytes, days=kind.days, alarms=True)


def _is_at_most(result: Result, latest: Result, within: int) -> bool:
    amount, least = result.amount, latest.amount
    return isinstance(amount, Decimal) and isinstance(least, Decimal) and amount <= least + within


def _answer(fact: FactDefinition, found: _Latest | Fact, number: Callable[[Result], Amount | None]) -> Fact:
    if isinstance(found, Fact):
        return found
    amounts = tuple(amount for result in (*found.results, *found.beside) if (amount := number(result)) is not None)
    told = partial(_tell, found.results, found.note)
    if not amounts:
        return unknown(fact.name, State.ABSENT, _NO_LIMIT, told)
    return known(fact.name, Seen(amounts) if found.in_doubt else amounts[0], told)


def _find(fact: FactDefinition, kind: LatestValue, index: ChartIndex) -> _Latest | Fact:
    newest = newest_of(kind, index)
    if not newest:
        return none_found(fact, kind, index)
    results = read_day(newest, kind, index)
    readable = [item for item in results if not isinstance(item.amount, Unusable)]
    if not readable:
        return _older(fact, results[0], kind, index)
    chosen = same_time(readable, kind)
    if kind.alarms and (before := _left_open(chosen, readable, kind, index)):
        return before
    if len(chosen) > 1 and len({item.amount for item in chosen}) > 1 and kind.choose is None:
        if kind.alarms:
            return _Latest(chosen, DISAGREE.reason, True)
        return unknown(fact.name, State.UNUSABLE, DISAGREE.reason, partial(tell, chosen))
    return _stands(chosen, results, fact, kind, index)


def _stands(
    chosen: Sequence[Result], results: list[Result], fact: FactDefinition, kind: LatestValue, index: ChartIndex
) -> _Latest | Fact:
    """What was measured last, and whether it may be told as the latest."""
    least = (max if kind.choose == "highest" else min)(chosen, key=_least)
    doubt = doubt_about(least, results, kind, fact, index)
    if doubt is None:
        return _Latest([least], "", False)
    is_out = least.interpretation in (LOW, HIGH)
    if kind.alarms:
        older = older_abnormal(least, kind, index) if least.is_preliminary and not is_out else None
        if older is not None and not isinstance(older.amount, Unusable):
            return _Latest([older], newer_unread(least, index), True)
        return _Latest([least], note_of(doubt), True)
    if not is_out or unadjusted(least, results, kind, fact, index):
        return doubt.unknown(fact.name)
    return _Latest([least], note_of(doubt), False)


def _left_open(chosen: Sequence[Result], results: Sequence[Result], kind: LatestValue, index: ChartIndex) -> _Latest | None:
    """What was measured before those that were measured last, where all of these leave open whether it is still so.

    `<6.8` takes nothing from a 2.4 of two days ago.
    """
    if not all(isinstance(item.amount, Interval) for item in chosen):
        return None
    same_day = [item for item in results if item.analyte == chosen[0].analyte and isinstance(item.amount, Decimal)]
    before = max(same_day, key=lambda item: item.instant, default=None) or _number_before(chosen[0], kind, index)
    if before is None or not all(_is_open(item, before) for item in chosen):
        return None
    when = say_date(chosen[0].when, index.as_of) if chosen[0].when else "undated"
    return _Latest([before], f"a newer result ({when}) says only {chosen[0].describe().value}", True, chosen)


def _number_before(latest: Result, kind: LatestValue, index: ChartIndex) -> Result | None:
    """The last result before the day of another that is a plain number or, where none is, that can be read at all."""
    first = older = older_readable(latest, kind, index)
    while older is not None and not isinstance(older.amount, Decimal):
        older = older_readable(older, kind, index)
    return older or first


def _is_open(newer: Result, older: Result) -> bool:
    """Whether a result with a comparator may be as the older one."""
    if not isinstance(newer.amount, Interval) or isinstance(older.amount, Unusable):
        return False
    return compare(older.amount, newer.amount.low, newer.amount.high) not in (LOW, HIGH)


def _older(fact: FactDefinition, latest: Result, kind: LatestValue, index: ChartIndex) -> _Latest | Fact:
    """Where the latest cannot be read, what was read before: if it is out of its range, or if a danger is asked for."""
    older = _number_before(latest, kind, index) if kind.alarms else older_abnormal(latest, kind, index)
    if older is not None and not isinstance(older.amount, Unusable):
        return _Latest([older], newer_unread(latest, index), kind.alarms)
    reason = latest.amount.reason if isinstance(latest.amount, Unusable) else ""
    return unknown(fact.name, State.UNUSABLE, reason, partial(tell, [latest]))


def _amount(result: Result) -> Amount | None:
    return None if isinstance(result.amount, Unusable) else result.amount


def _times(result: Result) -> Amount | None:
    amount, limit = result.amount, result.upper_limit
    if isinstance(amount, Unusable) or not limit:
        return None
    if isinstance(amount, Decimal):
        return amount / limit
    low, high = (None if bound is None else bound / limit for bound in (amount.low, amount.high))
    return Interval(low, high, amount.low_open, amount.high_open)


def _tell(results: Sequence[Result], note: str) -> list[Evidence]:
    """Two that disagree are told in one, `2.4 and 4.4 mmol/L`: a card shows one value."""
    told = tell(results, note)
    if len(told) <= 1:
        return told
    values = [item.value for item in told]
    unit = values[0].partition(" ")[2]
    same = all(value.partition(" ")[2] == unit for value in values)
    numbers = [value.partition(" ")[0] if same else value for value in values]
    return [replace(told[0], value=f"{' and '.join(dict.fromkeys(numbers))} {unit if same else ''}".strip())]


def _least(result: Result) -> Decimal:
    amount = result.amount
    if isinstance(amount, Interval):
        return amount.low if amount.low is not None else Decimal("-Infinity")
    return amount if isinstance(amount, Decimal) else Decimal("Infinity")
