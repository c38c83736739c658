"""Stage 4: what the rules have to say becomes cards: grouped, filled from facts, with suggestions, reasons and sources."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cds_service.cards.footer import Footers
from cds_service.cards.lines import BETWEEN, Said, told, told_of_tests
from cds_service.cards.suggestions import form_request, removals
from cds_service.cards.text import ORDERS, clip, fill, fit, listed, plain
from cds_service.cdshooks.response import SUMMARY_LIMIT, Action, Card, Suggestion
from cds_service.chart.index import ChartIndex
from cds_service.fhir.dates import say_date
from cds_service.knowledge.card_files import FormRequest, Group
from cds_service.knowledge.knowledge import CardText, Knowledge, Rule
from cds_service.knowledge.schema import Order
from cds_service.model import UNKNOWN, Advice, Evidence, Fact, LineState, Offered, RuleAdvice, State

_REMOVED = "remove"
_FORM = "form"
# Queries named as not answered in full; `explain` and the pages name all of them.
_MOST_TITLES = 3


@dataclass(frozen=True, slots=True)
class CardOptions:
    """How a site wants its cards: what is asked of this stage besides what is to be said.

    `order_codes`: by the name of a test the Coding under which this EHR orders it.
    """

    max_cards: int
    workup_without_reason: bool
    footers: Footers
    order_codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrderSubject:
    """Whom a suggestion is for, who looks at the card and, where the record has one, the Condition that is its reason."""

    reference: str
    reason_reference: str | None
    user: str = ""


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
    """One firing rule put into words. `has_reason`: the record recommends one of its own tests, not only another of a panel."""

    rule: Rule
    headlines: list[str]
    lines: list[Said]
    suggestions: list[Suggestion]
    pending: list[str]
    unchecked_orders: bool
    has_reason: bool
    orders: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _PendingCard:
    """A card before its closing lines are known."""

    group: Group
    spoken: list[_Spoken]
    notes: list[str] = field(default_factory=list)


def compose(
    advice: Advice, facts: Mapping[str, Fact], view: ChartIndex, subject: OrderSubject, options: CardOptions
) -> Composed:
    """The cards of one answer, most important first, at most `max_cards`.

    Queries that could not be answered are told on the last card, never passed over.
    """
    knowledge = view.knowledge
    writer = _CardWriter(facts, view, subject, options)
    spoken = [writer.speak(item) for item in advice.rules if item.speaks and LineState.STANDS in item.lines]
    at_home = _at_home(spoken, knowledge)
    is_urgent = any(group.indicator == "critical" and group.id in at_home for group in knowledge.groups)
    reasoned = is_urgent or not options.workup_without_reason
    drafts = [draft for group in knowledge.groups for draft in _grouped(group, at_home.get(group.id, []), reasoned)]
    if not drafts:
        return Composed()
    pending = [title for item in spoken for title in item.pending]
    shown, left_out = drafts[: options.max_cards], drafts[options.max_cards :]
    shown[0].notes += writer.unreadable(advice.unreadable)
    with_tests = next((draft for draft in shown if draft.group.offers), shown[-1])
    with_tests.notes += writer.pending(pending)
    shown[-1].notes += [*writer.unanswered(), *writer.left_out(left_out)]
    return Composed(
        tuple(Shown(writer.card(draft), draft.group.id, _rules(draft), _offers(draft)) for draft in shown),
        tuple(item.rule.id for draft in left_out for item in draft.spoken),
    )


def _at_home(spoken: Iterable[_Spoken], knowledge: Knowledge) -> Mapping[str, list[_Spoken]]:
    """What is said by the group on whose card it stands. What has nothing left to say stands on none."""
    said = [item for item in spoken if item.headlines]
    with_card = {item.rule.file.group for item in said}
    homes: dict[str, list[_Spoken]] = {}
    for item in said:
        joined = knowledge.cards[item.rule.id].file.joins
        homes.setdefault(joined if joined in with_card else item.rule.file.group, []).append(item)
    return homes


def _grouped(group: Group, own: list[_Spoken], reasoned: bool) -> list[_PendingCard]:
    """The cards of one group. `reasoned`: of tests only those for which the record has a reason."""
    if group.offers and reasoned:
        own = [item for item in own if item.has_reason]
    if not own:
        return []
    if group.offers:
        # A test that the record gives a reason for stands before one that is merely offered.
        own.sort(key=lambda item: not item.has_reason)
    return [_PendingCard(group, own)] if group.merge else [_PendingCard(group, [item]) for item in own]


class _CardWriter:
    """Puts what rules have to say into the words of `cards/`."""

    def __init__(self, facts: Mapping[str, Fact], view: ChartIndex, subject: OrderSubject, options: CardOptions) -> None:
        self._facts, self._view, self._subject = facts, view, subject
        self._footers, self._order_codes = options.footers, options.order_codes
        self._knowledge, self._say = view.knowledge, view.knowledge.wording
        self._taken: set[str] = set()

    def speak(self, advice: RuleAdvice) -> _Spoken:
        text, orders = self._knowledge.cards[advice.rule_id], self._knowledge.orders
        offered = [item for item in advice.offers if item.on_order is not True]
        titles = [orders[item.order].title for item in offered]
        lines = [
            self._said(say, titles, line.reason)
            for (_, say), line, state in zip(text.lines, text.file.lines, advice.lines, strict=True)
            if state is LineState.STANDS and say
        ]
        suggestions = [self._suggest(item) for item in offered]
        removing = removals(text.file.removes, self._facts, self._taken)
        forms = [self._form(text.file.asks_for_form)] if text.file.asks_for_form else []
        return _Spoken(
            rule=self._knowledge.rule_by_id[advice.rule_id],
            headlines=self._headlines(text, advice, titles),
            lines=lines,
            suggestions=[*suggestions, *removing, *forms],
            pending=[self._pending(orders[item.order]) for item in advice.offers if item.on_order is True],
            unchecked_orders=any(item.on_order is UNKNOWN for item in offered),
            has_reason=any(item.recommended for item in offered) or any(item.is_recommended for item in (*removing, *forms)),
            orders=[
                *(item.panel or item.order for item in offered),
                *(_REMOVED for _ in removing),
                *(_FORM for _ in forms),
            ],
        )

    def _headlines(self, text: CardText, advice: RuleAdvice, titles: list[str]) -> list[str]:
        """Those of the lines that stand, or failing these that of the card: the tests that it offers, or one text."""
        stand = (line for line, state in zip(text.file.lines, advice.lines, strict=True) if state is LineState.STANDS)
        own = [self._fill(line.headline, titles) for line in stand if line.headline]
        return own or (titles if text.file.headline == f"{{{ORDERS}}}" else [self._fill(text.file.headline, titles)])

    def _said(self, say: str, orders: Sequence[str], is_reason: bool) -> Said:
        """Parted as its author wrote it: a name on record may hold a colon too."""
        about, _, says = (say, "", "") if is_reason else say.partition(BETWEEN)
        return Said(self._fill(about, orders), self._fill(says, orders), is_reason, is_of_record="{" in about)

    def _fill(self, text: str, orders: Sequence[str]) -> str:
        return fill(text, self._facts, self._view.as_of, orders)

    def _pending(self, order: Order) -> str:
        return f"{order.title} ({say_date(self._facts[order.pending_fact].evidence[0].date, self._view.as_of)})"

    def _suggest(self, offer: Offered) -> Suggestion:
        name = offer.panel or offer.order
        order = self._knowledge.orders[name]
        own = self._order_codes.get(name)
        resource = service_request(order, self._knowledge, self._subject, self._view.jurisdiction, own)
        resource |= {"priority": offer.priority} if offer.priority else {}
        action = Action(type="create", description=order.description, resource=resource)
        return Suggestion(
            label=order.label,
            uuid=str(uuid.uuid4()),
            is_recommended=True if offer.recommended or offer.with_recommended else None,
            actions=(action,),
        )

    def _form(self, asked: FormRequest) -> Suggestion:
        return form_request(asked, self._knowledge.questionnaire, self._subject.reference, self._subject.user, self._view.as_of)

    def unreadable(self, names: Sequence[str]) -> list[str]:
        """What was on record and could not be read: neither normal nor never measured, so it is told."""
        facts = [self._facts[name] for name in names]
        shown = dict.fromkeys(text for fact in facts if fact.state is State.UNUSABLE for text in self._unusable(fact))
        unread = [self._say.could_not_read.format(results=clip("; ".join(shown), 400))] if shown else []
        return [*unread, *self._not_understood([fact for fact in facts if fact.state is State.NOT_UNDERSTOOD])]

    def _not_understood(self, facts: Sequence[Fact]) -> list[str]:
        """One line of entries in the record's own words, with what else is wrong: two names a kind, then a number."""
        entries = {item.reference: item for fact in facts for item in fact.evidence}.values()
        if not entries:
            return []
        found: dict[str, list[str]] = {}
        for item in entries:
            kind = self._say.entries.get(item.reference.partition("/")[0], self._say.entries[""])
            why = f" ({plain(item.note)})" if item.note else ""
            found.setdefault(kind, []).append(f"“{clip(plain(item.name), 60)}”{why}")
        shown = "; ".join(f"{len(names)} {kind}: {listed(names, 2)}" for kind, names in found.items())
        # A name that is plain to read, of which only the status is missing, was identified.
        are_nameless = not any(item.note for item in entries)
        return [(self._say.not_identified if are_nameless else self._say.not_understood).format(entries=shown)]

    def _unusable(self, fact: Fact) -> list[str]:
        if not fact.evidence:
            return [plain(fact.reason)]
        return [self._unread(item, fact.reason) for item in fact.evidence]

    def _unread(self, item: Evidence, reason: str) -> str:
        what = clip(plain(f"{item.name} {item.value}"), 60)
        return f"{what} ({say_date(item.date, self._view.as_of)}): {plain(reason)}"

    def pending(self, titles: Sequence[str]) -> list[str]:
        return [self._say.pending.format(orders=listed(titles, len(titles)))] if titles else []

    def unanswered(self) -> list[str]:
        states = self._view.chart.query_state
        titles = [self._knowledge.queries[name].title for name, state in states.items() if state is not State.KNOWN]
        return [self._say.not_supplied.format(titles=listed(titles, _MOST_TITLES))] if titles else []

    def left_out(self, drafts: Sequence[_PendingCard]) -> list[str]:
        text = [draft.group.summary.replace("{headlines}", draft.group.joiner.join(_headlines(draft))) for draft in drafts]
        return [self._say.left_out.format(summaries="; ".join(text))] if text else []

    def card(self, draft: _PendingCard) -> Card:
        suggestions = _once(suggestion for item in draft.spoken for suggestion in item.suggestions)
        closing = self._footers.of(draft.group, _rules(draft))
        return Card(
            uuid=str(uuid.uuid4()),
            summary=self._summary(draft),
            indicator=draft.group.indicator,
            detail=self._detail(draft, closing.line),
            source=closing.source,
            suggestions=suggestions,
            selection_behavior="any" if suggestions else None,
            override_reasons=closing.reasons,
            links=closing.links,
            extension=closing.extension,
        )

    def _summary(self, draft: _PendingCard) -> str:
        group = draft.group
        return fit(group.summary, _headlines(draft), group.joiner, group.more, SUMMARY_LIMIT)

    def _detail(self, draft: _PendingCard, closing: str) -> str:
        most = draft.group.most_told
        # To name one alone would save nothing.
        most = most if most and len(draft.spoken) > most + 1 else len(draft.spoken)
        said = [item.lines for item in draft.spoken[:most]]
        lines = told_of_tests(said) if draft.group.offers else told(said, _headlines(draft))
        if beyond := [headline for item in draft.spoken[most:] for headline in item.headlines]:
            lines.append(draft.group.beyond.format(headlines=listed(beyond, len(beyond))))
        notes = list(draft.notes)
        if any(item.unchecked_orders for item in draft.spoken):
            notes.insert(0, self._say.orders_not_supplied)
        blocks = [draft.group.lead, "\n".join(f"- {line}" for line in lines), *notes, closing]
        return "\n\n".join(block for block in blocks if block)


