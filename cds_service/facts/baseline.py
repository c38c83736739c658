"""What in a chart bears on which fact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache

from cds_service.chart.index import ChartIndex
from cds_service.fhir.resources import DraftOrder, Encounter, QuestionnaireResponse, Resource
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.schema import FactDefinition

_ALWAYS = "always"


_UNNAMED = "a drug without a name"


_OF_A_KIND: Mapping[str, type[Resource]] = {
    "encounter_reason": Encounter,
    "answered": QuestionnaireResponse,
    "history_taken": QuestionnaireResponse,
    "chosen": QuestionnaireResponse,
    "counted": QuestionnaireResponse,
    "counted_up_to": QuestionnaireResponse,
    "being_ordered": DraftOrder,
    "order_reason": DraftOrder,
}


_OF_THE_RECORD = frozenset({"age_years", "deceased", "replaced", "unmatched"})


def _bearings(definition: FactDefinition) -> tuple[str, ...]:
    """What in a chart may bear on a fact: the concepts that it asks for, or resources of a kind."""
    picker = definition.picker
    if picker in _OF_A_KIND:
        return (_OF_A_KIND[picker].__name__,)
    if definition.facts:
        return ()
    if picker in _OF_THE_RECORD:
        return (_ALWAYS,)
    sites = (definition.site.value_set,) if definition.site else ()
    adjusting = (definition.adjustment.by, definition.adjustment.to) if definition.adjustment else ()
    measured = tuple(f"lab:{analyte}" for analyte in (*definition.analytes, *adjusting))
    drug = (definition.after_drug,) if definition.after_drug else ()
    return (*definition.value_sets, *drug, *sites, *measured, *((_UNNAMED,) if picker == "taking" else ()))


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
