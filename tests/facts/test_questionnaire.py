"""The cramp history: a form that any renderer can show, and answers that decide only where they were given."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, State
from tests.support.history import OURS, coded, response
from tests.support.people import bundle, fact_of


def told(knowledge: Knowledge, *responses: Any, name: str = "told_numbness") -> Any:
    return fact_of(knowledge, name, crampHistory=bundle(*responses))


@pytest.mark.parametrize("value", [True, False])
def test_an_answer_is_what_was_answered(knowledge: Knowledge, value: bool) -> None:
    assert told(knowledge, response({"numbness": value})).value is value


@pytest.mark.parametrize(
    "form",
    [
        response({"swelling": True}),
        response({"numbness": True}, "2026-08-21"),
        response({"numbness": True}, "2026-11-22"),
        response({"numbness": True}, status="in-progress"),
        response({"numbness": True}, status="entered-in-error"),
        response({"numbness": True}, questionnaire="https://ehr.example/Questionnaire/other"),
        response({}, item=[{"linkId": "numbness", "answer": [{"valueString": "yes"}]}]),
        response({}, item=[{"linkId": "numbness", "answer": [{"valueBoolean": True}, {"valueBoolean": False}]}]),
    ],
)
def test_what_was_not_answered_to_our_form_in_time_is_unknown(knowledge: Knowledge, form: Any) -> None:
    assert told(knowledge, form).value is UNKNOWN


def test_the_newest_form_counts_and_the_version_of_its_address_does_not(knowledge: Knowledge) -> None:
    older = response({"numbness": True}, "2026-10-01")
    newer = response({"numbness": False}, "2026-11-01", questionnaire=f"{OURS}|0.1.0")
    assert told(knowledge, older, newer).value is False
    assert told(knowledge, newer, older).value is False


def test_an_answer_within_a_group_is_found(knowledge: Knowledge) -> None:
    nested = [{"linkId": "heart", "item": [{"linkId": "numbness", "answer": [{"valueBoolean": True}]}]}]
    assert told(knowledge, response({}, item=nested)).value is True


def test_no_form_is_no_denial_and_a_form_alone_is_a_record_of_cramps(knowledge: Knowledge) -> None:
    assert told(knowledge).state is State.ABSENT
    assert told(knowledge, name="cramp_history_taken").value is False
    assert told(knowledge, response({}), name="cramp_history_taken").value is True
    alone = fact_of(knowledge, "cramps_on_record", conditions=bundle(), crampHistory=bundle(response({})))
    assert alone.value is True


def asked(link: str, *answers: dict[str, Any]) -> dict[str, Any]:
    return response({}, item=[{"linkId": link, "answer": list(answers)}])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["walking"], True),
        (["night", "walking"], True),
        (["night", "rest"], False),
        ([], UNKNOWN),
        (["uphill"], UNKNOWN),
        (["walking", "uphill"], UNKNOWN),
        ([None], UNKNOWN),
    ],
)
def test_of_several_answers_one_is_enough_and_a_foreign_one_is_no_answer(
    knowledge: Knowledge, codes: list[str], expected: Any
) -> None:
    assert told(knowledge, asked("when", *coded(*codes)), name="told_on_walking").value is expected


@pytest.mark.parametrize(("code", "expected"), [("seldom", False), ("monthly", False), ("weekly", True), ("most-nights", True)])
def test_often_is_once_a_week(knowledge: Knowledge, code: str, expected: bool) -> None:
    assert told(knowledge, asked("how-often", *coded(code)), name="told_often").value is expected


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"valueInteger": 6}], 6),
        ([{"valueInteger": 0}], 0),
        ([{"valueInteger": -1}], UNKNOWN),
        ([{"valueBoolean": True}], UNKNOWN),
        ([{"valueInteger": 2}, {"valueInteger": 3}], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_a_number_of_weeks_is_a_whole_number(knowledge: Knowledge, answers: list[Any], expected: Any) -> None:
    assert told(knowledge, asked("stretching-weeks", *answers), name="told_stretching_weeks").value == expected


def test_a_form_of_which_the_date_cannot_be_read_is_neither_taken_nor_missing(knowledge: Knowledge) -> None:
    assert told(knowledge, response({}, "2026-13-45"), name="cramp_history_taken").state is State.UNUSABLE
    both = told(knowledge, response({}, "2026-13-45"), response({}), name="cramp_history_taken")
    assert both.value is True


def test_each_question_can_be_shown_by_any_renderer(knowledge: Knowledge) -> None:
    """Types that every renderer knows, a flat list, a text for each answer, no extension."""
    for item in knowledge.questionnaire["item"]:
        assert item["type"] in ("boolean", "choice", "integer")
        assert item["text"].strip().endswith(("?", "."))
        assert set(item) <= {"linkId", "text", "type", "required", "repeats", "code", "answerOption"}
        assert all(option["valueCoding"]["display"].strip() for option in item.get("answerOption", ()))
        assert ("answerOption" in item) == (item["type"] == "choice")


def test_an_old_form_without_the_newer_questions_leaves_them_open(knowledge: Knowledge) -> None:
    old = response({"numbness": False}, questionnaire=f"{OURS}|0.1.0")
    assert told(knowledge, old).value is False
    assert told(knowledge, old, name="told_twitching").value is UNKNOWN
