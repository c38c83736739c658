"""What many decisions come to, counted: sums that can be added to one another, so that any number of processes may count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from itertools import combinations
from typing import Any

from cds_service.audit.codes_seen import unknown_codes, unknown_units
from cds_service.fhir.dates import age_between, read_span
from cds_service.model import UNKNOWN, Outcome, State
from cds_service.samples.counts import words_on
from cds_service.service import Decision

_TEXTS = {outcome: outcome.value for outcome in Outcome}
_BANDS = (18, 40, 50, 60, 70, 80, 90)
NOT_KNOWN = "not known"
ALL, LOOKED_AT = "all", "looked at"
REFUSED, UNREAD = "what must be known was not exported", "no Patient that can be read"
REPLACED, OF_NOBODY = "replaced by a newer version", "of nobody whose Patient is here"
UNREADABLE, BROKEN, OF_NO_PATIENT = "that cannot be read", "that cannot be read in full", "of no patient"
_LONGEST = 20


@dataclass
class Totals:
    """Counts by what they are of. A key of several parts is a tuple of texts.

    `decisions` are about patients, or about visits where each visit is decided. `unknown`: by rule, fact and state; `together`:
    by pair of rules; `cards` and `words`: by their number in a decision; `strata`: by rule, age and sex.
    """

    people: Counter[tuple[str, ...]] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    strata: Counter[tuple[str, ...]] = field(default_factory=Counter)
    unknown: Counter[tuple[str, ...]] = field(default_factory=Counter)
    together: Counter[tuple[str, ...]] = field(default_factory=Counter)
    cards: Counter[int] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    states: Counter[tuple[str, ...]] = field(default_factory=Counter)
    not_understood: Counter[str] = field(default_factory=Counter)
    codes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    clinician_days: Counter[tuple[str, ...]] = field(default_factory=Counter)
    swept: Counter[tuple[str, ...]] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, other: Totals) -> None:
        for name in _NAMES:
            getattr(self, name).update(getattr(other, name))

    def note(self, decision: Decision, stratum: tuple[str, str], number: int = 1) -> None:
        """Count a decision about somebody of this age and sex, `number` times."""
        self.decisions[ALL] += number
        self._note_outcomes(decision, stratum, number)
        for key, state in decision.chart.query_state.items():
            if state is not State.KNOWN and not decision.knowledge.queries[key].from_context:
                self.states[key, state.value] += number
        self.cards[len(decision.cards)] += number
        self.words[sum(map(words_on, decision.cards))] += number
        for kind, count in decision.not_understood.items():
            self.not_understood[kind] += count * number
        for code in unknown_codes(decision):
            self.codes[code[:3]] += number
        for unit in unknown_units(decision):
            self.units[unit[:_LONGEST]] += number

    def _note_outcomes(self, decision: Decision, stratum: tuple[str, str], number: int) -> None:
        fired, outcomes, fires, unknown = [], self.outcomes, Outcome.FIRES, Outcome.UNKNOWN
        for finding in decision.findings:
            outcome = finding.outcome
            outcomes[finding.rule_id, _TEXTS[outcome]] += number
            if outcome is fires:
                fired.append(finding.rule_id)
                self.strata[(finding.rule_id, *stratum)] += number
            elif outcome is unknown:
                for name in finding.because:
                    fact = decision.facts[name]
                    if fact.value is UNKNOWN:
                        self.unknown[finding.rule_id, name, fact.state.value] += number
        for pair in combinations(sorted(fired), 2):
            self.together[pair] += number

    def as_json(self) -> dict[str, Any]:
        """Lists of keys with their numbers, as JSON has no keys of several parts."""
        return {name: sorted([list(_parts(key)), number] for key, number in getattr(self, name).items()) for name in _NAMES}

    @classmethod
    def from_json(cls, loaded: Mapping[str, Iterable[tuple[list[Any], int]]]) -> Totals:
        found = cls()
        for name in _NAMES:
            for key, number in loaded[name]:
                getattr(found, name)[key[0] if len(key) == 1 else tuple(key)] += number
        return found


_NAMES = tuple(item.name for item in fields(Totals))


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def stratum_of(birth_date: str | None, sex: str | None, as_of: date) -> tuple[str, str]:
    """The band of age, as `60-69`, and the sex as it is written; each `not known` where it is not to be had."""
    span = read_span(birth_date)
    if span is None or span.first > as_of:
        return NOT_KNOWN, sex or NOT_KNOWN
    least, most = age_between(span, as_of)
    bands = {sum(age >= start for start in _BANDS) for age in (least, most)}
    return (_band(bands.pop()) if len(bands) == 1 else NOT_KNOWN), sex or NOT_KNOWN


def _band(number: int) -> str:
    starts = (0, *_BANDS)
    return f"{starts[number]}-{starts[number + 1] - 1}" if number + 1 < len(starts) else f"{starts[number]}+"
