"""Facts as statements: a question of `logic/facts/` and one of its answers, in the words of `cards/phrases.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from cds_service.explain.counterfactuals import joined
from cds_service.knowledge.card_files import Phrase
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Fact, Interval, Seen, State

NUMBER = "number"
_DIGITS = 5
_NOT_LOOKED = (State.NOT_SUPPLIED, State.NONE_SUPPLIED, State.FAILED, State.INCOMPLETE)
_BLANK = re.compile(r"\\\{([a-z]+)\\\}")


class FactText(NamedTuple):
    """How one fact is told: what it is about, and what each answer says; `{number}` is left open."""

    about: str
    says: Mapping[str, str]


def statement_of(name: str, knowledge: Knowledge) -> FactText:
    """Falls back on the question itself where no phrase asks it; `check` refuses that for the facts of rules."""
    definition = knowledge.facts[name]
    found = phrased(definition, knowledge.phrases)
    if found:
        return found
    answers = (NUMBER,) if definition.type == "number" else (*definition.values, "true", "false")
    return FactText(definition.question, {answer: f"{definition.question} {_open(answer)}" for answer in answers})


def phrased(definition: FactDefinition, phrases: Sequence[Phrase]) -> FactText | None:
    """The first phrase that asks the question of a fact, filled in; None if there is none."""
    for phrase in phrases:
        match = _pattern(phrase.asks).fullmatch(definition.question)
        if match:
            blanks = {**match.groupdict(), NUMBER: f"{{{NUMBER}}}"}
            return FactText(phrase.about.format(**blanks), {key: text.format(**blanks) for key, text in phrase.says.items()})
    return None


@lru_cache(maxsize=256)
def _pattern(asks: str) -> re.Pattern[str]:
    return re.compile(_BLANK.sub(r"(?P<\1>.+?)", re.escape(asks)))


def _open(answer: str) -> str:
    return f"{{{NUMBER}}}" if answer == NUMBER else answer


def say_fact(fact: Fact, knowledge: Knowledge) -> str:
    """`the latest potassium is below its range`, or of what is not known `potassium: none in 90 days`."""
    if fact.value is not UNKNOWN:
        return say_answers(fact.name, [fact.value], knowledge)
    return ": ".join(part for part in lacking(fact, knowledge) if part)


def lacking(fact: Fact, knowledge: Knowledge) -> tuple[str, str]:
    """What is not known, and why: `("potassium", "none in 90 days")`. Where whole queries are missing, they alone are named."""
    reason = fact.reason or fact.state.value
    return ("" if fact.state in _NOT_LOOKED else statement_of(fact.name, knowledge).about), reason


def say_answers(name: str, answers: Sequence[Any], knowledge: Knowledge) -> str:
    """A fact with the answers that it may have: `the latest potassium is below its range, or is above its range`."""
    says = statement_of(name, knowledge).says
    if NUMBER in says:
        amounts = [amount for item in answers for amount in (item.amounts if isinstance(item, Seen) else (item,))]
        cells = [item if isinstance(item, Interval) else Interval(Decimal(item), Decimal(item)) for item in amounts]
        return says[NUMBER].replace(f"{{{NUMBER}}}", " or ".join(say_interval(item) for item in joined(cells)))
    return _either([says[_key(answer)] for answer in answers])


def _key(answer: Any) -> str:
    return str(answer).lower() if isinstance(answer, bool) else str(answer)


def _either(texts: Sequence[str]) -> str:
    """What they have in common is said once: `the latest potassium is below its range or above its range`."""
    first, *rest = (text.split() for text in texts)
    shown = " ".join(first)
    for other in rest:
        same = next((at for at, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), 0)
        shown += " or " + " ".join(other[same:])
    return shown


def say_interval(interval: Interval) -> str:
    """
    >>> say_interval(Interval(None, Decimal(60), high_open=True)), say_interval(Interval(Decimal("6.5"), None))
    ('below 60', 'at least 6.5')
    """
    low, high = interval.low, interval.high
    if low is not None and low == high:
        return _short(low)
    least = "" if low is None else f"{'more than' if interval.low_open else 'at least'} {_short(low)}"
    most = "" if high is None else f"{'below' if interval.high_open else 'at most'} {_short(high)}"
    return " and ".join(part for part in (least, most) if part) or "any number"


def _short(number: Decimal) -> str:
    """As written; what came of a conversion with as many digits as say something."""
    return f"{number}" if len(number.as_tuple().digits) <= _DIGITS else f"{number:.{_DIGITS}g}"


def unspoken(names: Iterable[str], knowledge: Knowledge) -> dict[str, list[str]]:
    """The facts that no phrase tells whole, each with the answers that it lacks."""
    found: dict[str, list[str]] = {}
    for name in names:
        definition = knowledge.facts[name]
        statement = phrased(definition, knowledge.phrases)
        needed = {"boolean": ("true", "false"), "number": (NUMBER,)}.get(definition.type, definition.values)
        lacking = [answer for answer in needed if statement is None or answer not in statement.says]
        if lacking:
            found[name] = lacking
    return found
