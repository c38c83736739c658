"""What went quiet, or loud: what had another share of the answers in the last days than in as many before, beyond chance.

A two-sided test of two proportions. Days differ by more than chance, as a chart is opened several times: so what chance allows
is widened by how far the days before lie apart. The level is divided by the number of things that are tested (Bonferroni).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from functools import partial
from math import sqrt
from statistics import NormalDist
from typing import Any

import msgspec

_LEVEL, _LEAST_ANSWERS, _LEAST_OF_EACH, _LEAST_ODDS = 0.001, 100, 50, 1.25

Days = Sequence[tuple[int, int]]
"""Of each day in how many answers it was so, and of how many."""


class Shift(msgspec.Struct, frozen=True):
    """Both shares. `since`: the day from which on it differs most from before. The rest is as in `DailyCount`."""

    client: str
    service_id: str
    what: str
    name: str
    before: float
    after: float
    since: str


def changed(counted: Iterable[Sequence[Any]], today: date, days: int) -> list[Shift]:
    """Of what `counted_by` reads, of each client and service apart, as one may change alone; the greatest first."""
    calendar = [(today - timedelta(days=back)).isoformat() for back in reversed(range(2 * days))]
    number: dict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    for day, client, service_id, what, name, answers in counted:
        number[client, service_id, what, name][day] = answers
    # What fires in shadow fires, and is tested so.
    asked = ((key, number[*key[:2], "answers", ""], count) for key, count in list(number.items()) if key[2] != "shadow")
    series = {key: [(count[day], of[day]) for day in calendar] for key, of, count in asked}
    tested = {key: own for key, own in series.items() if _is_enough(*_sum(own[:days]), *_sum(own[days:]))}
    least = NormalDist().inv_cdf(1 - _LEVEL / 2 / max(len(tested), 1))
    found = [
        Shift(*key, _share(own[:days]), _share(own[days:]), calendar[max(range(1, 2 * days), key=partial(_distance, own))])
        for key, own in tested.items()
        if _beyond_chance(own, days) > least
    ]
    return sorted(found, key=lambda one: -abs(one.after - one.before))


def _sum(days: Days) -> tuple[int, int]:
    return sum(yes for yes, _ in days), sum(of for _, of in days)


def _share(days: Days) -> float:
    yes, of = _sum(days)
    return yes / of if of else 0.0


def _is_enough(was: int, of: int, now: int, among: int) -> bool:
    """Whether there are numbers to compare, and they differ by what anybody would act on: the odds by a quarter."""
    odds = (now + 0.5) * (of - was + 0.5) / ((among - now + 0.5) * (was + 0.5))
    enough = min(of, among) >= _LEAST_ANSWERS and min(was + now, of + among - was - now) >= _LEAST_OF_EACH
    return enough and max(odds, 1 / odds) >= _LEAST_ODDS


def _distance(days: Days, cut: int) -> float:
    """How far the shares before and after lie apart, in standard errors of chance."""
    (was, of), (now, among), share = _sum(days[:cut]), _sum(days[cut:]), _share(days)
    return abs(now / among - was / of) / sqrt(share * (1 - share) * (1 / of + 1 / among)) if of and among else 0.0


def _beyond_chance(days: Days, cut: int) -> float:
    """The same divided by how far the days before lie apart, which few days tell: Student's t, as a normal distance."""
    share, before = _share(days[:cut]), [(yes, of) for yes, of in days[:cut] if of]
    freedom = max(len(before) - 1, 1)
    far = sum((yes - of * share) ** 2 / of for yes, of in before) / (share * (1 - share) or 1) / freedom
    t = _distance(days, cut) / sqrt(max(far, 1.0))
    return t * (1 - 1 / (4 * freedom)) / sqrt(1 + t**2 / (2 * freedom))
