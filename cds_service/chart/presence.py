"""Facts as they are made: known, unknown and why, and absence, which is told only where all was looked at and read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from cds_service.chart.doubt import NOT_IDENTIFIED
from cds_service.chart.index import ChartIndex
from cds_service.fhir.resources import Resource, text_of
from cds_service.fhir.sections import Unreadable
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
    doubts = view.doubts(queries, concepts)
    if doubts:
        return not_understood(name, doubts, view)
    state, reason = view.shortfall(queries)
    if state is not State.KNOWN:
        return unknown(name, state, reason)
    return nothing(name)


def not_understood(name: str, doubts: Sequence[Unreadable], view: ChartIndex) -> Fact:
    """Unknown because of entries that were not read or understood, each in the words of the record, with what else is wrong.

    Many facts are unknown for the same entries: these are put into words once.
    """

    def named() -> tuple[Evidence, ...]:
        # The entries are kept with their words, so that no other can take the place of one in memory.
        return view.memo(("named", tuple(map(id, doubts))), lambda: (doubts, ordered(map(_named, doubts))))[1]

    return unknown(name, State.NOT_UNDERSTOOD, reason_of(doubts[0]), named)


def _named(item: Unreadable) -> Evidence:
    note = "" if item.problem == NOT_IDENTIFIED else item.problem[:_LONGEST_TOLD]
    return Evidence(_place_of(item), words_of(item), date=item.when[:_LONGEST_TOLD], note=note)


def reason_of(item: Unreadable) -> str:
    """`MedicationRequest/m1, “Xyz 20”, could not be identified`."""
    words, where, problem = words_of(item), _place_of(item), item.problem[:_LONGEST_TOLD]
    return f"{where} {problem}" if words == UNNAMED else f"{where}, “{words}”, {problem}"


def _place_of(item: Unreadable) -> str:
    return (item.reference or item.place)[:_LONGEST_TOLD]


UNNAMED = "unnamed"
_LONGEST_TOLD = 500
"""Characters of what an entry says that are told: many facts may be unknown for the same one."""


def words_of(item: Unreadable) -> str:
    if not item.concepts:
        return UNNAMED
    return next((text for concept in item.concepts if (text := text_of(concept))), UNNAMED)[:_LONGEST_TOLD]


@lru_cache(maxsize=1024)
def nothing(name: str) -> Fact:
    """Looked and found none. Most facts of most patients: the same object each time."""
    return known(name, False, (), State.ABSENT)
