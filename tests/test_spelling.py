"""Texts are written once; each jurisdiction reads its own spelling, and records are never respelled."""

from __future__ import annotations

import pytest

from cds_service.knowledge import Knowledge
from cds_service.spelling import spelled, speller, spoken_texts
from cds_service.wording import plain


@pytest.mark.parametrize(("jurisdiction", "headline"), [("us", "Anemia"), ("uk", "Anaemia")])
def test_a_headline_is_spelled_as_the_jurisdiction_does(knowledge: Knowledge, jurisdiction: str, headline: str) -> None:
    assert spelled(knowledge, jurisdiction).cards["anaemia"].file.headline == headline


def test_placeholders_keep_the_names_of_facts(knowledge: Knowledge) -> None:
    lines = [say for _, say in spelled(knowledge, "us").cards["anaemia"].lines]
    assert lines[0].startswith("{anaemia.names}.")


def test_an_american_text_holds_no_british_word(knowledge: Knowledge) -> None:
    told = " ".join(text for text in spoken_texts(spelled(knowledge, "us")) if "{" not in text).lower()
    assert [word for word in knowledge.spelling["us"] if word in told] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("anaemia", "anemia"), ("Anaemia.", "Anemia."), ("anaemias", "anaemias"), ("no such word", "no such word")],
)
def test_whole_words_are_respelled_and_keep_their_capital(text: str, expected: str) -> None:
    assert speller({"anaemia": "anemia"})(text) == expected


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("Pernicious anemia (disorder)", "Pernicious anemia"),
        ("Furosemide (substance)", "Furosemide"),
        ("Chronic kidney disease, stage 4 (severe)", "Chronic kidney disease, stage 4 (severe)"),
        ("(finding)", "(finding)"),
    ],
)
def test_the_kind_of_a_snomed_concept_is_not_read_aloud(recorded: str, shown: str) -> None:
    assert plain(recorded) == shown
