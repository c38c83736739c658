"""Facts about the person: age and death."""

from __future__ import annotations

from decimal import Decimal

from cds_service.dates import age_between, read_span
from cds_service.formats import FactDefinition
from cds_service.model import Evidence, Fact, Interval, State
from cds_service.view import View, known, unknown


def age_years(name: str, definition: FactDefinition, view: View) -> Fact:
    """Age in whole years; an interval where the birth date is only a year or a month."""
    span = read_span(view.chart.patient.birth_date)
    if span is None or span.first > view.as_of:
        return unknown(name, State.NONE, "no readable birth date")
    least, most = age_between(span, view.as_of)
    value = least if least == most else Interval(Decimal(least), Decimal(most))
    return Fact(name, value, State.KNOWN, (Evidence("Patient", "Age", value=str(least)),))


def deceased(name: str, definition: FactDefinition, view: View) -> Fact:
    """A recorded death. FHIR holds no separate sign of life, so its absence is taken as alive."""
    patient = view.chart.patient
    return known(name, bool(patient.deceased_boolean) or bool(patient.deceased_date_time))
