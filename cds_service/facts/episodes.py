"""Facts about what runs its course: it begins as a condition, and something else on record ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import presence, unknown
from cds_service.facts.conditions import begun, evidence_of, is_untrue, onset
from cds_service.facts.orders_and_procedures import UNDONE, performed
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import Condition, normal_code
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Fact, State


def ongoing(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """As `began_within` for the first value set, unless one of the others, which end it, is on record since it began.

    What ends it may be a Condition or a Procedure; one that cannot be dated or read leaves it unknown. Only the first query
    proves that nothing began: that nothing ended it is presumed where the others were not answered.
    """
    course, *ends = definition.value_sets
    found, undated = begun(view.conditions.get(course, ()), definition, view)
    ended = [(item, _ended(item, ends, definition, view)) for item in found]
    going = [item for item, over in ended if over is False]
    doubtful = [*undated, *(item for item, over in ended if over is None)]
    if doubtful and not going:
        return unknown(name, State.UNUSABLE, "when it began or ended cannot be told", evidence_of(doubtful))
    return presence(name, evidence_of(going), view, definition.queries[:1], [course])


def _ended(condition: Condition, ends: Sequence[str], definition: FactDefinition, view: ChartIndex) -> bool | None:
    """Whether an end lies between its beginning and `as_of`; None where that cannot be told."""
    start = read_span(onset([condition]) or condition.recorded_date)
    spans = [read_span(given) for end in ends for given in _on_record(end, view)]
    inside = [span.within(start.first, view.as_of) if span and start else None for span in spans]
    if True in inside:
        return True
    return None if None in inside or view.damaged(definition.queries, ends) else False


def _on_record(end: str, view: ChartIndex) -> Iterator[str]:
    """The dates of what ends a course, as written."""
    for item in view.conditions.get(end, ()):
        if not is_untrue(item):
            yield onset([item]) or (item.recorded_date or "")
    for procedure in view.procedures.get(end, ()):
        if normal_code(procedure.status) not in UNDONE:
            yield performed(procedure)
