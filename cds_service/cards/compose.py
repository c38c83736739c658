"""Stage 4: the findings that fire become cards: grouped, filled from facts, with their suggestions, reasons and sources."""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from cds_service.cards.footer import Footers
from cds_service.cards.suggestions import removals
from cds_service.cards.text import ORDERS, clip, fill, fit, listed, plain
from cds_service.cdshooks.response import SUMMARY_LIMIT, Action, Card, Suggestion
from cds_service.fhir.dates import say_date
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.schema import Group, Line, Order
from cds_service.model import UNKNOWN, Evidence, Fact, Finding, Outcome, State, Value

_REMOVED = "remove"


class RankedRules(NamedTuple):
    """The rules of a service by id, most important first, and every fact that decides one of them."""

    rules: Mapping[str, Rule]
    asked: Sequence[str]


def ranked(rules: Sequence[Rule], knowledge: Knowledge) -> RankedRules:
    order = {group.id: position for position, group in enumerate(knowledge.groups)}
    by_rank = sorted(rules, key=lambda rule: (order[rule.file.group], rule.file.priority))
    return RankedRules({rule.id: rule for rule in by_rank}, sorted({name for rule in rules for name in rule.fires_when.facts}))


@dataclass(frozen=True, slots=True)
class CardOptions:
    """How a site wants its cards: what is asked of this stage besides the findings."""

    as_of: date
    jurisdiction: str
    max_cards: int
    workup_without_reason: bool
    closings: Footers


@dataclass(frozen=True, slots=True)
class OrderSubject:
    """Whom a suggestion is for and, where the record has one, the Condition that is its reason."""

    reference: str
    reason_reference: str | None


class Offer(NamedTuple):
    """What one suggestion stands for."""

    suggestion: str
    rule: str
    order: str


class Shown(NamedTuple):
    """One card with what feedback on it is about: its group, the rules that it speaks for, what it offers."""

    card: Card
    group: str
    rules: tuple[Rule, ...]
    offers: tuple[Offer, ...]


