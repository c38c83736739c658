"""Facts about what runs its course: it begins as a condition, and something else on record ends it."""

from __future__ import annotations

from collections.abc import Iterator

from cds_service.chart.index import PAST_CONDITION, ChartIndex
from cds_service.chart.presence import presence, unknown
from cds_service.facts.conditions import began, begun, evidence_of, is_untrue, onset
from cds_service.facts.orders_and_procedures import performed
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import Condition, normal_code
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import Ongoing
from cds_service.model import Fact, State


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


def _ended(condition: Condition, fact: FactDefinition, kind: Ongoing, index: ChartIndex) -> bool | None:
    """Whether an end lies between its beginning and `as_of`; None where nobody can say."""
    start = began(condition)
    spans = [read_span(given) for given in _ends(kind, index)]
    inside = [span.within(start.first, index.until) if span and start else None for span in spans]
    if True in inside:
        return True
    doubtful = index.not_understood.get(PAST_CONDITION) or index.damaged(fact.queries, (kind.ended_by, kind.ended_by_procedure))
    return None if None in inside or doubtful else False


def _ends(kind: Ongoing, index: ChartIndex) -> Iterator[str]:
    """The dates of what ends it, as written."""
    for item in index.conditions.get(kind.ended_by, ()):
        if not is_untrue(item, index):
            yield onset(item) or (item.recorded_date or "")
    for procedure in index.procedures.get(kind.ended_by_procedure, ()):
        if normal_code(procedure.status) not in index.knowledge.statuses.undone_procedure:
            yield performed(procedure)
