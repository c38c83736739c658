"""Facts from an estimate: a result that the laboratory did not report, computed from another by `logic/equations.json`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import partial

from msgspec.structs import replace

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, unknown
from cds_service.fhir.dates import Span, age_between, read_span
from cds_service.fhir.resources import normal_code
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import FellBy, IsEstimated, LatestValue, OfEquation, ReportedOrEstimated
from cds_service.knowledge.schema import Analyte, Equation, GenderTerms
from cds_service.model import UNKNOWN, Evidence, Fact, Interval, State
from cds_service.observations.measurements import DatedMeasurement, Result, read
from cds_service.observations.timeline import in_window, last_measured
from cds_service.observations.values import latest_value

_PRECISE = Context(prec=20)
_ONE = Decimal(1)

Compute = Callable[[Decimal, int], Decimal]


def reported_or_estimated(fact: FactDefinition, kind: ReportedOrEstimated, index: ChartIndex) -> Fact:
    """What the laboratory reported for a day comes before any estimate of that day, whether it can be read or not."""
    estimated = _estimate(fact, kind, index)
    if estimated is None:
        return latest_value(fact, _of_analyte(fact, kind, 0), index)
    return replace(estimated, name=fact.name)


def is_estimated(fact: FactDefinition, kind: IsEstimated, index: ChartIndex) -> Fact:
    """Its evidence is the result that the estimate was computed from."""
    estimated = _estimate(fact, kind, index)
    if estimated is None or estimated.value is UNKNOWN:
        return known(fact.name, False, (), State.ABSENT)
    return known(fact.name, True, latest_value(fact, _of_analyte(fact, kind, 1), index).evidence_source)


def fell_by(fact: FactDefinition, kind: FellBy, index: ChartIndex) -> Fact:
    """Whether an earlier result of the window was so much higher than the latest; of what is not on record it was not."""
    readable = [item for taken in in_window(kind, index) if isinstance((item := read(taken, index)).amount, Decimal)]
    latest = max(readable, key=lambda item: item.instant, default=None)
    if latest is None:
        return known(fact.name, False, (), State.ABSENT)
    higher = [item for item in readable if _amount_of(item) - _amount_of(latest) >= kind.by]
    return known(fact.name, bool(higher), [item.describe() for item in higher])


def _amount_of(result: Result) -> Decimal:
    assert isinstance(result.amount, Decimal)
    return result.amount


def _of_analyte(fact: FactDefinition, kind: OfEquation, at: int) -> LatestValue:
    """The same question about one of its two analytes: 0 is what may be reported, 1 what it can be computed from."""
    return LatestValue(question=kind.question, analytes=(fact.analytes[at],), days=kind.days)


def _estimate(fact: FactDefinition, kind: OfEquation, index: ChartIndex) -> Fact | None:
    """The estimate, unknown where it cannot be made; None where what was reported stands."""
    return index.memo(("estimate", kind.equation, kind.days), partial(_find_estimate, fact, kind, index))


def _find_estimate(fact: FactDefinition, kind: OfEquation, index: ChartIndex) -> Fact | None:
    of_source = _of_analyte(fact, kind, 1)
    source = last_measured(of_source, index)
    if source is None or not _stands_alone(source, fact, kind, index):
        return None
    return _estimated(source, latest_value(fact, of_source, index), kind.equation, index)


def _stands_alone(source: DatedMeasurement, fact: FactDefinition, kind: OfEquation, index: ChartIndex) -> bool:
    """Whether nothing was reported for the day of what it can be computed from, nor for a later one."""
    reported = last_measured(_of_analyte(fact, kind, 0), index)
    if reported is not None:
        return bool(reported.span and source.span and source.day > reported.day)
    return index.all_read(fact.queries)


def _estimated(taken: DatedMeasurement, source: Fact, name: str, index: ChartIndex) -> Fact:
    equation = index.knowledge.equations[name]
    terms = equation.by_gender.get(normal_code(index.chart.patient.gender))
    ages = _ages(taken.span, index)
    doubt = source.reason if source.value is UNKNOWN else _doubt(equation, terms, ages)
    if doubt or terms is None or ages is None or not isinstance(source.value, (Decimal, Interval)):
        return unknown(name, State.UNUSABLE, doubt, source.evidence_source)
    amount: Decimal | Interval | None
    try:
        amount = _bounded(source.value, ages, partial(_compute, equation, terms, index))
    except ArithmeticError:
        amount = None
    if amount is None or not _is_plausible(amount, equation):
        return unknown(name, State.UNUSABLE, "is no plausible amount", source.evidence_source)
    # Kept by the index, so what tells it must not hold the index.
    return known(name, amount, partial(_told, amount, source, equation, index.knowledge.labs[equation.to]))


def _doubt(equation: Equation, terms: GenderTerms | None, ages: tuple[int, int] | None) -> str:
    """Why an equation cannot be used, in words for a clinician; empty if it can."""
    if terms is None:
        return f"{equation.title} is made for {' and '.join(equation.by_gender)} alone"
    if ages is None:
        return "no readable birth date"
    return f"{equation.title} is made for {equation.least_age} years and older" if ages[0] < equation.least_age else ""


def _ages(taken: Span | None, index: ChartIndex) -> tuple[int, int] | None:
    """The least and the greatest age when the sample was taken; None where it cannot be told."""
    birth = read_span(index.chart.patient.birth_date)
    if birth is None or taken is None:
        return None
    return age_between(birth, taken.first)[0], age_between(birth, taken.last)[1]


def _compute(equation: Equation, terms: GenderTerms, index: ChartIndex, amount: Decimal, age: int) -> Decimal:
    factor = index.knowledge.factors[equation.of].named(equation.unit)
    part = _PRECISE.divide(_PRECISE.divide(_PRECISE.multiply(amount, factor.over), factor.times), Decimal(terms.pivot))
    power = _PRECISE.power(part, Decimal(terms.below if part < _ONE else terms.above))
    aged = _PRECISE.power(Decimal(equation.yearly), age)
    exact = _PRECISE.multiply(_PRECISE.multiply(Decimal(equation.scale), Decimal(terms.times)), _PRECISE.multiply(power, aged))
    return exact.quantize(_ONE.scaleb(-equation.decimals), ROUND_HALF_UP)


def _bounded(source: Decimal | Interval, ages: tuple[int, int], compute: Compute) -> Decimal | Interval:
    """An Interval where the result or the age is only bounded: the more of either, the less comes out."""
    least, most = (source, source) if isinstance(source, Decimal) else (source.low, source.high)
    low = None if most is None else compute(most, ages[1])
    high = None if least is None or not least else compute(least, ages[0])
    return low if low is not None and low == high else Interval(low, high)


def _is_plausible(amount: Decimal | Interval, equation: Equation) -> bool:
    """Whether some of it is what a person can have. A result under a wrong unit mostly is not, and would read as normal."""
    least, most = equation.plausible
    low, high = (amount, amount) if isinstance(amount, Decimal) else (amount.low, amount.high)
    return (low is None or low <= most) and (high is None or high >= least)


def _told(amount: Decimal | Interval, source: Fact, equation: Equation, lab: Analyte) -> list[Evidence]:
    own = source.evidence[0]
    value = f"{_say(amount)} {lab.unit}"
    return [Evidence(own.reference, lab.title, value=value, date=own.date, note=equation.title)]


def _say(amount: Decimal | Interval) -> str:
    if isinstance(amount, Decimal):
        return f"{amount:f}"
    low, high = ("" if bound is None else f"{bound:f}" for bound in (amount.low, amount.high))
    return f"{low}-{high}" if low and high else f">={low}" if low else f"<={high}"
