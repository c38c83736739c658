"""Panels that hold no value themselves: what they name was measured, whether its results came or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from cds_service.fhir.dates import is_later, read_span
from cds_service.fhir.resources import (
    CodeableConcept,
    Coding,
    Component,
    Observation,
    Reference,
    codings,
    effective,
    local_reference,
    text_of,
)
from cds_service.fhir.sections import Unreadable, set_aside
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.schema import Panel
from cds_service.knowledge.terminology import Terminology

ObservedPart = tuple[Observation, Observation | Component]
"""One measured value: an Observation, and what of it holds the value: itself, or one of its components."""

_members = msgspec.json.Decoder(list[Reference | None] | None)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
_WITHOUT_RESULTS = "is a panel of which not all results came"


def members_of(observation: Observation) -> list[str] | None:
    """The references of `hasMember`, empty where it names none; None where they cannot be read."""
    try:
        given = _members.decode(observation.has_member) if observation.has_member else None
    except _UNREADABLE:
        return None
    named = [local_reference(item.reference) if item else "" for item in given or ()]
    return named if all(named) else None


def panel_of(code: CodeableConcept | None, terminology: Terminology, panels: Mapping[str, Panel]) -> Panel | None:
    """The panel that a LOINC code names, if it is one of ours."""
    loinc = (item.code or "" for item in codings(code) if terminology.short_system(item.system) == "loinc")
    return next((panels[name] for name in map(str.strip, loinc) if name in panels), None)


def without_results(
    observation: Observation,
    panel: Panel,
    results: Mapping[str, Sequence[ObservedPart]],
    came: frozenset[str],
    knowledge: Knowledge,
) -> Unreadable | None:
    """The panel as what may be about each analyte that it holds and that did not come with it; None if none is missing.

    `came` are the references of the Observations that did. Where it names its members, they are what it brought; else it is
    what was reported on its day, and not before it.
    """
    named = members_of(observation)
    if named and came.issuperset(named):
        return None

    def is_of_it(item: Observation) -> bool:
        if item is observation:
            return True
        if named is None or named:
            return f"Observation/{item.id}" in (named or ())
        return f"Observation/{item.id}" in came and _is_beside(observation, item)

    missing = [name for name in panel.holds if not any(is_of_it(item) for item, _ in results.get(f"lab:{name}", ()))]
    if not missing:
        return None
    loinc = knowledge.systems["loinc"].url
    codes = [Coding(loinc, code) for analyte in missing for code in list(knowledge.labs[analyte].loinc)[:1]]
    concept = CodeableConcept(list[Coding | None](codes), text_of(observation.code) or panel.display)
    return set_aside(observation, "", _WITHOUT_RESULTS)._replace(concepts=(concept,))


def _is_beside(panel: Observation, item: Observation) -> bool:
    """Whether a result is of the day of a panel, and not for sure of an earlier hour."""
    day = _day(panel)
    return day is not None and _day(item) == day and not is_later(effective(panel), effective(item))


def _day(observation: Observation) -> date | None:
    span = read_span(effective(observation))
    return span.last if span else None
