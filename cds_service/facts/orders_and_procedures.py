"""Facts from orders and procedures: what is on order already, and what has been done."""

from __future__ import annotations

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import presence, reference_to, unknown
from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import Procedure, ServiceRequest, effective, normal_code, text_of
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import Done, OnOrder
from cds_service.model import Evidence, Fact, State


def on_order(fact: FactDefinition, kind: OnOrder, index: ChartIndex) -> Fact:
    """Is an active order for one of these open, made in the last `days`, or its result registered and awaited?"""
    ordered = [item for item in index.orders.get(kind.order, ()) if _is_open(item, index)]
    dated = [(item, (item.authored_on or item.occurrence_date_time or "").strip()) for item in ordered]
    evidence = [Evidence(reference_to(item), text_of(item.code), date=when) for item, when in dated]
    return _in_days(fact, kind.days, index, [*evidence, *_observed(kind.order, index.knowledge.statuses.awaited_result, index)])


def done_within(fact: FactDefinition, kind: Done, index: ChartIndex) -> Fact:
    """Was one of these procedures done in the last `days`?"""
    found = done(kind.procedure, index) if kind.observed_under else _procedures(kind.procedure, index)
    return _in_days(fact, kind.days, index, found)


def done(value_set: str, index: ChartIndex) -> list[Evidence]:
    """What was done, whether recorded as a Procedure or, as British systems do, as an Observation."""
    return [*_procedures(value_set, index), *_observed(value_set, index.knowledge.statuses.reported_result, index)]


def _observed(value_set: str, statuses: tuple[str, ...], index: ChartIndex) -> list[Evidence]:
    return [
        Evidence(reference_to(item), text_of(item.code), date=effective(item))
        for item, _ in index.measured.get(value_set, ())
        if normal_code(item.status) in statuses
    ]


def _procedures(value_set: str, index: ChartIndex) -> list[Evidence]:
    return [
        Evidence(reference_to(item), text_of(item.code), date=performed(item))
        for item in index.procedures.get(value_set, ())
        if normal_code(item.status) not in index.knowledge.statuses.undone_procedure
    ]


def _is_open(order: ServiceRequest, index: ChartIndex) -> bool:
    statuses = index.knowledge.statuses
    intended = normal_code(order.intent) not in statuses.intent_without_order
    return normal_code(order.status) in statuses.open_order and intended and not order.do_not_perform


def performed(procedure: Procedure) -> str:
    period = procedure.performed_period
    given = (procedure.performed_date_time, period and (period.end or period.start))
    return next((text.strip() for text in given if text and text.strip()), "")


def _in_days(fact: FactDefinition, days: int | None, index: ChartIndex, evidence: list[Evidence]) -> Fact:
    since = index.since(days)
    placed = [(item, read_span(item.date)) for item in evidence]
    inside = [item for item, span in placed if span and span.within(since, index.until)]
    unplaced = [item for item, span in placed if span is None or span.within(since, index.until) is None]
    if unplaced and not inside:
        return unknown(fact.name, State.UNUSABLE, "its date cannot be placed", unplaced)
    return presence(fact.name, inside, index, fact.queries, fact.value_sets)
