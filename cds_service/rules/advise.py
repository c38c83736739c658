"""What the rules that fire have to say: which lines of their cards stand, and which tests they offer.

All of it is decided here, from the values of facts; `cards` only puts it into words.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from cds_service.jsonlogic.compile import Expression
from cds_service.knowledge.card_files import Line
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.model import UNKNOWN, Facts, Finding, LineState, Offered, Outcome, RuleAdvice, State, Value
from cds_service.rules.panels import with_panels

_OPEN = (Outcome.FIRES, Outcome.UNKNOWN)


class RankedRules(NamedTuple):
    """The rules of a service by id, most important first, as one jurisdiction runs them."""

    rules: Mapping[str, Rule]
    knowledge: Knowledge
    jurisdiction: str


def ranked(rules: Sequence[Rule], knowledge: Knowledge, jurisdiction: str) -> RankedRules:
    order = {group.id: position for position, group in enumerate(knowledge.groups)}
    by_rank = sorted(rules, key=lambda rule: (order[rule.file.group], rule.file.priority))
    return RankedRules({rule.id: rule for rule in by_rank}, knowledge, jurisdiction)


def advise(
    served: RankedRules, findings: Sequence[Finding], values: Mapping[str, Value], suppressed: Container[str] = ()
) -> tuple[RuleAdvice, ...]:
    """What each rule that fires has to say, most important first.

    Those of `suppressed` do not speak. They are still true: what is unsaid beside them stays unsaid.
    """
    firing = {item.rule_id for item in findings if item.outcome is Outcome.FIRES}
    if not firing:
        return ()
    groups = served.knowledge.groups
    covered = {name for rule in served.rules.values() if rule.id in firing for name in rule.file.replaces}
    indicators = {group.id: group.indicator for group in groups}
    priorities = {group.id: group.order_priority for group in groups}
    fired = [rule for name, rule in served.rules.items() if name in firing]
    beside = {indicators[rule.file.group] for rule in fired if rule.id not in covered}
    said = [
        RuleAdvice(
            rule.id,
            _lines(rule, served, values, beside),
            _offers(rule, served.knowledge, values, priorities[rule.file.group]),
            speaks=rule.id not in covered and rule.id not in suppressed,
        )
        for rule in fired
    ]
    # What is urgent is asked for by itself; offers stand together on one card.
    offering = {group.id for group in groups if group.offers}
    offered = [item for item in said if served.rules[item.rule_id].file.group in offering]
    paneled = {item.rule_id: item for item in with_panels(offered, served.knowledge.orders, served.jurisdiction)}
    return tuple(paneled.get(item.rule_id, item) for item in said)


def unreadable(served: RankedRules, findings: Iterable[Finding], facts: Facts, names: Set[str]) -> tuple[str, ...]:
    """Those of the facts `names` that are on record and cannot be read, in the order of their names.

    Not where every rule that asks for one is silent whatever it was: then it is nobody's question.
    """
    asked: set[str] = set().union(*(served.rules[item.rule_id].fires_when.facts for item in findings if item.outcome in _OPEN))
    return tuple(sorted(name for name in asked & names if facts[name].state in (State.UNUSABLE, State.NOT_UNDERSTOOD)))


def _lines(rule: Rule, served: RankedRules, values: Mapping[str, Value], beside: Container[str]) -> tuple[LineState, ...]:
    text = served.knowledge.cards[rule.id]
    conditions = (_condition(when, line, values) for (when, _), line in zip(text.lines, text.file.lines, strict=True))
    return tuple(
        _place(line, served.jurisdiction, beside) if state is LineState.STANDS else state
        for state, line in zip(conditions, text.file.lines, strict=True)
    )


def _condition(when: Expression, line: Line, values: Mapping[str, Value]) -> LineState:
    value = True if line.when is True else when(values).value
    if value is True:
        return LineState.STANDS
    return LineState.UNKNOWN if value is UNKNOWN else LineState.NOT_MET


def _place(line: Line, jurisdiction: str, beside: Container[str]) -> LineState:
    """Whether a line may be said here and beside what else is said, by the indicators of all that fired."""
    if line.jurisdiction and line.jurisdiction != jurisdiction:
        return LineState.ELSEWHERE
    if "critical" in beside and (line.unless_urgent or line.unless_warned):
        return LineState.BESIDE_CRITICAL
    if "warning" in beside and line.unless_warned:
        return LineState.BESIDE_WARNING
    return LineState.STANDS


def _offers(rule: Rule, knowledge: Knowledge, values: Mapping[str, Value], priority: str) -> tuple[Offered, ...]:
    """The tests that a rule asks for; of one that is pending nobody needs to know whether it is recommended.

    `priority`: of requests of which the rule says nothing else.
    """
    found = []
    for use in rule.orders:
        if use.when(values).value is True:
            on_order = values[knowledge.orders[use.order].pending_fact]
            recommended = on_order is not True and use.recommended_when(values).value is True
            found.append(Offered(use.order, on_order, recommended, priority=use.priority or priority))
    return tuple(found)
