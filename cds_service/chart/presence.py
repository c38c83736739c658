"""Facts as they are made: known, unknown and why, and absence, which is told only where all was looked at and read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from cds_service.chart.index import ChartIndex
from cds_service.fhir.resources import (
    Resource,
)
from cds_service.model import UNKNOWN, Evidence, EvidenceSource, Fact, Known, State, ordered

Given = EvidenceSource | Iterable[Evidence]
"""What a fact rests on, or a way to put it into words once somebody asks."""


def known(name: str, value: Known, given: Given = (), state: State = State.KNOWN) -> Fact:
    return Fact(name, value, state, given if callable(given) else ordered(given))


def unknown(name: str, state: State, reason: str, given: Given = ()) -> Fact:
    return Fact(name, UNKNOWN, state, given if callable(given) else ordered(given), reason)


def reference_to(resource: Resource) -> str:
    return f"{type(resource).__name__}/{resource.id}" if resource.id else type(resource).__name__


def presence(name: str, given: Given, view: ChartIndex, queries: tuple[str, ...], concepts: Iterable[str]) -> Fact:
    """True where something was found. False only where all was looked at, all could be read, and nothing was there."""
    if given:
        return known(name, True, given)
    if view.all_read(queries):
        return nothing(name)
    damaged = view.damaged(queries, concepts)
    if damaged:
        return unknown(name, State.UNUSABLE, f"{damaged.reference or damaged.place} could not be read")
    state, reason = view.shortfall(queries)
    if state is not State.KNOWN:
        return unknown(name, state, reason)
    return nothing(name)


@lru_cache(maxsize=1024)
def nothing(name: str) -> Fact:
    """Looked and found none. Most facts of most patients: the same object each time."""
    return known(name, False, (), State.ABSENT)
