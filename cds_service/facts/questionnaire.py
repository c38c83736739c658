"""Facts from what the patient answered to our Questionnaire, in its newest completed response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec.structs import replace

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, presence, reference_to, unknown
from cds_service.fhir.dates import read_instant, read_span
from cds_service.fhir.resources import Coding, QuestionnaireAnswer, QuestionnaireResponse, ResponseItem, normal_code
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Evidence, Fact, State

_DONE = ("completed", "amended")
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


def boolean_answer(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """The yes or no under `link_id`. Unknown where there is no response of the window, or the question was passed over."""
    return _single(name, definition, view, lambda answer: answer.value_boolean)


def integer_answer(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """The whole number under `link_id`; unknown as `boolean_answer`, and where it is below nought."""
    return _single(name, definition, view, lambda answer: answer.value_integer if (answer.value_integer or 0) >= 0 else None)


def coded_answers(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Whether one of `options` was chosen under `link_id`; unknown as `boolean_answer`, and where an answer is none of ours."""
    response, given = _given(definition, view)
    offered = {option.code for option in _options(definition, view)}
    codes = {answer.value_coding.code for answer in given if answer.value_coding}
    if response is None or not codes or not codes <= offered:
        return _unanswered(name, response, definition, view)
    return known(name, not codes.isdisjoint(definition.options), [_evidence(response, view)])


def integer_at_least(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Whether the number under `link_id` is `least` or more; unknown as `integer_answer`."""
    count = integer_answer(name, definition, view)
    least = definition.least or 0
    return known(name, count.value >= least, count.told) if isinstance(count.value, int) else count


def history_taken(name: str, definition: FactDefinition, view: ChartIndex) -> Fact:
    """Was our Questionnaire completed in the last `days`?"""
    response = _newest(definition, view)
    if response is None and any(read_span(item.authored) is None for item in _completed(view)):
        return unknown(name, State.UNUSABLE, "the date of a response cannot be placed")
    return presence(name, [_evidence(response, view)] if response else [], view, definition.queries, [])


def _single(
    name: str, definition: FactDefinition, view: ChartIndex, read: Callable[[QuestionnaireAnswer], bool | int | None]
) -> Fact:
    response, answers = _given(definition, view)
    given = {value for answer in answers if (value := read(answer)) is not None}
    if response is None or len(given) != 1:
        return _unanswered(name, response, definition, view)
    value = given.pop()
    told = "" if isinstance(value, bool) else str(value)
    return known(name, value, [replace(_evidence(response, view), value=told)])


def _unanswered(name: str, response: QuestionnaireResponse | None, definition: FactDefinition, view: ChartIndex) -> Fact:
    if response is not None:
        return unknown(name, State.NONE, "the question was not answered", [_evidence(response, view)])
    query_state = presence(name, [], view, definition.queries, [])
    return unknown(name, query_state.state, query_state.reason or f"none completed in {definition.days} days")


def _given(definition: FactDefinition, view: ChartIndex) -> tuple[QuestionnaireResponse | None, list[QuestionnaireAnswer]]:
    """The newest response of the window with what it answers under `link_id`."""
    response = _newest(definition, view)
    items = _items(response.item) if response else ()
    own = [item for item in items if item.link_id == definition.link_id]
    return response, [answer for item in own for answer in item.answer or () if answer]


def _options(definition: FactDefinition, view: ChartIndex) -> Iterator[Coding]:
    for item in view.knowledge.questionnaire["item"]:
        if item.get("linkId") == definition.link_id:
            for option in item.get("answerOption", ()):
                yield Coding(code=option["valueCoding"]["code"])


def _newest(definition: FactDefinition, view: ChartIndex) -> QuestionnaireResponse | None:
    return view.memo(("response", definition.days), partial(_find_newest, definition, view))


def _find_newest(definition: FactDefinition, view: ChartIndex) -> QuestionnaireResponse | None:
    since = view.as_of - timedelta(days=definition.days or 0)
    found = [item for item in _completed(view) if (span := read_span(item.authored)) and span.within(since, view.as_of)]
    return max(found, key=lambda item: (read_instant(item.authored) or _EARLIEST, item.id or ""), default=None)


def _completed(view: ChartIndex) -> list[QuestionnaireResponse]:
    """Responses to our Questionnaire, of whatever version, that were completed."""
    ours = view.knowledge.questionnaire["url"]
    return [
        item
        for item in view.chart.all(QuestionnaireResponse)
        if normal_code(item.status) in _DONE and (item.questionnaire or "").partition("|")[0].strip() == ours
    ]


def _items(items: Iterable[ResponseItem | None] | None) -> Iterator[ResponseItem]:
    for item in items or ():
        if item:
            yield item
            yield from _items(item.item)


def _evidence(response: QuestionnaireResponse, view: ChartIndex) -> Evidence:
    title = str(view.knowledge.questionnaire["title"])
    return Evidence(reference_to(response), title, date=(response.authored or "").strip())
