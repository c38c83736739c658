"""What would be shown if something on record were otherwise: the cards and rules that change, and at which values."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple

from msgspec.structs import replace

from cds_service.cards.compose import Shown
from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import Card
from cds_service.chart.index import ChartIndex
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.model import Finding, Outcome
from cds_service.pages.edits import Edits, Slide, add_result, changed, numbered, read_changes
from cds_service.pages.patient_record import Record, read_record
from cds_service.pages.sandbox import Choice, Sandbox, Trial
from cds_service.samples.people import Person

_TOLD = (Outcome.FIRES, Outcome.UNKNOWN)
_NOT_SUPPLIED = ("withheld", "null_keys", "failed_keys")
_MOST_KEPT = 64
# A number that stands nowhere else in a call, to be put in the place of each value.
_ANY = Decimal("987654321.625")


class OutcomeChange(NamedTuple):
    """A rule that answers otherwise."""

    rule: Rule
    was: Outcome
    now: Outcome


class ValueRange(NamedTuple):
    """Values at which the same rules fire and the same cannot be decided; told of the rules that differ along the slider.

    `at` is the place of the first on the slider, `steps` how many values there are.
    """

    first: Decimal
    last: Decimal
    fires: tuple[Rule, ...]
    unknown: tuple[Rule, ...]
    at: int
    steps: int


class ChangedCard(NamedTuple):
    """A card as it would be; `news` is new, changed or nothing."""

    card: Card
    news: str


class WhatIf(NamedTuple):
    """`lifted`: what this person's EHR did not supply, and is taken to have for the sake of what is added."""

    record: Record
    changes: Edits
    trial: Trial
    cards: tuple[ChangedCard, ...]
    gone: tuple[Card, ...]
    turns: tuple[OutcomeChange, ...]
    stretches: tuple[ValueRange, ...]
    lifted: tuple[str, ...]

    @property
    def news(self) -> str:
        """`1 new, 2 changed, 1 gone: ` and the first of them; nothing where all cards stay as they are."""
        counts = {news: sum(item.news == news for item in self.cards) for news in ("new", "changed")} | {"gone": len(self.gone)}
        text = ", ".join(f"{number} {news}" for news, number in counts.items() if number)
        first = next((item.card.summary for item in self.cards if item.news), "")
        return f"{text}: {first}" if first else text

    @property
    def turned(self) -> tuple[tuple[OutcomeChange, ...], tuple[OutcomeChange, ...]]:
        """Rules that begin or cease to fire, and the others."""
        begin = tuple(item for item in self.turns if Outcome.FIRES in (item.was, item.now))
        return begin, tuple(item for item in self.turns if item not in begin)

    @property
    def invented(self) -> str:
        """What is not on record, in a line: `Potassium 2.4 mmol/L; Quinine since 2026-10-21; without Hypothyroidism`."""
        changes, rows = self.changes, (*self.record.conditions, *(bar.row for bar in self.record.courses.bars))
        unit = f" {changes.slide.unit}" if changes.slide.unit != "1" else ""
        measured = {
            "record": [],
            "value": [f"{changes.slide.title} {changes.value}{unit}"],
            "missing": [f"{changes.slide.title} never measured"],
        }[changes.measuring]
        added = [f"{item.title} since {item.since}" for item in (*changes.conditions, *changes.drugs)]
        return "; ".join([*measured, *added, *(f"without {row.name}" for row in rows if row.reference in changes.left_out)])


