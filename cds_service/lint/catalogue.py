"""`logic/CATALOGUE.md`: every rule in plain words, with its evidence and its cases, and where each statement went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cds_service.cards import leaflets
from cds_service.cards.printed import LANGUAGES
from cds_service.explain.logic_text import say
from cds_service.jsonlogic.notation import write
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.load import Reader
from cds_service.lint.cases import CasesFile, read_cases
from cds_service.samples.counts import Tally, rows, sum_up


def write_catalogue(knowledge: Knowledge, counted: Tally) -> str:
    """The whole catalogue as Markdown; the same knowledge and cast give the same text."""
    reader = Reader(knowledge.root)
    lines = [
        "# Catalogue of rules",
        "",
        "Written by `cds-service catalogue`; `make check` compares it with the rules. No clinician has reviewed a rule of",
        "this repository yet: all are drafts, and every card says so. Conditions stand as `cds-service edit` takes them.",
        "",
        f"{len(knowledge.rules)} rules, {len(knowledge.facts)} facts, {len(knowledge.value_sets)} value sets, "
        f"{len(knowledge.labs)} analytes, {len(knowledge.orders)} orders.",
    ]
    for group in knowledge.groups:
        rules = [rule for rule in knowledge.rules if rule.file.group == group.id]
        if rules:
            lines += ["", f"## {group.id} ({group.indicator})"]
        for rule in rules:
            lines += ["", *_rule(rule, knowledge, read_cases(reader, rule))]
    lines += ["", *_statements(knowledge), "", *_cast(counted)]
    return "\n".join(lines) + "\n"


def _rule(rule: Rule, knowledge: Knowledge, cases: CasesFile | None) -> Iterator[str]:
    yield from in_words(rule, knowledge, _as_written)
    yield ""
    yield "| case | answer |"
    yield "|---|---|"
    for row in cases.cases if cases else ():
        yield f"| {row.says} | {row.expect} |"


def _as_written(logic: Any) -> str:
    """A condition as authors read it, and give it to `new` and `edit`."""
    return f"`{write(logic)}`"


def in_words(rule: Rule, knowledge: Knowledge, told: Callable[[Any], str] = say) -> Iterator[str]:
    """A rule line by line, its conditions as a clinician reads them or as they are `told`."""
    file = rule.file
    yield f"### {file.title}"
    yield ""
    yield f"`{file.id}` {file.version}, {file.status}, {' and '.join(file.jurisdiction)}. {file.why}"
    yield ""
    yield f"- For whom: {told(rule.applies_when.source)}"
    yield f"- Speaks when: {told(rule.fires_when.source)}"
    for use in rule.orders:
        yield (
            f"- Offers {knowledge.orders[use.order].title}"
            f"{_when(use.when.source, ' when ', told)}{_when(use.recommended_when.source, '; recommends it when ', told)}"
        )
    yield f"- Priority in its group: {file.priority}"
    if file.replaces:
        yield f"- Replaces: {', '.join(file.replaces)}"
    yield f"- Evidence: {', '.join(file.evidence)}"
    if file.sources:
        yield f"- Numbers from: {'; '.join(knowledge.sources[name].title for name in file.sources)}"
    yield f"- May mislead when: {file.may_mislead_when}"
    yield f"- Checked by: {file.checked_by or 'nobody yet'}; review by {file.review_by}"


def _when(logic: Any, words: str, told: Callable[[Any], str]) -> str:
    return "" if isinstance(logic, bool) else words + told(logic)


def _statements(knowledge: Knowledge) -> Iterator[str]:
    """Each statement of the two articles, and where it went."""
    cited = {name: [r.id for r in knowledge.rules if name in r.file.evidence] for name in knowledge.evidence}
    printed = {key: leaflets.statements(leaflets.source(knowledge, key)) for key in LANGUAGES}
    yield "## Statements of the two articles"
    yield ""
    yield "| id | says | where it went |"
    yield "|---|---|---|"
    for name, item in knowledge.evidence.items():
        text = [f"leaflet {key}" for key, names in printed.items() if name in names]
        where = ", ".join([*cited[name], *text]) or knowledge.uncited.get(name) or "told nowhere yet"
        yield f"| {name} | {item.says} | {where} |"


def _cast(counted: Tally) -> Iterator[str]:
    """How much the service says to the invented people of `fixtures/`."""
    yield "## How many cards"
    yield ""
    yield f"Of the invented people of `fixtures/`. {sum_up(counted)}"
    yield ""
    yield "| so many | people with so many cards | people with so many suggestions |"
    yield "|---|---|---|"
    for number, cards, suggestions in rows(counted):
        yield f"| {number} | {cards or '-'} | {suggestions or '-'} |"
