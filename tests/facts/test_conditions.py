"""Conditions: what counts as an active problem, and as leg cramps on record."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, Interval, State
from tests.support.cards import service_with
from tests.support.people import (
    AS_OF,
    ICD10,
    ICD10CM,
    OWN,
    SERVICE,
    SNOMED,
    body,
    bundle,
    concept,
    condition,
    fact_of,
    facts_of,
    patient,
)

HYPOTHYROIDISM = concept("40930008", SNOMED)
STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"


def on_record(knowledge: Knowledge, *conditions: Any, name: str = "cramps_on_record", **more: Any) -> Any:
    return fact_of(knowledge, name, conditions=bundle(*conditions), **more).value


@pytest.mark.parametrize(
    ("members", "active"),
    [
        ({}, True),
        ({"clinicalStatus": concept("active", STATUS)}, True),
        ({"clinicalStatus": concept("active ", STATUS)}, True),
        ({"clinicalStatus": concept("recurrence", STATUS)}, True),
        ({"clinicalStatus": concept("relapse", STATUS)}, True),
        ({"clinicalStatus": concept(text="Active")}, True),
        ({"clinicalStatus": concept("inactive", STATUS)}, False),
        ({"clinicalStatus": concept("remission", STATUS)}, False),
        ({"clinicalStatus": concept("resolved", STATUS)}, False),
        ({"clinicalStatus": {"coding": [{"code": "active"}, {"code": "relapse"}]}}, True),
        ({"clinicalStatus": {"coding": [{"code": "resolved"}, {"code": "inactive"}], "text": "Resolved"}}, False),
        ({"clinicalStatus": {"coding": [{"code": "inactive"}, {"code": "active"}]}}, UNKNOWN),
        ({"clinicalStatus": {"coding": [{"code": "resolved"}], "text": "Active"}}, UNKNOWN),
        ({"verificationStatus": {"coding": [{"code": "refuted"}, {"code": "confirmed"}]}}, UNKNOWN),
        ({"verificationStatus": concept("refuted")}, False),
        ({"verificationStatus": concept("entered-in-error")}, False),
        ({"verificationStatus": concept("provisional")}, True),
        ({"abatementDateTime": "2026-01-01"}, False),
        ({"abatementDateTime": "2027-01-01"}, True),
        ({"abatementPeriod": {"end": "2026-01-01"}}, False),
        ({"abatementString": "last spring"}, False),
        ({"abatementString": "2019"}, False),
        ({"abatementBoolean": True}, False),
        ({"abatementBoolean": False}, True),
        ({"abatementAge": {"value": 40, "code": "a"}}, False),
        ({"abatementAge": {"value": 480, "unit": "months"}}, False),
        ({"abatementAge": {"value": 99, "unit": "years"}}, True),
        ({"abatementRange": {"low": {"value": 30, "code": "a"}, "high": {"value": 40, "code": "a"}}}, False),
        ({"abatementPeriod": {"start": "2027-01-01"}}, True),
        ({"recordedDate": "2026-12-01", "clinicalStatus": concept("resolved", STATUS)}, False),
        ({"abatementString": "n/a", "clinicalStatus": concept("resolved", STATUS)}, False),
        ({"recordedDate": "2026-11-20"}, True),
    ],
)
def test_an_active_condition_is_one_that_nothing_ended_or_denied(
    knowledge: Knowledge, members: dict[str, Any], active: Any
) -> None:
    assert on_record(knowledge, condition(HYPOTHYROIDISM, **members), name="hypothyroidism") is active


@pytest.mark.parametrize(
    "code",
    [
        concept("449917004", SNOMED),
        concept("449917004", "urn:oid:2.16.840.1.113883.6.96"),
        concept("449917004", "http://snomed.info/sct/"),
        concept("G47.62", ICD10CM),
        concept("G4762", ICD10CM),
        concept("M62.831", ICD10CM),
        concept("R25.2", ICD10CM, text="Leg cramps"),
        concept("R25.2", ICD10CM, display="Cramp and spasm of both calves"),
        concept("55300003", SNOMED, text="cramp in foot"),
        concept(text="Nocturnal leg cramps"),
        concept(text="LEG  CRAMPS, worse at night"),
        concept(text="Charley horse"),
        concept("local-17", "https://ehr.example/codes", text="calf cramps"),
        concept("I10", ICD10CM, text="Leg cramps"),  # words are the truer
        concept(text="Cramps both legs"),
        concept(text="Cramp right calf"),
        concept(text="Muscle cramps, lower extremities"),
        concept(text="Leg cramps in pregnancy"),
    ],
)
def test_leg_cramps_are_recognised(knowledge: Knowledge, code: Any) -> None:
    assert on_record(knowledge, condition(code)) is True


@pytest.mark.parametrize(
    "code",
    [
        concept(text="No leg cramps"),
        concept(text="denies leg cramps"),
        concept(text="Leg cramps ruled out"),
        concept(text="History of leg cramps"),
        concept(text="Abdominal cramping"),
        concept(text="Legacy crampsons"),
        concept("R25.2", ICD10CM),
        concept("R25.2", ICD10CM, text="Cramp of the hand"),
        concept("M62.830", ICD10CM, text="Muscle spasm of back"),
        concept("55300003", SNOMED),
        concept("449917004", "https://ehr.example/own"),
        concept("449917004"),
    ],
)
def test_what_names_no_leg_cramps_is_not_taken_for_them(knowledge: Knowledge, code: Any) -> None:
    assert on_record(knowledge, condition(code)) is not True


@pytest.mark.parametrize("code", ["R25.2", "R252"])
def test_uk_icd_10_has_no_better_code_so_cramp_and_spasm_counts_there(knowledge: Knowledge, code: str) -> None:
    coded = condition(concept(code, ICD10, text="Cramp and spasm"))
    assert on_record(knowledge, coded, jurisdiction="uk") is True
    assert on_record(knowledge, coded, jurisdiction="us") is False
    assert on_record(knowledge, coded | {"bodySite": [concept(text="Hand")]}, jurisdiction="uk") is False


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (concept(text="Left calf"), True),
        (concept("arm", "https://ehr.example/sites", text="Upper limb"), False),
        (concept("leg", "https://ehr.example/sites"), UNKNOWN),
    ],
)
def test_a_body_site_places_a_cramp_and_one_without_words_leaves_it_open(
    knowledge: Knowledge, site: Any, expected: Any
) -> None:
    found = on_record(knowledge, condition(concept("R25.2", ICD10CM), bodySite=[site]))
    assert found is expected


@pytest.mark.parametrize("status", [None, "active"])
@pytest.mark.parametrize(
    ("end", "in_silence"),
    [
        ({"abatementString": "ongoing"}, True),
        ({"abatementString": "None."}, True),
        ({"abatementString": "n/a"}, True),
        ({"abatementDateTime": "2027-01-01"}, True),
        ({"abatementString": "see notes"}, UNKNOWN),
        ({"abatementString": "not resolved"}, UNKNOWN),
        ({"abatementString": "unknown"}, UNKNOWN),
        ({"abatementDateTime": "sometime"}, UNKNOWN),
        ({"abatementDateTime": "2026"}, UNKNOWN),
        ({"abatementDateTime": "2026-11"}, UNKNOWN),
        ({"abatementPeriod": {"start": "2020-01-01"}}, UNKNOWN),
        ({"abatementAge": {"value": 40}}, UNKNOWN),
        ({"abatementAge": {"unit": "a"}}, UNKNOWN),
        ({"abatementRange": {"low": {"value": 30, "code": "a"}}}, UNKNOWN),
        ({"abatementRange": {"low": {"value": 30, "code": "a"}, "high": {"value": 99, "code": "a"}}}, UNKNOWN),
        ({"abatementDateTime": "2020", "abatementBoolean": False}, UNKNOWN),
        ({"recordedDate": "2062-01-01"}, UNKNOWN),
        ({"recordedDate": "2026-12-01"}, UNKNOWN),
        ({"abatementDateTime": "2020-01-01"}, False),
        ({"abatementString": "resolved in May"}, False),
        ({"abatementBoolean": True}, False),
        ({"abatementAge": {"value": 40, "code": "a"}}, False),
    ],
)
def test_an_end_that_cannot_be_read_or_contradicts_the_status_is_no_absence(
    knowledge: Knowledge, end: dict[str, Any], in_silence: Any, status: str | None
) -> None:
    """Beside a status that says active, an end that lies behind is a contradiction."""
    given = end | ({"clinicalStatus": concept(status, STATUS)} if status else {})
    fact = fact_of(knowledge, "hypothyroidism", conditions=bundle(condition(HYPOTHYROIDISM, **given)))
    expected = UNKNOWN if status and in_silence is False else in_silence
    assert fact.value is expected
    assert (fact.state is State.NOT_UNDERSTOOD) is (expected is UNKNOWN)


def test_a_status_of_the_past_and_an_end_to_come_contradict_each_other(knowledge: Knowledge) -> None:
    both = condition(HYPOTHYROIDISM, clinicalStatus=concept("resolved", STATUS), abatementDateTime="2062-01-01")
    assert on_record(knowledge, both, name="hypothyroidism") is UNKNOWN
    assert on_record(knowledge, both, condition(HYPOTHYROIDISM, id="c2"), name="hypothyroidism") is True


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"onsetDateTime": "2026-11-10"}, True),
        ({"onsetDateTime": "2062-11-10"}, UNKNOWN),
        ({"onsetDateTime": "2026-11-10", "abatementString": "see notes"}, UNKNOWN),
        ({"onsetDateTime": "2010-11-10", "abatementString": "see notes"}, False),
        ({"recordedDate": "2062-01-01"}, UNKNOWN),
    ],
)
def test_what_may_have_begun_in_a_window_is_not_told_as_absent(
    knowledge: Knowledge, members: dict[str, Any], expected: Any
) -> None:
    clot = condition(concept(text="Deep vein thrombosis of left leg"), **members)
    assert on_record(knowledge, clot, name="deep_vein_thrombosis_new") is expected


DIAGNOSIS = {"category": [concept("encounter-diagnosis")]}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"recordedDate": "2025-11-20"}, True),
        ({"recordedDate": "2025-11-19"}, False),
        ({"onsetDateTime": "2026-10-01"}, True),
        ({"recordedDate": "2026-11-21"}, True),  # it is the 21st already where days begin first
        ({"recordedDate": "2026-11-22"}, UNKNOWN),
        ({}, UNKNOWN),
        ({"recordedDate": "2025"}, UNKNOWN),
        ({"recordedDate": "2026-10-01", "verificationStatus": concept("refuted")}, False),
        ({"recordedDate": "2026-10-01", "clinicalStatus": concept("resolved")}, True),
        ({"encounter": {"reference": "Encounter/e7"}}, True),
    ],
)
def test_an_encounter_diagnosis_counts_for_a_year(knowledge: Knowledge, members: dict[str, Any], expected: Any) -> None:
    coded = condition(concept("G47.62", ICD10CM), **DIAGNOSIS, **members)
    found = facts_of(knowledge, body({"conditions": bundle(coded)}, encounterId="e7"))["cramps_as_encounter_diagnosis"]
    assert found.value is expected


def encounter(reason: Any, **members: Any) -> dict[str, Any]:
    base = {"resourceType": "Encounter", "id": "e7", "status": "in-progress", "subject": OWN, "reasonCode": [reason]}
    return base | members


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (concept(text="Calf cramps at night"), True),
        (concept("449917004", SNOMED), True),
        (concept("R25.2", ICD10CM, text="cramps in legs"), True),
        (concept("R25.2", ICD10CM), False),
        (concept(text="no leg cramps"), False),
        (concept(text="cough"), False),
    ],
)
def test_the_reason_of_the_open_encounter_counts(knowledge: Knowledge, reason: Any, expected: bool) -> None:
    request = body({"conditions": bundle(), "encounter": encounter(reason)}, encounterId="e7")
    assert facts_of(knowledge, request)["cramps_on_record"].value is expected


def test_another_encounter_is_not_the_open_one(knowledge: Knowledge) -> None:
    request = body({"conditions": bundle(), "encounter": encounter(concept(text="leg cramps"), id="e6")}, encounterId="e7")
    assert facts_of(knowledge, request)["cramps_as_encounter_reason"].value is False


def test_without_an_open_encounter_there_is_no_reason_to_look_for(knowledge: Knowledge) -> None:
    assert facts_of(knowledge, body({"conditions": bundle()}))["cramps_on_record"].value is False


def test_an_open_encounter_that_was_not_supplied_leaves_it_unknown(knowledge: Knowledge) -> None:
    fact = facts_of(knowledge, body({"conditions": bundle()}, encounterId="e7"))["cramps_on_record"]
    assert (fact.value, fact.state) == (UNKNOWN, State.NOT_SUPPLIED)


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        (concept("E03.9", ICD10CM), "hypothyroidism"),
        (concept("E039", ICD10), "hypothyroidism"),
        (concept("I70.213", ICD10CM), "peripheral_artery_disease"),
        (concept("I73.9", ICD10), "peripheral_artery_disease"),
        (concept("63491006", SNOMED), "peripheral_artery_disease"),
        (concept("E11.9", ICD10CM), "diabetes"),
        (concept("N18.30", ICD10CM), "chronic_kidney_disease"),
        (concept("N18.3", ICD10CM), "chronic_kidney_disease"),
        (concept("Z99.2", ICD10CM), "on_dialysis"),
        (concept("E86.0", ICD10CM), "dehydration"),
        (concept("E86X", ICD10), "dehydration"),
        (concept("F10.20", ICD10CM), "alcohol_use_disorder"),
        (concept("F17.210", ICD10CM), "smoking_as_condition"),
        (concept("I50.9", ICD10CM), "heart_failure"),
    ],
)
def test_icd_codes_match_with_their_children_and_as_england_writes_them(knowledge: Knowledge, code: Any, fact: str) -> None:
    assert on_record(knowledge, condition(code), name=fact) is True


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        (concept("F10.21", ICD10CM), "alcohol_use_disorder"),
        (concept("F17.211", ICD10CM), "smoking_as_condition"),
        (concept("Z87.891", ICD10CM), "smoking_as_condition"),
        (concept("O24.410", ICD10CM), "diabetes"),
    ],
)
def test_remission_history_and_namesakes_do_not_count(knowledge: Knowledge, code: Any, fact: str) -> None:
    assert on_record(knowledge, condition(code), name=fact) is False


SMOKING = concept("72166-2", "http://loinc.org")


def answer(code: str | None, when: str = "2026-01-01", **members: Any) -> dict[str, Any]:
    base = {"resourceType": "Observation", "id": f"s{when}", "status": "final", "subject": OWN, "code": SMOKING}
    said = concept(code, SNOMED) if code else concept(text="smokes")
    return base | {"effectiveDateTime": when, "valueCodeableConcept": said} | members


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([answer("449868002")], True),
        ([answer("8517006")], True),
        ([answer("449868002", "2025-01-01"), answer("266919005")], False),
        ([], UNKNOWN),
        ([answer(None)], UNKNOWN),
        ([answer("449868002", status="entered-in-error")], UNKNOWN),
    ],
)
def test_the_newest_smoking_answer_decides_and_no_answer_is_no_answer(
    knowledge: Knowledge, answers: list[Any], expected: Any
) -> None:
    assert fact_of(knowledge, "smoking", otherResults=bundle(*answers)).value is expected


@pytest.mark.parametrize(
    ("birth", "expected"),
    [
        ("1961-11-20", 65),
        ("1961-11-21", 64),
        ("1961", Interval(Decimal(64), Decimal(65))),
        ("1961-11", Interval(Decimal(64), Decimal(65))),
        ("1961-05", 65),
        (None, UNKNOWN),
        ("1961-13-01", UNKNOWN),
        ("2031-01-01", UNKNOWN),
    ],
)
def test_age_is_exact_or_an_interval_or_unknown(knowledge: Knowledge, birth: str | None, expected: Any) -> None:
    assert fact_of(knowledge, "age_years", patient=patient(birthDate=birth)).value == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, False),
        ({"deceasedBoolean": False}, False),
        ({"deceasedBoolean": True}, True),
        ({"deceasedDateTime": "2026-01"}, True),
    ],
)
def test_a_death_is_read_from_either_member(knowledge: Knowledge, members: dict[str, Any], expected: bool) -> None:
    assert fact_of(knowledge, "deceased", patient=patient(**members)).value is expected


@pytest.mark.parametrize(
    ("text", "fact", "expected"),
    [
        ("Type 2 diabetes", "diabetes", True),
        ("CKD stage 4", "kidney_disease_severe", True),
        ("CKD stage 2", "kidney_disease_moderate_severe", False),
        ("CKD stage 2", "chronic_kidney_disease", True),
        ("On dialysis since May", "on_dialysis", True),
        ("Congestive heart failure", "heart_failure", True),
        ("No heart failure", "heart_failure", False),
        ("Family history of type 2 diabetes", "diabetes", False),
        ("Gestational diabetes", "diabetes", False),
        ("Screening for anaemia", "anaemia", False),
        ("Deep vein thrombosis prophylaxis", "deep_vein_thrombosis_new", False),
    ],
)
def test_a_condition_in_words_alone_is_recognised_and_a_denial_is_not(
    knowledge: Knowledge, text: str, fact: str, expected: bool
) -> None:
    written = {
        "resourceType": "Condition",
        "id": "w",
        "subject": OWN,
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "onsetDateTime": "2026-11-10",
        "code": {"text": text},
    }
    assert fact_of(knowledge, fact, conditions=bundle(written)).value is expected


LINKED = {"other": {"reference": "Patient/other/_history/2"}}


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (None, False),
        ([], False),
        ([LINKED | {"type": "replaced-by"}], True),
        ([LINKED | {"type": "replaced-by "}], True),
        ([{"type": "replaced-by"}], True),
        ([LINKED | {"type": "replaces"}], False),
        ([LINKED | {"type": "seealso"}, LINKED | {"type": "refer"}], False),
        ([LINKED | {"type": "seealso"}, LINKED | {"type": "replaced-by"}], True),
        ([LINKED], UNKNOWN),
        ([LINKED | {"type": "merged"}], UNKNOWN),
        ([None], UNKNOWN),
    ],
)
def test_a_record_merged_into_another_is_known_by_its_link_alone(knowledge: Knowledge, links: Any, expected: Any) -> None:
    fact = fact_of(knowledge, "replaced", patient=patient(link=links))
    assert fact.value is expected
    if expected is True and any("other" in link for link in links):
        assert fact.evidence[0].reference == "Patient/other"


def test_an_inactive_record_alone_silences_nothing(knowledge: Knowledge) -> None:
    def cards(**members: Any) -> list[str]:
        request = read_request(json.dumps(body({"patient": patient(**members)})).encode(), "patient-view")
        return [card.summary for card in service_with(knowledge).answer(SERVICE, request, AS_OF).cards]

    assert cards(active=False) == cards() != []


@pytest.mark.parametrize(
    ("text", "neuropathy"),
    [
        ("Type 2 diabetes mellitus with peripheral neuropathy", True),
        ("Type 2 diabetes mellitus, no peripheral neuropathy", False),
        ("Type 2 diabetes mellitus", False),
    ],
)
def test_words_may_name_more_than_the_code_beside_them(knowledge: Knowledge, text: str, neuropathy: bool) -> None:
    sent: dict[str, Any] = {"conditions": bundle(condition(concept("44054006", SNOMED, text), id="d"))}
    assert fact_of(knowledge, "diabetes", **sent).value is True
    assert fact_of(knowledge, "peripheral_neuropathy", **sent).value is neuropathy
