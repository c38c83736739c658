"""Few lines on a card: what is said of one thing stands together, and each test with its reasons."""

from __future__ import annotations

import pytest

from cds_service.cards.lines import Said, told, told_of_tests


def of_record(about: str, says: str) -> Said:
    return Said(about, says, is_of_record=True)


@pytest.mark.parametrize(
    ("rules", "lines"),
    [
        ([[Said("Low.")]], ["Low."]),
        # Two rules that speak of the same entry, and two of which each has its own meaning.
        ([[of_record("Gout (2020)", "look.")], [of_record("Gout (2020)", "ask.")]], ["Gout (2020): look; ask."]),
        ([[Said("On the list", "zinc.")], [Said("On the list", "iron.")]], ["On the list: zinc.", "On the list: iron."]),
        ([[Said("Cause", "gout."), Said("Cause", "iron.")]], ["Cause: gout; iron."]),
        # Sentences stay sentences, and what is said twice is said once.
        ([[of_record("Gout", "look. Feel.")], [of_record("Gout", "ask.")]], ["Gout: look. Feel. Ask."]),
        ([[Said("Same.")], [Said("Same.")]], ["Same."]),
        ([[Said("Sodium 119, low.")], [Said("Sodium 119."), Said("Sodium 11.")]], ["Sodium 119, low.", "Sodium 11."]),
        # When it began belongs to the one drug, or to all of several.
        ([[of_record("zinc (since May)", "ask."), Said("early", "", True)]], ["zinc (since May; early): ask."]),
        ([[of_record("zinc (A), iron (B)", "ask."), Said("early", "", True)]], ["zinc (A), iron (B), early: ask."]),
        ([[of_record("zinc", "ask."), Said("early", "", True), Said("more", "ask.")]], ["zinc (early): ask.", "more: ask."]),
    ],
)
def test_what_is_said_of_one_thing_stands_in_one_line(rules: list[list[Said]], lines: list[str]) -> None:
    assert told(rules, ["Gout", "zinc"]) == lines


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Sodium 3 (May), low. Ask.", "Low. Ask."),
        ("Sodium 3 (May): low.", "Low."),
        ("eGFR 20", "eGFR 20"),
        ("Sodium 3 (May)", "Sodium 3 (May)"),
    ],
)
def test_what_the_summary_says_in_full_is_not_said_again(line: str, expected: str) -> None:
    assert told([[Said(line)]], ["Sodium 3 (May)"]) == [expected]
    assert told([[Said(line)]], ["Sodium 3 (May)", "TSH 9"]) == [line]


@pytest.mark.parametrize(
    ("rules", "lines"),
    [
        ([[Said("kidney function", "none.")], [Said("TSH", "none.")]], ["Kidney function, TSH: none."]),
        ([[Said("eGFR", "none.")], [Said("TSH", "none since.")]], ["eGFR: none.", "TSH: none since."]),
        (
            [[Said("TSH", "none."), Said("goitre", "", True), Said("tired", "", True)], [Said("iron", "none.")]],
            ["TSH (goitre; tired), iron: none."],
        ),
        ([[Said("TSH", "none."), Said("tired", "", True), Said("tired", "", True)]], ["TSH (tired): none."]),
    ],
)
def test_each_test_has_its_own_reasons(rules: list[list[Said]], lines: list[str]) -> None:
    assert told_of_tests(rules) == lines
