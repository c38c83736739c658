"""Facts made of other facts."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.facts.evaluate import COMPOSED, OF_ONE_FACT
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Evidence, Fact, State

SEEN = Evidence("Condition/x", "Diabetes", date="2026-01-01")


@pytest.mark.parametrize(
    ("value", "not_shown", "not_known"), [(True, False, False), (False, True, False), (UNKNOWN, True, True)]
)
def test_what_is_not_shown_and_what_is_not_known_are_never_unknown(value: Any, not_shown: bool, not_known: bool) -> None:
    part = Fact("part", value, State.KNOWN, (SEEN,))
    for picker, wanted in (("not_shown", not_shown), ("not_known", not_known)):
        fact = COMPOSED[picker]("made", [part])
        assert (fact.name, fact.value) == ("made", wanted)
        assert fact.evidence == (SEEN,)


def test_they_say_in_their_name_of_which_fact_they_are(knowledge: Knowledge) -> None:
    made = {name: item for name, item in knowledge.facts.items() if item.picker in OF_ONE_FACT}
    assert made
    assert {name: f"{item.facts[0]}_{item.picker}" for name, item in made.items()} == {name: name for name in made}
