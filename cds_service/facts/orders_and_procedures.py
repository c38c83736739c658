"""Facts from orders and procedures: what is on order already, and what has been done."""

from __future__ import annotations

from datetime import timedelta

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import presence, reference_to, unknown
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import Procedure, ServiceRequest, normal_code, text_of
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Evidence, Fact, State

_PENDING = ("active", "on-hold")
_NOT_ORDERED = ("proposal", "plan")
UNDONE = ("entered-in-error", "not-done", "preparation")
_SEEN = ("final", "amended", "corrected")


def on_order(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is an active order for one of these open, made in the last `days`?"""
    found = [item for key in definition.value_sets for item in view.orders.get(key, ()) if _is_open(item)]
    dated = {reference_to(item): (item.authored_on or item.occurrence_date_time or "").strip() for item in found}
    evidence = [Evidence(reference_to(item), text_of(item.code), date=dated[reference_to(item)]) for item in found]
    return _in_days(name, definition, view, evidence)


def done_within(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Was one of these procedures done in the last `days`?"""
    found = [item for key in definition.value_sets for item in _procedures(key, view)]
    return _in_days(name, definition, view, found)


def done(value_set: str, view: ChartIndex) -> list[Evidence]:
    """What was done, whether recorded as a Procedure or, as British systems do, as an Observation."""
    observed = [observation for observation, _ in view.measured.get(value_set, ())]
    return [
        *_procedures(value_set, view),
        *(
            Evidence(reference_to(item), text_of(item.code), date=(item.effective_date_time or item.issued or "").strip())
            for item in observed
            if normal_code(item.status) in _SEEN
        ),
    ]


def _procedures(value_set: str, view: ChartIndex) -> list[Evidence]:
    return [
        Evidence(reference_to(item), text_of(item.code), date=performed(item))
        for item in view.procedures.get(value_set, ())
        if normal_code(item.status) not in UNDONE
    ]


def _is_open(order: ServiceRequest) -> bool:
    return normal_code(order.status) in _PENDING and normal_code(order.intent) not in _NOT_ORDERED and not order.do_not_perform


def performed(procedure: Procedure) -> str:
    period = procedure.performed_period
    given = (procedure.performed_date_time, period and (period.end or period.start))
    return next((text.strip() for text in given if text and text.strip()), "")


def _in_days(name: str, definition: FactDefinition, view: ChartIndex, evidence: list[Evidence]) -> Fact:
    since = view.as_of - timedelta(days=definition.days or 0)
    placed = [(item, read_span(item.date)) for item in evidence]
    inside = [item for item, span in placed if span and span.within(since, view.as_of)]
    unplaced = [item for item, span in placed if span is None or span.within(since, view.as_of) is None]
    if unplaced and not inside:
        return unknown(name, State.UNUSABLE, "its date cannot be placed", unplaced)
    return presence(name, inside, view, definition.queries, definition.value_sets)
