"""Why each card, and what would make each other rule fire: one answer explained, as data for any page or terminal.

What would make a rule fire is found by `changes` and was seen to make it fire; it is never guessed from the rule's words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from cds_service.explain.counterfactuals import Judge, Search, options_of, smallest_changes
from cds_service.explain.fact_text import lacking, say_answers, say_fact
from cds_service.explain.reasons import deciding, reasons
from cds_service.facts.evaluate import FactValues
from cds_service.jsonlogic.compile import Expression
from cds_service.jsonlogic.typecheck import numbers
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.model import UNKNOWN, Evidence, Fact, FactTypes, Finding, Outcome
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


class Explained(msgspec.Struct, frozen=True):
    """One rule: what settled it or left it open, and each smallest set of changes with which it would fire.

    `search_stopped`: there may be other such sets, as the search for them is bounded. `without_card`: why a rule that fires
    has no card that speaks for it.
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


class ExplainedCard(msgspec.Struct, frozen=True):
    """One card with the rules that it speaks for."""

    indicator: str
    summary: str
    rules: tuple[Explained, ...]


class Explanation(msgspec.Struct, frozen=True):
    """One answer, explained; the most urgent first in each part.

    `scope` holds what many rules share: whom they are for. `spoken_to_if`: what would have to be otherwise where the service
    does not speak at all.
    """

    scope: tuple[FactStated, ...]
    spoken_to_if: tuple[tuple[Needed, ...], ...]
    cards: tuple[ExplainedCard, ...]
    without_card: tuple[Explained, ...]
    undecided: tuple[Explained, ...]
    silent: tuple[Explained, ...]
    out_of_scope: tuple[Explained, ...]


def explain(
    decision: Decision,
    rules: Sequence[Rule],
    speaks_when: Expression,
    knowledge: Knowledge,
    jurisdiction: str,
) -> Explanation:
    """The whole explanation of one answer."""
    by_id = {rule.id: rule for rule in rules}
    values = FactValues(decision.facts)
    writer = _ExplanationWriter(decision, speaks_when, knowledge, jurisdiction, values)
    told = {item.rule_id: writer.rule(item, by_id[item.rule_id]) for item in decision.findings}
    spoken, left_out = decision.composed.speaks_for, decision.composed.left_out
    fired = [item for item in told.values() if item.outcome == Outcome.FIRES]
    cardless = [item for item in fired if item.rule not in chain(*spoken)]
    return Explanation(
        scope=writer.scope(rules, speaks_when),
        spoken_to_if=writer.needed(speaks_when.facts, lambda given: speaks_when(given).value, [speaks_when]),
        cards=tuple(
            ExplainedCard(card.indicator, card.summary, tuple(told[name] for name in names))
            for card, names in zip(decision.cards, spoken, strict=True)
        ),
        without_card=tuple(
            msgspec.structs.replace(item, without_card=writer.cardless(by_id[item.rule], item.rule in left_out))
            for item in cardless
        ),
        undecided=_of(told, Outcome.UNKNOWN),
        silent=_of(told, Outcome.SILENT),
        out_of_scope=_of(told, Outcome.OUT_OF_SCOPE),
    )


def _of(told: Mapping[str, Explained], outcome: Outcome) -> tuple[Explained, ...]:
    return tuple(item for item in told.values() if item.outcome == outcome)


def ways_to_fire(rule: Rule, values: Mapping[str, Any], jurisdiction: str, types: FactTypes) -> Search:
    """The smallest sets of changes with which a rule fires, each verified by deciding the rule anew."""
    names = dict.fromkeys((*rule.applies_when.facts, *rule.fires_when.facts))
    return _ways(names, [rule.applies_when, rule.fires_when], partial(_verdict, rule, jurisdiction), values, types)


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

    def __init__(
        self,
        decision: Decision,
        speaks_when: Expression,
        knowledge: Knowledge,
        jurisdiction: str,
        values: Mapping[str, Any],
    ) -> None:
        self._facts, self._knowledge, self._silenced = decision.facts, knowledge, decision.suppressed
        self._silent_because = deciding(speaks_when, values) if decision.silent_because else ()
        self._jurisdiction, self._values = jurisdiction, values
        self._indicators = {group.id: group.indicator for group in knowledge.groups}

    def rule(self, finding: Finding, rule: Rule) -> Explained:
        """Scope is told once for all rules; of a rule itself only what stands beside it."""
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
        )

    def _ways(self, finding: Finding, rule: Rule) -> Search:
        if finding.outcome not in (Outcome.SILENT, Outcome.UNKNOWN):
            return Search(())
        return ways_to_fire(rule, self._values, self._jurisdiction, self._knowledge.types)

    def stated(self, fact: Fact) -> FactStated:
        about, lacks = lacking(fact, self._knowledge) if fact.value is UNKNOWN else ("", "")
        return FactStated(fact.name, say_fact(fact, self._knowledge), fact.evidence, lacks, about)

    def scope(self, rules: Sequence[Rule], speaks_when: Expression) -> tuple[FactStated, ...]:
        """What the service asks of everyone it speaks to, and then what the rules ask before anything else."""
        shared = chain(speaks_when.facts, *(rule.applies_when.facts for rule in rules))
        return tuple(self.stated(self._facts[name]) for name in dict.fromkeys(shared))

    def needed(self, names: Sequence[str], judge: Judge, expressions: Sequence[Expression]) -> tuple[tuple[Needed, ...], ...]:
        return self._in_words(_ways(names, expressions, judge, self._values, self._knowledge.types))

    def _in_words(self, found: Search) -> tuple[tuple[Needed, ...], ...]:
        return tuple(
            tuple(Needed(item.fact, say_answers(item.fact, item.answers, self._knowledge)) for item in way)
            for way in found.smallest_changes
        )

    def cardless(self, rule: Rule, did_not_fit: bool) -> str:
        """Why a rule fires and no card speaks for it."""
        if rule.id in self._silenced:
            return "overridden for this patient, and nothing new since; it will speak again"
        if did_not_fit:
            return "did not fit beside what is more urgent; the last card names it"
        offered = [use.order for use in rule.orders if use.when(self._values).value is True]
        if offered and all(self._facts[self._knowledge.orders[name].pending_fact].value is True for name in offered):
            return "its tests are on order already"
        if not any(when(self._values).value is True for when, _ in self._knowledge.cards[rule.id].lines):
            return "nothing that its card could say applies here"
        return "it steps back beside another card, or this site switched it off"
