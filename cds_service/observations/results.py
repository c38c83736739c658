"""Facts from results: which is the latest, can it be read, and where does it lie against its range?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from itertools import compress
from typing import NamedTuple

from msgspec.structs import replace

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, nothing, presence, reason_of, unknown, words_of
from cds_service.fhir.dates import Span, is_later, latest_of, read_span, say_date
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import (
    AgainstRange,
    LatestValue,
    Measured,
    OfAnalytes,
    ReportedOrEstimated,
    TimesUpperLimit,
)
from cds_service.knowledge.schema import Adjustment
from cds_service.knowledge.units import Unusable
from cds_service.model import Evidence, Fact, State
from cds_service.observations.measurements import (
    HIGH,
    IN_RANGE,
    LOW,
    NO_RANGE,
    NOT_REPORTED,
    DatedMeasurement,
    Result,
    adjust,
    read,
)
from cds_service.observations.timeline import (
    awaited_of,
    concepts_of,
    in_window,
    is_final,
    is_preliminary,
    newest_of,
    placed_of,
    placing_of,
    unplaced_of,
)

UNPLACED = Unusable("its date cannot be placed")
DISAGREE = Unusable("two results of the same time disagree")
UNREAD_BESIDE = Unusable("another result of that time could not be read")


def against_range(fact: FactDefinition, kind: AgainstRange, index: ChartIndex) -> Fact:
    """The latest result of the window as low, in-range or high. UNKNOWN where there is none or it cannot be read.

    Where a newer one is in doubt, an older result in range says nothing; one out of range still alarms.
    """
    newest = newest_of(kind, index)
    if not newest:
        return none_found(fact, kind, index)
    results = read_day(newest, kind, index)
    latest = _latest(results, kind, index)
    doubt = doubt_about(latest, results, kind, fact, index)
    if doubt is None and not isinstance(latest.interpretation, Unusable):
        return known(fact.name, latest.interpretation, partial(tell, [latest]))
    if latest.interpretation in (LOW, HIGH) and not unadjusted(latest, results, kind, fact, index):
        return known(fact.name, str(latest.interpretation), partial(tell, [latest], note_of(doubt)))
    # One that is read and stands, even if one still newer may not, takes the alarm of what came before it.
    is_open = latest.is_preliminary or isinstance(latest.interpretation, Unusable)
    older = older_abnormal(latest, kind, index) if is_open else None
    if older is not None and not unadjusted(older, [older], kind, fact, index):
        return known(fact.name, str(older.interpretation), partial(tell, [older], newer_unread(latest, index)))
    if doubt is not None:
        return doubt.unknown(fact.name)
    assert isinstance(latest.interpretation, Unusable)
    return unknown(fact.name, State.UNUSABLE, latest.interpretation.reason, partial(tell, [latest]))


def not_in_range(index: ChartIndex) -> list[Result]:
    """The latest result of each analyte that is on record, where it does not lie in its range, or nobody can say.

    And what is newer and only registered: its result is awaited.
    """
    kinds = [
        AgainstRange(question="", analytes=(analyte,)) for analyte in index.knowledge.labs if f"lab:{analyte}" in index.measured
    ]
    latest = [_latest(read_day(newest, kind, index), kind, index) for kind in kinds if (newest := newest_of(kind, index))]
    # Where it has no range, a rule looks at its number.
    numbered = (LatestValue, ReportedOrEstimated, TimesUpperLimit)
    by_number = {key for fact in index.knowledge.facts.values() if isinstance(fact.kind, numbered) for key in fact.analytes}
    undated = [item for kind in kinds for item in unplaced_of(kind, index)]
    latest += [replace(read(item, index), interpretation=UNPLACED) for item in undated]
    latest += [read(item, index) for analyte in index.knowledge.labs for item in awaited_of(analyte, index)]
    return [
        item
        for item in latest
        if item.is_preliminary
        or (item.interpretation != IN_RANGE and not (item.interpretation == NO_RANGE and item.analyte in by_number))
    ]


class Doubt(NamedTuple):
    """Why the latest result that was found may not be the latest, or may not stand: with what rests in doubt."""

    reason: str
    state: State
    evidence: Sequence[Evidence]

    def unknown(self, name: str) -> Fact:
        return unknown(name, self.state, self.reason, self.evidence)


def note_of(doubt: Doubt | None) -> str:
    """What a reader must know beside a result that alarms all the same."""
    if doubt is None:
        return ""
    return "a newer result may not have been understood" if doubt.state is State.NOT_UNDERSTOOD else doubt.reason


def doubt_about(
    latest: Result, results: list[Result], kind: OfAnalytes, fact: FactDefinition, index: ChartIndex
) -> Doubt | None:
    """What keeps a result from saying that all is well."""
    if doubt := unadjusted(latest, results, kind, fact, index):
        return Doubt(doubt, State.UNUSABLE, [latest.describe()])
    if latest.is_preliminary:
        return Doubt("a preliminary result", State.UNUSABLE, [latest.describe()])
    if unread := unread_beside(latest, results):
        return Doubt(unread.reason, State.UNUSABLE, [latest.describe()])
    if index.memo(("plain", kind.analytes, fact.queries), partial(_is_plain, kind, fact, index)):
        return None
    day = latest.span.first if latest.span else date.min
    newer = [item for item in index.doubts(fact.queries, concepts_of(kind.analytes)) if _is_newer(item.when, day)]
    if newer:
        named = [Evidence(item.reference or item.place, words_of(item), date=item.when) for item in newer]
        return Doubt(reason_of(newer[0]), State.NOT_UNDERSTOOD, named)
    state = index.chart.looking(fact.queries)
    if state is State.INCOMPLETE and not index.chart.runs_newest_first(fact.queries):
        return Doubt(index.shortfall(fact.queries)[1], state, ())
    unplaced = [item for item in unplaced_of(kind, index) if item.day > day]
    if unplaced:
        return Doubt(UNPLACED.reason, State.UNUSABLE, [read(unplaced[0], index).describe()])
    return None


def _is_plain(kind: OfAnalytes, fact: FactDefinition, index: ChartIndex) -> bool:
    """Whether nothing at all can be in doubt, as it mostly is: nothing cut, nothing unread, no result without a day."""
    if not index.is_clear or index.chart.looking(fact.queries) is State.INCOMPLETE:
        return False
    return not any(placing_of(analyte, index)[1] for analyte in kind.analytes)


def _is_newer(when: str, day: date) -> bool:
    span = read_span(when)
    return span is None or span.last >= day


def older_abnormal(latest: Result, kind: OfAnalytes, index: ChartIndex) -> Result | None:
    """The last readable result before the day of the latest, if it lies out of its range."""
    older = older_readable(latest, kind, index, to_judge=True)
    return older if older is not None and older.interpretation in (LOW, HIGH) else None


def older_readable(latest: Result, kind: OfAnalytes, index: ChartIndex, *, to_judge: bool = False) -> Result | None:
    """The last result before the day of the latest that can be read, or `to_judge` be judged by a range."""
    before = latest.span.first if latest.span else date.max
    for item in in_window(kind, index):
        if item.span and item.span.last < before:
            result = read(item, index)
            if not isinstance(result.interpretation if to_judge else result.amount, Unusable):
                return result
    return None


def newer_unread(latest: Result, index: ChartIndex) -> str:
    when = say_date(latest.when, index.as_of) if latest.when else "undated"
    return f"a newer result ({when}) {'is preliminary' if latest.is_preliminary else 'could not be read'}"


def tell(results: Iterable[Result], note: str = "") -> list[Evidence]:
    """Each in words, with what a reader must know beside its value."""
    shown = [item.describe() for item in results]
    return [replace(item, note="; ".join(filter(None, (note, item.note)))) for item in shown] if note else shown


def none_found(fact: FactDefinition, kind: OfAnalytes, index: ChartIndex) -> Fact:
    looked = presence(fact.name, [], index, fact.queries, concepts_of(kind.analytes))
    return unknown(fact.name, looked.state, looked.reason or _none_in(kind.days), looked.evidence_source)


def _none_in(days: int | None) -> str:
    return "none on record" if days is None else f"none in {days} days"


def measured_within(fact: FactDefinition, kind: Measured, index: ChartIndex) -> Fact:
    """Was any of these measured in the last `days`? A result that cannot be read was measured all the same."""
    newest = newest_of(kind, index)
    if newest and newest[0].span is None:
        return unknown(fact.name, State.UNUSABLE, UNPLACED.reason, lambda: tell(read(item, index) for item in newest))
    final = next((item for item in newest if is_final(item, index)), None)
    if newest and final is None:
        final = next((item for item in in_window(kind, index) if is_final(item, index)), None)
    if final:
        return known(fact.name, True, lambda: tell([read(final, index)]))
    if newest:
        reason = "a preliminary result" if is_preliminary(newest[0], index) else NOT_REPORTED.reason
        return unknown(fact.name, State.UNUSABLE, reason, lambda: tell([read(newest[0], index)]))
    if index.chart.reaches(fact.queries, index.since(kind.days)) and not index.doubts(fact.queries, concepts_of(kind.analytes)):
        return nothing(fact.name)
    return presence(fact.name, [], index, fact.queries, concepts_of(kind.analytes))


def read_day(taken: list[DatedMeasurement], kind: OfAnalytes, index: ChartIndex) -> list[Result]:
    """The results of one day, read, and what they give together."""
    results = [read(item, index) for item in taken]
    if len(results) > 1:
        results.sort(key=lambda item: (item.reference, item.describe().value))
    results = [item if item.span else replace(item, interpretation=UNPLACED, amount=UNPLACED) for item in results]
    return results + _adjusted(results, kind, index)


def _latest(results: list[Result], kind: OfAnalytes, index: ChartIndex) -> Result:
    """Of one day the preferred analyte, of that the newest result; two that disagree cannot be read."""
    together = same_time(results, kind)
    readable = [item for item in together if not isinstance(item.interpretation, Unusable)]
    if len(readable) > 1 and len({item.interpretation for item in readable}) > 1:
        return replace(readable[0], interpretation=DISAGREE)
    latest = (readable or together)[0]
    unread = unread_beside(latest, together)
    return replace(latest, interpretation=unread) if unread and latest.interpretation == IN_RANGE else latest


def same_time(results: list[Result], kind: OfAnalytes) -> list[Result]:
    """Of the preferred analyte, what was measured last: all of the day that none other is later than for sure."""
    if len(results) == 1:
        return results
    preferred = min(results, key=lambda item: kind.analytes.index(item.analyte)).analyte
    chosen = [item for item in results if item.analyte == preferred]
    last = latest_of([item.when for item in chosen])
    return sorted(compress(chosen, last), key=lambda item: item.reference)


def unread_beside(latest: Result, results: Iterable[Result]) -> Unusable | None:
    """Why one of the same day that cannot be read may say something else: it is of the same time, or later."""
    unread = [item for item in results if item.analyte == latest.analyte and isinstance(item.amount, Unusable)]
    if isinstance(latest.amount, Unusable) or all(is_later(latest.when, item.when) for item in unread):
        return None
    return UNREAD_BESIDE


def unadjusted(result: Result, results: list[Result], kind: OfAnalytes, fact: FactDefinition, index: ChartIndex) -> str:
    """Why a result may not stand as it is: what would adjust it is there, but cannot be read. Empty if it may."""
    adjustment = _adjustment(kind, index)
    if adjustment is None or result.analyte != adjustment[1].of:
        return ""
    by = adjustment[1].by
    title = index.knowledge.labs[by].title.lower()
    others = _same_day(results, by, index)
    if any(_may_be_of(item.span, result.span) for item in placed_of(by, index)):
        return f"{title} has a date that cannot be placed"
    if any(isinstance(other.amount, Unusable) for other in others):
        return f"{title} of that day could not be read"
    damaged = index.damaged(fact.queries, [f"lab:{by}"])
    return f"{title} may be in {damaged.reference or damaged.place}, which could not be read" if damaged else ""


def _may_be_of(span: Span | None, own: Span | None) -> bool:
    """Whether a date that is none, or a month or a year, may be the day of a result."""
    if span is None or own is None:
        return span is None
    return span.first != span.last and span.first <= own.last and span.last >= own.first


def _same_day(results: list[Result], analyte: str, index: ChartIndex) -> list[Result]:
    """What was measured of another analyte on a day of these results."""
    days = {item.span for item in results if item.span}
    return [read(item, index) for item in placed_of(analyte, index) if item.span in days]


def _adjustment(kind: OfAnalytes, index: ChartIndex) -> tuple[str, Adjustment] | None:
    """The analyte that is asked for and can be computed, with the way in which."""
    for analyte in kind.analytes:
        adjustment = index.knowledge.labs[analyte].adjusted
        if adjustment and adjustment.of in kind.analytes:
            return analyte, adjustment
    return None


def _adjusted(results: list[Result], kind: OfAnalytes, index: ChartIndex) -> list[Result]:
    """A result adjusted by another of the same day, `amount + per * (base - other)`, as `labs.json` says."""
    found = _adjustment(kind, index)
    if found is None:
        return []
    analyte, adjustment = found
    others = {item.span: item for item in _same_day(results, adjustment.by, index)}
    return [
        adjust(item, other, analyte, adjustment, index)
        for item in results
        if item.analyte == adjustment.of
        and item.span
        and (other := others.get(item.span))
        and isinstance(item.amount, Decimal)
        and isinstance(other.amount, Decimal)
    ]
