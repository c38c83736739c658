"""Our own words as a jurisdiction spells them: texts are written once, in British spelling, and `cards/spelling.json`
holds what another jurisdiction writes instead. What a record says is never respelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from cds_service.knowledge.knowledge import CardText, Knowledge

S = TypeVar("S", bound=msgspec.Struct)
Speller = Callable[[str], str]


def spelled(knowledge: Knowledge, jurisdiction: str) -> Knowledge:
    """The same knowledge with every text that is shown in the spelling of `jurisdiction`. Done once, at start."""
    words = knowledge.spelling.get(jurisdiction)
    if not words:
        return knowledge
    spell = speller(words)
    return replace(
        knowledge,
        cards={key: _card(card, spell) for key, card in knowledge.cards.items()},
        groups=tuple(_members(group, ("summary", "lead"), spell) for group in knowledge.groups),
        orders={key: _members(order, ("title", "label", "description"), spell) for key, order in knowledge.orders.items()},
        labs={key: _members(lab, ("title",), spell) for key, lab in knowledge.labs.items()},
        sources={key: _members(source, ("title",), spell) for key, source in knowledge.sources.items()},
        queries={key: _members(query, ("title",), spell) for key, query in knowledge.queries.items()},
        facts={key: replace(fact, question=_outside_braces(fact.question, spell)) for key, fact in knowledge.facts.items()},
        rules=tuple(replace(rule, file=_members(rule.file, ("title",), spell)) for rule in knowledge.rules),
    )


def speller(words: Mapping[str, str]) -> Speller:
    """Whole words only, a capital kept.

    >>> speller({"anaemia": "anemia"})("Anaemia, and anaemias")
    'Anemia, and anaemias'
    """
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)

    def instead(match: re.Match[str]) -> str:
        found = match.group()
        word = words[found.lower()]
        return word[0].upper() + word[1:] if found[0].isupper() else word

    return lambda text: pattern.sub(instead, text)


def spoken_texts(knowledge: Knowledge) -> Iterable[str]:
    """Every text that `spelled` looks at."""
    for card in knowledge.cards.values():
        yield from (card.file.headline, *(line.headline for line in card.file.lines))
        yield from (say for _, say in card.lines)
        yield from (text for item in card.file.removes for text in (item.label, item.description))
        if form := card.file.asks_for_form:
            yield from (form.label, form.description)
    for group in knowledge.groups:
        yield from (group.summary, group.lead, group.beyond)
    for order in knowledge.orders.values():
        yield from (order.title, order.label, order.description)
    yield from (lab.title for lab in knowledge.labs.values())
    yield from (source.title for source in knowledge.sources.values())
    yield from (query.title for query in knowledge.queries.values())
    yield from (fact.question for fact in knowledge.facts.values())
    yield from (rule.file.title for rule in knowledge.rules)


def _card(card: CardText, spell: Speller) -> CardText:
    file = _members(card.file, ("headline",), spell)
    removes = tuple(_members(item, ("label", "description"), spell) for item in file.removes)
    form = _members(file.asks_for_form, ("label", "description"), spell) if file.asks_for_form else None
    lines = tuple(_members(line, ("headline",), spell) for line in file.lines)
    file = msgspec.structs.replace(file, removes=removes, lines=lines, asks_for_form=form)
    return replace(card, file=file, lines=tuple((when, _outside_braces(say, spell)) for when, say in card.lines))


def _outside_braces(text: str, spell: Speller) -> str:
    """A placeholder names a fact; it is no word."""
    return "".join(part if part.startswith("{") else spell(part) for part in re.split(r"(\{[^}]*\})", text))


def _members(item: S, names: Iterable[str], spell: Speller) -> S:
    return msgspec.structs.replace(item, **{name: _outside_braces(getattr(item, name), spell) for name in names})
