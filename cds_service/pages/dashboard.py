"""The dashboard: figures of a period as plots and tables, and the same as rows of a CSV file. Nothing of a patient."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from cds_service.audit.acceptance import NO_REASON, UNKNOWN, Acceptance, add_up
from cds_service.audit.codes_seen import SeenCode
from cds_service.audit.daily_counts import ALL
from cds_service.audit.queries import Reaction
from cds_service.audit.statistics import Figures
from cds_service.errors import Problem, RequestError
from cds_service.knowledge.knowledge import Knowledge

PERIODS = (7, 30, 90, 364)
COLUMNS = ("day", "client", "rule", "version", "outcome", "reason", "cards")
UNSIGNED = "unsigned"
WIDTH, HEIGHT = 240.0, 64.0
_MOST_DAYS = 92
_WEEK = timedelta(days=7)
_MOST_CARDS = 8
_MOST_CODES = 50
_STEPS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_KEPT_SECONDS = 5.0
_MOST_KEPT = 200
T = TypeVar("T")


class DayBar(NamedTuple):
    """In units of the drawing."""

    x: float
    y: float
    width: float
    height: float


class DayPlot(NamedTuple):
    """Numbers over days or weeks, or over steps: `labels` beside `numbers`, and the bars that draw them."""

    title: str
    total: int
    labels: tuple[str, ...]
    numbers: tuple[int, ...]
    bars: tuple[DayBar, ...]

    @property
    def most(self) -> int:
        return max(self.numbers, default=0)


class Reason(NamedTuple):
    display: str
    number: int
    share: float


class Supplied(NamedTuple):
    """Of all answers how many had a query answered in full, and how often it was not, by state."""

    title: str
    full: int
    states: tuple[tuple[str, int], ...]
    share: float


class OfClient(NamedTuple):
    name: str
    answers: int
    cards: int
    accepted: int
    overridden: int


class Undecided(NamedTuple):
    rule: str
    title: str
    number: int


class Summary(NamedTuple):
    """Everything that the page shows. `concerned`: answers about people whom the service speaks to; the rest are empty.

    `times`: the milliseconds within which half, 95 and 99 of a hundred answers came. `unscoped`: answers of the sample about
    people of whom nobody could tell whether a rule is for them.
    """

    days: int
    answers: int
    concerned: int
    over_time: tuple[DayPlot, ...]
    cards: DayPlot
    took: DayPlot
    times: tuple[tuple[str, float], ...]
    rules: tuple[Acceptance, ...]
    titles: Mapping[str, str]
    reasons: tuple[Reason, ...]
    supplied: tuple[Supplied, ...]
    clients: tuple[OfClient, ...]
    undecided: tuple[Undecided, ...]
    unscoped: int
    silenced: int
    sample: int
    codes: tuple[SeenCode, ...]


def read_days(text: str) -> int:
    """Raises RequestError (400)."""
    if text in map(str, PERIODS):
        return int(text)
    problem = Problem("days", f"{text[:60]!r} is no period", f"use one of {', '.join(map(str, PERIODS))}")
    raise RequestError(400, "invalid-request", "value", [problem])


def since(days: int, now: datetime) -> datetime:
    """The start of the first day: today counts as one."""
    first = now.astimezone(UTC).date() - timedelta(days=days - 1)
    return datetime(first.year, first.month, first.day, tzinfo=UTC)


Asked = Mapping[str, Iterable[str]]
"""By service the queries that it asks for."""


def summary(figures: Figures, knowledge: Knowledge, asked: Asked, days: int, now: datetime) -> Summary:
    received = tuple(add_up(((item.rules, item.number) for item in figures.shown), figures.reactions))
    answers = sum(item.number for item in figures.answers)
    return Summary(
        days=days,
        answers=answers,
        concerned=sum(item.number for item in figures.answers if item.concerned),
        over_time=tuple(_over_time(figures, days, now)),
        cards=_cards_an_answer(figures),
        took=_took(figures),
        times=tuple((f"{share:.0%}", within(figures.times, share)) for share in (0.5, 0.95, 0.99)) if answers else (),
        rules=received,
        titles={rule.id: rule.file.title for rule in knowledge.rules},
        reasons=tuple(_reasons(figures, knowledge)),
        supplied=tuple(_supplied(figures, knowledge, asked)),
        clients=tuple(_clients(figures)),
        undecided=tuple(_undecided(figures, knowledge)),
        unscoped=sum(tuple(item.get("unknown", ())) == ALL for item in figures.sample),
        silenced=sum(len(item.get("silenced", ())) for item in figures.sample),
        sample=len(figures.sample),
        codes=tuple(figures.codes[:_MOST_CODES]),
    )


def _over_time(figures: Figures, days: int, now: datetime) -> Iterator[DayPlot]:
    shown: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for cards in figures.shown:
        shown[cards.day] += cards.number
    for decision in figures.answers:
        answers[decision.day] += decision.number
    first = since(days, now).date()
    text = [("Answers", answers), ("Cards shown", shown)]
    text += [(title, _reacted(figures, outcome)) for title, outcome in (("Accepted", "accepted"), ("Overridden", "overridden"))]
    for title, by_day in text:
        yield _plot(title, *_spread(by_day, first, days))


def _reacted(figures: Figures, outcome: str) -> Counter[str]:
    """Cards, each counted once, on the day on which they were shown."""
    return Counter(item.day for item in _once(figures.reactions) if item.outcome == outcome)


def _once(reactions: Iterable[Reaction]) -> Iterable[Reaction]:
    """The first feedback of each kind on a card."""
    found: dict[tuple[str, str, str], Reaction] = {}
    for item in reactions:
        found.setdefault((item.client, item.card, item.outcome), item)
    return found.values()


def _spread(by_day: Mapping[str, int], first: date, days: int) -> tuple[list[str], list[int]]:
    """By day, or by week where days would be too many to see; the last week ends today."""
    step = 1 if days <= _MOST_DAYS else _WEEK.days
    starts = [first + timedelta(days=at) for at in range(0, days, step)]
    labels = [start.isoformat() for start in starts]
    numbers = [sum(by_day.get((start + timedelta(days=at)).isoformat(), 0) for at in range(step)) for start in starts]
    return labels, numbers


def _plot(title: str, labels: Sequence[str], numbers: Sequence[int]) -> DayPlot:
    most, wide = max(numbers, default=0) or 1, WIDTH / max(len(numbers), 1)
    heights = [round(number / most * HEIGHT, 1) for number in numbers]
    gap = min(2.0, wide * 0.2)
    bars = [DayBar(round(at * wide, 2), HEIGHT - high, round(wide - gap, 2), high) for at, high in enumerate(heights) if high]
    return DayPlot(title, sum(numbers), tuple(labels), tuple(numbers), tuple(bars))


def _cards_an_answer(figures: Figures) -> DayPlot:
    counts: Counter[int] = Counter()
    for item in figures.answers:
        if item.concerned:
            counts[min(item.cards, _MOST_CARDS)] += item.number
    labels = [str(number) for number in range(_MOST_CARDS)] + [f"{_MOST_CARDS} or more"]
    return _plot("Cards per answer", labels, [counts[number] for number in range(_MOST_CARDS + 1)])


def _took(figures: Figures) -> DayPlot:
    bounds = [0.0, *_STEPS, float("inf")]
    numbers = [
        sum(count for took, count in figures.times if low < took <= high or (took == low == 0))
        for low, high in itertools.pairwise(bounds)
    ]
    return _plot("Time of an answer", [*(f"up to {step:g} ms" for step in _STEPS), "longer"], numbers)


def within(times: Sequence[tuple[float, int]], share: float) -> float:
    """The time within which this share of answers came; `times` rise."""
    wanted, seen = share * sum(count for _, count in times), 0
    for took, count in times:
        seen += count
        if seen >= wanted:
            return took
    return 0.0


def _reasons(figures: Figures, knowledge: Knowledge) -> Iterator[Reason]:
    """Of overridden cards, each with its first reason."""
    counts = Counter(item.reason for item in _once(figures.reactions) if item.outcome == "overridden")
    for code, number in counts.most_common():
        yield Reason(say_reason(code, knowledge), number, number / counts.total())


def say_reason(code: str, knowledge: Knowledge) -> str:
    """In the words of our pages; a client may send a reason of its own."""
    return knowledge.override_reasons.says.get(code, code) or NO_REASON


def _supplied(figures: Figures, knowledge: Knowledge, asked: Asked) -> Iterator[Supplied]:
    """Of the answers of those services that ask for it, about people whom they speak to."""
    full: Counter[str] = Counter()
    short: dict[str, Counter[str]] = defaultdict(Counter)
    for item in figures.short:
        for query in asked.get(item.service_id, ()):
            if query in item.states:
                short[query][item.states[query]] += item.number
            else:
                full[query] += item.number
    for key, definition in knowledge.queries.items():
        if not definition.from_context and (all_of := full[key] + short[key].total()):
            yield Supplied(definition.title, full[key], tuple(short[key].most_common()), full[key] / all_of)


def _clients(figures: Figures) -> Iterator[OfClient]:
    answers: Counter[str] = Counter()
    cards: Counter[str] = Counter()
    for item in figures.answers:
        answers[item.client] += item.number
        cards[item.client] += item.number * item.cards
    reacted = Counter((client, outcome) for client, outcome, _ in {(r.client, r.outcome, r.card) for r in figures.reactions})
    for client in sorted({*answers, *(client for client, _ in reacted)}, key=lambda name: (-answers[name], name)):
        text = (reacted[client, "accepted"], reacted[client, "overridden"])
        yield OfClient(client or UNSIGNED, answers[client], cards[client], *text)


def _undecided(figures: Figures, knowledge: Knowledge) -> Iterator[Undecided]:
    """Of the rules that are still there."""
    titles = {rule.id: rule.file.title for rule in knowledge.rules}
    counts = Counter(rule for outcomes in figures.sample for rule in outcomes.get("unknown", ()) if rule in titles)
    for rule, number in counts.most_common(10):
        yield Undecided(rule, titles[rule], number)


def rows(figures: Figures, knowledge: Knowledge) -> Iterator[tuple[str, str, str, str, str, str, int]]:
    """As `COLUMNS`: of a day, a client and a version of a rule how many cards were shown, accepted, or overridden and why."""
    counts: Counter[tuple[str, str, str, str, str, str]] = Counter()
    for cards in figures.shown:
        for rule, version in cards.rules:
            counts[cards.day, cards.client, rule, version, "shown", ""] += cards.number
    counted: set[tuple[str, str, str, str, str]] = set()
    for item in figures.reactions:
        for rule, version in item.about() or [UNKNOWN]:
            once = (item.client, item.card, item.outcome, rule, version)
            if once not in counted:
                counted.add(once)
                reason = _display(item.reason, knowledge) if item.outcome == "overridden" else ""
                counts[item.day, item.client, rule, version, item.outcome, reason] += 1
    for (day, client, *rest), number in sorted(counts.items()):
        yield day, client or UNSIGNED, *rest, number  # type: ignore[misc]  # four are left


def _display(code: str, knowledge: Knowledge) -> str:
    """As its code system has it, for who counts it elsewhere."""
    return knowledge.override_reasons.displays.get(code, code) or NO_REASON


def as_csv(figures: Figures, knowledge: Knowledge) -> str:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(cell) for cell in row] for row in rows(figures, knowledge))
    return written.getvalue()


def _harmless(cell: str | int) -> str | int:
    """A spreadsheet takes what begins so for a formula, and clients name themselves and their reasons."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


class Recent(Generic[T]):
    """What was read a moment ago is given again, and one reads at a time, so that no crowd of readers slows the hooks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reading = asyncio.Lock()
        self._kept: dict[Hashable, tuple[float, T | Exception]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives or raises, or did within the last seconds: a store that hangs is not waited for by each in turn."""
        async with self._reading:
            at, found = self._kept.get(key, (0.0, None))
            if found is None or self._clock() - at > _KEPT_SECONDS:
                found = await _outcome(read)
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = (self._clock(), found)
        if isinstance(found, Exception):
            raise found
        return found


async def _outcome(read: Callable[[], Awaitable[T]]) -> T | Exception:
    try:
        return await read()
    except Exception as error:
        return error
