"""Why each card, and what would make each other rule fire: one answer explained, as data for any page or terminal.

What would make a rule fire is found by `changes` and was seen to make it fire; it is never guessed from the rule's words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

import msgspec

from cds_service.cards.text import fill
from cds_service.explain.counterfactuals import Judge, Search, options_of, smallest_changes
from cds_service.explain.fact_text import lacking, say_answers, say_fact
from cds_service.explain.left_out import Omissions, is_elsewhere, left_out, why_no_cards
from cds_service.explain.reasons import deciding, reasons
from cds_service.jsonlogic.compile import Expression
from cds_service.jsonlogic.typecheck import numbers
from cds_service.knowledge.card_files import Line
from cds_service.knowledge.knowledge import Rule
from cds_service.model import UNKNOWN, Evidence, Fact, FactTypes, Finding, LineState, Outcome, State
from cds_service.rules.evaluate import decide
from cds_service.service import Decision

_VERDICTS = {Outcome.FIRES: True, Outcome.UNKNOWN: UNKNOWN, Outcome.SILENT: False, Outcome.OUT_OF_SCOPE: False}


class FactStated(msgspec.Struct, frozen=True):
    """One fact in words, with what on record it rests on. Of what is not known, `lacks` says why and `about` what."""

    fact: str
    says: str
    evidence: tuple[Evidence, ...] = ()
    lacks: str = ""
    about: str = ""


class Needed(msgspec.Struct, frozen=True):
    """One fact that would have to be otherwise, in words."""

    fact: str
    says: str


class LineStated(msgspec.Struct, frozen=True):
    """One line of a card, filled from facts. `state`: `stands`, or why it is not said."""

    says: str
    state: str


class Explained(msgspec.Struct, frozen=True):
    """One rule: what settled it or left it open, and each smallest set of changes with which it would fire.

    `search_stopped`: there may be other such sets, as the search for them is bounded. `without_card`: why a rule that fires
    has no card that speaks for it. `lines`: of a rule that fires each line of its card, and whether it stands.
    """

    rule: str
    version: str
    title: str
    group: str
    indicator: str
    outcome: str
    because: tuple[FactStated, ...]
    fires_if: tuple[tuple[Needed, ...], ...] = ()
    search_stopped: bool = False
    without_card: str = ""
    lines: tuple[LineStated, ...] = ()


class ExplainedCard(msgspec.Struct, frozen=True):
    """One card with the rules that it speaks for."""

    indicator: str
    summary: str
    rules: tuple[Explained, ...]


class Explanation(msgspec.Struct, frozen=True):
    """One answer, explained; the most urgent first in each part.

    `scope` holds what many rules share: whom they are for. `spoken_to_if`: what would have to be otherwise where the service
    does not speak at all. `left_out`: what of the record was not used; `no_cards_as`: why no rule is for this patient, or why
    that could not be decided; empty where one is. `not_served`: rules that this site does not let speak, each with the reason.
    """

    scope: tuple[FactStated, ...]
    spoken_to_if: tuple[tuple[Needed, ...], ...]
    cards: tuple[ExplainedCard, ...]
    without_card: tuple[Explained, ...]
    undecided: tuple[Explained, ...]
    silent: tuple[Explained, ...]
    out_of_scope: tuple[Explained, ...]
    left_out: Omissions
    no_cards_as: str = ""
    not_served: Mapping[str, str] = {}


def explain(decision: Decision, places: Mapping[str, str] = MappingProxyType({})) -> Explanation:
    """The whole explanation of one answer. `places`: see `left_out`."""
    writer = _ExplanationWriter(decision)
    text = {item.rule_id: writer.rule(item) for item in decision.findings}
    spoken, speaks_when = decision.composed.speaks_for, decision.speaks_when
    fired = [item for item in text.values() if item.outcome == Outcome.FIRES]
    cardless = [item for item in fired if item.rule not in chain(*spoken)]
    return Explanation(
        scope=writer.scope(),
        spoken_to_if=()
        if is_elsewhere(decision)
        else writer.needed(speaks_when.facts, lambda given: speaks_when(given).value, [speaks_when]),
        cards=tuple(
            ExplainedCard(card.indicator, card.summary, tuple(text[name] for name in names))
            for card, names in zip(decision.cards, spoken, strict=True)
        ),
        without_card=tuple(msgspec.structs.replace(item, without_card=writer.cardless(item.rule)) for item in cardless),
        undecided=_of(text, Outcome.UNKNOWN),
        silent=_of(text, Outcome.SILENT),
        out_of_scope=_of(text, Outcome.OUT_OF_SCOPE),
        left_out=left_out(decision.view, places),
        no_cards_as=why_no_cards(decision, places),
        not_served=decision.not_served,
    )


def _of(text: Mapping[str, Explained], outcome: Outcome) -> tuple[Explained, ...]:
    return tuple(item for item in text.values() if item.outcome == outcome)


def ways_to_fire(rule: Rule, values: Mapping[str, Any], jurisdiction: str, types: FactTypes) -> Search:
    """The smallest sets of changes with which a rule fires, each verified by deciding the rule anew."""
    names = dict.fromkeys((*rule.applies_when.facts, *rule.fires_when.facts))
    return _ways(names, [rule.applies_when, rule.fires_when], partial(_verdict, rule, jurisdiction), values, types)


def _shown(line: Line, say: str) -> str:
    """A line as it stands on the card: a reason in brackets, and what only the summary says."""
    return f"({say})" if line.reason else say or line.headline


def _verdict(rule: Rule, jurisdiction: str, values: Mapping[str, Any]) -> Any:
    return _VERDICTS[decide(rule, values, jurisdiction).outcome]


def _ways(
    names: Sequence[str] | Mapping[str, Any],
    expressions: Sequence[Expression],
    judge: Judge,
    values: Mapping[str, Any],
    types: FactTypes,
) -> Search:
    if judge(values) is True:
        return Search(())
    thresholds = [number for expression in expressions for number in numbers(expression.source)]
    return smallest_changes(judge, values, options_of(names, types, thresholds))


class _ExplanationWriter:
    """Puts findings into words."""

    def __init__(self, decision: Decision) -> None:
        self._decision, self._facts, self._values = decision, decision.facts, decision.values
        self._knowledge = decision.knowledge
        self._silent_because = deciding(decision.speaks_when, self._values) if decision.silent_because else ()
        self._indicators = {group.id: group.indicator for group in self._knowledge.groups}
        self._advice = {item.rule_id: item for item in decision.advice.rules}

    def rule(self, finding: Finding) -> Explained:
        """Scope is told once for all rules; of a rule itself only what stands beside it."""
        rule = self._knowledge.rule_by_id[finding.rule_id]
        decided = finding.outcome in (Outcome.FIRES, Outcome.SILENT)
        because = self._silent_because or reasons(finding, rule, self._values)
        own = [name for name in because if not decided or name not in rule.applies_when.facts]
        search = self._ways(finding, rule)
        return Explained(
            rule=rule.id,
            version=rule.file.version,
            title=rule.file.title,
            group=rule.file.group,
            indicator=self._indicators[rule.file.group],
            outcome=finding.outcome.value,
            because=tuple(self.stated(self._facts[name]) for name in own or because),
            fires_if=self._in_words(search),
            search_stopped=search.stopped,
            lines=self._lines(rule),
        )

    def _lines(self, rule: Rule) -> tuple[LineStated, ...]:
        if rule.id not in self._advice:
            return ()
        advice, decision = self._advice[rule.id], self._decision
        titles = [self._knowledge.orders[item.order].title for item in advice.offers if item.on_order is not True]
        card = self._knowledge.cards[rule.id]
        said = zip(card.file.lines, (say for _, say in card.lines), advice.lines, strict=True)
        return tuple(
            LineStated(fill(_shown(line, say), self._facts, decision.view.as_of, titles), state.value)
            for line, say, state in said
        )

    def _ways(self, finding: Finding, rule: Rule) -> Search:
        if finding.outcome not in (Outcome.SILENT, Outcome.UNKNOWN):
            return Search(())
        return ways_to_fire(rule, self._values, self._decision.view.jurisdiction, self._knowledge.types)

    def stated(self, fact: Fact) -> FactStated:
        about, lacks = lacking(fact, self._knowledge) if fact.value is UNKNOWN else ("", "")
        # What is not understood stands in the reason, once for all facts that it could be about.
        evidence = () if fact.state is State.NOT_UNDERSTOOD else fact.evidence
        return FactStated(fact.name, say_fact(fact, self._knowledge), evidence, lacks, about)

    def scope(self) -> tuple[FactStated, ...]:
        """What the service asks of everyone it speaks to, and then what the rules ask before anything else."""
        shared = chain(self._decision.speaks_when.facts, *(rule.applies_when.facts for rule in self._decision.rules))
        return tuple(self.stated(self._facts[name]) for name in dict.fromkeys(shared))

    def needed(self, names: Sequence[str], judge: Judge, expressions: Sequence[Expression]) -> tuple[tuple[Needed, ...], ...]:
        return self._in_words(_ways(names, expressions, judge, self._values, self._knowledge.types))

    def _in_words(self, found: Search) -> tuple[tuple[Needed, ...], ...]:
        return tuple(
            tuple(Needed(item.fact, say_answers(item.fact, item.answers, self._knowledge)) for item in way)
            for way in found.smallest_changes
        )

    def cardless(self, rule_id: str) -> str:
        """Why a rule fires and no card speaks for it."""
        if rule_id in self._decision.not_served or rule_id not in self._advice:
            return self._decision.not_served.get(rule_id, "it rests on what only rules in shadow ask for")
        advice = self._advice[rule_id]
        if rule_id in self._decision.suppressed:
            return "overridden or shown lately for this patient, and nothing new since; it will speak again"
        if rule_id in self._decision.composed.left_out:
            return "did not fit beside what is more urgent; the last card names it"
        if advice.offers and all(item.on_order is True for item in advice.offers):
            return "its tests are on order already"
        if all(state in (LineState.NOT_MET, LineState.UNKNOWN) for state in advice.lines):
            return "nothing that its card could say applies here"
        return "it steps back beside another card, or this site switched it off"
