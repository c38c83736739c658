"""How much the service says: the cards and suggestions of each of the cast, counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import Card
from cds_service.knowledge.knowledge import Knowledge
from cds_service.samples.people import Person, patient_file, read_bundle, read_cast, to_hook_request
from cds_service.service import DecisionService
from cds_service.settings import Settings

_WORD = re.compile(r"\S*[^\W_]\S*")


class Tally(NamedTuple):
    """For each person of the cast how many cards, how many suggestions on all of them, and how many words to read.

    Words are those of summaries, details and labels of suggestions.
    """

    cards: tuple[int, ...]
    suggestions: tuple[int, ...]
    words: tuple[int, ...]


def tally(knowledge: Knowledge, fixtures: Path) -> Tally:
    """Each of the cast judged on their own day, by a site of their own jurisdiction that has set nothing else."""
    cast = read_cast(fixtures)
    # Without the environment, so that every site writes the same catalogue.
    places = {person.jurisdiction for person in cast}
    sites = {place: DecisionService(knowledge, Settings.model_construct(jurisdiction=place)) for place in places}
    text = [_cards(person, sites[person.jurisdiction], fixtures) for person in cast]
    return Tally(
        tuple(map(len, text)),
        tuple(sum(len(card.suggestions) for card in cards) for cards in text),
        tuple(sum(map(words_on, cards)) for cards in text),
    )


def words_on(card: Card) -> int:
    """A word holds a letter or a digit: the dash before a line is none."""
    shown = " ".join((card.summary, card.detail, *(suggestion.label for suggestion in card.suggestions)))
    return len(_WORD.findall(shown))


def _cards(person: Person, decision_service: DecisionService, fixtures: Path) -> Sequence[Card]:
    knowledge = decision_service.knowledge
    body = to_hook_request(read_bundle(patient_file(fixtures, person)), dict(knowledge.queries), person.hook, person)
    request = read_request(json.dumps(body).encode(), person.hook)
    return decision_service.answer(knowledge.service_on(person.hook), request, person.day).cards


def rows(counted: Tally) -> Iterator[tuple[int, int, int]]:
    """Each number from none to the most, how many people get so many cards, and how many so many suggestions."""
    cards, suggestions = Counter(counted.cards), Counter(counted.suggestions)
    for number in range(max(*cards, *suggestions) + 1):
        yield number, cards[number], suggestions[number]


def sum_up(counted: Tally) -> str:
    """`65 people: median 3 cards, 4 suggestions and 120 words, at most 6, 10 and 300.`"""
    return (
        f"{len(counted.cards)} people: median {median(counted.cards):g} cards, {median(counted.suggestions):g} suggestions "
        f"and {median(counted.words):g} words, "
        f"at most {max(counted.cards)}, {max(counted.suggestions)} and {max(counted.words)}."
    )
