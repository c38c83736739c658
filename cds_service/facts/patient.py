"""Facts about the person: age, death, whether this record of them still counts, and whether all of it was recognised."""

from __future__ import annotations

from decimal import Decimal

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, reference_to, unknown
from cds_service.fhir.dates import age_between, read_span
from cds_service.fhir.resources import local_reference, normal_code
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Evidence, Fact, Interval, State

_REPLACED = "replaced-by"
_STILL_COUNTS = ("replaces", "refer", "seealso")


def age_years(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Age in whole years; an interval where the birth date is only a year or a month."""
    span = read_span(view.chart.patient.birth_date)
    if span is None or span.first > view.as_of:
        return unknown(name, State.NONE, "no readable birth date")
    least, most = age_between(span, view.as_of)
    value = least if least == most else Interval(Decimal(least), Decimal(most))
    return Fact(name, value, State.KNOWN, (Evidence("Patient", "Age", value=str(least)),))


def deceased(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """A recorded death. FHIR holds no separate sign of life, so its absence is taken as alive."""
    patient = view.chart.patient
    return known(name, bool(patient.deceased_boolean) or bool(patient.deceased_date_time))


def replaced(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Was this record merged into another? Only `replaced-by` says so; a link of a kind that cannot be read leaves it open.

    `Patient.active` is not asked: an inactive record may be the only one that holds what the cards rest on.
    """
    links = view.chart.patient.link or ()
    others = [link.other for link in links if link and normal_code(link.type) == _REPLACED]
    if others:
        references = [local_reference(other.reference) if other else "" for other in others]
        return known(name, True, [Evidence(reference or "Patient", "the record to open") for reference in references])
    if any(link is None or normal_code(link.type) not in _STILL_COUNTS for link in links):
        return unknown(name, State.UNUSABLE, "a link to another record does not say of which kind it is")
    return known(name, False, (), State.NONE)


def unmatched(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Does any entry of any list match nothing in the knowledge, or not read at all? It may be what explains the rest."""
    found = [Evidence(reference_to(item), reference_to(item)) for item in view.unmatched]
    if not found and any(view.chart.damaged.values()):
        return unknown(name, State.UNUSABLE, "an entry could not be read")
    return known(name, bool(found), found)
