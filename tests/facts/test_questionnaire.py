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
        response({}, item=[{"linkId": "numbness", "answer": [{"valueString": "a little"}]}]),
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
    assert told(knowledge, response({}, "2026-13-45"), name="cramp_history_taken").state is State.NOT_UNDERSTOOD
    both = told(knowledge, response({}, "2026-13-45"), response({}), name="cramp_history_taken")
    assert both.value is True


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"valueString": "Yes"}, True),
        ({"valueString": " no. "}, False),
        ({"valueCoding": {"code": "Y", "display": "Yes"}}, True),
        ({"valueCoding": {"system": "http://loinc.org", "code": "LA32-8", "display": "No"}}, False),
        ({"valueCoding": {"code": "N"}}, False),
        ({"valueCoding": {"code": "Y", "display": "No"}}, UNKNOWN),
        ({"valueCoding": {"code": "asked-unknown", "display": "Unknown"}}, UNKNOWN),
        ({"valueString": "yes, since May"}, UNKNOWN),
        ({"valueInteger": 1}, UNKNOWN),
        ({"valueDate": "2026-11-01"}, UNKNOWN),
        ({"valueQuantity": {"value": 1}}, UNKNOWN),
        ({"valueBoolean": False, "modifierExtension": [{"url": "https://ehr.example/not"}]}, UNKNOWN),
    ],
)
def test_a_yes_or_no_in_words_or_codes_is_read_and_any_other_answer_is_not_understood(
    knowledge: Knowledge, answer: dict[str, Any], expected: Any
) -> None:
    fact = told(knowledge, asked("numbness", answer))
    assert fact.value is expected
    assert (fact.state is State.NOT_UNDERSTOOD) is (expected is UNKNOWN)


@pytest.mark.parametrize(
    ("answer", "name", "expected"),
    [
        ({"valueString": "On walking, and they ease with rest"}, "told_on_walking", True),
        ({"valueCoding": {"code": "3", "display": "At night or in bed"}}, "told_on_walking", False),
        ({"valueString": "when I climb stairs"}, "told_on_walking", UNKNOWN),
    ],
)
def test_a_choice_is_read_by_its_words_too(knowledge: Knowledge, answer: dict[str, Any], name: str, expected: Any) -> None:
    assert told(knowledge, asked("when", answer), name=name).value is expected


def test_a_number_written_as_a_text_is_a_number(knowledge: Knowledge) -> None:
    assert told(knowledge, asked("stretching-weeks", {"valueString": "6"}), name="told_stretching_weeks").value == 6
    assert told(knowledge, asked("stretching-weeks", {"valueString": "six"}), name="told_stretching_weeks").value is UNKNOWN


@pytest.mark.parametrize(
    "form",
    [
        OURS,
        f"{OURS}|0.1.0",
        "Questionnaire/leg-cramp-history",
        "https://ehr.example/fhir/Questionnaire/leg-cramp-history/_history/2",
    ],
)
def test_our_form_is_known_by_any_address(knowledge: Knowledge, form: str) -> None:
    assert told(knowledge, response({"numbness": False}, questionnaire=form)).value is False
    assert told(knowledge, response({}, questionnaire=form), name="cramp_history_taken").value is True


def test_an_answer_beneath_another_or_under_another_spelling_is_found(knowledge: Knowledge) -> None:
    beneath = [
        {"linkId": "swelling", "answer": [{"valueBoolean": True, "item": asked("numbness", {"valueBoolean": True})["item"]}]}
    ]
    assert told(knowledge, response({}, item=beneath)).value is True
    assert told(knowledge, asked("Numbness ", {"valueBoolean": True})).value is True


NO = response({"numbness": False, "swelling": False}, "2026-10-20")
YES = response({"numbness": True})


def without(form: dict[str, Any], member: str) -> dict[str, Any]:
    return {name: value for name, value in form.items() if name != member}


