"""Medication lists: which entries are taken now, and by which names and codes a drug is known."""

from __future__ import annotations

from typing import Any

import pytest

from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN, State
from tests.support.people import ATC, DMD, LEG_CRAMPS, OWN, RXNORM, SNOMED, body, bundle, concept, fact_of, facts_of, medication


def code_of(knowledge: Knowledge, value_set: str, system: str, words: str) -> str:
    """A code of the shipped value set by its display: never one from memory."""
    rows = [row for part in knowledge.value_sets[value_set] for row in part.codes.get(system, ())]
    return next(row[0] for row in rows if all(word in row[1].lower() for word in words.split()))


def taking(knowledge: Knowledge, *requests: Any, name: str = "taking_diuretic", **more: Any) -> Any:
    return fact_of(knowledge, name, medicationRequests=bundle(*requests), **more).value


FUROSEMIDE = concept(text="Furosemide 40 mg tablets")


@pytest.mark.parametrize(
    ("system", "short", "words", "fact"),
    [
        (RXNORM, "rxnorm", "furosemide 80 mg oral tablet", "taking_diuretic"),
        (RXNORM, "rxnorm", "losartan hydrochlorothiazide", "taking_diuretic"),
        (RXNORM, "rxnorm", "amlodipine atorvastatin", "taking_statin"),
        (ATC, "atc", "indapamide", "taking_diuretic"),
        (DMD, "dmd", "bendroflumethiazide 2.5mg", "taking_diuretic"),
        (DMD, "dmd", "simvastatin 20mg", "taking_statin"),
        (SNOMED, "snomed", "furosemide (substance)", "taking_diuretic"),
        (RXNORM, "rxnorm", "levothyroxine sodium", "taking_thyroid_hormone"),
    ],
)
def test_a_drug_is_known_at_every_level_and_in_every_system(
    knowledge: Knowledge, system: str, short: str, words: str, fact: str
) -> None:
    sets = {"taking_diuretic": "diuretics", "taking_statin": "statins", "taking_thyroid_hormone": "levothyroxine"}
    code = code_of(knowledge, sets[fact], short, words)
    assert taking(knowledge, medication(concept(code, system)), name=fact) is True


def test_an_ingredient_code_and_an_atc_class_are_known(knowledge: Knowledge) -> None:
    assert taking(knowledge, medication(concept(code_of(knowledge, "diuretics", "rxnorm", "bumetanide"), RXNORM))) is True
    assert taking(knowledge, medication(concept("C03CA01", ATC))) is True
    assert taking(knowledge, medication(concept("C03CA", ATC))) is True
    assert taking(knowledge, medication(concept("C08CA05", ATC))) is False


@pytest.mark.parametrize(
    ("text", "fact", "expected"),
    [
        ("Furosemide 40 mg tablets", "taking_diuretic", True),
        ("FUROSEMIDE", "taking_diuretic", True),
        ("Losartan/hydrochlorothiazide 50/12.5", "taking_diuretic", True),
        ("losartan-hydrochlorothiazide", "taking_diuretic", True),
        ("Co-amilofruse 5mg/40mg tablets", "taking_diuretic", True),
        ("Losartan potassium 50mg tablets", "taking_diuretic", False),
        ("Rosuvastatin calcium 10 mg", "taking_statin", True),
        ("Nystatin cream", "taking_statin", False),
        ("Furosemidex", "taking_diuretic", UNKNOWN),
        ("water", "taking_diuretic", UNKNOWN),
        ("Niacin 500 mg tablet", "taking_nicotinic_acid", True),
        ("Nicotinic acid 750mg modified-release tablets", "taking_nicotinic_acid", True),
        ("Niaspan", "taking_nicotinic_acid", True),
        ("Niacin 50 mg tablet", "taking_nicotinic_acid", False),
        ("Prenatal vitamins with niacin 20 mg", "taking_nicotinic_acid", False),
        ("Niacinamide 500 mg", "taking_nicotinic_acid", False),
        ("Niacin", "taking_nicotinic_acid", False),
    ],
)
def test_a_drug_in_words_is_known_by_whole_words_only(knowledge: Knowledge, text: str, fact: str, expected: Any) -> None:
    assert taking(knowledge, medication(concept(text=text)), name=fact) is expected


