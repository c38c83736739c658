"""The rules to be read: each with its logic, cases, evidence, sources and codes; and each statement with where it went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cds_service.cards import leaflets
from cds_service.cards.printed import LANGUAGES
from cds_service.errors import Problem, RequestError
from cds_service.jsonlogic.notation import write
from cds_service.knowledge import units
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.load import Reader
from cds_service.knowledge.schema import Order, Source, Statement
from cds_service.lint.cases import cases_path, observe, read_cases, values_of
from cds_service.pages.logic_tree import Branch, LogicTree

FILTERS = ("topic", "status", "group", "jurisdiction", "evidence")


class Case(NamedTuple):
    """One row of the cases of a rule, with what the rule answers to it now."""

    says: str
    given: str
    expected: str
    answer: str


class Codes(NamedTuple):
    """Codes that a fact of a rule looks for, by system, with where they were read. `key`: of their value set or analyte."""

    key: str
    title: str
    purpose: str
    origin: str
    rows: tuple[tuple[str, str, str], ...]

    @property
    def size(self) -> int:
        return len(self.rows)


class Cited(NamedTuple):
    id: str
    article: str
    statement: Statement


class RulePage(NamedTuple):
    """A rule with everything that is known of it. `written`: its two conditions as authors write them."""

    rule: Rule
    indicator: str
    hooks: tuple[str, ...]
    applies: Branch
    fires: Branch
    written: Mapping[str, str]
    orders: tuple[tuple[Order, Branch, Branch], ...]
    cases: tuple[Case, ...]
    evidence: tuple[Cited, ...]
    sources: tuple[Source, ...]
    codes: tuple[Codes, ...]


class Placed(NamedTuple):
    """A statement of an article, with the rules and leaflets that tell it, or why nothing does."""

    cited: Cited
    rules: tuple[Rule, ...]
    printed: tuple[str, ...]
    otherwise: str


def chosen(knowledge: Knowledge, given: Mapping[str, str]) -> list[Rule]:
    """The rules that every filter lets through and that say every word of `q`, in the order of the cards."""
    order = [group.id for group in knowledge.groups]
    wanted = {name: given[name] for name in FILTERS if given.get(name)}
    found = [rule for rule in knowledge.rules if all(value in _told_of(rule)[name] for name, value in wanted.items())]
    words = given.get("q", "").lower().split()
    if words:
        found = [rule for rule in found if all(word in _said_of(rule, knowledge) for word in words)]
    return sorted(found, key=lambda rule: (order.index(rule.file.group), rule.file.title))


def _said_of(rule: Rule, knowledge: Knowledge) -> str:
    """All that a rule and its card say, what they look for and what they offer, in small letters."""
    file, card = rule.file, knowledge.cards[rule.id].file
    lines = [text for line in card.lines for text in (line.say, line.headline) if text]
    titles = [knowledge.orders[use.order].title for use in rule.orders]
    for key in knowledge.codes_behind(rule):
        titles += [part.title for part in knowledge.value_sets.get(key, ())]
        titles += [knowledge.labs[key].title] if key in knowledge.labs else []
    told = (file.id, rule.topic, file.title, file.why, file.may_mislead_when, card.headline, *lines, *titles, *file.evidence)
    return "\n".join(told).lower()


def _told_of(rule: Rule) -> Mapping[str, tuple[str, ...]]:
    file = rule.file
    return {
        "topic": (rule.topic,),
        "status": (file.status,),
        "group": (file.group,),
        "jurisdiction": file.jurisdiction,
        "evidence": file.evidence,
    }


def options(knowledge: Knowledge) -> Mapping[str, list[str]]:
    """What each filter may ask for."""
    text = [_told_of(rule) for rule in knowledge.rules]
    return {name: sorted({value for item in text for value in item[name]}) for name in FILTERS}


def indicators(knowledge: Knowledge) -> Mapping[str, str]:
    return {group.id: group.indicator for group in knowledge.groups}


def rule_page(knowledge: Knowledge, name: str) -> RulePage:
    """Raises RequestError (404)."""
    rule = next((rule for rule in knowledge.rules if rule.id == name), None)
    if rule is None:
        raise RequestError(404, "unknown-rule", "not-found", [Problem("rule", "is unknown", "choose one of the list")])
    grow, file = LogicTree(knowledge).grow, rule.file
    orders = [(knowledge.orders[use.order], grow(use.when.source), grow(use.recommended_when.source)) for use in rule.orders]
    return RulePage(
        rule=rule,
        indicator=indicators(knowledge)[file.group],
        hooks=file.hooks,
        applies=grow(rule.applies_when.source),
        fires=grow(rule.fires_when.source),
        written={"fires": write(rule.fires_when.source), "applies": write(rule.applies_when.source)},
        orders=tuple(orders),
        cases=tuple(_cases(knowledge, rule)),
        evidence=tuple(cited(knowledge, file.evidence)),
        sources=tuple(knowledge.sources[source] for source in file.sources),
        codes=tuple(part for key in knowledge.codes_behind(rule) for part in _listed(knowledge, key)),
    )


def _cases(knowledge: Knowledge, rule: Rule) -> Iterator[Case]:
    if not (knowledge.root / cases_path(rule)).is_file():
        return
    file = read_cases(Reader(knowledge.root), rule)
    for row in file.cases if file else ():
        assert file is not None
        given = ", ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in row.given.items())
        yield Case(row.says, given or "nothing", row.expect, observe(rule, values_of(file, row)).outcome)


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def cited(knowledge: Knowledge, names: Iterable[str]) -> Iterator[Cited]:
    for name in names:
        article = next((item.title for item in knowledge.articles if name.startswith(item.cites)), "")
        yield Cited(name, article, knowledge.evidence[name])


def codes(knowledge: Knowledge, key: str) -> tuple[list[Codes], list[Rule]]:
    """The codes of a value set or analyte, and the rules that ask for them. Raises RequestError (404)."""
    if key not in knowledge.value_sets and key not in knowledge.labs:
        raise RequestError(404, "unknown-codes", "not-found", [Problem("codes", "are unknown", "choose some of a rule")])
    return list(_listed(knowledge, key)), [rule for rule in knowledge.rules if key in knowledge.codes_behind(rule)]


def _listed(knowledge: Knowledge, key: str) -> Iterator[Codes]:
    for part in knowledge.value_sets.get(key, ()):
        rows = [(system, row[0], row[1]) for system, listed in part.codes.items() for row in listed]
        yield Codes(key, part.title, part.purpose, part.origin, tuple(rows))
    if analyte := knowledge.labs.get(key):
        found = [("loinc", *row) for row in analyte.loinc.items()] + [("snomed", *row) for row in analyte.snomed.items()]
        ranges = "; ".join(
            f"{place.upper()} {units.spanning(item.low, item.high, f' {analyte.unit}')}"
            for place, item in analyte.ranges.items()
        )
        yield Codes(key, analyte.title, f"Default range: {ranges}." if ranges else "", analyte.note, tuple(found))


def statements(knowledge: Knowledge) -> list[Placed]:
    """Each statement of the articles, in their order, and where it went."""
    printed = {key: leaflets.statements(leaflets.source(knowledge, key)) for key in LANGUAGES}
    return [
        Placed(
            item,
            tuple(rule for rule in knowledge.rules if item.id in rule.file.evidence),
            tuple(key for key, names in printed.items() if item.id in names),
            knowledge.uncited.get(item.id, ""),
        )
        for item in cited(knowledge, knowledge.evidence)
    ]
