"""What a population run found, for people and for programs, with small numbers hidden.

A number of people from one to four is not told, nor what would give it away: where all but one part of a whole is told, the
next smallest is hidden too. A hidden number is None in JSON and `under 5` on the page.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import NormalDist
from typing import Any

from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.model import Outcome
from cds_service.population.exports import Exports, printable
from cds_service.population.judge import keyed_digest
from cds_service.population.run import HOOK, Plan, Run
from cds_service.population.steps import BadLine
from cds_service.population.totals import (
    ALL,
    BROKEN,
    LOOKED_AT,
    OF_NO_PATIENT,
    OF_NOBODY,
    REFUSED,
    REPLACED,
    UNREAD,
    UNREADABLE,
    Totals,
)
from cds_service.service import DecisionService

LEAST = 5
_MOST_LISTED = 200
_OF_LINES = (UNREADABLE, BROKEN, OF_NO_PATIENT, REPLACED, OF_NOBODY)
_FIRES = Outcome.FIRES.value
# Enough to tell whether two runs name the same people, and too little to tell the key.
_CHECK = 8
_BY_OUTCOME = {outcome: outcome.value.replace("-", "_") for outcome in Outcome}

Count = int | None


def shown(number: int) -> Count:
    """The number, or None where so few people would stand behind it."""
    return None if 0 < number < LEAST else number


def parts(counts: Mapping[Any, int]) -> dict[Any, Count]:
    """Parts of a whole that is told elsewhere: none can be worked out from the others."""
    hidden = {key for key, number in counts.items() if shown(number) is None}
    others = sorted(((number, str(key), key) for key, number in counts.items() if number >= LEAST), reverse=True)
    while hidden and others and (len(hidden) == 1 or sum(counts[key] for key in hidden) < LEAST):
        hidden.add(others.pop()[2])
    return {key: None if key in hidden else number for key, number in counts.items()}


def interval(number: int, whole: int) -> tuple[float, float]:
    """Of a share the interval of Wilson that holds it in 95 of 100 samples."""
    if not whole:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    share, square = number / whole, z * z
    centre = (share + square / (2 * whole)) / (1 + square / whole)
    half = z * math.sqrt(share * (1 - share) / whole + square / (4 * whole * whole)) / (1 + square / whole)
    return max(0.0, centre - half), min(1.0, centre + half)


def report(done: Run, plan: Plan, decision_service: DecisionService) -> dict[str, Any]:
    """As JSON has it. Rules stand with the most frequent first."""
    tally, knowledge = done.tally, decision_service.knowledge
    rules = [_of_rule(rule, tally) for rule in decision_service.rules[knowledge.service_on(HOOK)]]
    return {
        "as_of": plan.as_of.isoformat(),
        "at": plan.at,
        "jurisdiction": decision_service.settings.jurisdiction,
        "knowledge": knowledge.fingerprint,
        "key": "" if plan.keep_ids else keyed_digest(plan.patient_key)("")[:_CHECK],
        "export": _named(done.exports),
        "patients": shown(tally.people.total()),
        "decisions": None if _is_few(tally.people.total() - tally.decisions[ALL]) else shown(tally.decisions[ALL]),
        "looked_at": shown(tally.decisions[LOOKED_AT]),
        "not_decided": {REFUSED: shown(tally.decisions[REFUSED]), UNREAD: shown(tally.decisions[UNREAD])},
        "people": {"age": parts(_along(tally.people, 0)), "sex": parts(_along(tally.people, 1))},
        "rules": sorted(rules, key=lambda rule: (-(rule["fires"] or 0), -(rule["unknown"] or 0), rule["id"])),
        "cards": {"decisions": parts(dict(sorted(tally.cards.items()))), **_burden(tally)},
        "together": _listed(tally.together, ("rule", "with"), lambda pair: _fires_of(pair, rules, tally)),
        "states": [
            item | {"title": knowledge.queries[item["query"]].title}
            for item in _listed(tally.states, ("query", "state"), lambda key: (tally.decisions[ALL],))
        ],
        "not_understood": {kind: shown(number) for kind, number in sorted(tally.not_understood.items())},
        "codes": _listed(tally.codes, ("type", "system", "code")),
        "units": {unit: number for unit, number in sorted(tally.units.items()) if number >= LEAST},
        "swept": _swept(tally),
        "lines": {name: number if name in _OF_LINES else shown(number) for name, number in sorted(tally.lines.items())},
        "problems": [*done.problems, *_unopened(tally)],
        "bad_lines": [_located(item, plan.folders) for item in done.bad],
    }


def _unopened(tally: Totals) -> Iterable[str]:
    if number := tally.lines["Bundle"]:
        yield f"Bundles are not opened, and {number} came: export their resources, one a line"


def _named(exports: Exports) -> str:
    """Tells one export from another."""
    files = sorted((file.name, file.path.stat().st_size) for file in exports.files)
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:_CHECK]


def _is_few(number: int) -> bool:
    return 0 < number < LEAST


def _fires_of(pair: Sequence[str], rules: Sequence[Mapping[str, Any]], tally: Totals) -> list[int]:
    """How often the rules of a pair fire; of one that is hidden a number beside which no pair may be told."""
    told = {rule["id"]: rule["fires"] for rule in rules}
    return [tally.outcomes[name, _FIRES] if told[name] is not None else tally.together[tuple(pair)] + 1 for name in pair]


def _of_rule(rule: Rule, tally: Totals) -> dict[str, Any]:
    outcomes = {outcome: tally.outcomes[rule.id, outcome.value] for outcome in Outcome}
    told, fires = parts(outcomes), outcomes[Outcome.FIRES]
    whole = sum(outcomes.values())
    own: Counter[tuple[str, ...]] = Counter({key[1:]: n for key, n in tally.strata.items() if key[0] == rule.id})
    low, high = interval(fires, whole)
    is_told = told[Outcome.FIRES] is not None
    why = Counter({key[1:]: number for key, number in tally.unknown.items() if key[0] == rule.id})
    return {
        "id": rule.id,
        "title": rule.file.title,
        "version": rule.file.version,
        **{name: told[outcome] for outcome, name in _BY_OUTCOME.items()},
        "rate": fires / whole if is_told and whole else None,
        "interval": [low, high] if is_told else None,
        "age": parts(_along(own, 0)) if is_told else {},
        "sex": parts(_along(own, 1)) if is_told else {},
        "unknown_because": _listed(why, ("fact", "state"), lambda key: (outcomes[Outcome.UNKNOWN],)),
    }


def _along(counts: Mapping[tuple[str, ...], int], position: int) -> dict[str, int]:
    found: Counter[str] = Counter()
    for key, number in counts.items():
        found[key[position]] += number
    return dict(sorted(found.items()))


def _listed(
    counts: Counter[tuple[str, ...]], names: Sequence[str], wholes: Callable[[tuple[str, ...]], Iterable[int]] = lambda key: ()
) -> list[dict[str, Any]]:
    """The most frequent first; what few people have, or all but few of a whole that is told, is left out: even that it is there
    would tell of them.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [
        (key, number)
        for key, number in ordered[:_MOST_LISTED]
        if number >= LEAST and all(shown(abs(whole - number)) is not None for whole in wholes(key))
    ]
    return [dict(zip(names, key, strict=True)) | {"number": number} for key, number in kept]


