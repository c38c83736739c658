"""Facts from the orders that a hook is about: what is being ordered, and what for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from cds_service.chart.index import ChartIndex, Draft
from cds_service.chart.presence import known, presence, unknown
from cds_service.facts.conditions import matches_concept
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
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Evidence, Fact, State

# An order signed anew may have any other status. What is taken back already needs no word.
_TAKEN_BACK = ("cancelled", "stopped", "completed", "entered-in-error")
NAMED, NONE, OTHER = "named", "none", "other"

T = TypeVar("T")


def being_ordered(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Is a drug of these value sets among the orders in question? Unknown where one of these cannot be identified.

    With `like`, what is ordered for something else than that does not count.
    """
    drafts = _drafts(definition, view)
    if definition.like:
        like = view.knowledge.facts[definition.like]
        drafts = [draft for draft in drafts if _reason(draft.source, like, view) != OTHER]
    evidence = [_evidence(draft) for draft in drafts]
    nameless = _nameless(view)
    if nameless and not evidence:
        return unknown(name, State.UNUSABLE, nameless)
    return presence(name, evidence, view, definition.queries, definition.value_sets)


def order_reason(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """What a drug of these value sets is ordered for: `named`, if it is a condition that the fact `like` asks for; `other`;
    or `none` where no reason is given. Unknown where nothing such is ordered, or the reason cannot be resolved.
    """
    drafts = _drafts(definition, view)
    reasons = [_reason(draft.source, view.knowledge.facts[definition.like], view) for draft in drafts]
    evidence = [_evidence(draft) for draft in drafts]
    if not reasons:
        return unknown(name, State.NONE, _nameless(view) or "not being ordered")
    answer = next(item for item in (NAMED, None, NONE, OTHER) if item in reasons)
    if answer is None:
        return unknown(name, State.UNUSABLE, "the reason of the order cannot be resolved", evidence)
    return known(name, answer, evidence)


def _reason(order: DraftOrder, like: FactDefinition, view: ChartIndex) -> str | None:
    given = [(reason, ()) for reason in _listed(order.reason_code) if is_named(reason)]
    referred = [_referred(reference, view) for reference in _listed(order.reason_reference)]
    verdicts = [matches_concept(concept, sites, like, view) for concept, sites in [*given, *filter(None, referred)]]
    if True in verdicts:
        return NAMED
    if None in verdicts or None in referred:
        return None
    return OTHER if verdicts else NONE


Named = tuple[CodeableConcept | None, Iterable[CodeableConcept | None]]


def _referred(reference: Reference, view: ChartIndex) -> Named | None:
    """The Condition that is referred to, or failing that the words beside the reference."""
    name = local_reference(reference.reference)
    for condition in view.chart.all(Condition):
        if name and name == f"Condition/{condition.id}":
            return condition.code, condition.body_site or ()
    return (CodeableConcept(text=reference.display), ()) if reference.display else None


def _listed(given: list[T | None] | T | None) -> list[T]:
    """One or several: some clients send an object where R4 has a list."""
    return [item for item in (given if isinstance(given, list) else [given]) if item is not None]


def _drafts(definition: FactDefinition, view: ChartIndex) -> Sequence[Draft]:
    return [draft for key in definition.value_sets for draft in view.drafts[0].get(key, ()) if _stands(draft.source)]


def _nameless(view: ChartIndex) -> str:
    """Which draft does not say of what it is, if any: it may be of anything."""
    found = [draft.source for draft in view.drafts[1] if _stands(draft.source)]
    return f"{_reference(found[0])} names no drug" if found else ""


def _stands(order: DraftOrder) -> bool:
    return normal_code(order.status) not in _TAKEN_BACK and not order.do_not_perform


def _reference(order: DraftOrder) -> str:
    return f"MedicationRequest/{order.id}" if order.id else "MedicationRequest"


def _evidence(draft: Draft) -> Evidence:
    return Evidence(_reference(draft.source), text_of(draft.concept), short=draft.ingredient)
