"""New results, drugs and answers whose value, day or status is in doubt, beside a record of which all is well."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.calm import CORA, OWN, Json, beside, calm_with, decide
from tests.support.cast import conductor_of
from tests.support.history import response
from tests.support.people import SNOMED, UCUM, concept, condition, medication, observation

# A potassium of 2.0 or a diuretic that came today, beside older good results in a calm person: each in a way by which it may be
# taken for absent, for older than it is, or for a normal one.
MILD = {"value": 3.6, "unit": "mmol/L"}
NEW_RESULTS: dict[str, Json] = {
    "registered with a value": {"status": "registered"},
    "cancelled with a value": {"status": "cancelled"},
    "not performed, with a value": {"dataAbsentReason": {"coding": [{"code": "not-performed"}]}},
    "registered": {"status": "registered", "valueQuantity": None},
    "before birth": {"effectiveDateTime": "1900-01-01"},
    "a year mistyped": {"effectiveDateTime": "0206-11-20"},
    "a clock never set": {"effectiveDateTime": "1970-01-01T00:00:00Z"},
    "issued long after": {"effectiveDateTime": "2016-11-19", "issued": "2026-11-19T08:00:00Z"},
    "an open period": {
        "effectiveDateTime": None,
        "effectivePeriod": {"start": "2019-01-01"},
        "issued": "2026-11-19T08:00:00Z",
    },
    "a number that nobody can have": {"valueQuantity": {"value": 99999, "unit": "mmol/L", "comparator": ">"}},
    "a limit of nought": {"referenceRange": [{"low": {"value": 0}}]},
    "limits of nought and 999": {"referenceRange": [{"low": {"value": 0}, "high": {"value": 999}}]},
    "called normal": {"interpretation": [{"coding": [{"code": "N"}]}]},
    "in range and marked as abnormal": {"valueQuantity": MILD, "interpretation": [{"coding": [{"code": "A"}]}]},
    "in range and low in words": {"valueQuantity": MILD, "interpretation": [{"text": "Low"}]},
    "in range and marked by a code of its own": {"valueQuantity": MILD, "interpretation": [{"coding": [{"code": "4711"}]}]},
    "two units": {"valueQuantity": {"value": 4.0, "unit": "g/L", "system": UCUM, "code": "mmol/L"}},
    "an open period, not issued": {"effectiveDateTime": None, "effectivePeriod": {"start": "2019-01-01"}},
}
NEW_DRUGS: dict[str, Json] = {
    "an end before birth": {"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"end": "1900-01-01"}}}}]},
    "an end before its start": {"dispenseRequest": {"validityPeriod": {"start": "2026-11-01", "end": "2026-10-01"}}},
    "a start far to come": {"authoredOn": "2062-11-20"},
}


@pytest.mark.parametrize("how", NEW_RESULTS)
def test_a_new_result_that_is_hard_to_understand_leaves_nobody_calm(how: str) -> None:
    changed = observation(2.0, id="new", when="2026-11-20") | NEW_RESULTS[how]
    assert not calm_with("electrolytes", {key: value for key, value in changed.items() if value is not None})


@pytest.mark.parametrize("how", NEW_DRUGS)
def test_a_drug_whose_dates_cannot_be_meant_leaves_nobody_calm(how: str) -> None:
    furosemide = medication(concept(text="Furosemide 40 mg tablets"), id="new", authoredOn="2026-11-01")
    assert not calm_with("medicationRequests", furosemide | NEW_DRUGS[how])


TODAY = "2026-11-20"


@pytest.mark.parametrize(
    "times",
    [
        (TODAY, f"{TODAY}T08:00:00Z"),
        (f"{TODAY}T07:00:00+02:00", f"{TODAY}T08:00:00"),
        (f"{TODAY}T00:00:00Z", f"{TODAY}T08:00:00Z"),
    ],
)
def test_of_two_results_of_a_day_the_one_in_range_calms_nobody_unless_it_is_later(times: tuple[str, str]) -> None:
    low, normal = times
    results = [observation(2.0, id="low", when=low), observation(4.4, id="normal", when=normal)]
    assert not calm_with("electrolytes", *results)


@pytest.mark.parametrize(
    "results",
    [
        [],
        [observation(4.2, id="new", when=TODAY)],
        [observation(4.2, id="new", when=TODAY, status="cancelled") | {"valueQuantity": {}}],
        [observation(2.0, id="new", when=TODAY, status="entered-in-error")],
        [observation(2.0, id="new", when="2015-01-01", issued="2021-01-01T08:00:00Z")],
        [observation(2.0, id="a", when=f"{TODAY}T07:00:00Z"), observation(4.2, id="b", when=f"{TODAY}T08:00:00Z")],
    ],
)
def test_what_is_understood_leaves_the_calm_line(results: list[Json]) -> None:
    assert calm_with("electrolytes", *results)


def answered(day: str, **members: Any) -> Json:
    """The cramp history with every question answered, and nothing in it that asks for a review."""
    items = []
    for item in conductor_of("us").knowledge.questionnaire["item"]:
        answer: Json = {"valueBoolean": item["linkId"] == "leg-cramps"}
        if item["type"] != "boolean":
            answer = {"valueInteger": 0} if item["type"] == "integer" else item["answerOption"][0]
        items.append({"linkId": item["linkId"], "answer": [answer]})
    return response({}, day, item=items) | members


def with_answer(form: Json, link_id: str, answer: Json) -> Json:
    others = [item for item in form["item"] if item["linkId"] != link_id]
    return form | {"item": [*others, {"linkId": link_id, "answer": [answer]}]}


def calm_lines(*added: Json, key: str = "crampHistory") -> list[str]:
    """What the card calms with, with these beside the calm record."""
    decision = decide(CORA, beside(key, *[{"resource": item | {"subject": {"reference": OWN}}} for item in added]))
    assert decision
    texts = [text for card in decision.cards for text in (card.summary, card.detail or "")]
    return [text for text in texts if "nothing found" in text.lower()]


OLDER, NEWER = answered("2026-10-01"), answered("2026-11-10")
YES = with_answer(NEWER, "numbness", {"valueBoolean": True})
UNREADABLE_FORMS = {
    "yes in words": with_answer(NEWER, "numbness", {"valueString": "Yes"}),
    "yes as a code": with_answer(NEWER, "numbness", {"valueCoding": {"code": "Y", "display": "Yes"}}),
    "other words": with_answer(NEWER, "numbness", {"valueString": "sometimes"}),
    "another type": with_answer(NEWER, "numbness", {"valueQuantity": {"value": 1}}),
    "a question that is not asked": with_answer(NEWER, "chest-pain", {"valueBoolean": True}),
    "a question passed over": NEWER | {"item": [item for item in NEWER["item"] if item["linkId"] != "numbness"]},
    "in progress": YES | {"status": "in-progress"},
    "foreign status": YES | {"status": "perhaps"},
    "undated": {name: value for name, value in YES.items() if name != "authored"},
    "no form named": {name: value for name, value in YES.items() if name != "questionnaire"},
    "another form with our questions": YES | {"questionnaire": "https://ehr.example/Questionnaire/eAbC"},
    "a relative address": YES | {"questionnaire": "Questionnaire/leg-cramp-history"},
    "wrong types": YES | {"id": 7},
    "redness of a month ago": with_answer(answered("2026-10-20"), "redness-or-warmth", {"valueBoolean": True}),
}


@pytest.mark.parametrize("form", UNREADABLE_FORMS.values(), ids=UNREADABLE_FORMS)
def test_a_cramp_history_that_is_not_all_read_as_no_calms_nobody(form: Json) -> None:
    assert not calm_lines(OLDER, form)
    assert not calm_lines(form)


def test_a_cramp_history_that_is_all_no_stays_calm() -> None:
    other = response({}, "2026-11-10", item=[{"linkId": "q1", "answer": [{"valueInteger": 3}]}])
    assert calm_lines()
    assert calm_lines(OLDER)
    assert calm_lines(OLDER, NEWER | {"questionnaire": "Questionnaire/leg-cramp-history|0.3.0"})
    assert calm_lines(OLDER, YES | {"status": "entered-in-error"})
    assert calm_lines(OLDER, other | {"questionnaire": "https://ehr.example/Questionnaire/mood"})


HYPOTHYROIDISM = condition(concept("40930008", SNOMED, "Hypothyroidism"), id="added")
ACTIVE = {"clinicalStatus": {"coding": [{"code": "active"}]}}


@pytest.mark.parametrize(
    "members",
    [
        ACTIVE | {"abatementString": "ongoing"},
        ACTIVE | {"abatementString": "none"},
        ACTIVE | {"abatementDateTime": "sometime"},
        ACTIVE | {"abatementDateTime": "2026"},
        ACTIVE | {"abatementAge": {"value": 20, "code": "a"}},
        ACTIVE | {"recordedDate": "2062-01-01"},
        {"abatementString": "see notes"},
        {"abatementRange": {"low": {"value": 20, "code": "a"}}},
        {"clinicalStatus": {"coding": [{"code": "inactive"}, {"code": "active"}]}},
        {"clinicalStatus": {"coding": [{"code": "resolved"}]}, "abatementDateTime": "2062-01-01"},
    ],
)
def test_a_condition_that_contradicts_itself_calms_nobody(members: Json) -> None:
    assert not calm_lines(HYPOTHYROIDISM | members, key="conditions")


@pytest.mark.parametrize(
    "members",
    [
        {"clinicalStatus": {"coding": [{"code": "resolved"}]}, "abatementString": "see notes"},
        {"clinicalStatus": {"coding": [{"code": "resolved"}, {"code": "inactive"}]}},
        {"abatementAge": {"value": 20, "code": "a"}},
        {"abatementDateTime": "2019"},
    ],
)
def test_a_condition_that_is_over_stays_calm(members: Json) -> None:
    assert calm_lines(HYPOTHYROIDISM | members, key="conditions")
