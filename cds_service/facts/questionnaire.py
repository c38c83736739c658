"""Facts from what the patient answered to our Questionnaire, in its newest completed response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec.structs import replace

from cds_service.chart.index import View
from cds_service.chart.presence import known, presence, reference_to, unknown
from cds_service.fhir.dates import read_instant, read_span
from cds_service.fhir.resources import Answer, Coding, QuestionnaireResponse, ResponseItem, token
from cds_service.knowledge.schema import FactDefinition
from cds_service.model import Evidence, Fact, State

_DONE = ("completed", "amended")
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


def answered(name: str, definition: FactDefinition, view: View) -> Fact:
    """The yes or no under `link_id`. Unknown where there is no response of the window, or the question was passed over."""
    return _single(name, definition, view, lambda answer: answer.value_boolean)


def counted(name: str, definition: FactDefinition, view: View) -> Fact:
    """The whole number under `link_id`; unknown as `answered`, and where it is below nought."""
    return _single(name, definition, view, lambda answer: answer.value_integer if (answer.value_integer or 0) >= 0 else None)


def chosen(name: str, definition: FactDefinition, view: View) -> Fact:
    """Whether one of `options` was chosen under `link_id`; unknown as `answered`, and where an answer is none of ours."""
    response, given = _given(definition, view)
    offered = {option.code for option in _options(definition, view)}
    codes = {answer.value_coding.code for answer in given if answer.value_coding}
    if response is None or not codes or not codes <= offered:
        return _unanswered(name, response, definition, view)
    return known(name, not codes.isdisjoint(definition.options), [_evidence(response, view)])


def counted_up_to(name: str, definition: FactDefinition, view: View) -> Fact:
    """Whether the number under `link_id` is `least` or more; unknown as `counted`."""
    count = counted(name, definition, view)
    least = definition.least or 0
    return known(name, count.value >= least, count.told) if isinstance(count.value, int) else count


def history_taken(name: str, definition: FactDefinition, view: View) -> Fact:
    """Was our Questionnaire completed in the last `days`?"""
    response = _newest(definition, view)
    if response is None and any(read_span(item.authored) is None for item in _completed(view)):
        return unknown(name, State.UNUSABLE, "the date of a response cannot be placed")
    return presence(name, [_evidence(response, view)] if response else [], view, definition.queries, [])


def _single(name: str, definition: FactDefinition, view: View, read: Callable[[Answer], bool | int | None]) -> Fact:
    response, answers = _given(definition, view)
    given = {value for answer in answers if (value := read(answer)) is not None}
    if response is None or len(given) != 1:
        return _unanswered(name, response, definition, view)
    value = given.pop()
    told = "" if isinstance(value, bool) else str(value)
    return known(name, value, [replace(_evidence(response, view), value=told)])


def _unanswered(name: str, response: QuestionnaireResponse | None, definition: FactDefinition, view: View) -> Fact:
    if response is not None:
        return unknown(name, State.NONE, "the question was not answered", [_evidence(response, view)])
    looked = presence(name, [], view, definition.queries, [])
    return unknown(name, looked.state, looked.reason or f"none completed in {definition.days} days")


def _given(definition: FactDefinition, view: View) -> tuple[QuestionnaireResponse | None, list[Answer]]:
    """The newest response of the window with what it answers under `link_id`."""
    response = _newest(definition, view)
    items = _items(response.item) if response else ()
    own = [item for item in items if item.link_id == definition.link_id]
    return response, [answer for item in own for answer in item.answer or () if answer]


def _options(definition: FactDefinition, view: View) -> Iterator[Coding]:
    for item in view.knowledge.questionnaire["item"]:
        if item.get("linkId") == definition.link_id:
            for option in item.get("answerOption", ()):
                yield Coding(code=option["valueCoding"]["code"])


def _newest(definition: FactDefinition, view: View) -> QuestionnaireResponse | None:
    return view.once(("response", definition.days), partial(_find_newest, definition, view))


def _find_newest(definition: FactDefinition, view: View) -> QuestionnaireResponse | None:
    since = view.as_of - timedelta(days=definition.days or 0)
    found = [item for item in _completed(view) if (span := read_span(item.authored)) and span.within(since, view.as_of)]
    return max(found, key=lambda item: (read_instant(item.authored) or _EARLIEST, item.id or ""), default=None)


def _completed(view: View) -> list[QuestionnaireResponse]:
    """Responses to our Questionnaire, of whatever version, that were completed."""
    ours = view.knowledge.questionnaire["url"]
    return [
        item
        for item in view.chart.all(QuestionnaireResponse)
        if token(item.status) in _DONE and (item.questionnaire or "").partition("|")[0].strip() == ours
    ]


def _items(items: Iterable[ResponseItem | None] | None) -> Iterator[ResponseItem]:
    for item in items or ():
        if item:
            yield item
            yield from _items(item.item)


def _evidence(response: QuestionnaireResponse, view: View) -> Evidence:
    title = str(view.knowledge.questionnaire["title"])
    return Evidence(reference_to(response), title, date=(response.authored or "").strip())
