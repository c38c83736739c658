"""Facts from what the patient answered to our Questionnaire, in its newest completed response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from cds_service.dates import read_instant, read_span
from cds_service.formats import FactDefinition
from cds_service.model import Evidence, Fact, State
from cds_service.r4 import QuestionnaireResponse, ResponseItem, token
from cds_service.view import View, known, presence, reference_to, unknown

_DONE = ("completed", "amended")
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


def answered(name: str, definition: FactDefinition, view: View) -> Fact:
    """The yes or no under `link_id`. Unknown where there is no response of the window, or the question was passed over."""
    response = _newest(definition, view)
    if response is None:
        looked = presence(name, [], view, definition.queries, [])
        return unknown(name, looked.state, looked.reason or f"none completed in {definition.days} days")
    given = {
        answer.value_boolean
        for item in _items(response.item)
        if item.link_id == definition.link_id
        for answer in item.answer or ()
        if answer and answer.value_boolean is not None
    }
    evidence = [_evidence(response, view)]
    if len(given) != 1:
        return unknown(name, State.NONE, "the question was not answered", evidence)
    return known(name, given.pop(), evidence)


def history_taken(name: str, definition: FactDefinition, view: View) -> Fact:
    """Was our Questionnaire completed in the last `days`?"""
    response = _newest(definition, view)
    return presence(name, [_evidence(response, view)] if response else [], view, definition.queries, [])


def _newest(definition: FactDefinition, view: View) -> QuestionnaireResponse | None:
    return view.once(("response", definition.days), partial(_find_newest, definition, view))


def _find_newest(definition: FactDefinition, view: View) -> QuestionnaireResponse | None:
    since = view.as_of - timedelta(days=definition.days or 0)
    ours = view.knowledge.questionnaire["url"]
    found = [
        item
        for item in view.chart.all(QuestionnaireResponse)
        if token(item.status) in _DONE
        and (item.questionnaire or "").partition("|")[0].strip() == ours
        and (span := read_span(item.authored))
        and span.within(since, view.as_of)
    ]
    return max(found, key=lambda item: (read_instant(item.authored) or _EARLIEST, item.id or ""), default=None)


def _items(items: Iterable[ResponseItem | None] | None) -> Iterator[ResponseItem]:
    for item in items or ():
        if item:
            yield item
            yield from _items(item.item)


def _evidence(response: QuestionnaireResponse, view: View) -> Evidence:
    title = str(view.knowledge.questionnaire["title"])
    return Evidence(reference_to(response), title, date=(response.authored or "").strip())
