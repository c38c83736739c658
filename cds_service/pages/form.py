"""The Questionnaire as a form: its questions read from the resource, its answers as a QuestionnaireResponse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from cds_service.errors import Problem, RequestError
from cds_service.facts.questionnaire import Answer

_YES_NO = {"yes": True, "no": False}
_MOST_DIGITS = 4


class Option(NamedTuple):
    code: str
    title: str


class Question(NamedTuple):
    """`kind` is boolean, choice or integer, as FHIR names them; `many`: more than one option may be chosen."""

    id: str
    text: str
    kind: str
    many: bool
    options: tuple[Option, ...]


def questions(questionnaire: Mapping[str, Any]) -> list[Question]:
    return [
        Question(item["linkId"], item["text"], item["type"], bool(item.get("repeats")), tuple(_options(item)))
        for item in questionnaire["item"]
    ]


def _options(item: Mapping[str, Any]) -> Iterator[Option]:
    if item["type"] == "boolean":
        yield from (Option("yes", "Yes"), Option("no", "No"))
    for option in item.get("answerOption", ()):
        yield Option(option["valueCoding"]["code"], option["valueCoding"]["display"])


def response(questionnaire: Mapping[str, Any], given: Mapping[str, Sequence[str]], patient: str, day: date) -> dict[str, Any]:
    """The answers of a form as a completed response. Raises RequestError (400) naming every answer that is none."""
    items, problems = [], list[Problem]()
    for item in questionnaire["item"]:
        values = [value.strip() for value in given.get(item["linkId"], ()) if value.strip()]
        answers = [_answer(item, value) for value in values]
        if None in answers or (len(answers) > 1 and not item.get("repeats")):
            problems.append(Problem(item["linkId"], "is not answered with what was offered", "choose one of the answers"))
        elif answers:
            items.append({"linkId": item["linkId"], "text": item["text"], "answer": answers})
    if problems:
        raise RequestError(400, "invalid-request", "value", problems)
    return {
        "resourceType": "QuestionnaireResponse",
        "id": "from-the-form",
        "questionnaire": f"{questionnaire['url']}|{questionnaire['version']}",
        "status": "completed",
        "subject": {"reference": f"Patient/{patient}"},
        "authored": day.isoformat(),
        "item": items,
    }


def filled_in(questionnaire: Mapping[str, Any], answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    """What a response answers, as the fields of the form; what is not understood stays open."""
    asked = [str(item["linkId"]) for item in questionnaire["item"]]
    found = {name: _as_field(answers[name]) for name in asked if name in answers}
    return {name: values for name, values in found.items() if values}


def _as_field(answer: Answer) -> list[str]:
    if isinstance(answer, bool):
        return [next(word for word, value in _YES_NO.items() if value is answer)]
    if isinstance(answer, frozenset):
        return sorted(answer)
    return [str(answer)] if isinstance(answer, int) else []


def _answer(item: Mapping[str, Any], value: str) -> dict[str, Any] | None:
    if item["type"] == "boolean":
        return {"valueBoolean": _YES_NO[value]} if value in _YES_NO else None
    if item["type"] == "integer":
        return {"valueInteger": int(value)} if value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS else None
    offered = [option["valueCoding"] for option in item.get("answerOption", ())]
    return next(({"valueCoding": coding} for coding in offered if coding["code"] == value), None)
