"""House rules about cards and leaflets: one small function each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from cds_service.cards import leaflets
from cds_service.cards.lines import BETWEEN
from cds_service.cards.printed import FOLDER
from cds_service.cards.text import ORDERS, PARTS, PLACEHOLDER, WIDTHS, longest
from cds_service.cdshooks.response import SUMMARY_LIMIT
from cds_service.errors import Problem
from cds_service.explain.fact_text import unspoken
from cds_service.jsonlogic.typecheck import compared
from cds_service.knowledge.knowledge import CardText, Knowledge, Rule
from cds_service.knowledge.localise import spelled, spoken_texts
from cds_service.lint.rule_checks import JURISDICTIONS

Problems = Iterator[Problem]

_MARKUP = re.compile(r"<[a-zA-Z/!]|://|\|.*\||^#|`|\*\*|__|\]\(|&#?\w+;")
_CLAUSE = r"(?:^|[.,:;!?()]\s*|\b(?:and|or|then|please|now|but)\s+)"
_MANY = "99"


def placeholders_are_facts_of_the_rule(knowledge: Knowledge) -> Problems:
    for rule, card in _each_card(knowledge):
        for text in _texts(card):
            for name, part in PLACEHOLDER.findall(text):
                yield from _placeholder(rule, card, name, part)


def _placeholder(rule: Rule, card: CardText, name: str, part: str) -> Problems:
    if not part:
        if name != ORDERS or not rule.orders:
            yield Problem(card.place, f"placeholder {{{name}}}", "write {fact.part}; {orders} only where the rule has orders")
    elif part not in PARTS:
        yield Problem(card.place, f"placeholder {{{name}.{part}}}", f"use one of {', '.join(PARTS)}")
    elif name not in rule.facts | card.facts:
        yield Problem(card.place, f"{name!r} is no fact of the rule", "use a fact that the rule or the line decides on")


def _texts(card: CardText) -> Iterator[str]:
    yield from _headlines(card)
    yield from (line.say for line in card.file.lines if line.say or not line.headline)


def _headlines(card: CardText) -> list[str]:
    """All that may stand in its summary: that of the card, and those of its lines."""
    return [card.file.headline, *(line.headline for line in card.file.lines if line.headline)]


def _each_card(knowledge: Knowledge) -> Iterator[tuple[Rule, CardText]]:
    for rule in knowledge.rules:
        if rule.id in knowledge.cards:
            yield rule, knowledge.cards[rule.id]


def spelling_is_used(knowledge: Knowledge) -> Problems:
    texts = " ".join(spoken_texts(knowledge)).lower()
    for jurisdiction, words in knowledge.spelling.items():
        place = f"cards/spelling.json {jurisdiction}"
        if jurisdiction not in JURISDICTIONS:
            yield Problem(place, "is no jurisdiction", f"use one of {', '.join(JURISDICTIONS)}")
        for word in words:
            if word != word.lower() or word not in texts:
                yield Problem(place, f"{word!r} stands in no text", "remove it, or write it in lower case as the texts do")


def a_card_speaks_in_each_jurisdiction(knowledge: Knowledge) -> Problems:
    for rule, card in _each_card(knowledge):
        for line in card.file.lines:
            if line.jurisdiction and line.jurisdiction not in rule.file.jurisdiction:
                text = f"a line is for {line.jurisdiction!r}, where the rule does not hold"
                yield Problem(card.place, text, f"use one of {', '.join(rule.file.jurisdiction)}")
        for jurisdiction in rule.file.jurisdiction:
            if not any(line.jurisdiction in ("", jurisdiction) for line in card.file.lines):
                yield Problem(card.place, f"says nothing in {jurisdiction!r}", "add a line")


def facts_can_be_told(knowledge: Knowledge) -> Problems:
    """Of the facts that decide, each answer has its words, in which `explain` tells them."""
    expressions = [part for rule in knowledge.rules for part in (rule.applies_when, rule.fires_when)]
    expressions += knowledge.speaks_when.values()
    names = sorted({name for expression in expressions for name in expression.facts})
    for name, answers in unspoken(names, knowledge).items():
        yield Problem(
            knowledge.facts[name].place,
            f"has no words for {', '.join(answers)}",
            "word its question as one of cards/phrases.json, or write a phrase there",
        )


def the_longest_summary_fits(knowledge: Knowledge) -> Problems:
    """However a jurisdiction spells it."""
    for jurisdiction in JURISDICTIONS:
        yield from _too_long(spelled(knowledge, jurisdiction))


def _too_long(knowledge: Knowledge) -> Problems:
    groups = {group.id: group for group in knowledge.groups}
    titles = max((len(order.title) for order in knowledge.orders.values()), default=0)
    for rule, card in _each_card(knowledge):
        group = groups.get(rule.file.group)
        if group is None:
            continue
        told = _headlines(card)
        headline = titles if told[0] == f"{{{ORDERS}}}" else max(map(longest, told))
        more = len(" " + group.more.format(count=_MANY)) if group.merge or len(told) > 1 else 0
        length = len(group.summary.replace("{headlines}", "")) + headline + more
        if length > SUMMARY_LIMIT:
            text = max(told, key=longest)
            parts = [f"{part.group()} up to {WIDTHS[part.group(2) or ORDERS]}" for part in PLACEHOLDER.finditer(text)]
            message = f"its summary may take {length} characters with {', '.join([repr(text[:50]), *parts])}"
            yield Problem(card.place, message, f"shorten the headline to fit {SUMMARY_LIMIT}")


def a_card_joins_one_that_merges(knowledge: Knowledge) -> Problems:
    merging = {group.id for group in knowledge.groups if group.merge}
    for rule, card in _each_card(knowledge):
        if card.file.joins and card.file.joins not in merging - {rule.file.group}:
            yield Problem(card.place, f"joins {card.file.joins!r}", "name another group of cards/groups.json that merges")


def lines_keep_the_numbers_of_their_rule(knowledge: Knowledge) -> Problems:
    """A line that stands by a number which its rule gave up says what is no longer so. A finer line compares with both."""
    for rule, card in _each_card(knowledge):
        own = {*compared(rule.applies_when.source), *compared(rule.fires_when.source)}
        for at, (when, _) in enumerate(card.lines):
            told = set(compared(when.source))
            for name in sorted({name for name, _ in told} & {name for name, _ in own} - {name for name, _ in told & own}):
                text = f"compares {name} with {_numbers(told, name)}, which the rule compares with {_numbers(own, name)}"
                remedy = "give it a number of the rule, in `when` and in its words; a finer line compares with both"
                yield Problem(f"{card.place} lines[{at}]", text, remedy)


def _numbers(pairs: Iterable[tuple[str, int | Decimal]], of: str) -> str:
    return " and ".join(str(number) for number in sorted({number for name, number in pairs if name == of}))


def override_reasons_exist_and_are_used(knowledge: Knowledge) -> Problems:
    place, known = "cards/groups.json override_reasons", knowledge.override_reasons.displays
    used = {code for group in knowledge.groups for code in group.override_reasons}
    for code in sorted(used.symmetric_difference(known)):
        yield Problem(place, f"{code!r} " + ("has no display" if code in used else "is used by no group"), "add or remove it")
    for code in sorted(set(known).symmetric_difference(knowledge.override_reasons.says)):
        yield Problem(f"{place}.says", f"{code!r} " + ("is missing" if code in known else "has no display"), "add or remove it")


def leaflets_tell_and_show(knowledge: Knowledge) -> Problems:
    """A leaflet for each jurisdiction, with statements that exist and a drawing for each exercise."""
    folder = knowledge.root / FOLDER
    drawn = {path.relative_to(folder).as_posix() for path in folder.glob("drawings/*")}
    used: set[str] = set()
    for jurisdiction in JURISDICTIONS:
        place = f"{FOLDER}/{jurisdiction}.md"
        if not (folder / f"{jurisdiction}.md").is_file():
            yield Problem(place, "is missing", "write it, or copy the other and put in its own words")
            continue
        text = leaflets.source(knowledge, jurisdiction)
        shown = leaflets.drawings(text)
        used.update(shown)
        for name in leaflets.statements(text):
            if name not in knowledge.evidence:
                yield Problem(place, f"tells {name!r}, which is no statement", "see logic/evidence.json")
        for path in shown:
            if path not in drawn:
                yield Problem(place, f"{path!r} is not there", "draw it, or take it out")
        for exercise in leaflets.without_drawing(text):
            yield Problem(place, f"{exercise!r} has no drawing", "show how it is done")
    for path in sorted(drawn - used):
        yield Problem(f"{FOLDER}/{path}", "is shown in no leaflet", "show or remove it")


def card_texts_are_plain(knowledge: Knowledge) -> Problems:
    shared = {group.id: len(group.shared_lines) for group in knowledge.groups}
    for rule, card in _each_card(knowledge):
        if len(card.file.lines) <= shared.get(rule.file.group, 0):
            yield Problem(card.place, "has no lines of its own", "say why the card appears")
        for text in _texts(card):
            if not text.strip() or "TODO" in text:
                yield Problem(card.place, f"{text[:50]!r}", "write words, and no TODO")


def texts_hold_no_markup(knowledge: Knowledge) -> Problems:
    """Cards are Markdown, which only the service writes: what a text brings of it would be shown as something else."""
    for place, text in _shown_texts(knowledge):
        if found := _MARKUP.search(text):
            yield Problem(place, f"{found.group()!r} in {text[:50]!r}", "write plain words: no markup, link or table")


def cards_advise_and_do_not_order(knowledge: Knowledge) -> Problems:
    words = knowledge.imperatives
    begin, anywhere = ("|".join(map(re.escape, listed)) for listed in (words.begin, words.anywhere))
    orders = re.compile(rf"{_CLAUSE}(?P<begin>{begin})\b|\b(?P<anywhere>{anywhere})\b", re.IGNORECASE)
    for place, text in _card_texts(knowledge):
        # What a placeholder brings is a noun.
        if found := orders.search(PLACEHOLDER.sub("it", text)):
            word = found["begin"] or found["anywhere"]
            remedy = "say what to consider or review; see cards/imperatives.json"
            yield Problem(place, f"{word!r} orders, in {text[:60]!r}", remedy)


def _card_texts(knowledge: Knowledge) -> Iterator[tuple[str, str]]:
    """By place all that a card may say to a clinician."""
    for card in knowledge.cards.values():
        yield from ((card.place, text) for text in _texts(card))
        yield from ((card.place, text) for item in card.file.removes for text in (item.label, item.description))
        if form := card.file.asks_for_form:
            yield from ((card.place, text) for text in (form.label, form.description))
    for group in knowledge.groups:
        place = f"cards/groups.json {group.id}"
        yield from ((place, text) for text in (group.summary, group.lead, group.beyond, group.more, group.joiner))
    for name, order in knowledge.orders.items():
        yield from ((f"logic/orders.json {name}", text) for text in (order.title, order.label, order.description))


def _shown_texts(knowledge: Knowledge) -> Iterator[tuple[str, str]]:
    yield from _card_texts(knowledge)
    wording = msgspec.structs.asdict(knowledge.wording)
    yield from (("cards/groups.json wording", text) for text in wording.values() if isinstance(text, str))
    yield from (("cards/groups.json wording", text) for text in knowledge.wording.entries.values())
    displays = knowledge.override_reasons.displays
    yield from (("cards/groups.json override_reasons", text) for text in displays.values())
    for rule in knowledge.rules:
        yield from ((rule.place, text) for text in (rule.file.title, rule.file.why, rule.file.may_mislead_when))
    for phrase in knowledge.phrases:
        yield from (("cards/phrases.json", text) for text in (phrase.about, *phrase.says.values()))
    yield from (("logic/evidence.json", statement.says) for statement in knowledge.evidence.values())
    yield from ((fact.place, fact.question) for fact in knowledge.facts.values())


def lines_say_what_they_are_about(knowledge: Knowledge) -> Problems:
    """Where reasons stand in brackets behind it, and on a card of tests, where the same is said of several."""
    of_tests = {group.id for group in knowledge.groups if group.offers}
    for rule, card in _each_card(knowledge):
        if rule.file.group not in of_tests and not any(line.reason for line in card.file.lines):
            continue
        others = [line.say for line in card.file.lines if line.say and not line.reason]
        for say in others or [""]:
            if BETWEEN not in say:
                text = f"does not say what {say[:50]!r} is about"
                yield Problem(card.place, text, f"write what it is about, {BETWEEN!r}, and what it says")


def what_is_only_named_is_worded(knowledge: Knowledge) -> Problems:
    for group in knowledge.groups:
        if bool(group.most_told) != ("{headlines}" in group.beyond):
            text = f"has most_told {group.most_told} and beyond {group.beyond!r}"
            yield Problem(f"cards/groups.json {group.id}", text, "give both, {headlines} in the text, or neither")


CARDBOOK = (
    placeholders_are_facts_of_the_rule,
    spelling_is_used,
    a_card_speaks_in_each_jurisdiction,
    facts_can_be_told,
    the_longest_summary_fits,
    a_card_joins_one_that_merges,
    lines_keep_the_numbers_of_their_rule,
    override_reasons_exist_and_are_used,
    leaflets_tell_and_show,
    card_texts_are_plain,
    texts_hold_no_markup,
    cards_advise_and_do_not_order,
    lines_say_what_they_are_about,
    what_is_only_named_is_worded,
)
