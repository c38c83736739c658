"""Cards and explanations for a person at a terminal. Colours only where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap

import typer

from cds_service.hooks import Card
from cds_service.knowledge import Knowledge, Rule
from cds_service.model import UNKNOWN, Evidence, Fact, Finding, Interval, Outcome, State
from cds_service.service import Answered
from cds_service.wording import plain

_WIDTH = 96
_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}
_MARKS = {"critical": "!!", "warning": "! ", "info": "i "}
_STATES = {Outcome.FIRES: "green", Outcome.SILENT: "white", Outcome.UNKNOWN: "yellow", Outcome.OUT_OF_SCOPE: "white"}


def show_cards(title: str, cards: Sequence[Card]) -> None:
    """The cards as a clinician reads them: what, how urgent, why, what to do."""
    typer.secho(title, bold=True)
    if not cards:
        typer.echo("\n  No cards: nothing to say.")
    for card in cards:
        _show_card(card)
    typer.echo()


def _show_card(card: Card) -> None:
    typer.echo()
    mark = f"{_MARKS[card.indicator]} {card.indicator.upper():<8} "
    typer.secho(mark, fg=_COLOURS[card.indicator], bold=True, nl=False)
    first, *rest = wrap(card.summary, _WIDTH - len(mark))
    typer.secho(first, bold=True)
    for line in rest:
        typer.secho(" " * len(mark) + line, bold=True)
    for block in card.detail.split("\n"):
        _show_line(block)
    for suggestion in card.suggestions:
        box = "[x]" if suggestion.is_recommended else "[ ]"
        typer.echo(f"   {box} {suggestion.label}")
    typer.secho(f"   {card.source.label}", dim=True)


def _show_line(line: str) -> None:
    indent = "     " if line.startswith("- ") else "   "
    for part in wrap(line, _WIDTH, initial_indent="   ", subsequent_indent=indent) or [""]:
        typer.echo(part)


def show_explanation(answered: Answered, knowledge: Knowledge, rules: Sequence[Rule]) -> None:
    """Every rule with its outcome and the facts, resources and dates behind it."""
    by_id = {rule.id: rule for rule in rules}
    for outcome in Outcome:
        findings = [item for item in answered.findings if item.outcome is outcome]
        if findings:
            typer.secho(f"\n{outcome.value.upper()} ({len(findings)})", bold=True, fg=_STATES[outcome])
        for finding in findings:
            for line in explain_finding(finding, by_id[finding.rule_id], answered.facts, knowledge):
                typer.echo(line)
    typer.echo()


def explain_finding(finding: Finding, rule: Rule, facts: Mapping[str, Fact], knowledge: Knowledge) -> Iterator[str]:
    yield f"  {rule.id} {rule.file.version}: {rule.file.title}"
    if not finding.because and finding.outcome is Outcome.OUT_OF_SCOPE:
        yield f"      not for this jurisdiction ({', '.join(rule.file.jurisdiction)} only)"
    for name in finding.because:
        yield f"      {knowledge.facts[name].question} {say_fact(facts[name])}"


def say_fact(fact: Fact) -> str:
    """`yes: Furosemide 40 mg tablet (MedicationRequest/m1, 2024-05-05)`, or `unknown: prescriptions: not supplied`."""
    told = "; ".join(_say_evidence(item) for item in fact.evidence)
    if fact.value is UNKNOWN:
        reason = plain(fact.reason) or fact.state.value
        return f"unknown: {reason}" + (f" [{told}]" if told else "")
    if isinstance(fact.value, bool):
        said = "yes" if fact.value else "no"
        none = ": looked and found none" if fact.state is State.NONE else ""
        return said + (f": {told}" if told else none)
    said = f"{fact.value.low} to {fact.value.high}" if isinstance(fact.value, Interval) else str(fact.value)
    return said + (f": {told}" if told else "")


def _say_evidence(item: Evidence) -> str:
    what = plain(" ".join(part for part in (item.name, item.value) if part))
    where = ", ".join(part for part in (item.reference, item.date[:10], item.range, item.note) if part)
    return f"{what} ({where})"
