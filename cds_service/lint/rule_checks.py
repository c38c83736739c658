"""House rules about rules, their cases and their cards: one small function each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import chain
from pathlib import Path

from cds_service.cards import leaflets
from cds_service.cards.text import ORDERS, PARTS, PLACEHOLDER, longest
from cds_service.cdshooks.response import SUMMARY_LIMIT
from cds_service.errors import Problem
from cds_service.explain.fact_text import unspoken
from cds_service.jsonlogic.typecheck import numbers
from cds_service.knowledge.knowledge import CardText, Knowledge, Rule
from cds_service.knowledge.load import Reader
from cds_service.knowledge.localise import spelled, spoken_texts
from cds_service.knowledge.schema import RuleFile
from cds_service.lint.cases import CasesFile, Observed, fits, observe, read_cases, surviving, values_of
from cds_service.model import Outcome

Problems = Iterator[Problem]

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_STATUSES = ("draft", "trial", "active", "retired")
_JURISDICTIONS = ("us", "uk")
_NEEDED = (Outcome.FIRES, Outcome.SILENT, Outcome.UNKNOWN)
_MARKUP = re.compile(r"<[a-zA-Z/]|://|\|.*\||^#|```")
_MANY = "99"


def a_rule_is_named_as_its_file(knowledge: Knowledge) -> Problems:
    for rule in knowledge.rules:
        if rule.id != Path(rule.place).stem:
            yield Problem(rule.place, f"id is {rule.id!r}", "name it as its file")
    seen: dict[str, str] = {}
    for rule in knowledge.rules:
        if rule.id in seen:
            yield Problem(rule.place, f"id {rule.id!r} is also in {seen[rule.id]}", "give each rule its own id")
        seen[rule.id] = rule.place


def rule_cases_and_card_stand_together(knowledge: Knowledge) -> Problems:
    reader = Reader(knowledge.root)
    rules = {(rule.topic, Path(rule.place).stem) for rule in knowledge.rules}
    cases = {
        (path.split("/")[-2], path.split("/")[-1].removesuffix(".cases.json"))
        for path in reader.names("logic/rules/*/*.cases.json")
    }
    cards = {(path.split("/")[-2], Path(path).stem) for path in reader.names("cards/*/*.json")}
    for kind, found, place in (("cases", cases, "logic/rules/{}/{}.cases.json"), ("card", cards, "cards/{}/{}.json")):
        for topic, name in sorted(rules - found):
            yield Problem(place.format(topic, name), f"is missing: the rule has no {kind}", "write it; `new` writes all three")
        for topic, name in sorted(found - rules):
            yield Problem(place.format(topic, name), "belongs to no rule", "remove it, or write its rule")


def a_rule_has_its_members_in_order(knowledge: Knowledge) -> Problems:
    wanted = list(RuleFile.__struct_fields__)
    for rule in knowledge.rules:
        given = list(json.loads((knowledge.root / rule.place).read_bytes()))
        if given != wanted:
            yield Problem(rule.place, f"members stand in the order {', '.join(given)}", f"order them: {', '.join(wanted)}")


def a_rule_says_what_it_must(knowledge: Knowledge) -> Problems:
    groups = {group.id for group in knowledge.groups}
    hooks = {service.hook for service in knowledge.services.values()}
    for rule in knowledge.rules:
        file = rule.file
        wrong = {
            f"version {file.version!r}": not _VERSION.fullmatch(file.version),
            f"status {file.status!r}": file.status not in _STATUSES,
            f"hooks {list(file.hooks)}": not file.hooks or not set(file.hooks) <= hooks,
            f"jurisdiction {list(file.jurisdiction)}": not file.jurisdiction
            or not set(file.jurisdiction) <= set(_JURISDICTIONS),
            f"group {file.group!r}": file.group not in groups,
            f"review_by {file.review_by!r}": not _is_date(file.review_by),
            "no title": not file.title.strip(),
            "no why": not file.why.strip(),
            "no may_mislead_when": not file.may_mislead_when.strip(),
            "no evidence": not file.evidence,
            "TODO left": "TODO" in file.title + file.why + file.may_mislead_when,
        }
        for what, is_wrong in wrong.items():
            if is_wrong:
                yield Problem(rule.place, what, "see CONTRIBUTING.md, A rule")


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def every_rule_belongs_to_a_service(knowledge: Knowledge) -> Problems:
    topics = {topic for service in knowledge.services.values() for topic in service.topics}
    for rule in knowledge.rules:
        if rule.topic not in topics:
            yield Problem(rule.place, f"topic {rule.topic!r} is in no service", "name it in logic/services.json")
    for topic in sorted(topics - {rule.topic for rule in knowledge.rules}):
        yield Problem("logic/services.json", f"topic {topic!r} has no rules", "remove it, or write one")


def evidence_is_cited_and_exists(knowledge: Knowledge) -> Problems:
    """Every statement that can be decided is cited by a rule, all others are told, or `uncited.json` says why not."""
    cited = {name for rule in knowledge.rules for name in rule.file.evidence}
    for rule in knowledge.rules:
        for name in rule.file.evidence:
            if name not in knowledge.evidence:
                yield Problem(rule.place, f"evidence {name!r} does not exist", "see logic/evidence.json")
    decidable = {name for name, item in knowledge.evidence.items() if item.use in ("record", "history")}
    for name in sorted(decidable - cited - set(knowledge.uncited)):
        yield Problem("logic/evidence.json", f"{name} is cited by no rule", "cite it, or say why not in logic/uncited.json")
    printed = (path.read_text(encoding="utf-8") for path in (knowledge.root / leaflets.FOLDER).glob("*.md"))
    told = {name for text in printed for name in leaflets.statements(text)}
    for name in sorted(set(knowledge.evidence) - decidable - cited - told - set(knowledge.uncited)):
        yield Problem("logic/evidence.json", f"{name} is told nowhere", "tell it on a card or in a leaflet, and cite it there")
    for name in sorted(set(knowledge.uncited) & cited):
        yield Problem("logic/uncited.json", f"{name} is cited by a rule now", "remove it here")
    for name in sorted(set(knowledge.uncited) - set(knowledge.evidence)):
        yield Problem("logic/uncited.json", f"{name} does not exist", "see logic/evidence.json")


def sources_exist_and_are_used(knowledge: Knowledge) -> Problems:
    used = {name for rule in knowledge.rules for name in rule.file.sources}
    used |= {item.source for lab in knowledge.labs.values() for item in lab.ranges.values()}
    used |= {equation.source for equation in knowledge.equations.values()}
    for name in sorted(used - set(knowledge.sources)):
        yield Problem("logic/sources.json", f"source {name!r} does not exist", "write it, with publisher and address")
    for name, source in knowledge.sources.items():
        if name not in used and not source.cites:
            yield Problem("logic/sources.json", f"{name} is used by nothing", "remove it, or cite it")
        if not source.url.startswith("https://"):
            yield Problem("logic/sources.json", f"{name} has the address {source.url!r}", "give an https address")


def _each_cases(knowledge: Knowledge) -> Iterator[tuple[Rule, CasesFile]]:
    reader = Reader(knowledge.root)
    for rule in knowledge.rules:
        file = read_cases(reader, rule) if (knowledge.root / _cases_of(rule)).is_file() else None
        if file:
            yield rule, file


def _cases_of(rule: Rule) -> str:
    return rule.place.removesuffix(".json") + ".cases.json"


def cases_can_be_read(knowledge: Knowledge) -> Problems:
    reader = Reader(knowledge.root)
    for rule in knowledge.rules:
        if (knowledge.root / _cases_of(rule)).is_file():
            read_cases(reader, rule)
    yield from reader.problems


def cases_give_what_their_facts_can_be(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for where, given in [("baseline", file.baseline), *((row.says, row.given) for row in file.cases)]:
            for name, value in given.items():
                if name not in rule.facts:
                    yield Problem(_cases_of(rule), f"{where}: {name!r} is no fact of the rule", "mend the name")
                elif not fits(value, knowledge.types[name]):
                    yield Problem(_cases_of(rule), f"{where}: {name} cannot be {value!r}", "give a value of its type")
        says = [row.says for row in file.cases]
        for name in sorted({name for name in says if says.count(name) > 1}):
            yield Problem(_cases_of(rule), f"{name!r} stands twice", "give each row its own sentence")


def cases_come_out_as_expected(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for row in file.cases:
            seen = observe(rule, values_of(file, row))
            if not seen.agrees(row):
                yield Problem(
                    _cases_of(rule),
                    f"{row.says!r} gives {_say(seen)}",
                    f"expected {row.expect}: mend the rule or the row",
                )


def _say(seen: Observed) -> str:
    orders = f", suggests {list(seen.suggests)}, recommends {list(seen.recommends)}" if seen.suggests else ""
    return seen.outcome + orders


def cases_show_every_outcome(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for outcome in _NEEDED:
            if outcome.value not in {row.expect for row in file.cases}:
                yield Problem(_cases_of(rule), f"no row is {outcome.value}", "write one")


def cases_stand_on_every_boundary(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        given = chain(file.baseline.values(), *(row.given.values() for row in file.cases))
        stood_on = {Decimal(value) for value in given if isinstance(value, (int, Decimal)) and not isinstance(value, bool)}
        compared = chain(numbers(rule.applies_when.source), numbers(rule.fires_when.source))
        for number in sorted({Decimal(number) for number in compared} - stood_on):
            yield Problem(_cases_of(rule), f"no row stands exactly on {number}", "write one at it and one just outside")


def cases_kill_every_mutant(knowledge: Knowledge) -> Problems:
    for rule, file in _each_cases(knowledge):
        for place in surviving(rule, file, knowledge):
            yield Problem(_cases_of(rule), f"no row notices {place}", "write the row that would, or simplify the rule")


def placeholders_are_facts_of_the_rule(knowledge: Knowledge) -> Problems:
    for rule, card in _each_card(knowledge):
        for text in (card.file.headline, *(line.say for line in card.file.lines)):
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


def _each_card(knowledge: Knowledge) -> Iterator[tuple[Rule, CardText]]:
    for rule in knowledge.rules:
        if rule.id in knowledge.cards:
            yield rule, knowledge.cards[rule.id]


def spelling_is_used(knowledge: Knowledge) -> Problems:
    texts = " ".join(spoken_texts(knowledge)).lower()
    for jurisdiction, words in knowledge.spelling.items():
        place = f"cards/spelling.json {jurisdiction}"
        if jurisdiction not in _JURISDICTIONS:
            yield Problem(place, "is no jurisdiction", f"use one of {', '.join(_JURISDICTIONS)}")
        for word in words:
            if word != word.lower() or word not in texts:
                yield Problem(place, f"{word!r} stands in no text", "remove it, or write it in lower case as the texts do")


def a_card_speaks_in_each_jurisdiction(knowledge: Knowledge) -> Problems:
    for rule, card in _each_card(knowledge):
        for line in card.file.lines:
            if line.jurisdiction and line.jurisdiction not in rule.file.jurisdiction:
                told = f"a line is for {line.jurisdiction!r}, where the rule does not hold"
                yield Problem(card.place, told, f"use one of {', '.join(rule.file.jurisdiction)}")
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
            f"logic/facts.json {name}",
            f"has no words for {', '.join(answers)}",
            "word its question as one of cards/phrases.json, or write a phrase there",
        )


def the_longest_summary_fits(knowledge: Knowledge) -> Problems:
    """However a jurisdiction spells it."""
    for jurisdiction in _JURISDICTIONS:
        yield from _too_long(spelled(knowledge, jurisdiction))


def _too_long(knowledge: Knowledge) -> Problems:
    groups = {group.id: group for group in knowledge.groups}
    titles = max((len(order.title) for order in knowledge.orders.values()), default=0)
    for rule, card in _each_card(knowledge):
        group = groups.get(rule.file.group)
        if group is None:
            continue
        headline = titles if card.file.headline == f"{{{ORDERS}}}" else longest(card.file.headline)
        more = len(" " + group.more.format(count=_MANY)) if group.merge else 0
        length = len(group.summary.replace("{headlines}", "")) + headline + more
        if length > SUMMARY_LIMIT:
            yield Problem(
                card.place, f"its summary may take {length} characters", f"shorten the headline to fit {SUMMARY_LIMIT}"
            )


def no_two_rules_of_a_group_share_a_priority(knowledge: Knowledge) -> Problems:
    seen: dict[tuple[str, int], str] = {}
    for rule in knowledge.rules:
        file = rule.file
        first = seen.setdefault((file.group, file.priority), rule.id)
        if first != rule.id:
            yield Problem(rule.place, f"priority {file.priority} is that of {first!r}", "give each rule of a group its own")


def a_rule_replaces_other_rules(knowledge: Knowledge) -> Problems:
    every = {rule.id for rule in knowledge.rules}
    for rule in knowledge.rules:
        for name in sorted({name for name in rule.file.replaces if name not in every - {rule.id}}):
            yield Problem(rule.place, f"replaces {name!r}, which is no other rule", "name rules that it tells already")


def override_reasons_exist_and_are_used(knowledge: Knowledge) -> Problems:
    place, known = "cards/groups.json override_reasons", knowledge.override_reasons.displays
    used = {code for group in knowledge.groups for code in group.override_reasons}
    for code in sorted(used.symmetric_difference(known)):
        yield Problem(place, f"{code!r} " + ("has no display" if code in used else "is used by no group"), "add or remove it")


def leaflets_tell_and_show(knowledge: Knowledge) -> Problems:
    """A leaflet for each jurisdiction, with statements that exist and a drawing for each exercise."""
    folder = knowledge.root / leaflets.FOLDER
    drawn = {path.relative_to(folder).as_posix() for path in folder.glob("drawings/*")}
    used: set[str] = set()
    for jurisdiction in _JURISDICTIONS:
        place = f"{leaflets.FOLDER}/{jurisdiction}.md"
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
        yield Problem(f"{leaflets.FOLDER}/{path}", "is shown in no leaflet", "show or remove it")


def card_texts_are_plain(knowledge: Knowledge) -> Problems:
    for _, card in _each_card(knowledge):
        if not card.file.lines:
            yield Problem(card.place, "has no lines", "say why the card appears")
        for text in (card.file.headline, *(line.say for line in card.file.lines)):
            if not text.strip() or "TODO" in text or _MARKUP.search(text):
                yield Problem(card.place, f"{text[:50]!r}", "write plain words: no markup, link, table or TODO")


RULEBOOK = (
    a_rule_is_named_as_its_file,
    rule_cases_and_card_stand_together,
    a_rule_has_its_members_in_order,
    a_rule_says_what_it_must,
    every_rule_belongs_to_a_service,
    evidence_is_cited_and_exists,
    sources_exist_and_are_used,
    cases_can_be_read,
    cases_give_what_their_facts_can_be,
    cases_come_out_as_expected,
    cases_show_every_outcome,
    cases_stand_on_every_boundary,
    cases_kill_every_mutant,
    placeholders_are_facts_of_the_rule,
    spelling_is_used,
    a_card_speaks_in_each_jurisdiction,
    facts_can_be_told,
    the_longest_summary_fits,
    no_two_rules_of_a_group_share_a_priority,
    a_rule_replaces_other_rules,
    override_reasons_exist_and_are_used,
    leaflets_tell_and_show,
    card_texts_are_plain,
)