def test_where_a_known_system_codes_the_drug_words_do_not_decide(knowledge: Knowledge) -> None:
    coded = concept("7258", RXNORM, text="Naproxen, replaces furosemide")
    assert taking(knowledge, medication(coded)) is False


def test_where_our_lists_of_a_system_are_not_whole_words_are_asked_too(knowledge: Knowledge) -> None:
    unlisted = concept("999999999999999999", DMD, text="Furosemide 40mg tablets (New Maker)")
    assert taking(knowledge, medication(unlisted)) is True


@pytest.mark.parametrize("system", [DMD, SNOMED])
@pytest.mark.parametrize(
    ("display", "fact", "expected"),
    [
        ("Co-amilofruse 5mg/40mg tablets", "taking_diuretic", True),
        ("Losartan potassium 50mg tablets", "taking_diuretic", False),
        ("Losartan potassium 50mg tablets", "taking_potassium_supplement", False),
        ("Rosuvastatin calcium 10mg tablets", "taking_statin", True),
        ("Naproxen sodium 220mg tablets", "taking_naproxen", True),
        ("Quinine sulfate 200mg tablets", "taking_quinine", True),
        ("Hydroxyquinoline 0.5% cream", "taking_quinine", False),
    ],
)
def test_a_product_that_our_lists_lack_is_known_by_its_display(
    knowledge: Knowledge, system: str, display: str, fact: str, expected: bool
) -> None:
    unlisted = concept("999999999999999999", system, display=display)
    assert taking(knowledge, medication(unlisted), name=fact) is expected


def test_a_dmd_code_is_read_under_the_address_of_snomed_too(knowledge: Knowledge) -> None:
    code = code_of(knowledge, "diuretics", "dmd", "bumetanide 1mg")
    assert taking(knowledge, medication(concept(code, SNOMED))) is True


def test_a_salt_in_a_drugs_name_is_no_result(knowledge: Knowledge) -> None:
    facts = facts_of(knowledge, body({"medicationRequests": bundle(medication(concept(text="Losartan potassium")))}))
    assert facts["potassium_measured"].value is False


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, True),
        ({"status": "active "}, True),
        ({"status": "on-hold"}, True),
        ({"status": "completed"}, False),
        ({"status": "stopped"}, False),
        ({"status": "draft"}, False),
        ({"status": "cancelled"}, False),
        ({"status": "entered-in-error"}, False),
        ({"intent": "plan"}, True),
        ({"intent": "option"}, False),
        ({"intent": "wish"}, UNKNOWN),
        ({"status": None}, UNKNOWN),
        ({"status": "unknown"}, UNKNOWN),
        ({"modifierExtension": [{"url": "https://ehr.example/x", "valueBoolean": True}]}, UNKNOWN),
        ({"intent": "proposal"}, False),
        ({"intent": "original-order"}, True),
        ({"doNotPerform": True}, False),
        ({"authoredOn": "2026-12-01"}, False),
        ({"authoredOn": None}, True),
        ({"dispenseRequest": {"validityPeriod": {"end": "2026-11-19"}}}, False),
        ({"dispenseRequest": {"validityPeriod": {"end": "2026-11-20"}}}, True),
        ({"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"end": "2026-01-01"}}}}]}, False),
        ({"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": "2026-01-01"}}}}]}, True),
        # Dates that cannot be meant end nothing, and put nothing off.
        ({"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"end": "1900-01-01"}}}}]}, True),
        ({"authoredOn": None, "dispenseRequest": {"validityPeriod": {"end": "0001-01-01"}}}, True),
        ({"authoredOn": None, "dispenseRequest": {"validityPeriod": {"end": "1970-01-01"}}}, True),
        ({"dispenseRequest": {"validityPeriod": {"end": "2025-05-04"}}}, True),
        ({"authoredOn": None, "dispenseRequest": {"validityPeriod": {"start": "2026-05-05", "end": "2026-05-04"}}}, True),
        ({"authoredOn": "2062-01-01"}, True),
        ({"authoredOn": "2027-11-01"}, False),
    ],
)
def test_a_prescription_is_active_until_something_says_otherwise(
    knowledge: Knowledge, members: dict[str, Any], expected: Any
) -> None:
    assert taking(knowledge, medication(FUROSEMIDE, **members)) is expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, True),
        ({"status": "intended"}, True),
        ({"status": "completed"}, False),
        ({"status": "not-taken"}, False),
        ({"effectivePeriod": {"start": "2020-01-01", "end": "2025-01-01"}}, False),
        ({"effectiveDateTime": "2027-01-01"}, False),
        ({"effectivePeriod": {"end": "0001-01-01"}}, True),
        ({"effectivePeriod": {"start": "2062-01-01"}}, True),
    ],
)
def test_a_statement_counts_as_well_as_a_prescription(knowledge: Knowledge, members: dict[str, Any], expected: bool) -> None:
    base = {"resourceType": "MedicationStatement", "id": "s1", "status": "active", "subject": OWN}
    statement = base | {"medicationCodeableConcept": FUROSEMIDE} | members
    assert fact_of(knowledge, "taking_diuretic", medicationStatements=bundle(statement)).value is expected


