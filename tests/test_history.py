"""The cramp history: a form that any renderer can show, and answers that decide only where they were given."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.knowledge import Knowledge
from cds_service.model import UNKNOWN, State
from tests.people import OWN, bundle, fact_of

OURS = "https://leg-cramps.example/Questionnaire/leg-cramp-history"


def response(answers: dict[str, Any], when: str = "2026-11-01", **members: Any) -> dict[str, Any]:
    items = [{"linkId": link, "answer": [{"valueBoolean": value}]} for link, value in answers.items()]
    base = {"resourceType": "QuestionnaireResponse", "id": f"q{when}", "questionnaire": OURS, "status": "completed"}
    return base | {"subject": OWN, "authored": when, "item": items} | members


def told(knowledge: Knowledge, *responses: Any, name: str = "told_palpitations") -> Any:
    return fact_of(knowledge, name, crampHistory=bundle(*responses))


@pytest.mark.parametrize("value", [True, False])
def test_an_answer_is_what_was_answered(knowledge: Knowledge, value: bool) -> None:
    assert told(knowledge, response({"palpitations": value})).value is value


@pytest.mark.parametrize(
    "form",
    [
        response({"swelling": True}),
        response({"palpitations": True}, "2026-08-21"),
        response({"palpitations": True}, "2026-11-21"),
        response({"palpitations": True}, status="in-progress"),
        response({"palpitations": True}, status="entered-in-error"),
        response({"palpitations": True}, questionnaire="https://ehr.example/Questionnaire/other"),
        response({}, item=[{"linkId": "palpitations", "answer": [{"valueString": "yes"}]}]),
        response({}, item=[{"linkId": "palpitations", "answer": [{"valueBoolean": True}, {"valueBoolean": False}]}]),
    ],
)
def test_what_was_not_answered_to_our_form_in_time_is_unknown(knowledge: Knowledge, form: Any) -> None:
    assert told(knowledge, form).value is UNKNOWN


def test_the_newest_form_counts_and_the_version_of_its_address_does_not(knowledge: Knowledge) -> None:
    older = response({"palpitations": True}, "2026-10-01")
    newer = response({"palpitations": False}, "2026-11-01", questionnaire=f"{OURS}|0.1.0")
    assert told(knowledge, older, newer).value is False
    assert told(knowledge, newer, older).value is False


def test_an_answer_within_a_group_is_found(knowledge: Knowledge) -> None:
    nested = [{"linkId": "heart", "item": [{"linkId": "palpitations", "answer": [{"valueBoolean": True}]}]}]
    assert told(knowledge, response({}, item=nested)).value is True


def test_no_form_is_no_denial_and_a_form_alone_is_a_record_of_cramps(knowledge: Knowledge) -> None:
    assert told(knowledge).state is State.NONE
    assert told(knowledge, name="cramp_history_taken").value is False
    assert told(knowledge, response({}), name="cramp_history_taken").value is True
    alone = fact_of(knowledge, "cramps_on_record", conditions=bundle(), crampHistory=bundle(response({})))
    assert alone.value is True