NOT_UNDERSTOOD = {
    "in progress": YES | {"status": "in-progress"},
    "stopped": YES | {"status": "stopped"},
    "undated": without(YES, "authored"),
    "dated by its year": YES | {"authored": "2026"},
    "of a day to come": YES | {"authored": "2062-01-01"},
    "to no form by name": without(YES, "questionnaire"),
    "to a form of no address": YES | {"questionnaire": "urn:uuid:1"},
    "to another form with the same question": YES | {"questionnaire": "https://ehr.example/Questionnaire/other"},
    "of a foreign status": YES | {"status": "perhaps"},
    "of wrong types": YES | {"id": 7},
    "a reference to its form as in STU3": YES | {"questionnaire": {"reference": "Questionnaire/leg-cramp-history"}},
    "a question under another name": response({}, item=[{"linkId": "x-numb", "answer": [{"valueBoolean": True}]}]),
}


@pytest.mark.parametrize("newer", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_a_newer_form_may_say_is_not_known_by_an_older_no(knowledge: Knowledge, newer: dict[str, Any]) -> None:
    fact = told(knowledge, NO, newer)
    assert (fact.value, fact.state) == (UNKNOWN, State.NOT_UNDERSTOOD)
    assert told(knowledge, newer, name="cramp_history_taken").value is not False


@pytest.mark.parametrize(
    "other",
    [
        YES | {"status": "in-progress", "authored": "2026-10-19"},
        YES | {"status": "in-progress", "authored": "2025-11-01"},
        YES | {"status": "entered-in-error"},
        response({"swelling": True}, status="in-progress"),
        response({"numbness": False}, status="in-progress"),
        response({}, item=[{"linkId": "phq-1", "answer": [{"valueInteger": 3}]}], questionnaire="https://ehr.example/phq"),
        response({}, item=[{"linkId": "heart", "text": "Your heart", "item": []}], status="in-progress"),
    ],
    ids=["older", "long ago", "withdrawn", "another question", "the same answer", "another form", "nothing answered"],
)
def test_a_form_that_cannot_say_otherwise_leaves_a_no(knowledge: Knowledge, other: dict[str, Any]) -> None:
    assert told(knowledge, NO, other).value is False


@pytest.mark.parametrize(
    ("name", "link_id", "older", "expected"),
    [
        ("told_numbness", "numbness", True, True),
        ("told_eases_with_stretching", "eases-with-stretching", False, False),
        ("told_eases_with_stretching", "eases-with-stretching", True, UNKNOWN),
    ],
)
def test_a_danger_that_was_told_stands_beside_a_newer_form_that_is_not_understood(
    knowledge: Knowledge, name: str, link_id: str, older: bool, expected: Any
) -> None:
    forms = [response({link_id: older}, "2026-10-20"), response({link_id: not older}, status="in-progress")]
    assert told(knowledge, *forms, name=name).value is expected


def test_on_one_day_the_hour_tells_which_is_newer(knowledge: Knowledge) -> None:
    done = response({"numbness": False}, "2026-11-01T10:00:00Z")
    before, after = (YES | {"status": "in-progress", "authored": f"2026-11-01T{hour}:00:00Z"} for hour in ("09", "11"))
    assert told(knowledge, done, before).value is False
    assert told(knowledge, done, after).value is UNKNOWN


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], False),
        ([{"linkId": "intro", "text": "Please answer"}], False),
        ([{"linkId": "group-1", "item": []}], False),
        ([{"linkId": "chest-pain", "answer": []}], False),
        ([{"linkId": "chest-pain", "answer": [{"valueString": ""}]}], False),
        ([{"linkId": "chest-pain", "answer": [{"valueBoolean": True}]}], UNKNOWN),
        ([{"answer": [{"valueBoolean": True}]}], UNKNOWN),
    ],
)
def test_an_answer_to_what_is_not_asked_may_be_anything_and_a_heading_is_none(
    knowledge: Knowledge, items: list[Any], expected: Any
) -> None:
    form = response({}, item=[*response({"numbness": False})["item"], *items])
    assert told(knowledge, form, name="told_anything_not_asked").value is expected
    assert told(knowledge, form).value is False


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
