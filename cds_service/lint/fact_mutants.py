"""Small wrong turns of a fact: a window halved or doubled, a set left out or exchanged, roles swapped, any for all."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import msgspec

from cds_service.knowledge import composed_kinds
from cds_service.knowledge import fact_kinds as kinds
from cds_service.knowledge.fact_kinds import FactKind
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.schema import Statuses

# The statuses and intents of FHIR R4 that a list does not hold; `unknown` and what no system sends are left out.
_OTHERS = {
    "active_condition": ("inactive", "remission", "resolved"),
    "untrue_condition": ("unconfirmed", "provisional", "differential", "confirmed"),
    "current_request": ("cancelled", "completed", "entered-in-error", "stopped", "draft"),
    "current_statement": ("completed", "entered-in-error", "stopped", "on-hold", "not-taken"),
    "ended_request": ("cancelled", "entered-in-error", "draft"),
    "intent_without_order": ("order", "original-order", "reflex-order", "filler-order", "instance-order"),
    "reported_result": ("registered", "cancelled", "entered-in-error"),
    "preliminary_result": ("registered", "cancelled", "entered-in-error"),
    "unreported_result": ("entered-in-error",),
    "awaited_result": ("final", "preliminary", "cancelled", "entered-in-error"),
    "open_order": ("draft", "revoked", "completed", "entered-in-error"),
    "undone_procedure": ("in-progress", "on-hold", "stopped", "completed"),
    "completed_vaccination": ("not-done", "entered-in-error"),
    "completed_response": ("in-progress", "entered-in-error", "stopped"),
    "withdrawn_draft": ("draft", "active", "on-hold"),
}


def fact_mutants(kind: FactKind, knowledge: Knowledge) -> Iterator[tuple[str, FactKind]]:
    """Each wrong turn of a kind, with where it was taken."""
    yield from _windows(kind)
    for member, role in kind.roles.items():
        yield from _members(kind, member, role, knowledge)
    yield from _swapped(kind)
    yield from _choices(kind, knowledge)
    yield from _composed(kind)


def status_mutants(statuses: Statuses) -> Iterator[tuple[str, str, Statuses]]:
    """Each list with a status dropped, and with one of FHIR's others added; and which status that is."""
    for member in statuses.__struct_fields__:
        given = getattr(statuses, member)
        for status in given:
            left = tuple(item for item in given if item != status)
            yield f"{member} without {status}", status, msgspec.structs.replace(statuses, **{member: left})
        for status in _OTHERS[member]:
            yield f"{member} with {status}", status, msgspec.structs.replace(statuses, **{member: (*given, status)})


