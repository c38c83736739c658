"""Facts from what the patient answered to our Questionnaire, in its newest completed response.

What a newer response may answer and nobody can read is unknown, never a no: an answer of another type or in other words; what a
response says that has no date, is still being filled in, names no form, or answers questions that are none of ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from cds_service.chart.index import ChartIndex
from cds_service.chart.presence import known, not_understood, presence, reference_to, unknown
from cds_service.fhir.dates import Span, placed_within, read_instant, read_span
from cds_service.fhir.resources import (
    CodeableConcept,
    Coding,
    QuestionnaireAnswer,
    QuestionnaireResponse,
    ResponseItem,
    local_reference,
    normal_code,
)
from cds_service.fhir.sections import Unreadable, set_aside
from cds_service.fhir.understood import is_modified
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import (
    BooleanAnswer,
    CodedAnswers,
    HistoryCompleted,
    IntegerAnswer,
    IntegerAtLeast,
    OfQuestion,
    OtherAnswers,
)
from cds_service.model import UNKNOWN, Evidence, Fact, Known, State, Unknown

Answer = bool | int | frozenset[str] | Unknown | None
"""What a response says to a question: UNKNOWN where it cannot be read, None where it says nothing."""

_CLOCK = "T"
_NOTHING = (b"", b"null")
_NOT_COMPLETED = "is not completed"
_NO_FORM = "does not say which form it answers"
_ANOTHER_FORM = "answers another form with a question of this one"
_NOT_PLACED = "its date cannot be placed"
_ANSWER_UNREAD = "has an answer that cannot be read"
_NOT_ASKED = "answers a question that this form does not ask"


class _FormResponse(NamedTuple):
    """A response that was not withdrawn, with the answers of each question, and why what it says does not count as told."""

    source: QuestionnaireResponse
    answers: Mapping[str, Sequence[QuestionnaireAnswer]]
    span: Span | None
    is_foreign: bool
    problem: str


def boolean_answer(fact: FactDefinition, kind: BooleanAnswer, index: ChartIndex) -> Fact:
    """Unknown where there is no response of the window, the question was passed over, or its answer is not yes or no.

    What may be a danger stands as long as nothing else is known.
    """
    return _told(fact, kind, index, lambda answer: bool(answer), stands=not kind.reassures)


def integer_answer(fact: FactDefinition, kind: IntegerAnswer | IntegerAtLeast, index: ChartIndex) -> Fact:
    """Unknown as `boolean_answer`, and where it is below nought."""
    return _told(fact, kind, index, lambda answer: answer if isinstance(answer, int) else 0)


def coded_answers(fact: FactDefinition, kind: CodedAnswers, index: ChartIndex) -> Fact:
    """Unknown as `boolean_answer`, and where an answer is none of ours."""

    def is_chosen(answer: Answer) -> bool:
        return isinstance(answer, frozenset) and not answer.isdisjoint(kind.options)

    return _told(fact, kind, index, is_chosen, stands=True)


def integer_at_least(fact: FactDefinition, kind: IntegerAtLeast, index: ChartIndex) -> Fact:
    count = integer_answer(fact, kind, index)
    return known(fact.name, count.value >= kind.least, count.evidence_source) if isinstance(count.value, int) else count


def history_completed(fact: FactDefinition, kind: HistoryCompleted, index: ChartIndex) -> Fact:
    """Unknown where any response, whatever it may answer, is not understood."""
    newest = _newest(kind.days, index)
    if newest and _answer(newest, kind.says_yes_to, index) is True:
        return known(fact.name, True, [_evidence(newest, index)])
    doubts = [_put_aside(item, index) for item in _in_doubt(kind.days, newest, index) if _may_answer(item, index)]
    problem = _problem_within(newest, index) if newest else ""
    doubts += [_put_aside(newest, index, problem)] if newest and problem else []
    if doubts:
        return not_understood(fact.name, doubts, index)
    return presence(fact.name, [], index, fact.queries, [])


def other_answers(fact: FactDefinition, kind: OtherAnswers, index: ChartIndex) -> Fact:
    newest = _newest(kind.days, index)
    if newest and _strange(newest, index):
        return not_understood(fact.name, [_put_aside(newest, index, _NOT_ASKED)], index)
    if newest is None:
        return _unanswered(fact, kind.days, newest, index)
    return known(fact.name, False, [_evidence(newest, index)])


def doubtful_responses(index: ChartIndex) -> list[Unreadable]:
    """Those on record that were read and that nobody can tell what they answer, whatever the window of a fact."""
    newest = _newest(None, index)
    read = {id(item) for item in index.chart.all(QuestionnaireResponse)}
    found = [
        _put_aside(item, index)
        for item in _in_doubt(None, newest, index)
        if id(item.source) in read and _may_answer(item, index)
    ]
    problem = _problem_within(newest, index) if newest else ""
    return [*found, *([_put_aside(newest, index, problem)] if newest and problem else ())]


def told_history(index: ChartIndex) -> tuple[Evidence, Mapping[str, Answer]] | None:
    """The newest response that counts, whatever the window of a fact, with its answers by question; else None."""
    newest = _newest(None, index)
    if newest is None:
        return None
    answers = {link_id: _answer(newest, link_id, index) for link_id in _questions(index) if newest.answers.get(link_id)}
    return _evidence(newest, index), answers


def _told(
    fact: FactDefinition,
    kind: OfQuestion,
    index: ChartIndex,
    meaning: Callable[[Answer], Known],
    stands: bool | None = None,
) -> Fact:
    """What the newest response says. Where one that is not understood may say otherwise, only the value `stands` is told."""
    newest = _newest(kind.days, index)
    answer = _answer(newest, kind.link_id, index) if newest else None
    value = meaning(answer) if answer is not None and answer is not UNKNOWN else None
    doubts = [
        _put_aside(item, index)
        for item in _in_doubt(kind.days, newest, index)
        if _may_answer(item, index, kind.link_id) and (value is None or _answer(item, kind.link_id, index) != answer)
    ]
    if newest and answer is UNKNOWN:
        doubts.insert(0, _put_aside(newest, index, _ANSWER_UNREAD))
    elif newest and answer is None and _strange(newest, index):
        doubts.insert(0, _put_aside(newest, index, _NOT_ASKED))
    doubts += _unread(fact, index)
    if newest and value is not None and (not doubts or value is stands):
        shown = "" if isinstance(value, bool) else str(value)
        return known(fact.name, value, [replace(_evidence(newest, index), value=shown)])
    return not_understood(fact.name, doubts, index) if doubts else _unanswered(fact, kind.days, newest, index)


def _unanswered(fact: FactDefinition, days: int | None, response: _FormResponse | None, index: ChartIndex) -> Fact:
    if response is not None:
        return unknown(fact.name, State.ABSENT, "the question was not answered", [_evidence(response, index)])
    looked = presence(fact.name, [], index, fact.queries, [])
    return unknown(fact.name, looked.state, looked.reason or f"none completed in {days} days")


def _newest(days: int | None, index: ChartIndex) -> _FormResponse | None:
    return index.memo(("response", days), partial(_find_newest, days, index))


def _find_newest(days: int | None, index: ChartIndex) -> _FormResponse | None:
    since = index.since(days)
    found = [item for item in _responses(index) if not item.problem and placed_within(item.span, since, index.until)]
    return max(found, key=lambda item: (read_instant(item.source.authored), item.source.id or ""), default=None)


def _in_doubt(days: int | None, newest: _FormResponse | None, index: ChartIndex) -> Iterator[_FormResponse]:
    """Responses that may be newer than the newest that counts, and of which nobody knows whether they count."""
    since = index.since(days)
    for item in _responses(index):
        inside = placed_within(item.span, since, index.until)
        if inside is not False and (item.problem or inside is None) and not (newest and _is_older(item, newest)):
            yield item if item.problem else item._replace(problem=_NOT_PLACED)


def _is_older(response: _FormResponse, other: _FormResponse) -> bool:
    if response.span is None or other.span is None:
        return False
    own, its = (item.source.authored or "" for item in (response, other))
    if _CLOCK in own and _CLOCK in its and response.span == other.span:
        first, second = read_instant(own), read_instant(its)
        return first is not None and second is not None and first < second
    return response.span.last < other.span.first


def _unread(fact: FactDefinition, index: ChartIndex) -> list[Unreadable]:
    """Responses of which too little could be decoded to say what they answer, or when."""
    doubts = index.doubts(fact.queries, ())
    return [item for item in doubts if not isinstance(item.resource, QuestionnaireResponse)]


def _may_answer(response: _FormResponse, index: ChartIndex, link_id: str | None = None) -> bool:
    """Whether it may answer a question of ours, or this one: it does so by its `linkId`, or by one that is none of ours."""
    if not response.is_foreign and _strange(response, index):
        return True
    return link_id in response.answers if link_id else not response.answers.keys().isdisjoint(_questions(index))


def _strange(response: _FormResponse, index: ChartIndex) -> bool:
    """Whether it answers a question that our Questionnaire does not ask."""
    return not response.answers.keys() <= _questions(index).keys()


def _problem_within(response: _FormResponse, index: ChartIndex) -> str:
    if any(_answer(response, link_id, index) is UNKNOWN for link_id in response.answers):
        return _ANSWER_UNREAD
    return _NOT_ASKED if _strange(response, index) else ""


def _put_aside(response: _FormResponse, index: ChartIndex, problem: str = "") -> Unreadable:
    title = CodeableConcept(text=str(index.knowledge.questionnaire["title"]))
    item = set_aside(response.source, "", problem or response.problem)
    return item._replace(concepts=(title,), when=(response.source.authored or "").strip())


def _responses(index: ChartIndex) -> Sequence[_FormResponse]:
    return index.memo("responses", partial(_read_responses, index))


def _read_responses(index: ChartIndex) -> Sequence[_FormResponse]:
    """Those on record that were not withdrawn, and those that were put aside though they can be decoded."""
    withdrawn = index.knowledge.statuses.withdrawn_response
    plain = [(item, "") for item in index.chart.all(QuestionnaireResponse) if normal_code(item.status) not in withdrawn]
    put_aside = [
        (item.resource, item.problem)
        for items in index.chart.damaged.values()
        for item in items
        if isinstance(item.resource, QuestionnaireResponse)
    ]
    return [_read_response(item, problem, index) for item, problem in (*plain, *put_aside)]


def _read_response(source: QuestionnaireResponse, problem: str, index: ChartIndex) -> _FormResponse:
    answers: dict[str, list[QuestionnaireAnswer]] = defaultdict(list)
    for item in _items(source.item):
        for answer in item.answer or ():
            if answer and _says(answer):
                # Under a modifier an answer may mean its contrary.
                answers[normal_code(item.link_id)].append(QuestionnaireAnswer() if is_modified(item) else answer)
    ours = local_reference(str(index.knowledge.questionnaire["url"])).lower()
    form = local_reference((source.questionnaire or "").partition("|")[0]).lower()
    is_named = bool(form) and not form.startswith(("urn:", "#"))
    if not problem and form != ours:
        problem = _ANOTHER_FORM if is_named else _NO_FORM
    if not problem and normal_code(source.status) not in index.knowledge.statuses.completed_response:
        problem = _NOT_COMPLETED
    return _FormResponse(source, answers, read_span(source.authored), is_named and form != ours, problem)


def _says(answer: QuestionnaireAnswer) -> bool:
    values = (getattr(answer, member) for member in answer.__struct_fields__ if member.startswith("value_"))
    return any(bytes(value) not in _NOTHING if isinstance(value, Raw) else value not in (None, "") for value in values)


def _answer(response: _FormResponse, link_id: str, index: ChartIndex) -> Answer:
    """The one answer to a question; of a choice all that were chosen."""
    given = response.answers.get(link_id)
    if not given:
        return None
    question = _questions(index).get(link_id, {})
    if question.get("type") == "choice":
        chosen = [_chosen(answer, question["answerOption"]) for answer in given]
        return frozenset(filter(None, chosen)) if all(chosen) else UNKNOWN
    read = _yes_or_no if question.get("type") == "boolean" else _whole_number
    values = {read(answer, index) for answer in given}
    return values.pop() if len(values) == 1 else UNKNOWN


def _chosen(answer: QuestionnaireAnswer, options: Iterable[Mapping[str, Any]]) -> str:
    """The code of the option that an answer names, by its code or its words; empty where it names none."""
    offered = [option["valueCoding"] for option in options]
    said = _said(answer)
    codes = {item["code"] for item in offered if said & {item["code"].lower(), item["display"].lower()}}
    return str(codes.pop()) if len(codes) == 1 and not is_modified(answer) else ""


def _yes_or_no(answer: QuestionnaireAnswer, index: ChartIndex) -> bool | Unknown:
    if is_modified(answer):
        return UNKNOWN
    if answer.value_boolean is not None:
        return answer.value_boolean
    words, said = index.knowledge.answer_words, _said(answer)
    meant = {value for value, known_words in ((True, words.yes), (False, words.no)) if not said.isdisjoint(known_words)}
    return meant.pop() if len(meant) == 1 else UNKNOWN


def _whole_number(answer: QuestionnaireAnswer, index: ChartIndex) -> int | Unknown:
    number, text = answer.value_integer, (answer.value_string or "").strip()
    if number is None and text.isdecimal():
        number = int(text)
    return number if number is not None and number >= 0 and not is_modified(answer) else UNKNOWN


def _said(answer: QuestionnaireAnswer) -> set[str]:
    """What is said in words or by a code."""
    coding = answer.value_coding or Coding()
    given = (answer.value_string, coding.code, coding.display)
    return {folded for text in given if text and (folded := text.strip().rstrip(".!").lower())}


def _questions(index: ChartIndex) -> Mapping[str, Mapping[str, Any]]:
    def by_link() -> Mapping[str, Mapping[str, Any]]:
        return {str(item["linkId"]): item for item in index.knowledge.questionnaire["item"]}

    return index.memo("questions", by_link)


def _items(items: Iterable[ResponseItem | None] | None) -> Iterator[ResponseItem]:
    """Those that stand in groups, and beneath an answer, too."""
    for item in items or ():
        if item:
            yield item
            yield from _items(item.item)
            for answer in item.answer or ():
                yield from _items(answer.item) if answer else ()


def _evidence(response: _FormResponse, index: ChartIndex) -> Evidence:
    title = str(index.knowledge.questionnaire["title"])
    return Evidence(reference_to(response.source), title, date=(response.source.authored or "").strip())
