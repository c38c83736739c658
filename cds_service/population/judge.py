"""The decisions about the patients of an export, and what is kept of each."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import msgspec

from cds_service.cdshooks.request import HookRequest
from cds_service.errors import RequestError
from cds_service.fhir.dates import age_between, read_span
from cds_service.fhir.resources import Patient
from cds_service.model import Outcome
from cds_service.population.records import CallMaker, ExportedRecord, clinicians_of
from cds_service.population.totals import LOOKED_AT, OF_NOBODY, REFUSED, REPLACED, UNREAD, Totals, stratum_of
from cds_service.service import Decision, DecisionService

DAY, ENCOUNTERS = "day", "encounters"
_patient = msgspec.json.Decoder(Patient)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MOST_KEPT = 2000


class CardRow(NamedTuple):
    """One card: its group and indicator, and the rules that it speaks for."""

    group: str
    indicator: str
    rules: tuple[str, ...]


class Row(NamedTuple):
    """What is kept of a decision in which a rule fires or may: `facts` settled these rules, each (name, value, state)."""

    patient: str
    day: str
    fires: tuple[str, ...]
    unknown: tuple[str, ...]
    cards: tuple[CardRow, ...]
    facts: tuple[tuple[str, str, str], ...]
    states: Mapping[str, str]


@dataclass
class Judged:
    tally: Totals = field(default_factory=Totals)
    rows: list[Row] = field(default_factory=list)


class Manner(NamedTuple):
    """As of which day, and at `day` or `encounters`; `name_of` makes of a patient's id what is kept.

    `swept`: the same service under other numbers, by the number and its value.
    """

    as_of: date
    at: str
    name_of: Callable[[str], str]
    swept: Mapping[tuple[str, str], DecisionService]


class Judge:
    """Decides as the service does for a call."""

    def __init__(self, decision_service: DecisionService, service_id: str, caller: CallMaker, manner: Manner) -> None:
        self._decides, self._service_id, self._caller = decision_service, service_id, caller
        self._as_of, self._at, self._name_of, self._swept = manner
        self._outside: dict[Any, Decision | None] = {}

    def judge(self, lines_of: Mapping[str, Sequence[bytes]], is_looked_at: Callable[[str], bool]) -> Judged:
        """All patients of some lines. Whom no line of theirs made one to look at is decided by the Patient alone."""
        judged = Judged()
        if len(self._outside) > _MOST_KEPT:
            self._outside.clear()
        nobody: Counter[tuple[Any, tuple[str, str]]] = Counter()
        for patient_id, lines in lines_of.items():
            record = ExportedRecord(patient_id, lines)
            judged.tally.lines[REPLACED] += record.replaced
            patient = _read(record.patient)
            if patient is None:
                judged.tally.lines[OF_NOBODY] += sum(map(len, record.by_type.values()))
                judged.tally.decisions[UNREAD] += 1
                continue
            stratum = stratum_of(patient.birth_date, patient.gender, self._as_of)
            judged.tally.people[stratum] += 1
            if is_looked_at(patient_id):
                self._look_at(record, stratum, judged)
            elif self._at == DAY:
                key = self._alike(patient, record)
                if key is None:
                    self._note(self._decide(self._caller.call(record), self._as_of), stratum, judged.tally)
                else:
                    nobody[key, stratum] += 1
        for (key, stratum), number in nobody.items():
            self._note(self._outside[key], stratum, judged.tally, number)
        return judged

    def _note(self, decision: Decision | None, stratum: tuple[str, str], tally: Totals, number: int = 1) -> None:
        if decision:
            tally.note(decision, stratum, number)
        else:
            tally.decisions[REFUSED] += number

    def _alike(self, patient: Patient, record: ExportedRecord) -> Any:
        """People of whom a Patient alone tells the same are decided once; None for whom it tells more than of most."""
        if patient.deceased_date_time or patient.link:
            return None
        span = read_span(patient.birth_date)
        age = age_between(span, self._as_of) if span and span.first <= self._as_of else patient.birth_date
        key = (age, patient.deceased_boolean, bytes(patient.modifier_extension), bytes(patient.implicit_rules))
        if key not in self._outside:
            self._outside[key] = self._decide(self._caller.call(record), self._as_of)
        return key

    def _look_at(self, record: ExportedRecord, stratum: tuple[str, str], judged: Judged) -> None:
        judged.tally.decisions[LOOKED_AT] += 1
        for request, day, clinicians in self._calls(record):
            decision = self._decide(request, day)
            self._note(decision, stratum, judged.tally)
            if decision is None:
                continue
            for name in clinicians:
                judged.tally.clinician_days[name, day.isoformat()] += len(decision.cards)
            if any(item.outcome in (Outcome.FIRES, Outcome.UNKNOWN) for item in decision.findings):
                judged.rows.append(_row(self._name_of(record.patient_id), day, decision))
            for (name, value), other in self._swept.items():
                for finding in other.find(self._service_id, request, day):
                    judged.tally.swept[name, value, finding.rule_id, finding.outcome.value] += 1

    def _calls(self, record: ExportedRecord) -> Iterator[tuple[HookRequest, date, Sequence[str]]]:
        if self._at == DAY:
            yield self._caller.call(record), self._as_of, ()
        else:
            for encounter, day, request in self._caller.visits(record):
                if day <= self._as_of:
                    yield request, day, clinicians_of(encounter)

    def _decide(self, request: HookRequest, day: date) -> Decision | None:
        """None where what is mandatory was not exported."""
        try:
            return self._decides.answer(self._service_id, request, day, in_brief="afterwards")
        except RequestError:
            return None


def _read(data: bytes | None) -> Patient | None:
    if data is None:
        return None
    try:
        return _patient.decode(data)
    except _UNREADABLE:
        return None


def _row(patient: str, day: date, decision: Decision) -> Row:
    asked = {Outcome.FIRES: list[str](), Outcome.UNKNOWN: list[str]()}
    names: dict[str, None] = {}
    for finding in decision.findings:
        if finding.outcome in asked:
            asked[finding.outcome].append(finding.rule_id)
            names |= dict.fromkeys(finding.because)
    facts = tuple((name, str(decision.values[name]), decision.facts[name].state.value) for name in names)
    cards = tuple(CardRow(item.group, item.card.indicator, tuple(rule.id for rule in item.rules)) for item in decision.shown)
    states = {key: state.value for key, state in decision.chart.query_state.items()}
    return Row(patient, day.isoformat(), tuple(asked[Outcome.FIRES]), tuple(asked[Outcome.UNKNOWN]), cards, facts, states)


def keyed_digest(key: bytes) -> Callable[[str], str]:
    """Names a patient by a keyed hash: the same under the same key, and nobody's without it."""

    def digest(patient_id: str) -> str:
        return hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()[:32]

    return digest


def by_patient(lines: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = defaultdict(list)
    for patient_id, data in lines:
        found[patient_id].append(data)
    return found
