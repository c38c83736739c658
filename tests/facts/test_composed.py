"""Facts made of other facts."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.facts.evaluate import COMPOSED
from cds_service.knowledge.composed_kinds import NewerThan, NotKnown, NotShown
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Evidence, Fact, State

SEEN = Evidence("Condition/x", "Diabetes", date="2026-01-01")


@pytest.mark.parametrize(
    ("value", "not_shown", "not_known"), [(True, False, False), (False, True, False), (UNKNOWN, True, True)]
)
def test_what_is_not_shown_and_what_is_not_known_are_never_unknown(value: Any, not_shown: bool, not_known: bool) -> None:
    part = Fact("part", value, State.KNOWN, (SEEN,))
    for kind, wanted in ((NotShown, not_shown), (NotKnown, not_known)):
        fact = COMPOSED[kind]("made", [part])
        assert (fact.name, fact.value) == ("made", wanted)
        assert fact.evidence == (SEEN,)


@pytest.mark.parametrize(
    ("first", "second", "newer"),
    [
        ("2026-01-02", "2026-01-01", True),
        ("2026-01-01", "2026-01-01", False),
        ("2026-01-01", "2026-01-02", False),
        ("2026-02-01", "2026-01", True),
        ("2026-01-31", "2026-01", False),
        ("", "2026-01-01", UNKNOWN),
    ],
)
def test_which_of_two_facts_is_newer_is_told_by_their_days(first: str, second: str, newer: Any) -> None:
    parts = [Fact("part", True, State.KNOWN, (Evidence("Condition/x", "x", date=day),)) for day in (first, second)]
    assert COMPOSED[NewerThan]("made", parts).value is newer


def test_they_say_in_their_name_of_which_fact_they_are(knowledge: Knowledge) -> None:
    for kind, end in ((NotShown, "not_shown"), (NotKnown, "not_known")):
        made = {name: f"{item.facts[0]}_{end}" for name, item in knowledge.facts.items() if isinstance(item.kind, kind)}
        assert made
        assert made == {name: name for name in made}