class Composed(NamedTuple):
    """The cards of one answer, and the ids of the rules that did not fit on any."""

    shown: tuple[Shown, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def cards(self) -> tuple[Card, ...]:
        return tuple(item.card for item in self.shown)

    @property
    def speaks_for(self) -> tuple[tuple[str, ...], ...]:
        """Beside each card the ids of its rules."""
        return tuple(tuple(rule.id for rule in item.rules) for item in self.shown)


@dataclass(slots=True)
class _Spoken:
    """One firing rule put into words."""

    rule: Rule
    headlines: list[str]
    lines: list[str]
    suggestions: list[Suggestion]
    pending: list[str]
    unchecked_orders: bool
    orders: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _PendingCard:
    """A card before its closing lines are known."""

    group: Group
    spoken: list[_Spoken]
    notes: list[str] = field(default_factory=list)

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(item.rule.id for item in self.spoken)


def compose(
    findings: Sequence[Finding],
    served: RankedRules,
    facts: Mapping[str, Fact],
    values: Mapping[str, Value],
    knowledge: Knowledge,
    patient: OrderSubject,
    missing: Sequence[str],
    manner: CardOptions,
    silenced: Container[str] = (),
) -> Composed:
    """The cards of one answer, most important first, at most `max_cards`.

    `missing` names the queries that could not be answered; they are told on the last card, never passed over.
    `silenced` names rules that are not to speak. They are still true: what is unsaid beside them stays unsaid.
    """
    indicators = {group.id: group.indicator for group in knowledge.groups}
    firing = {item.rule_id for item in findings if item.outcome is Outcome.FIRES}
    firing -= {name for rule in served.rules.values() if rule.id in firing for name in rule.file.replaces}
    fired = [rule for name, rule in served.rules.items() if name in firing]
    heard = {indicators[rule.file.group] for rule in fired}
    writer = _CardWriter(facts, values, knowledge, patient, manner)
    spoken = [writer.speak(rule, heard) for rule in fired if rule.id not in silenced]
    drafts = [draft for group in knowledge.groups for draft in _grouped(group, spoken, manner)]
    if not drafts:
        return Composed()
    pending = [title for item in spoken for title in item.pending]
    shown, left_out = drafts[: manner.max_cards], drafts[manner.max_cards :]
    shown[0].notes += writer.unreadable(findings, served)
    shown[-1].notes += [*writer.pending(pending), *writer.unanswered(missing), *writer.left_out(left_out)]
    return Composed(
        tuple(Shown(writer.card(draft), draft.group.id, _rules(draft), _offers(draft)) for draft in shown),
        tuple(name for draft in left_out for name in draft.rules),
    )


def _grouped(group: Group, spoken: Sequence[_Spoken], manner: CardOptions) -> list[_PendingCard]:
    """The cards of one group. What has nothing left to say, such as tests all on order already, makes no card."""
    own = [item for item in spoken if item.rule.file.group == group.id and item.headlines]
    if group.offers and not manner.workup_without_reason:
        own = [item for item in own if any(suggestion.is_recommended for suggestion in item.suggestions)]
    if not own:
        return []
    if group.offers:
        # A test that the record gives a reason for stands before one that is merely offered.
        own.sort(key=lambda item: not any(suggestion.is_recommended for suggestion in item.suggestions))
    return [_PendingCard(group, own)] if group.merge else [_PendingCard(group, [item]) for item in own]


class _CardWriter:
    """Puts findings into the words of `cards/`."""

    def __init__(
        self,
        facts: Mapping[str, Fact],
        values: Mapping[str, Value],
        knowledge: Knowledge,
        patient: OrderSubject,
        manner: CardOptions,
    ) -> None:
        self._facts, self._values, self._knowledge = facts, values, knowledge
        self._patient, self._manner, self._say = patient, manner, knowledge.wording
        self._taken: set[str] = set()

    def speak(self, rule: Rule, heard: Set[str]) -> _Spoken:
        text = self._knowledge.cards[rule.id]
        orders, pending, unchecked = self._orders(rule)
        titles = [self._knowledge.orders[name].title for name, _ in orders]
        lines = [
            self._fill(say, titles)
            for (when, say), line in zip(text.lines, text.file.lines, strict=True)
            if self._stands(line, heard) and (line.when is True or when(self._values).value is True)
        ]
        offers_only = text.file.headline == f"{{{ORDERS}}}"
        if not lines:
            return _Spoken(rule, [], [], [], [], unchecked_orders=False)
        headlines = titles if offers_only else [self._fill(text.file.headline, titles)]
        suggestions = [self._suggest(self._knowledge.orders[name], recommended) for name, recommended in orders]
        removing = removals(text.file.removes, self._facts, self._taken)
        offered = [*(name for name, _ in orders), *(_REMOVED for _ in removing)]
        return _Spoken(rule, headlines, lines, [*suggestions, *removing], pending, unchecked, offered)

    def _stands(self, line: Line, heard: Set[str]) -> bool:
        """Whether a line may be said here and beside what else is said, by the indicators of all that fired."""
        if line.jurisdiction and line.jurisdiction != self._manner.jurisdiction:
            return False
        if "critical" in heard:
            return not (line.unless_urgent or line.unless_warned)
        return not (line.unless_warned and "warning" in heard)

    def _fill(self, text: str, orders: Sequence[str]) -> str:
        return fill(text, self._facts, self._manner.as_of, orders)

    def _orders(self, rule: Rule) -> tuple[list[tuple[str, bool]], list[str], bool]:
        """Tests to offer with whether they are recommended, titles of those on order already, and whether that was unknown."""
        offered: list[tuple[str, bool]] = []
        pending: list[str] = []
        unchecked = False
        for use in rule.orders:
            order = self._knowledge.orders[use.order]
            if use.when(self._values).value is not True:
                continue
            on_order = self._facts[order.pending_fact]
            if on_order.value is True:
                pending.append(f"{order.title} ({say_date(on_order.evidence[0].date, self._manner.as_of)})")
                continue
            unchecked = unchecked or on_order.value is UNKNOWN
            offered.append((use.order, use.recommended_when(self._values).value is True))
        return offered, pending, unchecked

    def _suggest(self, order: Order, recommended: bool) -> Suggestion:
        action = Action(type="create", description=order.description, resource=self._service_request(order))
        return Suggestion(
            label=order.label, uuid=str(uuid.uuid4()), is_recommended=True if recommended else None, actions=(action,)
        )

    def _service_request(self, order: Order) -> dict[str, Any]:
        reason = self._patient.reason_reference
        return service_request(order, self._knowledge, self._patient.reference, reason)

    def unreadable(self, findings: Sequence[Finding], served: RankedRules) -> list[str]:
        """What was on record and could not be read: neither normal nor never measured, so it is told.

        Not where every rule that asks for it is silent whatever it was: then it is nobody's question.
        """
        unusable = [fact for fact in map(self._facts.__getitem__, served.asked) if fact.state is State.UNUSABLE]
        if not unusable:
            return []
        open_still = [served.rules[item.rule_id] for item in findings if item.outcome in (Outcome.FIRES, Outcome.UNKNOWN)]
        names = {name for rule in open_still for name in rule.fires_when.facts}
        unusable = [fact for fact in unusable if fact.name in names]
        told = dict.fromkeys(text for fact in unusable for text in self._unusable(fact))
        return [self._say.could_not_read.format(results=clip("; ".join(told), 400))] if told else []

    def _unusable(self, fact: Fact) -> list[str]:
        if not fact.evidence:
            return [plain(fact.reason)]
        return [self._unread(item, fact.reason) for item in fact.evidence]

    def _unread(self, item: Evidence, reason: str) -> str:
        what = clip(plain(f"{item.name} {item.value}"), 60)
        return f"{what} ({say_date(item.date, self._manner.as_of)}): {plain(reason)}"

    def pending(self, titles: Sequence[str]) -> list[str]:
        return [self._say.pending.format(orders=listed(titles, len(titles)))] if titles else []

    def unanswered(self, missing: Sequence[str]) -> list[str]:
        titles = [self._knowledge.queries[name].title for name in missing]
        return [self._say.not_supplied.format(titles=listed(titles, len(titles)))] if titles else []

    def left_out(self, drafts: Sequence[_PendingCard]) -> list[str]:
        told = [draft.group.summary.replace("{headlines}", draft.group.joiner.join(_headlines(draft))) for draft in drafts]
        return [self._say.left_out.format(summaries="; ".join(told))] if told else []

    def card(self, draft: _PendingCard) -> Card:
        suggestions = _once(suggestion for item in draft.spoken for suggestion in item.suggestions)
        closing = self._manner.closings.of(draft.group, _rules(draft))
        return Card(
            uuid=str(uuid.uuid4()),
            summary=self._summary(draft),
            indicator=draft.group.indicator,
            detail=self._detail(draft, closing.lines),
            source=closing.source,
            suggestions=suggestions,
            selection_behavior="any" if suggestions else None,
            override_reasons=closing.reasons,
            links=closing.links,
        )

    def _summary(self, draft: _PendingCard) -> str:
        group = draft.group
        return fit(group.summary, _headlines(draft), group.joiner, group.more, SUMMARY_LIMIT)

    def _detail(self, draft: _PendingCard, closing: str) -> str:
        lines = [f"- {line}" for item in draft.spoken for line in item.lines]
        notes = list(draft.notes)
        if any(item.unchecked_orders for item in draft.spoken):
            notes.insert(0, self._say.orders_not_supplied)
        blocks = [draft.group.lead, "\n".join(lines), *notes, closing]
        return "\n\n".join(block for block in blocks if block)


def _once(suggestions: Iterable[Suggestion]) -> tuple[Suggestion, ...]:
    """Each test once, though two rules of a card may ask for it; what is recommended comes first and stands."""
    once: dict[tuple[str | None, ...], Suggestion] = {}
    for suggestion in suggestions:
        once.setdefault((suggestion.label, *(action.resource_id for action in suggestion.actions)), suggestion)
    return tuple(once.values())


def service_request(order: Order, knowledge: Knowledge, patient: str, reason: str | None) -> dict[str, Any]:
    """A draft ServiceRequest (R4) that proposes a test. `tests` validate each with fhir.resources."""
    codings = [knowledge.coding(system, code) for system, code in order.codes]
    request: dict[str, Any] = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": codings, "text": order.title},
        "subject": {"reference": patient},
    }
    if reason:
        request["reasonReference"] = [{"reference": reason}]
    return request


def _headlines(draft: _PendingCard) -> list[str]:
    return [headline for item in draft.spoken for headline in item.headlines]


def _rules(draft: _PendingCard) -> tuple[Rule, ...]:
    return tuple(item.rule for item in draft.spoken)


def _offers(draft: _PendingCard) -> tuple[Offer, ...]:
    return tuple(
        Offer(suggestion.uuid, item.rule.id, order)
        for item in draft.spoken
        for suggestion, order in zip(item.suggestions, item.orders, strict=True)
    )