def _once(suggestions: Iterable[Suggestion]) -> tuple[Suggestion, ...]:
    """Each test once, though two rules of a card may ask for it; what is recommended comes first and stands."""
    once: dict[tuple[str | None, ...], Suggestion] = {}
    for suggestion in suggestions:
        once.setdefault((suggestion.label, *(action.resource_id for action in suggestion.actions)), suggestion)
    return tuple(once.values())


def service_request(
    order: Order,
    knowledge: Knowledge,
    subject: OrderSubject,
    jurisdiction: str = "",
    own: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A draft ServiceRequest (R4) that proposes a test, under the EHR's own code first where it has one.

    `tests` validate each with fhir.resources.
    """
    codings = [dict(own)] if own else []
    codings += [knowledge.coding(system, code) for system, code in order.codes_in.get(jurisdiction, order.codes)]
    request: dict[str, Any] = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": {"coding": codings, "text": order.title},
        "subject": {"reference": subject.reference},
    }
    if subject.reason_reference:
        request["reasonReference"] = [{"reference": subject.reason_reference}]
    return request


def _headlines(draft: _PendingCard) -> list[str]:
    """Each once: two rules of a card may ask for the same test."""
    return list(dict.fromkeys(headline for item in draft.spoken for headline in item.headlines))


def _rules(draft: _PendingCard) -> tuple[Rule, ...]:
    return tuple(item.rule for item in draft.spoken)


def _offers(draft: _PendingCard) -> tuple[Offer, ...]:
    """What each suggestion of the card stands for; one that two rules ask for counts for the first."""
    shown = {suggestion.uuid for suggestion in _once(item for spoken in draft.spoken for item in spoken.suggestions)}
    return tuple(
        Offer(suggestion.uuid, item.rule.id, order)
        for item in draft.spoken
        for suggestion, order in zip(item.suggestions, item.orders, strict=True)
        if suggestion.uuid in shown
    )
