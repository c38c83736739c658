"""Facts about what runs its course: it begins as a condition, and something else on record ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cds_service.chart.doubt import PAST_CONDITION
from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import presence, reference_to, unknown
from cds_service.facts.conditions import began, begun, evidence_of, is_untrue, of_any, onset
from cds_service.facts.orders_and_procedures import done, performed
from cds_service.fhir.dates import Span, read_span, years_before
from cds_service.fhir.resources import Condition, normal_code, text_of
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import DoneAfterCondition, MeasuredSince, Ongoing, VaccinatedBefore
from cds_service.knowledge.units import Unusable
from cds_service.model import Evidence, Fact, State
from cds_service.observations.measurements import read
from cds_service.observations.results import tell
from cds_service.observations.timeline import in_window


def ongoing(fact: FactDefinition, kind: Ongoing, index: ChartIndex) -> Fact:
    """What ends it may be a Condition or a Procedure; one that cannot be dated or read leaves it unknown.

    Only the first query proves that nothing began: that nothing ended it is presumed where the others were not answered.
    """
    found, undated = begun(index.conditions.get(kind.condition, ()), kind.days, index)
    ended = [(item, _ended(item, fact, kind, index)) for item in found]
    going = [item for item, over in ended if over is False]
    doubtful = [*undated, *(item for item, over in ended if over is None)]
    if doubtful and not going:
        return unknown(fact.name, State.UNUSABLE, "when it began or ended is not on record", evidence_of(doubtful))
    return presence(fact.name, evidence_of(going), index, fact.queries[:1], [kind.condition])


def done_after_condition(fact: FactDefinition, kind: DoneAfterCondition, index: ChartIndex) -> Fact:
    """It must follow all that began in the window: what began after it is not treated."""
    started = _starts(of_any(kind.conditions, index, kind.unless), kind.days, index)
    since = max((span.last for span in started), default=None)
    found = [item for item in done(kind.procedure, index) if since and (span := read_span(item.date)) and span.first > since]
    return presence(fact.name, found, index, fact.queries, fact.value_sets)


def vaccinated_before(fact: FactDefinition, kind: VaccinatedBefore, index: ChartIndex) -> Fact:
    """Before the first of what began in the window, and within the years before the last."""
    started = _starts(of_any(kind.conditions, index), kind.days, index)
    if not started:
        return presence(fact.name, (), index, fact.queries, fact.value_sets)
    first, last = min(span.first for span in started), max(span.last for span in started)
    since = years_before(last, kind.years[index.jurisdiction])
    counted = index.knowledge.statuses.completed_vaccination
    found = [
        Evidence(reference_to(item), text_of(item.code), date=(item.occurrence_date_time or "").strip())
        for item in index.vaccinations.get(kind.vaccine, ())
        if normal_code(item.status) in counted and not item.is_subpotent
    ]
    inside = [item for item in found if (span := read_span(item.date)) and since <= span.first and span.last < first]
    return presence(fact.name, inside, index, fact.queries, fact.value_sets)


def measured_since(fact: FactDefinition, kind: MeasuredSince, index: ChartIndex) -> Fact:
    """A result that is preliminary or cannot be read does not count: nobody knows what it says."""
    since = max((span.last for span in _starts(of_any(kind.conditions, index), kind.days, index)), default=None)
    results = [read(item, index) for item in in_window(kind, index)]
    found = [
        item
        for item in results
        if since and item.span and item.span.first >= since and not (item.is_preliminary or isinstance(item.amount, Unusable))
    ]
    return presence(fact.name, tell(found), index, fact.queries, fact.value_sets)


def _starts(conditions: Sequence[Condition], days: int, index: ChartIndex) -> list[Span]:
    """When those of the last `days` began."""
    found, _ = begun(conditions, days, index)
    return [span for item in found if (span := began(item))]


def _ended(condition: Condition, fact: FactDefinition, kind: Ongoing, index: ChartIndex) -> bool | None:
    """Whether an end lies between its beginning and `as_of`; None where nobody can say."""
    start = began(condition)
    spans = [read_span(given) for given in _ends(kind, index)]
    inside = [span.within(start.first, index.until) if span and start else None for span in spans]
    if True in inside:
        return True
    doubtful = index.not_understood_of(PAST_CONDITION) or index.damaged(fact.queries, (kind.ended_by, kind.ended_by_procedure))
    return None if None in inside or doubtful else False


def _ends(kind: Ongoing, index: ChartIndex) -> Iterator[str]:
    """The dates of what ends it, as written."""
    for item in index.conditions.get(kind.ended_by, ()):
        if not is_untrue(item, index):
            yield onset(item) or (item.recorded_date or "")
    for procedure in index.procedures.get(kind.ended_by_procedure, ()):
        if normal_code(procedure.status) not in index.knowledge.statuses.undone_procedure:
            yield performed(procedure)
