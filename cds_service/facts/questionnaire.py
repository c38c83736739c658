"""Facts from what the patient answered to our Questionnaire, in its newest completed response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

from msgspec.structs import replace

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, presence, reference_to, unknown
from cds_service.fhir.dates import read_instant, read_span
from cds_service.fhir.resources import Coding, QuestionnaireAnswer, QuestionnaireResponse, ResponseItem, normal_code
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import (
    BooleanAnswer,
    CodedAnswers,
    HistoryCompleted,
    IntegerAnswer,
    IntegerAtLeast,
    OfQuestion,
)
from cds_service.model import Evidence, Fact, State

_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


def boolean_answer(fact: FactDefinition, kind: BooleanAnswer, index: ChartIndex) -> Fact:
    """Unknown where there is no response of the window, or the question was passed over."""
    return _single(fact, kind, index, lambda answer: answer.value_boolean)


def integer_answer(fact: FactDefinition, kind: IntegerAnswer | IntegerAtLeast, index: ChartIndex) -> Fact:
    """Unknown as `boolean_answer`, and where it is below nought."""
    return _single(fact, kind, index, lambda answer: answer.value_integer if (answer.value_integer or 0) >= 0 else None)


def coded_answers(fact: FactDefinition, kind: CodedAnswers, index: ChartIndex) -> Fact:
    """Unknown as `boolean_answer`, and where an answer is none of ours."""
    response, given = _given(kind, index)
    offered = {option.code for option in _options(kind.link_id, index)}
    codes = {answer.value_coding.code for answer in given if answer.value_coding}
    if response is None or not codes or not codes <= offered:
        return _unanswered(fact, kind, response, index)
    return known(fact.name, not codes.isdisjoint(kind.options), [_evidence(response, index)])


def integer_at_least(fact: FactDefinition, kind: IntegerAtLeast, index: ChartIndex) -> Fact:
    count = integer_answer(fact, kind, index)
    return known(fact.name, count.value >= kind.least, count.evidence_source) if isinstance(count.value, int) else count


def history_completed(fact: FactDefinition, kind: HistoryCompleted, index: ChartIndex) -> Fact:
    response = _newest(kind.days, index)
    if response is None and any(read_span(item.authored) is None for item in _completed(index)):
        return unknown(fact.name, State.UNUSABLE, "the date of a response cannot be placed")
    return presence(fact.name, [_evidence(response, index)] if response else [], index, fact.queries, [])


def _single(
    fact: FactDefinition, kind: OfQuestion, index: ChartIndex, read: Callable[[QuestionnaireAnswer], bool | int | None]
) -> Fact:
    response, answers = _given(kind, index)
    given = {value for answer in answers if (value := read(answer)) is not None}
    if response is None or len(given) != 1:
        return _unanswered(fact, kind, response, index)
    value = given.pop()
    shown = "" if isinstance(value, bool) else str(value)
    return known(fact.name, value, [replace(_evidence(response, index), value=shown)])


def _unanswered(fact: FactDefinition, kind: OfQuestion, response: QuestionnaireResponse | None, index: ChartIndex) -> Fact:
    if response is not None:
        return unknown(fact.name, State.ABSENT, "the question was not answered", [_evidence(response, index)])
    looked = presence(fact.name, [], index, fact.queries, [])
    return unknown(fact.name, looked.state, looked.reason or f"none completed in {kind.days} days")


def _given(kind: OfQuestion, index: ChartIndex) -> tuple[QuestionnaireResponse | None, list[QuestionnaireAnswer]]:
    """The newest response of the window with what it answers under `link_id`."""
    response = _newest(kind.days, index)
    items = _items(response.item) if response else ()
    own = [item for item in items if item.link_id == kind.link_id]
    return response, [answer for item in own for answer in item.answer or () if answer]


def _options(link_id: str, index: ChartIndex) -> Iterator[Coding]:
    for item in index.knowledge.questionnaire["item"]:
        if item.get("linkId") == link_id:
            for option in item.get("answerOption", ()):
                yield Coding(code=option["valueCoding"]["code"])


def _newest(days: int | None, index: ChartIndex) -> QuestionnaireResponse | None:
    return index.memo(("response", days), partial(_find_newest, days, index))


def _find_newest(days: int | None, index: ChartIndex) -> QuestionnaireResponse | None:
    since = index.since(days)
    found = [item for item in _completed(index) if (span := read_span(item.authored)) and span.within(since, index.until)]
    return max(found, key=lambda item: (read_instant(item.authored) or _EARLIEST, item.id or ""), default=None)


def _completed(index: ChartIndex) -> list[QuestionnaireResponse]:
    """Responses to our Questionnaire, of whatever version, that were completed."""
    ours = index.knowledge.questionnaire["url"]
    return [
        item
        for item in index.chart.all(QuestionnaireResponse)
        if normal_code(item.status) in index.knowledge.statuses.completed_response
        and (item.questionnaire or "").partition("|")[0].strip() == ours
    ]


def _items(items: Iterable[ResponseItem | None] | None) -> Iterator[ResponseItem]:
    for item in items or ():
        if item:
            yield item
            yield from _items(item.item)


def _evidence(response: QuestionnaireResponse, index: ChartIndex) -> Evidence:
    title = str(index.knowledge.questionnaire["title"])
    return Evidence(reference_to(response), title, date=(response.authored or "").strip())
