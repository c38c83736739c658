"""What in a chart bears on which fact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache

from cds_service.chart.index import ChartIndex
from cds_service.fhir.resources import DraftOrder, Encounter, QuestionnaireResponse
from cds_service.knowledge import fact_kinds as kinds
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.knowledge import Knowledge

_ALWAYS = "always"
_UNNAMED = "a drug without a name"


def _bearings(fact: FactDefinition) -> tuple[str, ...]:
    """What in a chart may bear on a fact: the concepts that it asks for, or resources of a kind."""
    kind = fact.kind
    if fact.facts:
        return ()
    if isinstance(kind, kinds.OfHistory):
        return (QuestionnaireResponse.__name__,)
    if isinstance(kind, (kinds.BeingOrdered, kinds.OrderReason)):
        return (DraftOrder.__name__,)
    if isinstance(kind, kinds.EncounterReason):
        return (Encounter.__name__,)
    measured = tuple(f"lab:{analyte}" for analyte in (*fact.analytes, *fact.adjusted_by))
    unnamed = (_UNNAMED,) if isinstance(kind, kinds.Taking) else ()
    return (*fact.value_sets, *measured, *unnamed) or (_ALWAYS,)


@lru_cache(maxsize=8)
def borne_on(knowledge: Knowledge) -> Mapping[str, frozenset[str]]:
    """The facts that each thing in a chart may bear on, those included that are made of others."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in knowledge.facts:
        for part in _parts(name, knowledge.facts):
            for bearing in _bearings(knowledge.facts[part]):
                found[bearing].add(name)
    return {bearing: frozenset(names) for bearing, names in found.items()}


def _parts(name: str, facts: Mapping[str, FactDefinition]) -> Iterator[str]:
    yield name
    for part in facts[name].facts:
        yield from _parts(part, facts)


def held(view: ChartIndex) -> Iterator[str]:
    """What a chart holds that may bear on a fact."""
    yield _ALWAYS
    yield from view.conditions
    yield from view.unplaced
    yield from view.measured
    drugs, unnamed = view.drugs
    yield from drugs
    yield from view.orders
    yield from view.procedures
    if unnamed:
        yield _UNNAMED
    if view.chart.drafts:
        yield DraftOrder.__name__
    for kind in (Encounter, QuestionnaireResponse):
        if view.chart.all(kind):
            yield kind.__name__