MEDICATION = {"resourceType": "Medication", "id": "med", "code": FUROSEMIDE}


def referring(reference: str, **members: Any) -> dict[str, Any]:
    request = medication(FUROSEMIDE, medicationReference={"reference": reference}, **members)
    del request["medicationCodeableConcept"]
    return request


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        (bundle(referring("#med", contained=[{"resourceType": "Practitioner", "id": "x"}, MEDICATION])), "contained"),
        (bundle(referring("Medication/med"), MEDICATION), "a further entry"),
        (bundle(referring("https://ehr.example/fhir/Medication/med/_history/2"), MEDICATION), "absolute and versioned"),
        (
            {
                "resourceType": "Bundle",
                "entry": [
                    {"fullUrl": "urn:uuid:7", "resource": MEDICATION | {"id": None}},
                    {"resource": referring("urn:uuid:7")},
                ],
            },
            "by urn",
        ),
    ],
)
def test_the_drug_is_found_wherever_it_was_written(knowledge: Knowledge, sections: Any, name: str) -> None:
    assert fact_of(knowledge, "taking_diuretic", medicationRequests=sections).value is True, name


def test_a_reference_that_leads_nowhere_is_read_by_its_display(knowledge: Knowledge) -> None:
    request = referring("Medication/elsewhere")
    request["medicationReference"]["display"] = "Furosemide 40 mg"
    assert taking(knowledge, request) is True


@pytest.mark.parametrize("request_", [referring("Medication/elsewhere"), medication(concept("x", "https://ehr.example/codes"))])
def test_a_drug_that_nothing_identifies_leaves_not_taking_unknown(knowledge: Knowledge, request_: Any) -> None:
    # A local code without words is no name: its code is all there is to show.
    request_.get("medicationCodeableConcept", {}).pop("text", None)
    fact = fact_of(knowledge, "taking_diuretic", medicationRequests=bundle(request_))
    assert (fact.value, fact.state) == (UNKNOWN, State.NOT_UNDERSTOOD)


def test_an_unidentified_drug_does_not_hide_an_identified_one(knowledge: Knowledge) -> None:
    assert taking(knowledge, referring("Medication/elsewhere", id="m2"), medication(FUROSEMIDE)) is True


