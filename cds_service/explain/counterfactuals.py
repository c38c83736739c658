"""What would make a rule fire: the fewest facts whose change does, found by trying, never by reading the rule.

Three truth values make the search sound and short. A number is tried as the whole Interval between two thresholds, so that
what fires does so for all of it; and what is false while some facts are still open stays false whatever they become.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations, count, product
from typing import Any, NamedTuple

from cds_service.model import UNKNOWN, FactType, FactTypes, Interval, Known

Judge = Callable[[Mapping[str, Any]], Any]
"""True, False or UNKNOWN for the values of facts, given by name."""


class Change(NamedTuple):
    """One fact that would have to answer one of `answers`; a number answers with an Interval."""

    fact: str
    answers: tuple[Known, ...]


Way = tuple[Change, ...]
"""Changes that suffice together, whichever of its answers each fact takes; none of them can be left out."""


MOST_TRIES = 20_000
"""About a tenth of a second. The rules of this repository need at most a few thousand; a rule of twenty facts has no end."""


class Search(NamedTuple):
    """Every way with the fewest changes; empty where no values do. `stopped`: the tries ran out, so others may exist."""

    smallest_changes: tuple[Way, ...]
    stopped: bool = False


class _TriesSpentError(Exception):
    pass


def smallest_changes(
    judge: Judge, values: Mapping[str, Any], options: Mapping[str, Sequence[Known]], most_tries: int = MOST_TRIES
) -> Search:
    """Search for the fewest changes that make `judge` true, asking it at most `most_tries` times.

    `options` names the facts that may change, with the answers to try. `values` answers for all other facts.
    """
    counted = _counting(judge, most_tries)
    found: list[Way] = []
    for size in range(1, len(options) + 1):
        for names in combinations(options, size):
            try:
                firing = _firing(counted, values, names, options)
            except _TriesSpentError:
                return Search(tuple(found), stopped=True)
            found += _boxes(names, firing)
        if found:
            break
    return Search(tuple(found))


def _counting(judge: Judge, most: int) -> Judge:
    tries = count()

    def counted(values: Mapping[str, Any]) -> Any:
        if next(tries) >= most:
            raise _TriesSpentError
        return judge(values)

    return counted


def answers_of(kind: FactType, thresholds: Iterable[Decimal]) -> tuple[Known, ...]:
    """The answers that a rule can tell apart: words, true and false, or a number's Intervals at and between thresholds."""
    if kind.name == "boolean":
        return (True, False)
    if kind.name == "number":
        return tuple(_cells(sorted(set(thresholds))))
    return kind.values


def options_of(facts: Iterable[str], types: FactTypes, thresholds: Iterable[int | Decimal]) -> dict[str, tuple[Known, ...]]:
    """The answers to try of each fact. A list has none: it cannot be changed in one way."""
    numbers = [Decimal(number) for number in thresholds]
    answers = {name: answers_of(types[name], numbers) for name in facts}
    return {name: given for name, given in answers.items() if given}


def _cells(thresholds: Sequence[Decimal]) -> Iterator[Interval]:
    below: Decimal | None = None
    for number in thresholds:
        yield Interval(below, number, low_open=True, high_open=True)
        yield Interval(number, number)
        below = number
    if below is not None:
        yield Interval(below, None, low_open=True)


def _firing(
    judge: Judge, values: Mapping[str, Any], names: tuple[str, ...], options: Mapping[str, Sequence[Known]]
) -> list[tuple[Known, ...]]:
    """The answers of these facts, in their order, with which the rule fires; a branch that can no longer is left."""
    found: list[tuple[Known, ...]] = []
    tried = _Tried(values, dict.fromkeys(names, UNKNOWN))

    def descend(at: int) -> None:
        verdict = judge(tried)
        if verdict is False:
            return
        if at == len(names):
            if verdict is True:
                found.append(tuple(tried.changed[name] for name in names))
            return
        for answer in options[names[at]]:
            tried.changed[names[at]] = answer
            descend(at + 1)
        tried.changed[names[at]] = UNKNOWN

    descend(0)
    return found


class _Tried(Mapping[str, Any]):
    """The values of a patient with some of them changed."""

    def __init__(self, values: Mapping[str, Any], changed: dict[str, Any]) -> None:
        self._values, self.changed = values, changed

    def __getitem__(self, name: str) -> Any:
        return self.changed[name] if name in self.changed else self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._values, **self.changed})

    def __len__(self) -> int:
        return len({**self._values, **self.changed})


def _boxes(names: tuple[str, ...], firing: list[tuple[Known, ...]]) -> Iterator[Way]:
    """What fires, told as few times as may be: each fact with all its answers that do beside all answers of the others."""
    left = list(firing)
    while left:
        box = [[answer] for answer in left[0]]
        for at in range(len(names)):
            for answer in dict.fromkeys(item[at] for item in left):
                widened = [*box[:at], [answer], *box[at + 1 :]]
                if answer not in box[at] and all(item in left for item in product(*widened)):
                    box[at].append(answer)
        covered = set(product(*box))
        left = [item for item in left if item not in covered]
        yield tuple(Change(name, tuple(answers)) for name, answers in zip(names, box, strict=True))


def joined(cells: Iterable[Interval]) -> tuple[Interval, ...]:
    """Neighbouring Intervals as one: below 60, and 60, is 60 or less.

    >>> joined([Interval(None, Decimal(60), True, True), Interval(Decimal(60), Decimal(60))])[0].high_open
    False
    """
    found: list[Interval] = []
    for cell in cells:
        last = found[-1] if found else None
        if last is not None and last.high is not None and last.high == cell.low and not (last.high_open and cell.low_open):
            found[-1] = Interval(last.low, cell.high, last.low_open, cell.high_open)
        else:
            found.append(cell)
    return tuple(found)
