"""The logic of a rule as a tree that can be read. With the facts of a person each branch says whether it holds, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from cds_service.explain.explanation import Explanation, explain
from cds_service.explain.fact_text import NUMBER, lacking, say_answers, statement_of
from cds_service.explain.logic_text import say
from cds_service.fhir.dates import say_date
from cds_service.jsonlogic.compile import Expression, compile_untyped
from cds_service.jsonlogic.typecheck import operands
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Evidence, Fact, Interval
from cds_service.pages.sandbox import Trial
from cds_service.service import Decision

_JUNCTIONS = {"and": "all of", "or": "any of", "!": "not"}
_CELLS: Mapping[str, Callable[[Decimal], Interval]] = {
    "<": lambda number: Interval(None, number, high_open=True),
    "<=": lambda number: Interval(None, number),
    ">": lambda number: Interval(number, None, low_open=True),
    ">=": lambda number: Interval(number, None),
}


class Branch(NamedTuple):
    """One condition in words, with what it is made of. `truth` is true, false or unknown, or empty where nobody is asked;
    `datum` is what on record says so.
    """

    words: str
    truth: str
    parts: tuple[Branch, ...] = ()
    datum: str = ""


class TestedCondition(NamedTuple):
    """A part of a rule made ready: the same for everybody."""

    logic: Any
    expression: Expression
    words: str
    parts: tuple[Any, ...]


_CONDITIONS: WeakKeyDictionary[Knowledge, dict[int, TestedCondition]] = WeakKeyDictionary()


class LogicTree:
    """Makes trees of one knowledge, and where a decision is given, of one person."""

    def __init__(self, knowledge: Knowledge, decision: Decision | None = None) -> None:
        self._knowledge, self._decision = knowledge, decision
        self._conditions = _CONDITIONS.setdefault(knowledge, {})

    def grow(self, logic: Any) -> Branch:
        condition = self._read(logic)
        truth = self._truth(condition)
        if condition.parts:
            return Branch(condition.words, truth, tuple(map(self.grow, condition.parts)))
        return Branch(condition.words, truth, datum=self._datum(condition, truth))

    def _read(self, logic: Any) -> TestedCondition:
        """By identity, as logic of a rule stays; it is held here, so that no other can take its place."""
        found = self._conditions.get(id(logic))
        if found is None:
            parts = _parts(logic)
            words = _JUNCTIONS[next(iter(logic))] if parts else self._words(logic)
            found = self._conditions[id(logic)] = TestedCondition(logic, compile_untyped(logic), words, parts)
        return found

    def _truth(self, condition: TestedCondition) -> str:
        if self._decision is None:
            return ""
        value = condition.expression(self._decision.values).value
        return "unknown" if value is UNKNOWN else "true" if value else "false"

    def _words(self, logic: Any) -> str:
        """As the phrases tell it where they can, else as the catalogue does."""
        if not isinstance(logic, dict):
            return "always" if logic is True else say(logic)
        ((operator, argument),) = logic.items()
        name, *others = operands(argument)
        if operator == "var":
            return self._answers(str(name), [True])
        if operator == "!":
            return self._answers(_fact_of(name), [False])
        if _is_fact(name) and len(others) == 1 and not isinstance(others[0], dict):
            return self._compared(operator, _fact_of(name), others[0]) or say(logic)
        return say(logic)

    def _compared(self, operator: str, name: str, other: Any) -> str:
        definition = self._knowledge.facts.get(name)
        if definition is None:
            return ""
        if definition.type == "number":
            return self._answers(name, [_CELLS[operator](Decimal(str(other)))]) if operator in _CELLS else ""
        if operator == "==":
            return self._answers(name, [other])
        if operator == "!=" and definition.values:
            return self._answers(name, [value for value in definition.values if value != other])
        return ""

    def _answers(self, name: str, answers: list[Any]) -> str:
        if name not in self._knowledge.facts:
            return name
        says = statement_of(name, self._knowledge).says
        text = NUMBER in says or all(str(item).lower() in says or item in says for item in answers)
        return say_answers(name, answers, self._knowledge) if text else say({"var": name})

    def _datum(self, condition: TestedCondition, truth: str) -> str:
        """Of what is not known why; of the rest what on record says so."""
        if self._decision is None:
            return ""
        facts, as_of = self._decision.facts, self._decision.view.as_of
        return "; ".join(filter(None, (self._told(facts[name], truth, as_of) for name in condition.expression.facts)))

    def _told(self, fact: Fact, truth: str, as_of: date) -> str:
        if fact.value is UNKNOWN:
            return ": ".join(filter(None, lacking(fact, self._knowledge)))
        found = [_say(item, as_of) for item in fact.evidence]
        if found:
            return ", ".join(found)
        return "none on record" if truth == "false" and fact.value is False else ""


class Trees(NamedTuple):
    """The two conditions of a rule."""

    applies: Branch
    fires: Branch
    evidence: tuple[str, ...]


class Reasons(NamedTuple):
    """Why a person gets these cards and no others."""

    explanation: Explanation
    trees: Mapping[str, Trees]


def explained(trial: Trial) -> Reasons:
    """The explanation of one answer, with the trees of all rules of its service."""
    decision = trial.decision
    grow = LogicTree(decision.knowledge, decision).grow
    trees = {
        rule.id: Trees(grow(rule.applies_when.source), grow(rule.fires_when.source), rule.file.evidence)
        for rule in decision.rules
    }
    return Reasons(explain(decision, trial.places), trees)


def _parts(logic: Any) -> tuple[Any, ...]:
    """What a junction joins. That a fact is not so is one condition."""
    if not isinstance(logic, dict):
        return ()
    ((operator, argument),) = logic.items()
    given = tuple(operands(argument))
    return given if operator in _JUNCTIONS and not (operator == "!" and _is_fact(given[0])) else ()


def _is_fact(logic: Any) -> bool:
    return isinstance(logic, dict) and next(iter(logic)) == "var"


def _fact_of(logic: Any) -> str:
    return str(operands(logic["var"])[0])


def _say(item: Evidence, as_of: date) -> str:
    when = f"({say_date(item.date, as_of)})" if item.date else ""
    return " ".join(filter(None, (item.name, item.value, when, item.note)))