def _burden(tally: Totals) -> dict[str, Any]:
    """What there is to read. A clinician's day counts only where somebody of the record took part in its visits."""
    decisions, days = tally.decisions[ALL], sorted(tally.clinician_days.values())
    cards, words = (sum(number * count for number, count in counted.items()) for counted in (tally.cards, tally.words))
    with_cards = decisions - tally.cards[0]
    are_told = all(number is not None for number in parts(tally.cards).values())
    return {
        # With how many got so many cards hidden, their sum would give it away.
        "a_decision": cards / decisions if decisions and are_told else None,
        "words_a_decision_with_cards": words / with_cards if with_cards >= LEAST else None,
        "clinician_days": shown(len(days)),
        "a_clinician_day": sum(days) / len(days) if len(days) >= LEAST else None,
    }


def _swept(tally: Totals) -> list[dict[str, Any]]:
    """By moved number and value how often each rule fires, where that differs from today's by more than few people."""
    tried: dict[tuple[str, str], dict[str, int]] = {}
    for (name, value, rule, outcome), number in tally.swept.items():
        by_value = tried.setdefault((name, rule), {})
        by_value[value] = by_value.get(value, 0) + (number if outcome == Outcome.FIRES else 0)
    found = []
    for (name, rule), by_value in sorted(tried.items()):
        today = tally.outcomes[rule, Outcome.FIRES.value]
        told = [today]
        for value, number in sorted(by_value.items(), key=lambda item: Decimal(item[0])):
            # Two numbers that lie near each other would tell of the few between them.
            if all(shown(abs(part)) is not None for part in (number, today, *(number - other for other in told))):
                told.append(number)
                if number != today:
                    found.append({"moved": name, "to": value, "rule": rule, "fires": number, "change": number - today})
    return found


def _located(bad: BadLine, folders: Iterable[Path]) -> dict[str, Any]:
    """With the number of its line, where the file can be read as it is."""
    path, number = Path(bad.file), None
    own = next((folder for folder in folders if path.is_relative_to(folder)), None)
    name = str(path.relative_to(own.parent) if own else path)
    if path.suffix != ".gz":
        with path.open("rb") as opened:
            number = sum(part.count(b"\n") for part in _up_to(opened, bad.place)) + 1
    return {"file": printable(name), "line": number, "byte": bad.place, "why": bad.why}


def _up_to(opened: Any, place: int) -> Iterable[bytes]:
    while place > 0 and (part := opened.read(min(place, 1 << 20))):
        place -= len(part)
        yield part


def page(found: Mapping[str, Any], knowledge: Knowledge) -> str:
    """The report as one HTML file, to read or to print: no script, no outside file."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("cds_service.population", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"told": _told, "share": lambda number: f"{100 * number:.2f} %"}
    return environment.get_template("report.html").render(
        report=found, titles={rule.id: rule.file.title for rule in knowledge.rules}, unreadable=UNREADABLE
    )


def _told(number: Count) -> str:
    return f"under {LEAST}" if number is None else f"{number:,}"
