"""Cards and explanations for a person at a terminal. Colours only where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain, groupby, product, repeat
from textwrap import wrap
from typing import Any

import msgspec
import typer

from cds_service.audit.acceptance import Acceptance
from cds_service.audit.by_rule import LookBack, RuleFigures
from cds_service.audit.codes_seen import SeenCode
from cds_service.cards.text import listed, plain
from cds_service.cdshooks.response import Card, encode
from cds_service.explain.counterfactuals import MOST_TRIES
from cds_service.explain.explanation import Explained, ExplainedCard, Explanation, FactStated, Needed
from cds_service.explain.left_out import LeftOut, Omissions
from cds_service.fhir.dates import say_date
from cds_service.model import Evidence
from cds_service.samples.counts import Tally, rows, sum_up
from cds_service.service import Decision
from cds_service.terminal.console import width

_FEW = 5
_MOST_NAMED = 6
_BAR = 40
_CHANGED = {
    "fires": "Fires:",
    "unknown": "Unknown:",
    "query": "Not supplied in full:",
    "system": "Codes that nobody knows (cds-service codes-seen), of",
    "unit": "Unit that nobody knows:",
}
_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}
_MARKS = {"critical": "!!", "warning": "! ", "info": "i "}


def show_cards(title: str, cards: Sequence[Card], no_cards_as: str = "") -> None:
    """The cards as a clinician reads them: what, how urgent, why, what to do. `no_cards_as`: why there may be none."""
    show_title(title)
    if not cards:
        typer.echo()
        _say(f"No cards: {no_cards_as or 'nothing to say'}.", 2)
    for card in cards:
        _show_card(card)
    typer.echo()


def show_shadow(decision: Decision) -> None:
    if decision.with_shadow:
        number = len(decision.with_shadow.cards)
        _say(f"In shadow here, and not shown: {', '.join(decision.shadowed)}. Cards with them: {number}.")


def show_title(text: str, colour: str | None = None) -> None:
    for line in wrap(text, width()):
        typer.secho(line, bold=True, fg=colour)


def show_text(line: str, hang: int = 4) -> None:
    """A line as wide as the terminal, what goes beyond below it; what stands in columns is kept."""
    for part in wrap(line, width(), subsequent_indent=" " * hang, break_on_hyphens=False) or [""]:
        typer.echo(part)


def show_json(value: Any) -> None:
    """For programs: always UTF-8, as JSON is."""
    typer.echo(msgspec.json.format(encode(value), indent=2))


def show_left_out(found: Omissions) -> None:
    """What of the record was not used, and why; nothing where all of it was."""
    if found.entries:
        _heading(f"Left out or not understood ({len(found.entries) + found.more})", "yellow")
    for item in found.entries:
        _say(_say_left_out(item))
    if found.more:
        _say(f"and {found.more} more")
    if found.answers:
        _heading("Not known, and never taken as normal", "yellow")
    for item in found.answers:
        _say(f"{item.name}: {item.reason} [{item.place}]")


def _say_left_out(item: LeftOut) -> str:
    """`MedicationRequest/m1 “Xyz 20”: could not be identified [prefetch.medicationRequests.entry[0].resource]`."""
    name = f"“{plain(item.name)}”" if item.name else ""
    what = " ".join(part for part in (item.reference, name) if part)
    return f"{what}: {plain(item.reason)} [{item.place}]" if what else f"{plain(item.reason)} [{item.place}]"


def _show_summary(indicator: str, summary: str) -> None:
    typer.echo()
    mark = f"{_MARKS[indicator]} {indicator.upper():<8} "
    typer.secho(mark, fg=_COLOURS[indicator], bold=True, nl=False)
    first, *rest = wrap(summary, width() - len(mark)) or [""]
    typer.secho(first, bold=True)
    for line in rest:
        typer.secho(" " * len(mark) + line, bold=True)


def _show_card(card: Card) -> None:
    _show_summary(card.indicator, card.summary)
    for block in card.detail.split("\n"):
        _show_line(block)
    for suggestion in card.suggestions:
        box = "[x]" if suggestion.is_recommended else "[ ]"
        _say(f"{box} {suggestion.label}", hang=4)
    typer.secho(f"   {card.source.label}", dim=True)


def _show_line(line: str) -> None:
    indent = "     " if line.startswith("- ") else "   "
    for part in wrap(line, width(), initial_indent="   ", subsequent_indent=indent) or [""]:
        typer.echo(part)


def show_counts(counted: Tally) -> None:
    """How many of the cast get how many cards and suggestions."""
    typer.echo(f"{'':>4}  cards{'':<{_BAR}}suggestions")
    for number, cards, suggestions in rows(counted):
        typer.echo(f"{number:>4}  {'#' * cards:<{_BAR + 5}}{'#' * suggestions}".rstrip())
    typer.echo(sum_up(counted))


def show_received(found: Sequence[Acceptance]) -> None:
    """One line a rule and version, its reasons below it."""
    if not found:
        typer.echo("No cards shown and no feedback yet.")
        return
    width = max(len(f"{one.rule} {one.version}") for one in found)
    typer.secho(f"{'rule':<{width}}{'shown':>9}{'accepted':>10}{'overridden':>12}", bold=True)
    for one in found:
        name = f"{one.rule} {one.version}".strip()
        typer.echo(f"{name:<{width}}{one.shown:>9}{one.accepted:>10}{one.overridden:>12}")
        for reason, number in one.reasons.most_common(_FEW):
            typer.echo(f"{'':<{width}}{number:>31}  {plain(reason)}")


def show_look_back(received: Sequence[Acceptance], found: LookBack) -> None:
    """What changed, as it may be a fault; then how each rule does that fires, and how many others there are."""
    show_received(received)
    _heading(f"Changed beyond chance since {found.days} days before: {len(found.changes)}")
    for item in found.changes:
        shares = f"{item.after:.1%} of answers, before {item.before:.1%}, since about {item.since}"
        _say(f"{_CHANGED[item.what]} {plain(item.name)}: {shares} ({plain(item.client) or 'unsigned'}, {item.service_id})")
    _heading(f"In shadow and shown, in {found.days} days")
    told = [one for one in found.by_rule if one.shadow or one.shown or one.in_shadow]
    for one in told:
        _say(f"{one.rule}: {'; '.join(_figures(one, found.days))}")
    if quiet := [one for one in found.by_rule if one not in told]:
        most = max(one.unknown for one in quiet)
        _say(f"{len(quiet)} others did not fire, and were unknown in up to {most} answers (--json names them)")


def _figures(one: RuleFigures, days: int) -> Iterator[str]:
    if one.shadow:
        before, after = (number / one.shadow for number in (one.cards, one.cards_with_shadow))
        cards = f"cards a call {before:.1f} would be {after:.1f}"
        yield f"in shadow {one.shadow / days:.1f} a day, {one.patients_shadow} patients, {cards}"
    elif one.in_shadow:
        yield "in shadow, and did not fire"
    if one.shown:
        yield f"shown {one.shown / days:.1f} a day, {one.patients_shown} patients"
    if one.unknown:
        why = "; ".join(f"{reason} {number}" for reason, number in list(one.why.items())[:_FEW])
        yield f"unknown in {one.unknown} answers, of the last 1,000: {why}"


def show_codes(found: Sequence[SeenCode]) -> None:
    """One line a code, the most frequent first, below the client that sent it."""
    if not found:
        typer.echo("No code that nobody knows was seen in several patients yet.")
    for client, seen in groupby(sorted(found, key=lambda one: one.client), key=lambda one: one.client):
        typer.secho(f"{client or 'unsigned'}: answers, type, system|code, display", bold=True)
        for one in seen:
            typer.echo(f"{one.answers:>9}  {one.resource_type}  {one.system}|{one.code}  {one.words}".rstrip())


def show_explanation(text: Explanation, as_of: date, *, everything: bool = False) -> None:
    """Each card with its reasons; what cannot be decided with what it waits for; then the rest, summed up by topic."""
    _show_scope(text, as_of)
    for card in text.cards:
        _show_reasons(card, as_of)
    _show_cardless(text.without_card, as_of)
    _show_undecided(text.undecided, as_of)
    if everything:
        _show_silent(text.silent, as_of)
    else:
        _sum_up_silent(text.silent)
    _show_out_of_scope(text)
    _show_not_served(text)
    show_left_out(text.left_out)
    typer.echo()


def _show_not_served(text: Explanation) -> None:
    """By reason: a site that has approved a few rules has not approved many."""
    by_reason: dict[str, list[str]] = {}
    for rule, reason in text.not_served.items():
        by_reason.setdefault(reason, []).append(rule)
    if by_reason:
        _heading(f"Not served here ({len(text.not_served)})")
    for reason, rules in by_reason.items():
        _say(f"{reason}: {', '.join(rules)}")


def _heading(text: str, colour: str | None = None) -> None:
    typer.echo()
    show_title(text, colour)


def _say(text: str, indent: int = 3, hang: int = 2) -> None:
    for line in wrap(
        text, width(), initial_indent=" " * indent, subsequent_indent=" " * (indent + hang), break_on_hyphens=False
    ):
        typer.echo(line)


def _show_scope(text: Explanation, as_of: date) -> None:
    _heading("About this patient")
    for item in text.scope:
        _say(_said(item, as_of))
    if text.spoken_to_if:
        _say(f"So this service stays silent. It would speak if {_ways(text.spoken_to_if)}.")
    if text.no_cards_as:
        _say(f"No cards: {text.no_cards_as}.")


def _show_reasons(card: ExplainedCard, as_of: date) -> None:
    _show_summary(card.indicator, card.summary)
    for rule in card.rules:
        _show_rule(rule, as_of)


def _show_rule(rule: Explained, as_of: date) -> None:
    _say(rule.title)
    for joint, item in zip(chain(["because"], repeat("and")), rule.because, strict=False):
        _say(f"{joint} {_said(item, as_of)}", 5)


def _show_cardless(rules: Sequence[Explained], as_of: date) -> None:
    by_reason: dict[str, list[Explained]] = {}
    for rule in rules:
        by_reason.setdefault(rule.without_card, []).append(rule)
    for reason, own in by_reason.items():
        _heading(f"Found, but on no card: {reason}")
        for rule in own:
            _show_rule(rule, as_of)


def _show_undecided(rules: Sequence[Explained], as_of: date) -> None:
    """By what is missing, as that is what can be done about it; whatever is urgent comes first."""
    if not rules:
        return
    _heading(f"Cannot be decided ({len(rules)}): what is missing, and what would then fire", "yellow")
    waiting: dict[tuple[str, ...], list[Explained]] = {}
    for rule in rules:
        waiting.setdefault(tuple(dict.fromkeys(item.lacks for item in rule.because)), []).append(rule)
    for reasons, own in waiting.items():
        lacking = [item for rule in own for item in rule.because]
        _say("; ".join(_lack(reason, [item for item in lacking if item.lacks == reason], as_of) for reason in reasons))
        for rule in own:
            _show_what_would(rule, 5)


def _lack(reason: str, stated: Sequence[FactStated], as_of: date) -> str:
    """`none in 90 days: potassium, sodium`; what is there but cannot be read is named with its reason."""
    text: dict[str, None] = {}
    for item in stated:
        evidence = "; ".join(_say_evidence(part, as_of, item.about) for part in item.evidence)
        text.setdefault(f"{item.about} ({evidence})" if item.about and evidence else item.about or evidence)
    names = [name for name in text if name]
    return f"{plain(reason)}: {listed(names, _MOST_NAMED)}" if names else plain(reason)


def _show_silent(rules: Sequence[Explained], as_of: date) -> None:
    if rules:
        _heading(f"Looked at, nothing to say ({len(rules)})")
    for rule in rules:
        _show_what_would(rule, 3)
        for item in rule.because:
            _say(f"Now: {_said(item, as_of)}", 5)


def _sum_up_silent(rules: Sequence[Explained]) -> None:
    if not rules:
        return
    _heading(f"Looked at, nothing to say ({len(rules)}; --all tells why)")
    by_group: dict[str, list[Explained]] = {}
    for rule in rules:
        by_group.setdefault(rule.group, []).append(rule)
    for group, own in by_group.items():
        _say(f"{group} ({len(own)}): {'; '.join(rule.title for rule in own)}")


def _show_what_would(rule: Explained, indent: int) -> None:
    urgent = "URGENT " if rule.indicator == "critical" else ""
    condition = f"fires if {_ways(rule.fires_if)}" if rule.fires_if else "no change of its facts was found that makes it fire"
    limit = f"; the search stopped after {MOST_TRIES} tries, there may be other ways" if rule.search_stopped else ""
    _say(f"- {urgent}{rule.title}: {condition}{limit}", indent)


def _ways(found: Sequence[Sequence[Needed]]) -> str:
    """`A and B`; `A, or B`; where each choice goes with each other one, `one of (A; B) and C`."""
    columns = [list(dict.fromkeys(column)) for column in zip(*found, strict=True)]
    if len(columns) > 1 and sorted(product(*columns), key=str) == sorted(map(tuple, found), key=str):
        return " and ".join(_one_of([item.says for item in column]) for column in columns)
    return ", or ".join(" and ".join(item.says for item in way) for way in found)


def _one_of(texts: Sequence[str]) -> str:
    return f"one of ({'; '.join(texts)})" if len(texts) > 1 else texts[0]


def _show_out_of_scope(text: Explanation) -> None:
    rules = text.out_of_scope
    if not rules:
        return
    _heading(f"Not for this patient ({len(rules)})")
    by_reason: dict[str, list[Explained]] = {}
    for rule in rules:
        reason = " and ".join(item.says for item in rule.because) or "for another country"
        by_reason.setdefault(reason, []).append(rule)
    for reason, own in by_reason.items():
        titles = f": {'; '.join(rule.title for rule in own)}" if len(own) <= _FEW else ""
        _say(f"{len(own)} rules, as {reason}{titles}" if len(own) > 1 else f"{reason[0].upper()}{reason[1:]}{titles}")


def _said(item: FactStated, as_of: date) -> str:
    """`the latest potassium is below its range: 3.1 mmol/L, 12 Nov, laboratory's range 3.5 to 5.1 mmol/L [Observation/o4]`."""
    text = "; ".join(_say_evidence(part, as_of, item.says) for part in item.evidence if not _is_told(part, item.says))
    return f"{plain(item.says)}: {text}" if text else plain(item.says)


def _is_told(item: Evidence, says: str) -> bool:
    """Whether a statement says all of it already, as of an age."""
    return not item.date and item.name.lower() in says and item.value in says


def _say_evidence(item: Evidence, as_of: date, says: str) -> str:
    """What was recorded, when, and the resource last. What the statement says already is not said again."""
    name, value = (plain(part) for part in (item.name, item.value))
    what = " ".join(part for part in (name, value) if part.lower() not in says.lower())
    limits = plain(f"{item.note} {item.range}") if item.note or item.range else ""
    parts = [what, say_date(item.date, as_of) if item.date else "", limits]
    return f"{', '.join(part for part in parts if part)} [{item.reference}]".strip()
