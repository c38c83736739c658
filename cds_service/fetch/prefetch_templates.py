"""Which queries facts rest on, and the FHIR searches that ask for them, derived from the facts in use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.schema import Query


def queries_in_use(names: Iterable[str], facts: Mapping[str, FactDefinition]) -> set[str]:
    """The queries that these facts rest on, through the facts that they are made of."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            found.update(facts[name].queries)
            waiting.extend(facts[name].facts)
    return found


def with_codes(query: Query, key: str, facts: Mapping[str, FactDefinition], codes: Mapping[str, tuple[str, ...]]) -> str:
    """A template with `{codes}` filled: the bare codes of the concepts that its facts ask for.

    Bare, as long system-and-code tokens would make an address that breaks; the reader checks the system itself.
    `codes` maps each value set, and `lab:<analyte>`, to its codes.
    """
    concepts = {
        concept
        for definition in facts.values()
        if key in definition.queries
        for concept in (*definition.value_sets, *(f"lab:{name}" for name in (*definition.analytes, *definition.adjusted_by)))
    }
    wanted = dict.fromkeys(code for concept in sorted(concepts) for code in codes.get(concept, ()))
    return query.template.replace("{codes}", ",".join(wanted))