def test_the_list_of_prescriptions_is_whole_without_statements_and_not_the_other_way_round(knowledge: Knowledge) -> None:
    fact = facts_of(knowledge, body(without=("medicationRequests",)))["taking_diuretic"]
    assert (fact.value, fact.state) == (UNKNOWN, State.NOT_SUPPLIED)
    assert facts_of(knowledge, body(without=("medicationStatements",)))["taking_diuretic"].value is False
    null = facts_of(knowledge, body({"medicationRequests": None}))["taking_diuretic"]
    assert (null.value, null.state) == (UNKNOWN, State.NONE_SUPPLIED)


@pytest.mark.parametrize(
    ("code", "value"),
    [("not-supported", False), ("not-found", False), ("timeout", UNKNOWN), ("forbidden", UNKNOWN), ("exception", UNKNOWN)],
)
def test_statements_that_an_ehr_does_not_have_are_no_failure(knowledge: Knowledge, code: str, value: Any) -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}
    assert taking(knowledge, medicationStatements=outcome) is value
    assert taking(knowledge, medicationStatements=bundle(outcome)) is value
    assert fact_of(knowledge, "taking_diuretic", medicationRequests=outcome).value is UNKNOWN


def test_an_entry_on_hold_says_so(knowledge: Knowledge) -> None:
    fact = fact_of(knowledge, "taking_diuretic", medicationRequests=bundle(medication(FUROSEMIDE, status="on-hold")))
    assert fact.evidence[0].note == "on hold"


@pytest.mark.parametrize(
    ("started", "began", "expected"),
    [
        ("2025-12-31", "2026-01-01", "before"),
        ("2026-01-02", "2026-01-01", "issued-after"),
        ("2026-01-01", "2026-01-01", UNKNOWN),
        ("2025", "2026-01-01", "before"),
        ("2026", "2026-06-01", UNKNOWN),
        (None, "2026-01-01", UNKNOWN),
        ("2026-01-01", None, UNKNOWN),
    ],
)
def test_a_drugs_start_is_compared_with_the_onset(
    knowledge: Knowledge, started: str | None, began: str | None, expected: Any
) -> None:
    cramps = {key: value for key, value in LEG_CRAMPS.items() if key != "onsetDateTime"} | (
        {"onsetDateTime": began} if began else {}
    )
    sections: dict[str, Any] = {
        "medicationRequests": bundle(medication(FUROSEMIDE, authoredOn=started)),
        "conditions": bundle(cramps),
    }
    assert fact_of(knowledge, "diuretic_start_against_cramps", **sections).value == expected


TAPER = [("2026-01-01", "2026-02-01"), ("2026-02-02", "2026-03-01")]


def test_an_order_of_several_periods_ends_with_the_last(knowledge: Knowledge) -> None:
    timings = [{"timing": {"repeat": {"boundsPeriod": {"start": start, "end": end}}}} for start, end in TAPER]
    assert taking(knowledge, medication(FUROSEMIDE, dosageInstruction=timings)) is False


@pytest.mark.parametrize("start", ["2062-01-01", "1900-01-01"])
def test_a_start_that_cannot_be_meant_is_none(knowledge: Knowledge, start: str) -> None:
    quinine = medication(concept(text="Quinine sulfate 200 mg tablets"), authoredOn=start)
    assert fact_of(knowledge, "quinine_days", medicationRequests=bundle(quinine)).value is UNKNOWN


@pytest.mark.parametrize(
    ("code", "short"),
    [
        (concept(text="Zocor 40 mg tablet"), "Zocor"),
        (concept(text="SIMVASTATIN TAB 20 MG"), "SIMVASTATIN"),
        (concept("36567", RXNORM), "simvastatin"),
        (concept("36567", RXNORM) | {"text": "Lipid pill 40 mg"}, "Lipid pill"),
    ],
)
def test_a_drug_is_named_in_the_words_and_letters_of_the_record(knowledge: Knowledge, code: Any, short: str) -> None:
    taken = fact_of(knowledge, "taking_statin", medicationRequests=bundle(medication(code)))
    assert [item.short for item in taken.evidence] == [short]


