"""Facts from Observations whose value is a code, such as an answer about smoking."""

from __future__ import annotations

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, presence, reference_to, unknown
from cds_service.fhir.dates import read_instant, read_span
from cds_service.fhir.resources import effective, normal_code, text_of
from cds_service.fhir.sections import coded_value
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import CodedAnswer
from cds_service.model import Evidence, Fact, State
from cds_service.observations.measurements import (
    EARLIEST,
)


def coded_answer(fact: FactDefinition, kind: CodedAnswer, index: ChartIndex) -> Fact:
    """Does the newest Observation of the first value set answer with a code of the second? No answer is no answer."""
    asked = kind.asked
    statuses = index.knowledge.statuses.reported_result
    reported = [item for item, _ in index.measured.get(asked, ()) if normal_code(item.status) in statuses]
    dated = [item for item in reported if (span := read_span(effective(item))) and span.first <= index.until]
    if not dated:
        looked = presence(fact.name, [], index, fact.queries, [asked])
        return unknown(fact.name, looked.state, looked.reason or "never recorded")
    newest = max(dated, key=lambda item: (read_instant(effective(item)) or EARLIEST, item.id or ""))
    text = coded_value(newest)
    evidence = [Evidence(reference_to(newest), text_of(text), date=effective(newest))]
    if not index.lexicon.terminology.is_coded(text):
        return unknown(fact.name, State.UNUSABLE, "answered without a code", evidence)
    matched = {match.concept for match in index.lexicon.terminology.matches(text)}
    return known(fact.name, kind.answer in matched, evidence)