class Slides:
    """Where things are tried out. Along a slider every value is asked for once, and what came of it is kept."""

    def __init__(self, bench: Sandbox) -> None:
        self._bench = bench
        self._kept: dict[tuple[str, Choice, Edits], tuple[ValueRange, ...]] = {}
        self._one_at_a_time = threading.Lock()

    def what_if(self, person: Person, choice: Choice, fields: Mapping[str, Sequence[str]]) -> WhatIf:
        """Raises RequestError (400) naming every field that cannot be."""
        bench = self._bench
        own = numbered(bench.record(person, choice.day))
        before = bench.ask(bench.call(own, person, choice), choice)
        view = before.decision.view
        record = read_record(before)
        listed = [row.reference for row in (*record.conditions, *(bar.row for bar in record.courses.bars))]
        changes = read_changes(fields, view, listed)
        after = bench.ask(self._call(own, person, choice, changes, view), choice)
        return WhatIf(
            record,
            changes,
            after,
            tuple(_cards(before, after)),
            tuple(_gone(before, after)),
            tuple(turns(before, after)),
            self._along(own, person, choice, changes, view),
            _lifted(person, choice, changes, view.knowledge),
        )

    def _call(self, own: dict[str, Any], person: Person, choice: Choice, changes: Edits, view: ChartIndex) -> dict[str, Any]:
        touched = changes.touched(view.knowledge)
        left = {name: tuple(set(getattr(person, name)).difference(touched)) for name in _NOT_SUPPLIED}
        kept = tuple((key, state) for key, state in choice.supply if key not in touched)
        call = self._bench.call(changed(own, changes, view), replace(person, **left), choice._replace(supply=kept))
        add_result(call, changes, view)
        return call

    def _along(
        self, own: dict[str, Any], person: Person, choice: Choice, changes: Edits, view: ChartIndex
    ) -> tuple[ValueRange, ...]:
        key = (person.id, choice, changes._replace(measuring="value", value=_ANY))
        # Who asks meanwhile waits, for a slider asks the service as often as it has values.
        with self._one_at_a_time:
            if key not in self._kept:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = self._asked_along(self._call(own, person, choice, key[2], view), choice, changes.slide)
            return self._kept[key]

    def _asked_along(self, call: dict[str, Any], choice: Choice, slide: Slide) -> tuple[ValueRange, ...]:
        decision_service, text = self._bench.there(choice.jurisdiction), json.dumps(call)
        service = self._bench.hooks[choice.hook]
        asked = {value: text.replace(str(_ANY), str(value)).encode() for value in slide.values}
        found = {
            value: decision_service.find(service, read_request(body, choice.hook), choice.day) for value, body in asked.items()
        }
        return tuple(_stretches(found, slide, decision_service.knowledge))


def _lifted(person: Person, choice: Choice, changes: Edits, knowledge: Knowledge) -> tuple[str, ...]:
    """What this person's EHR did not supply, and would have."""
    not_supplied = {key for name in _NOT_SUPPLIED for key in getattr(person, name)} | {key for key, _ in choice.supply}
    return tuple(knowledge.queries[key].title for key in changes.touched(knowledge) if key in not_supplied)


def _stretches(found: Mapping[Decimal, Sequence[Finding]], slide: Slide, knowledge: Knowledge) -> Iterator[ValueRange]:
    text = {value: {item.rule_id: item.outcome for item in findings} for value, findings in found.items()}
    moving = [rule for rule in knowledge.rules if len({outcomes.get(rule.id) for outcomes in text.values()}) > 1]
    place = {value: at for at, value in enumerate(slide.values)}
    for answers, group in groupby(slide.values, lambda value: tuple(text[value][rule.id] for rule in moving)):
        values = list(group)
        fires, unknown = (
            tuple(rule for rule, answer in zip(moving, answers, strict=True) if answer is outcome) for outcome in _TOLD
        )
        yield ValueRange(values[0], values[-1], fires, unknown, place[values[0]], len(values))


def turns(before: Trial, after: Trial) -> Iterator[OutcomeChange]:
    for rule in before.decision.rules:
        was, now = before.findings[rule.id].outcome, after.findings[rule.id].outcome
        if was is not now:
            yield OutcomeChange(rule, was, now)


def _cards(before: Trial, after: Trial) -> Iterator[ChangedCard]:
    for item in after.decision.shown:
        old, card = _same(item, before), item.card
        yield ChangedCard(card, "new" if old is None else "" if _told(old) == _told(card) else "changed")


def _told(card: Card) -> tuple[Any, ...]:
    """Everything of a card that a person sees."""
    offers = [(item.label, item.is_recommended) for item in card.suggestions]
    return card.summary, card.detail, card.indicator, offers, [(link.label, link.url) for link in card.links]


def _gone(before: Trial, after: Trial) -> Iterator[Card]:
    return (item.card for item in before.decision.shown if _same(item, after) is None)


def _same(shown: Shown, other: Trial) -> Card | None:
    """The card that speaks for one of the same rules: of a group there may be several."""
    rules = {rule.id for rule in shown.rules}
    return next((item.card for item in other.decision.shown if rules & {rule.id for rule in item.rules}), None)
