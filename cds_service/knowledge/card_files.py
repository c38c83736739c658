"""The words of cards as files: cards, their groups, phrases of facts, and the lines that the cards of a group share."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec

from cds_service.knowledge.schema import KnowledgeFile, Priority

_PLACEHOLDER = re.compile(r"(?<=\{)[a-z0-9_]+(?=\.)")


class Line(KnowledgeFile):
    """One line of a card. `unless_urgent`: left out beside a critical card, where everyday advice could harm;
    `unless_warned`: also beside a warning, where reassurance would be wrong. `jurisdiction`: said only there.
    `headline`: where the line stands, the summary says this in place of the headline of the card. `say` may then be left out.
    `reason`: why a test is asked for, or when a drug was begun; it is said in brackets behind what the first line is about.
    """

    say: str = ""
    when: Any = True
    headline: str = ""
    reason: bool = False
    unless_urgent: bool = False
    unless_warned: bool = False
    jurisdiction: str = ""


class Group(KnowledgeFile):
    """One kind of card. `summary` holds `{headlines}`; findings of a merging group share one card, as `priority` ranks them.

    `joiner` stands between headlines, `more` for those that do not fit, `lead` before the lines. `offers`: its tests are
    offers, which a site may switch off where nothing on record recommends them. `leaflet`: its card links to the leaflet for
    the patient, where the site says at which address it is reached. `order_priority`: of the requests that it offers.
    Where there are at least two findings more than `most_told`, these are only named, by `beyond`. `shared_lines` end each
    card of the group; where they differ by rule they name a stand-in, for which each card gives its own fact.
    """

    id: str
    indicator: str
    merge: bool
    topic: str
    summary: str
    override_reasons: tuple[str, ...]
    joiner: str = ", "
    more: str = "and {count} more"
    lead: str = ""
    shared_lines: tuple[Line, ...] = ()
    offers: bool = False
    leaflet: bool = False
    most_told: int = 0
    beyond: str = ""
    order_priority: Priority = ""


class Removal(KnowledgeFile):
    """A draft that may be taken away again: those that `fact` found, each by its `{name}`."""

    fact: str
    label: str
    description: str


class FormRequest(KnowledgeFile):
    """A suggestion to have our Questionnaire filled in."""

    label: str
    description: str


class CardFile(KnowledgeFile):
    """The words of one rule. `shared_facts`: its own facts for the stand-ins in the shared lines of its group.

    `joins`: another group, on whose card it stands where there is one; else it stands on that of its own.
    """

    rule: str
    headline: str
    lines: tuple[Line, ...]
    joins: str = ""
    shared_facts: dict[str, str] = msgspec.field(default_factory=dict)
    removes: tuple[Removal, ...] = ()
    asks_for_form: FormRequest | None = None


class Phrase(KnowledgeFile):
    """How the facts of one kind of question are told. `asks` is that question, with `{blanks}` that the texts fill in.

    `says` has a text for each answer, `true` and `false` for yes and no; of a number only `number`, which `{number}` fills.
    """

    asks: str
    about: str
    says: dict[str, str]


class Imperatives(KnowledgeFile):
    """Words with which a card would order and not advise: where a clause begins with them, or anywhere."""

    note: str
    begin: tuple[str, ...]
    anywhere: tuple[str, ...]


class Wording(KnowledgeFile):
    """The sentences that cards share, such as how a draft rule names itself. What is in braces is filled in."""

    one_article: str
    both_articles: str
    draft: str
    reviewed: str
    reviewed_in_part: str
    why_this_card: str
    why_articles: str
    why_numbers: str
    why_misleads: str
    why_version: str
    why_footer: str
    could_not_read: str
    not_identified: str
    not_understood: str
    entries: dict[str, str]
    not_supplied: str
    pending: str
    orders_not_supplied: str
    left_out: str
    leaflet_name: str
    leaflet: str
    leaflet_sources: str


class OverrideReasons(KnowledgeFile):
    """Why a card may not be followed: codes of one system with its own displays, and where these were read.

    `says`: each in the words of a clinician, for our own pages.
    """

    system: str
    origin: str
    displays: dict[str, str]
    says: dict[str, str]


class GroupsFile(KnowledgeFile):
    groups: tuple[Group, ...]
    override_reasons: OverrideReasons
    wording: Wording


def stand_ins(lines: Iterable[Line], facts: Container[str]) -> set[str]:
    """What shared lines name that is no fact itself."""
    named = {name for line in lines for name in (*_PLACEHOLDER.findall(line.say), *_asked(line.when))}
    return {name for name in named if name not in facts}


def filled(lines: Iterable[Line], facts: Mapping[str, str]) -> tuple[Line, ...]:
    """The lines with the facts of one rule, given by stand-in.

    >>> line = Line(say="Begun ({start.date}).", when={"var": "start"})
    >>> filled([line], {"start": "drug_start"})[0].say, filled([line], {"start": "drug_start"})[0].when
    ('Begun ({drug_start.date}).', {'var': 'drug_start'})
    """
    return tuple(
        msgspec.structs.replace(
            line,
            say=_PLACEHOLDER.sub(lambda found: facts.get(found.group(), found.group()), line.say),
            when=_renamed(line.when, facts),
        )
        for line in lines
    )


def _renamed(logic: Any, facts: Mapping[str, str]) -> Any:
    if isinstance(logic, list):
        return [_renamed(item, facts) for item in logic]
    if not isinstance(logic, dict):
        return logic
    return {
        operator: facts.get(argument, argument)
        if operator == "var" and isinstance(argument, str)
        else _renamed(argument, facts)
        for operator, argument in logic.items()
    }


def _asked(logic: Any) -> Iterable[str]:
    if isinstance(logic, list):
        for item in logic:
            yield from _asked(item)
    elif isinstance(logic, dict):
        for operator, argument in logic.items():
            yield from [argument] if operator == "var" and isinstance(argument, str) else _asked(argument)