def _windows(kind: FactKind) -> Iterator[tuple[str, FactKind]]:
    days = getattr(kind, "days", None)
    if days:
        yield "days halved", msgspec.structs.replace(kind, days=days // 2)
        yield "days doubled", msgspec.structs.replace(kind, days=days * 2)
    if isinstance(kind, kinds.FellBy):
        yield "by moved up", msgspec.structs.replace(kind, by=kind.by + 1)
        yield "by moved down", msgspec.structs.replace(kind, by=kind.by - 1)
    if isinstance(kind, (kinds.BeganWithin, kinds.DoneAfterCondition)) and kind.unless:
        yield "whatever the words", msgspec.structs.replace(kind, unless=())
    if isinstance(kind, kinds.VaccinatedBefore):
        for step in (1, -1):
            years = {place: count + step for place, count in kind.years.items()}
            yield f"years moved by {step}", msgspec.structs.replace(kind, years=years)
    if isinstance(kind, kinds.AsLowBefore):
        yield "within moved up", msgspec.structs.replace(kind, within=kind.within + 1)
        yield "within moved down", msgspec.structs.replace(kind, within=kind.within - 1)
    if isinstance(kind, kinds.IntegerAtLeast):
        yield "least moved up", msgspec.structs.replace(kind, least=kind.least + 1)
        yield "least moved down", msgspec.structs.replace(kind, least=kind.least - 1)


def _members(kind: FactKind, member: str, role: str, knowledge: Knowledge) -> Iterator[tuple[str, FactKind]]:
    given = getattr(kind, member)
    if isinstance(given, str):
        if (other := _other(given, role, knowledge)) is not None:
            yield f"{member} {given} exchanged", msgspec.structs.replace(kind, **{member: other})
        return
    for at, name in enumerate(given or ()):
        if len(given) > 1:
            yield f"{member} without {name}", msgspec.structs.replace(kind, **{member: (*given[:at], *given[at + 1 :])})
        other = _other(name, role, knowledge)
        if other is not None and other not in given:
            changed = (*given[:at], other, *given[at + 1 :])
            yield f"{member} {name} exchanged", msgspec.structs.replace(kind, **{member: changed})


def _other(name: str, role: str, knowledge: Knowledge) -> str | None:
    """Another of the same kind that shares no code with it."""
    if role == "equation":
        return None
    if role == "analyte":
        return next(key for key in knowledge.labs if key != name)
    own = _codes(name, knowledge)
    fits = (key for key, parts in knowledge.value_sets.items() if key != name and parts[0].kind == role)
    return next((key for key in fits if own.isdisjoint(_codes(key, knowledge))), None)


def _codes(name: str, knowledge: Knowledge) -> set[tuple[str, str]]:
    parts = knowledge.value_sets.get(name, ())
    return {(system, row[0]) for part in parts for system, rows in part.codes.items() for row in rows}


def _swapped(kind: FactKind) -> Iterator[tuple[str, FactKind]]:
    single = [member for member in kind.roles if isinstance(getattr(kind, member), str)]
    for first, second in combinations(single, 2):
        one, other = getattr(kind, first), getattr(kind, second)
        yield f"{first} and {second} swapped", msgspec.structs.replace(kind, **{first: other, second: one})


def _choices(kind: FactKind, knowledge: Knowledge) -> Iterator[tuple[str, FactKind]]:
    if isinstance(kind, kinds.LatestValue) and kind.choose:
        other: Any = "highest" if kind.choose == "lowest" else "lowest"
        yield "the other chosen", msgspec.structs.replace(kind, choose=other)
    if isinstance(kind, kinds.LatestValue) and kind.alarms:
        yield "silenced by what is not understood", msgspec.structs.replace(kind, alarms=False)
    if isinstance(kind, kinds.OfQuestion):
        items = [str(item["linkId"]) for item in knowledge.questionnaire["item"]]
        other = next(link_id for link_id in items if link_id != kind.link_id)
        yield "another question", msgspec.structs.replace(kind, link_id=other)
    if isinstance(kind, kinds.HistoryCompleted):
        yield "a yes to another question", msgspec.structs.replace(kind, says_yes_to="")
    if isinstance(kind, kinds.CodedAnswers):
        for option in kind.options:
            left = tuple(item for item in kind.options if item != option)
            yield f"option {option} dropped", msgspec.structs.replace(kind, options=left)
    if isinstance(kind, kinds.BeingOrdered) and kind.reason:
        yield "whatever the reason", msgspec.structs.replace(kind, reason=None)


def _composed(kind: FactKind) -> Iterator[tuple[str, FactKind]]:
    """Any for all, and each of the others; a part that is dropped changes the facts asked, so the caller drops its value."""
    made = (composed_kinds.AnyOf, composed_kinds.AllOf, composed_kinds.AllShown)
    if isinstance(kind, made):
        for other in made:
            if not isinstance(kind, other):
                yield f"{other.__name__} instead", other(question=kind.question, facts=kind.facts)
    if isinstance(kind, composed_kinds.NotShown):
        yield "NotKnown instead", composed_kinds.NotKnown(question=kind.question, fact=kind.fact)
    if isinstance(kind, composed_kinds.NotKnown):
        yield "NotShown instead", composed_kinds.NotShown(question=kind.question, fact=kind.fact)
