"""What the service read of a record, beside the cards that used it: results against their range, drugs, conditions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import reference_to
from cds_service.explain.left_out import Omissions, left_out
from cds_service.facts.conditions import is_active, onset, problem_with
from cds_service.facts.medications import is_taken, period_of
from cds_service.facts.questionnaire import Answer, told_history
from cds_service.fhir.dates import read_span, say_date
from cds_service.fhir.resources import Condition, MedicationRequest, MedicationStatement, effective, text_of
from cds_service.knowledge.fact_kinds import OfQuestion
from cds_service.model import UNKNOWN, Evidence
from cds_service.observations.measurements import HIGH, LOW, DatedMeasurement, read
from cds_service.pages.sandbox import Trial

WIDTH, HEIGHT = 240.0, 100.0
_EDGE = 14.0
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_YEAR = timedelta(days=365)
_UNDATED = "undated"
_LATER = "after the day judged"
_WORDS = {LOW: "low", HIGH: "high", "in-range": "in range"}


class Point(NamedTuple):
    x: float
    y: float
    interpretation: str


class ResultPlot(NamedTuple):
    """In units of the drawing. `top` and `bottom` bound the range, where there is one."""

    points: tuple[Point, ...]
    top: float
    bottom: float
    has_range: bool


class RecordRow(NamedTuple):
    """One thing on record. `used` numbers the cards that rest on it, from 1."""

    reference: str
    name: str
    value: str
    date: str
    range: str
    note: str
    interpretation: str
    used: tuple[int, ...]


class Series(NamedTuple):
    """What is on record of one analyte, newest first."""

    name: str
    rows: tuple[RecordRow, ...]
    plot: ResultPlot | None


class MedicationBar(NamedTuple):
    """One drug of a list, from `start` to `end` in units of the drawing, to its edge where it is still taken.

    `start` None where it is not on record, or comes after the day judged.
    """

    row: RecordRow
    start: float | None
    end: float
    is_taken: bool

    @property
    def since(self) -> str:
        if self.start is not None:
            return f"since {self.row.date}"
        return "start not on record" if self.row.date == _UNDATED else f"from {self.row.date}, {_LATER}"


class Courses(NamedTuple):
    """Drugs against the onset of what the service is about, where that is on record."""

    bars: tuple[MedicationBar, ...]
    onset: float | None
    onset_date: str
    first: str
    last: str


class History(NamedTuple):
    """The newest answers of the patient to our Questionnaire; `whole` is the response that holds them."""

    whole: RecordRow
    answers: tuple[RecordRow, ...]


class Record(NamedTuple):
    series: tuple[Series, ...]
    history: History | None
    courses: Courses
    conditions: tuple[RecordRow, ...]
    left_out: Omissions


def read_record(trial: Trial) -> Record:
    """Everything of the record that bears on what the service knows, and what it could not read or was not given."""
    view, used = trial.decision.view, uses(trial)
    return Record(
        series=tuple(_series(view, used)),
        history=_history(trial, used),
        courses=_courses(view, used, _onset(trial)),
        conditions=tuple(_conditions(view, used)),
        left_out=left_out(view, trial.places),
    )


def uses(trial: Trial) -> Mapping[str, tuple[int, ...]]:
    """The cards that rest on each resource: by the facts that settled their rules, and those that their lines tell."""
    facts, found = trial.decision.facts, defaultdict[str, set[int]](set)
    for number, names in _facts_of_cards(trial):
        for item in (item for name in names for item in facts[name].evidence):
            found[item.reference].add(number)
    return {reference: tuple(sorted(numbers)) for reference, numbers in found.items()}


def _facts_of_cards(trial: Trial) -> Iterator[tuple[int, list[str]]]:
    """Each card from 1, with the facts that settled its rules or that its lines tell."""
    facts, knowledge = trial.decision.facts, trial.decision.knowledge
    for number, rules in enumerate(trial.decision.composed.speaks_for, start=1):
        names = {name for rule in rules for name in (*trial.findings[rule].because, *knowledge.cards[rule].facts)}
        yield number, [name for name in names if _is_told(facts[name].value)]


def _is_told(value: object) -> bool:
    return value is not False


def _onset(trial: Trial) -> str:
    reason = trial.decision.knowledge.services[trial.decision.service_id].reason_fact
    held = {item.reference for item in trial.decision.facts[reason].evidence}
    starts = [onset(item) for item in trial.decision.chart.all(Condition) if reference_to(item) in held]
    return min(filter(None, starts), default="")


def _history(trial: Trial, used: Mapping[str, tuple[int, ...]]) -> History | None:
    """What each answer says, and which cards ask for it."""
    view = trial.decision.view
    told = told_history(view)
    if told is None:
        return None
    source, answers = told
    asked = {str(item["linkId"]): item for item in view.knowledge.questionnaire["item"]}
    cards = _uses_of_answers(trial)
    rows = tuple(
        _row(
            Evidence(source.reference, asked[link_id]["text"], value=say_answer(asked[link_id], answer)), view.as_of, "", {}
        )._replace(used=cards.get(link_id, ()))
        for link_id, answer in answers.items()
    )
    elsewhere = {number for row in rows for number in row.used}
    others = tuple(number for number in used.get(source.reference, ()) if number not in elsewhere)
    return History(_row(source, view.as_of, "", {source.reference: others}), rows)


def _uses_of_answers(trial: Trial) -> Mapping[str, tuple[int, ...]]:
    """The cards that ask for each answer, by its question."""
    facts = trial.decision.knowledge.facts
    found = defaultdict[str, set[int]](set)
    for number, names in _facts_of_cards(trial):
        for name in names:
            if isinstance(kind := facts[name].kind, OfQuestion):
                found[kind.link_id].add(number)
    return {link_id: tuple(sorted(numbers)) for link_id, numbers in found.items()}


def say_answer(question: Mapping[str, Any], answer: Answer) -> str:
    """In words of the form: `Yes`; `6`; `At night or in bed, At rest by day`."""
    if answer is UNKNOWN or answer is None:
        return "not understood"
    if isinstance(answer, frozenset):
        offered = (option["valueCoding"] for option in question["answerOption"])
        return ", ".join(str(item["display"]) for item in offered if item["code"] in answer)
    return {True: "Yes", False: "No"}[answer] if isinstance(answer, bool) else str(answer)


def _series(view: ChartIndex, used: Mapping[str, tuple[int, ...]]) -> Iterator[Series]:
    for name, analyte in view.knowledge.labs.items():
        measured = view.measured.get(f"lab:{name}", ())
        rows = []
        for item in measured:
            when = effective(item[0])
            span = read_span(when)
            result = read(DatedMeasurement(name, item, when, span, span.last if span else view.as_of), view)
            interpretation = result.interpretation if isinstance(result.interpretation, str) else result.interpretation.reason
            said = _LATER if _is_later(when, view) else _WORDS.get(interpretation, interpretation)
            rows.append((when, _row(result.describe(), view.as_of, said, used)))
        if rows:
            rows.sort(key=lambda pair: pair[0], reverse=True)
            yield Series(analyte.title, tuple(row for _, row in rows), _plot(rows, view.as_of))


def _is_later(when: str | None, view: ChartIndex) -> bool:
    span = read_span(when)
    return span is not None and span.first > view.until


def _row(text: Evidence, as_of: date, interpretation: str, used: Mapping[str, tuple[int, ...]]) -> RecordRow:
    cards = used.get(text.reference, ())
    return RecordRow(
        text.reference, text.name, text.value, say_date(text.date, as_of), text.range, text.note, interpretation, cards
    )


def _plot(rows: Sequence[tuple[str, RecordRow]], as_of: date) -> ResultPlot | None:
    """Values over time as far as both are plain; None where nothing can be drawn."""
    placed = [(span.first, _numbers(row.value), row) for when, row in rows if (span := read_span(when))]
    drawn = [(day, numbers[0], row) for day, numbers, row in placed if numbers and day <= as_of]
    if not drawn:
        return None
    limits = _limits(drawn[0][2].range)
    heights = [value for _, value, _ in drawn] + [limit for limit in limits if limit is not None]
    low, high = min(heights), max(heights)
    room = (high - low) * 0.15 or abs(high) * 0.1 or 1.0
    first = min(min(day for day, _, _ in drawn), as_of - _YEAR)

    def y(value: float) -> float:
        return round(HEIGHT - _EDGE - (value - low + room) / (high - low + 2 * room) * (HEIGHT - 2 * _EDGE), 1)

    points = tuple(Point(_x(day, first, as_of, _EDGE), y(value), row.interpretation) for day, value, row in drawn)
    top = y(limits[1]) if limits[1] is not None else 0.0
    bottom = y(limits[0]) if limits[0] is not None else HEIGHT
    return ResultPlot(points, top, bottom, limits != (None, None))


def _x(day: date, first: date, last: date, edge: float = 0.0) -> float:
    return round(edge + (day - first).days / max((last - first).days, 1) * (WIDTH - 2 * edge), 1)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in _NUMBER.findall(text)]


def _limits(text: str) -> tuple[float | None, float | None]:
    """The limits of a range as evidence tells it: `3.5 to 5.0`, `at least 20`, `at most 5`."""
    numbers = _numbers(text.replace("10^", ""))
    if text.startswith("at most"):
        return None, next(iter(numbers), None)
    if text.startswith("at least"):
        return next(iter(numbers), None), None
    return (numbers[0], numbers[1]) if " to " in text and len(numbers) > 1 else (None, None)


def _courses(view: ChartIndex, used: Mapping[str, tuple[int, ...]], began: str) -> Courses:
    sources: list[Source] = [*view.chart.all(MedicationRequest), *view.chart.all(MedicationStatement)]
    shown = [(source, *period_of(source)) for source in sources]
    days = [span.first for text in (*(start for _, start, _ in shown), began) if (span := read_span(text))]
    first = min((day for day in days if day <= view.as_of), default=view.as_of - _YEAR)
    names = _drug_names(view)
    bars = tuple(
        _bar(source, _row(_told_drug(source, start, names), view.as_of, "", used), first, view) for source, start, _ in shown
    )
    begun = read_span(began)
    at = _x(begun.first, first, view.as_of) if begun and first <= begun.first <= view.as_of else None
    ends = [say_date(day.isoformat(), date.max) for day in (first, view.as_of)]
    return Courses(bars, at, say_date(began, view.as_of) if begun else "", *ends)


Source = MedicationRequest | MedicationStatement


def _told_drug(source: Source, start: str, names: Mapping[int, str]) -> Evidence:
    name = names.get(id(source)) or text_of(source.medication_codeable_concept) or "a drug without a name"
    return Evidence(reference_to(source), name, value=source.status or "no status", date=start)


def _bar(source: Source, row: RecordRow, first: date, view: ChartIndex) -> MedicationBar:
    """What is taken no longer ends on its last day; where that is not on record, only its start can be drawn."""
    begun, ended = map(read_span, period_of(source))
    taken, as_of = is_taken(source, view), view.as_of
    at = _x(max(begun.first, first), first, as_of) if begun and begun.first <= as_of else None
    last = as_of if taken else min(ended.last, as_of) if ended else first
    return MedicationBar(row, at, max(_x(last, first, as_of), at or 0.0), taken)


def _drug_names(view: ChartIndex) -> Mapping[int, str]:
    """What is written of each drug, wherever it stands: also where the list only refers to it."""
    by_set, unnamed = view.drugs
    drugs = [drug for found in (*by_set.values(), unnamed) for drug in found]
    return {id(drug.source): text_of(drug.concept) for drug in drugs}


def _conditions(view: ChartIndex, used: Mapping[str, tuple[int, ...]]) -> Iterator[RecordRow]:
    for condition in _newest_first(view.chart.all(Condition)):
        state = "active" if is_active(condition, view) else text_of(condition.clinical_status) or "not active"
        state = problem_with(condition, view) or state
        state = f"{state}, {_LATER}" if _is_later(onset(condition), view) else state
        text = Evidence(reference_to(condition), text_of(condition.code), value=state, date=onset(condition))
        yield _row(text, view.as_of, "", used)


def _newest_first(conditions: Iterable[Condition]) -> list[Condition]:
    return sorted(conditions, key=onset, reverse=True)