@pytest.mark.parametrize(
    "words", ["Losartan-HCTZ 100-25 mg", "Co-amilofruse 5mg/40mg tablets", "Lisinopril / hydrochlorothiazide 20 mg-12.5 mg"]
)
def test_a_combination_in_words_is_each_of_its_parts(knowledge: Knowledge, words: str) -> None:
    assert taking(knowledge, medication(concept(text=words))) is True


def test_an_ended_issue_is_not_taken_and_is_joined_to_one_that_is(knowledge: Knowledge) -> None:
    quinine = concept(text="Quinine sulfate 200 mg tablets")
    ended = medication(quinine, id="old", status="completed", authoredOn="2026-09-01")
    assert taking(knowledge, ended, name="taking_quinine") is False
    assert fact_of(knowledge, "quinine_days", medicationRequests=bundle(ended)).value is UNKNOWN
    now = medication(quinine, id="new", authoredOn="2026-11-01")
    days = fact_of(knowledge, "quinine_days", medicationRequests=bundle(ended, now))
    assert [item.date for item in days.evidence] == ["2026-09-01"]


@pytest.mark.parametrize(
    ("members", "first"),
    [
        ({}, "2026-09-01"),
        ({"whenHandedOver": "2026-09-01T10:00:00Z"}, "2026-09-01T10:00:00Z"),
        # Too long before, of another drug, or not handed over.
        ({"whenHandedOver": "2024-09-01"}, "2026-11-01"),
        ({"medicationCodeableConcept": {"text": "Amoxicillin 500 mg capsules"}}, "2026-11-01"),
        ({"medicationCodeableConcept": {"text": "Xyzzyforte"}}, "2026-11-01"),
        ({"whenHandedOver": None}, "2026-11-01"),
        ({"status": "entered-in-error"}, "2026-11-01"),
        ({"subject": {"reference": "Patient/somebody-else"}}, "2026-11-01"),
    ],
    ids=str,
)
def test_what_was_handed_over_is_an_issue_of_what_is_taken(knowledge: Knowledge, members: dict[str, Any], first: str) -> None:
    quinine = concept(text="Quinine sulfate 200 mg tablets")
    handed = {"resourceType": "MedicationDispense", "id": "d1", "status": "completed", "subject": OWN}
    handed |= {"medicationCodeableConcept": quinine, "whenHandedOver": "2026-09-01"} | members
    now = medication(quinine, id="new", authoredOn="2026-11-01")
    days = fact_of(knowledge, "quinine_days", medicationRequests=bundle(now, handed))
    assert [item.date for item in days.evidence] == [first]
    assert fact_of(knowledge, "quinine_days", medicationRequests=bundle(handed)).value is UNKNOWN


def test_after_the_cramps_is_said_where_a_start_is_stated_or_the_ended_issues_are_there(knowledge: Knowledge) -> None:
    cramps: dict[str, Any] = {"conditions": bundle(LEG_CRAMPS | {"onsetDateTime": "2026-01-01"})}
    issue = medication(FUROSEMIDE, id="m1", authoredOn="2026-11-01")
    other = medication(concept(text="Amoxicillin 500 mg capsules"), id="m2", status="completed", authoredOn="2025-01-01")
    stated = {"resourceType": "MedicationStatement", "id": "s1", "status": "active", "subject": OWN}
    stated |= {"medicationCodeableConcept": FUROSEMIDE, "effectivePeriod": {"start": "2026-10-01"}}
    name = "diuretic_start_against_cramps"
    assert fact_of(knowledge, name, medicationRequests=bundle(issue), **cramps).value == "issued-after"
    assert fact_of(knowledge, name, medicationRequests=bundle(issue, other), **cramps).value == "after"
    told = fact_of(knowledge, name, medicationRequests=bundle(issue), medicationStatements=bundle(stated), **cramps)
    assert told.value == "after"
