"""Facts about the person: age, death, whether this record of them still counts, and whether all of it was recognised."""

from __future__ import annotations

from decimal import Decimal

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, reference_to, unknown
from cds_service.facts.conditions import doubtful
from cds_service.fhir.dates import age_between, read_span
from cds_service.fhir.resources import local_reference, normal_code
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import Age, Deceased, Replaced, Unmatched
from cds_service.model import Evidence, Fact, Interval, State
from cds_service.observations.results import not_in_range

_REPLACED = "replaced-by"
_STILL_COUNTS = ("replaces", "refer", "seealso")


def age_years(fact: FactDefinition, kind: Age, index: ChartIndex) -> Fact:
    """Age in whole years; an interval where the birth date is only a year or a month."""
    span = read_span(index.chart.patient.birth_date)
    if span is None or span.first > index.as_of:
        return unknown(fact.name, State.ABSENT, "no readable birth date")
    least, most = age_between(span, index.as_of)
    value = least if least == most else Interval(Decimal(least), Decimal(most))
    return Fact(fact.name, value, State.KNOWN, (Evidence("Patient", "Age", value=str(least)),))


def deceased(fact: FactDefinition, kind: Deceased, index: ChartIndex) -> Fact:
    """A recorded death. FHIR holds no separate sign of life, so its absence is taken as alive."""
    patient = index.chart.patient
    return known(fact.name, bool(patient.deceased_boolean) or bool(patient.deceased_date_time))


def replaced(fact: FactDefinition, kind: Replaced, index: ChartIndex) -> Fact:
    """Was this record merged into another? Only `replaced-by` says so; a link of a kind that cannot be read leaves it open.

    `Patient.active` is not asked: an inactive record may be the only one that holds what the cards rest on.
    """
    links = index.chart.patient.link or ()
    others = [link.other for link in links if link and normal_code(link.type) == _REPLACED]
    if others:
        references = [local_reference(other.reference) if other else "" for other in others]
        return known(fact.name, True, [Evidence(reference or "Patient", "the record to open") for reference in references])
    if any(link is None or normal_code(link.type) not in _STILL_COUNTS for link in links):
        return unknown(fact.name, State.UNUSABLE, "a link to another record does not say of which kind it is")
    return known(fact.name, False, (), State.ABSENT)


def unmatched(fact: FactDefinition, kind: Unmatched, index: ChartIndex) -> Fact:
    """Is any entry not understood, about a leg, a muscle, a nerve or a vessel, or a result not in its range?"""
    found = [Evidence(reference_to(item), reference_to(item)) for item in index.unmatched]
    found += [result.describe() for result in not_in_range(index)]
    put_aside = [*index.chart.damaged.values(), *index.not_understood.values()]
    if not found and (any(put_aside) or doubtful(index)):
        return unknown(fact.name, State.NOT_UNDERSTOOD, "an entry could not be read or understood")
    cut = [state for state in index.chart.query_state.values() if state not in (State.KNOWN, State.NOT_SUPPLIED)]
    if not found and cut:
        return unknown(fact.name, cut[0], "a list did not come whole")
    return known(fact.name, bool(found), found)
