"""Panels that hold no value themselves: what they name was measured, whether its results came or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from cds_service.fhir.dates import read_span
from cds_service.fhir.resources import (
    CodeableConcept,
    Coding,
    Observation,
    Reference,
    codings,
    effective,
    local_reference,
    normal_code,
    text_of,
)
from cds_service.fhir.sections import Unreadable, set_aside
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.schema import Panel
from cds_service.knowledge.terminology import Terminology

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
    observation: Observation, panel: Panel, found: Mapping[str, Sequence[tuple[Observation, object]]], knowledge: Knowledge
) -> Unreadable | None:
    """The panel as what may be about each analyte that it holds and that is neither one of its members nor of its day."""
    members, day = set(members_of(observation) or ()), _day(observation)
    statuses = knowledge.statuses
    said = {*statuses.reported_result, *statuses.preliminary_result, *statuses.unreported_result}

    def came(analyte: str) -> bool:
        # One that was entered in error leaves open what the panel brought.
        beside = (item for item, _ in found.get(f"lab:{analyte}", ()) if normal_code(item.status) in said)
        return any(f"Observation/{item.id}" in members or (day is not None and _day(item) == day) for item in beside)

    missing = [analyte for analyte in panel.holds if not came(analyte)]
    if not missing:
        return None
    loinc = knowledge.systems["loinc"].url
    codes = [Coding(loinc, code) for analyte in missing for code in list(knowledge.labs[analyte].loinc)[:1]]
    concept = CodeableConcept(list[Coding | None](codes), text_of(observation.code) or panel.display)
    return set_aside(observation, "", _WITHOUT_RESULTS)._replace(concepts=(concept,))


def _day(observation: Observation) -> date | None:
    span = read_span(effective(observation))
    return span.last if span else None
