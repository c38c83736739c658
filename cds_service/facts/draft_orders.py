"""Facts from the orders that a hook is about: what is being ordered, and what for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from cds_service.chart.doubt import NOT_IDENTIFIED
from cds_service.chart.index import ChartIndex, Draft
from cds_service.chart.presence import known, presence, unknown
from cds_service.facts.medications import short_name
from cds_service.fhir.resources import (
    CodeableConcept,
    Condition,
    DraftOrder,
    Reference,
    is_named,
    local_reference,
    normal_code,
    text_of,
)
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import DRAFTS, BeingOrdered, OrderReason
from cds_service.model import Evidence, Fact, State

INDICATED, UNSTATED, OTHER = OrderReason.values

T = TypeVar("T")


def being_ordered(fact: FactDefinition, kind: BeingOrdered, index: ChartIndex) -> Fact:
    """Unknown where one of the orders in question cannot be identified."""
    drafts = _drafts(kind.drugs, index)
    if kind.reason:
        drafts = [draft for draft in drafts if _reason(draft.source, kind.reason, index) != OTHER]
    evidence = [_evidence(draft) for draft in drafts]
    nameless = _nameless(index)
    if nameless and not evidence:
        return unknown(fact.name, State.NOT_UNDERSTOOD, nameless)
    return presence(fact.name, evidence, index, DRAFTS, kind.drugs)


def order_reason(fact: FactDefinition, kind: OrderReason, index: ChartIndex) -> Fact:
    """Unknown where nothing such is ordered, or the reason cannot be resolved."""
    drafts = _drafts(kind.drugs, index)
    reasons = [_reason(draft.source, kind.indication, index) for draft in drafts]
    evidence = [_evidence(draft) for draft in drafts]
    if not reasons:
        return unknown(fact.name, State.ABSENT, _nameless(index) or "not being ordered")
    answer = next(item for item in (INDICATED, None, UNSTATED, OTHER) if item in reasons)
    if answer is None:
        return unknown(fact.name, State.UNUSABLE, "the reason of the order cannot be resolved", evidence)
    return known(fact.name, answer, evidence)


def _reason(order: DraftOrder, indication: str, index: ChartIndex) -> str | None:
    given = [(reason, ()) for reason in _listed(order.reason_code) if is_named(reason)]
    referred = [_referred(reference, index) for reference in _listed(order.reason_reference)]
    reasons = [index.means(concept, sites, indication) for concept, sites in [*given, *filter(None, referred)]]
    if True in reasons:
        return INDICATED
    if None in reasons or None in referred:
        return None
    return OTHER if reasons else UNSTATED


Named = tuple[CodeableConcept | None, Iterable[CodeableConcept | None]]


def _referred(reference: Reference, index: ChartIndex) -> Named | None:
    """The Condition that is referred to, or failing that the words beside the reference."""
    name = local_reference(reference.reference)
    for condition in index.chart.all(Condition):
        if name and name == f"Condition/{condition.id}":
            return condition.code, condition.body_site or ()
    return (CodeableConcept(text=reference.display), ()) if reference.display else None


def _listed(given: list[T | None] | T | None) -> list[T]:
    """One or several: some clients send an object where R4 has a list."""
    return [item for item in (given if isinstance(given, list) else [given]) if item is not None]


def _drafts(drugs: Sequence[str], index: ChartIndex) -> Sequence[Draft]:
    return [draft for key in drugs for draft in index.drafts[0].get(key, ()) if _stands(draft.source, index)]


def _nameless(index: ChartIndex) -> str:
    """Which draft does not say of what it is, if any: it may be of anything."""
    found = [draft.source for draft in index.drafts[1] if _stands(draft.source, index)]
    return f"{_reference(found[0])} {NOT_IDENTIFIED}" if found else ""


def _stands(order: DraftOrder, index: ChartIndex) -> bool:
    """An order signed anew may have any other status. What is taken back already needs no word."""
    return normal_code(order.status) not in index.knowledge.statuses.withdrawn_draft and not order.do_not_perform


def _reference(order: DraftOrder) -> str:
    return f"MedicationRequest/{order.id}" if order.id else "MedicationRequest"


def _evidence(draft: Draft) -> Evidence:
    return Evidence(_reference(draft.source), text_of(draft.concept), short=short_name(draft))
