"""Lines that the cards of a group share, filled in by card."""

from __future__ import annotations

from cds_service.knowledge.card_files import Line, filled, stand_ins
from cds_service.knowledge.knowledge import Knowledge

NESTED = {"and": [{"!": [{"var": "start"}]}, {"==": [{"var": "word"}, "start"]}, {"var": "smoking"}]}
LINE = Line(say="Since {start.date} of start, {smoking.name}.", when=NESTED, jurisdiction="uk")


def test_stand_ins_are_what_is_no_fact() -> None:
    assert stand_ins([LINE], {"smoking"}) == {"start", "word"}


def test_facts_take_the_place_of_stand_ins_and_of_nothing_else() -> None:
    (line,) = filled([LINE], {"start": "drug_start", "word": "drug_word"})
    assert line.say == "Since {drug_start.date} of start, {smoking.name}."
    assert line.when == {"and": [{"!": [{"var": "drug_start"}]}, {"==": [{"var": "drug_word"}, "start"]}, {"var": "smoking"}]}
    assert line.jurisdiction == "uk"


def test_each_card_of_a_group_ends_with_its_shared_lines(knowledge: Knowledge) -> None:
    shared = {group.id: group.shared_lines for group in knowledge.groups}
    rules = [rule for rule in knowledge.rules if shared[rule.file.group]]
    assert len(rules) > 1
    for rule in rules:
        card, lines = knowledge.cards[rule.id], shared[rule.file.group]
        assert card.file.lines[-len(lines) :] == filled(lines, card.file.shared_facts)
        assert len(card.lines) == len(card.file.lines) > len(lines)
