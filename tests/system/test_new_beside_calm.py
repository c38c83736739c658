"""Something new and harmful beside a record of which all is well, in every spelling that could make it be passed over.

Of the record alone the card says that nothing was found; beside what is new and cannot be read it may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.calm import CORA, OWN, Json, beside, calm_with, is_calm
from tests.support.cast import request_of
from tests.support.people import LOINC, RXNORM, SNOMED, concept, condition, medication, observation

LOCAL = {"coding": [{"system": "https://ehr.example/own", "code": "4711"}]}
PANEL = concept("24323-8", LOINC, "Comprehensive metabolic 2000 panel - Serum or Plasma")

POTASSIUM = observation(2.0, when=str(CORA.day), id="new")
FUROSEMIDE = medication(concept("4603", RXNORM, "furosemide 20 MG Oral Tablet"), id="new")
HYPOTHYROIDISM = condition(concept("40930008", SNOMED, "Hypothyroidism"), id="new")
NEW = {"electrolytes": POTASSIUM, "medicationRequests": FUROSEMIDE, "conditions": HYPOTHYROIDISM}


def new(key: str, **changes: Any) -> Json:
    """The harmful entry of a query, its subject the patient unless `changes` say otherwise."""
    return {"resource": NEW[key] | {"subject": {"reference": OWN}} | changes}


def without_value(**changes: Any) -> Json:
    found = new("electrolytes", **changes)
    del found["resource"]["valueQuantity"]
    return found


def test_the_record_alone_is_calm() -> None:
    """Also beside what is understood as something else, so that the tests below cannot pass for nothing."""
    assert is_calm(request_of(CORA))
    assert is_calm(beside("electrolytes", new("electrolytes", code={"text": "Ferritin"})))
    assert is_calm(beside("medicationRequests", new("medicationRequests", medicationCodeableConcept={"text": "Aspirin 75 mg"})))
    assert is_calm(beside("conditions", new("conditions", code={"text": "Otitis media"})))
    assert is_calm(beside("electrolytes", new("electrolytes", subject={"reference": "Patient/somebody-else"})))


@pytest.mark.parametrize("key", NEW)
@pytest.mark.parametrize(
    "subject",
    [
        CORA.id,
        f"patient/{CORA.id}",
        f"Patient/{CORA.id.upper()}",
        "Patient/",
        f"{OWN}#x",
        "Patient?identifier=urn:mrn|1",
        "Group/1",
        "urn:uuid:nobody",
        "#patient",
    ],
)
def test_a_subject_spelt_otherwise_is_not_somebody_else(key: str, subject: str) -> None:
    assert not is_calm(beside(key, new(key, subject={"reference": subject})))


@pytest.mark.parametrize("kind", ["replaces", "seealso", "refer", None])
def test_a_linked_record_may_be_of_the_same_person(kind: str | None) -> None:
    request = beside("electrolytes", new("electrolytes", subject={"reference": "Patient/old-number"}))
    assert is_calm(request)
    request["prefetch"]["patient"]["link"] = [{"other": {"reference": "Patient/old-number"}, "type": kind}]
    assert not is_calm(request)


@pytest.mark.parametrize("key", NEW)
@pytest.mark.parametrize(
    "entry",
    [
        {},
        None,
        {"fullUrl": "https://ehr.example/fhir/X/1"},
        {"fullUrl": "https://ehr.example/fhir/X/1", "search": {"mode": "match"}},
        {"resource": None},
        {"resource": "<redacted/>"},
        {"response": {"status": 404}},
        {"response": {"status": "404"}},
        {"response": {"etag": "W/1"}},
        {"response": {"status": "200", "outcome": {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}}},
        {"response": {"status": "200", "outcome": "failed"}},
        {"resource": {"resourceType": "LabResult", "id": "x"}},
        {"resource": {"resourceType": "", "id": "x"}},
    ],
    ids=str,
)
def test_an_entry_that_holds_nothing_is_not_nothing(key: str, entry: Any) -> None:
    assert not is_calm(beside(key, entry))


@pytest.mark.parametrize("key", NEW)
def test_an_entry_of_a_batch_that_succeeded_holds_nothing_more(key: str) -> None:
    assert is_calm(beside(key, {"response": {"status": "200 OK"}}))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("electrolytes", "observation"),
        ("electrolytes", "Observation "),
        ("electrolytes", "DiagnosticReport"),
        ("conditions", "condition"),
        ("conditions", "Problem"),
        ("medicationRequests", "medicationRequest"),
        ("medicationRequests", "MedicationDispense"),
        ("medicationRequests", "MedicationAdministration"),
        ("medicationRequests", "MedicationUsage"),
        ("medicationRequests", "MedicationOrder"),
        ("medicationRequests", "Prescription"),
    ],
)
def test_a_type_that_tells_the_same_is_not_another_matter(key: str, kind: str) -> None:
    assert not is_calm(beside(key, new(key, resourceType=kind)))


@pytest.mark.parametrize("kind", ["AllergyIntolerance", "Provenance", "Practitioner"])
def test_a_type_of_another_matter_is_one(kind: str) -> None:
    assert is_calm(beside("conditions", new("conditions", resourceType=kind)))


VALUE = {"valueQuantity": POTASSIUM["valueQuantity"]}


@pytest.mark.parametrize(
    "entry",
    [
        new("electrolytes", code=LOCAL, component=[]),
        new("electrolytes", code=LOCAL, component=None),
        new("electrolytes", code=LOCAL, component=[{"code": {"text": "Ferritin"}}]),
        without_value(code=LOCAL, component=[{"code": LOCAL} | VALUE]),
        without_value(code={"text": "Electrolyte panel"}, component=[{"code": {"text": "Kalium"}} | VALUE]),
        without_value(code={"text": "Ferritin"}, component=[{"code": {"text": "Kalium"}} | VALUE]),
        without_value(code={"text": "Ferritin"}, component=[VALUE]),
        without_value(
            code={"text": "Ferritin"}, component=[{"code": {"text": "Transferrin"}}, {"code": {"text": "Kalium"}} | VALUE]
        ),
        without_value(code=PANEL),
        without_value(code=PANEL, hasMember=[{"reference": "Observation/elsewhere"}]),
        without_value(code=LOCAL, hasMember=[{"reference": "Observation/elsewhere"}]),
    ],
    ids=lambda entry: str({key: entry["resource"].get(key) for key in ("code", "component", "hasMember")})[:150],
)
def test_a_panel_of_which_a_part_cannot_be_told_is_in_doubt(entry: Json) -> None:
    assert not is_calm(beside("electrolytes", entry))


NA = {"code": concept("2951-2", LOINC), "valueQuantity": {"value": 140, "unit": "mmol/L"}}
EARLIER = {"hasMember": [{"reference": "Observation/o2"}]}
ELSEWHERE = {"hasMember": [{"reference": "Observation/elsewhere"}]}


@pytest.mark.parametrize("code", [PANEL, LOCAL], ids=["a panel of ours", "a local one"])
@pytest.mark.parametrize(
    "said",
    [
        {"component": [NA]} | ELSEWHERE,
        {"component": [NA], "hasMember": "cut"},
        {"hasMember": [{"reference": "Observation/new"}]},
        {"hasMember": [{"reference": "Observation/o2"}, {"reference": "Observation/new"}]},
        EARLIER | {"valueString": "K 2.0"},
        EARLIER | {"valueCodeableConcept": {"text": "Critical"}},
        EARLIER | {"interpretation": [{"coding": [{"code": "LL"}]}]},
        {"status": "F"},
        {"status": None},
    ],
    ids=str,
)
def test_a_panel_that_says_more_than_was_read_is_in_doubt(code: Json, said: Json) -> None:
    assert not is_calm(beside("electrolytes", without_value(code=code, **said)))


def test_parts_of_a_panel_of_ours_speak_for_no_other() -> None:
    assert not is_calm(beside("electrolytes", without_value(code=PANEL, component=[NA])))
    assert is_calm(beside("electrolytes", without_value(code=LOCAL, component=[NA])))


@pytest.mark.parametrize(("at", "stays_calm"), [("2026-11-02T07:00:00Z", True), ("2026-11-02T23:30:00Z", False)])
def test_a_panel_is_not_answered_by_an_earlier_result_of_its_day(at: str, stays_calm: bool) -> None:
    entry = without_value(code=concept("24326-1", LOINC), effectiveDateTime=at)
    request = beside("electrolytes", entry)
    for item in request["prefetch"]["electrolytes"]["entry"]:
        if item["resource"]["id"] != "new":
            item["resource"]["effectiveDateTime"] = "2026-11-02T08:00:00Z"
    assert is_calm(request) is stays_calm


REPORT = {"resourceType": "DiagnosticReport", "code": {"text": "Report"}}


@pytest.mark.parametrize("words", ["Report", "Renal", "Ferritin"])
@pytest.mark.parametrize(
    "said",
    [
        {"result": [{"reference": "#k"}], "contained": [POTASSIUM | {"id": "k"}]},
        {"contained": [POTASSIUM | {"id": "k"}]},
        {"result": [{"reference": "Observation/elsewhere"}]},
        {"result": [{"reference": "Observation/o2"}, {"reference": "Observation/elsewhere"}]},
        {"result": {"reference": "Observation/elsewhere"}},
        {"result": [{"display": "Potassium 2.0"}]},
        {"result": [None]},
    ],
    ids=lambda said: "-".join(said),
)
def test_a_report_of_which_a_result_did_not_come_may_be_of_anything(words: str, said: Json) -> None:
    assert not is_calm(beside("electrolytes", without_value(**REPORT | {"code": {"text": words}} | said)))


@pytest.mark.parametrize("code", [REPORT["code"], PANEL], ids=["words", "a panel of ours"])
def test_a_report_whose_results_all_came_says_no_more_than_they_do(code: Json) -> None:
    results = [{"reference": f"Observation/{name}"} for name in ("o2", "o3")]
    assert is_calm(beside("electrolytes", without_value(**REPORT | {"code": code, "result": results})))


@pytest.mark.parametrize(
    "entry",
    [
        without_value(
            code={"text": "Blood pressure"},
            component=[{"code": {"text": "Systolic blood pressure"}}, {"code": {"text": "Diastolic blood pressure"}}],
        ),
        without_value(code={"text": "Blood pressure"}, component=[{"code": concept("8480-6", LOINC)}]),
    ],
    ids=["with words", "with codes alone"],
)
def test_parts_of_something_else_are_something_else(entry: Json) -> None:
    assert is_calm(beside("electrolytes", entry))


@pytest.mark.parametrize("code", [PANEL, LOCAL], ids=["a panel of ours", "a local one"])
def test_a_panel_whose_members_came_is_understood(code: Json) -> None:
    """Of ours it is enough that what it holds was reported on its day: many systems send a panel without its members' names."""
    results = [entry["resource"] for entry in request_of(CORA)["prefetch"]["electrolytes"]["entry"]]
    members = [{"reference": f"Observation/{item['id']}"} for item in results]
    held = [observation(value, unit, code=code, when="2026-11-02", id=code) for code, value, unit in BESIDE]
    entry = without_value(code=code, hasMember=members, effectiveDateTime="2026-11-02")
    assert is_calm(beside("electrolytes", entry, *[{"resource": item | {"subject": {"reference": OWN}}} for item in held]))


def test_a_panel_of_a_site_whose_member_was_entered_in_error_is_in_doubt() -> None:
    entry = without_value(code=LOCAL, hasMember=[{"reference": "Observation/wrong"}])
    member = observation(4.0, id="wrong", when=str(CORA.day), status="entered-in-error") | {"subject": {"reference": OWN}}
    assert not is_calm(beside("electrolytes", entry, {"resource": member}))


BESIDE = (("1751-7", 4.2, "g/dL"), ("2345-7", 90, "mg/dL"), ("1742-6", 20, "U/L"), ("1975-2", 0.6, "mg/dL"))


def linked(relation: Any) -> Callable[[Json], None]:
    return lambda section: section.update(link=[{"relation": relation, "url": "https://ehr.example/2"}])


def totalled(total: Any) -> Callable[[Json], None]:
    return lambda section: section.update(total=total)


def misnamed(section: Json) -> None:
    section["entries"] = section.pop("entry", [])


def one_link(section: Json) -> None:
    section["link"] = {"relation": "next", "url": "https://ehr.example/2"}


def odd_link(section: Json) -> None:
    section["link"] = "https://ehr.example/2"


def labelled(member: str, code: str) -> Callable[[Json], None]:
    return lambda section: section.update(meta={member: [{"code": code}]})


@pytest.mark.parametrize("key", ["electrolytes", "conditions", "medicationRequests"])
@pytest.mark.parametrize(
    "spoil",
    [
        *map(linked, ["next", "Next", "next ", "http://www.iana.org/assignments/link-relations/next", None]),
        one_link,
        odd_link,
        *map(totalled, [99, 99.0, " 99", "99.0", "many", {"value": 99}, True, -1]),
        labelled("tag", "SUBSETTED"),
        labelled("security", "REDACTED"),
    ],
)
def test_a_bundle_that_says_that_more_is_to_come_is_believed(key: str, spoil: Callable[[Json], None]) -> None:
    request = request_of(CORA)
    spoil(request["prefetch"][key])
    assert not is_calm(request)


@pytest.mark.parametrize("relation", ["self", "first", "last", "previous", "https://ehr.example/rel/self"])
def test_other_links_say_nothing_of_more(relation: str) -> None:
    request = request_of(CORA)
    linked(relation)(request["prefetch"]["electrolytes"])
    assert is_calm(request)


@pytest.mark.parametrize("key", ["electrolytes", "conditions"])
def test_entries_under_another_name_are_not_none(key: str) -> None:
    request = request_of(CORA)
    misnamed(request["prefetch"][key])
    assert not is_calm(request)


# Words of which a part is read, and that may be of ours all the same.
HALF_READ = {
    "electrolytes": (
        "Serum Kalium",
        "Serum Pottasium",
        "Serum K",
        "Lytes serum",
        "Laboratory result",
        "Potassium (direct ISE)",
        "Potassium, fluid-filled tube",
        "Potassium and sodium",
        "K [Presence] in Serum or Plasma",
    ),
    "medicationRequests": (
        "Lisinopril/HCT",
        "Ramipril comp 5/25",
        "Hyoscine/quinin",
        "Atorvastatine/ezetimibe",
        "aspirin and a water tablet",
        "blister pad pack",
        "Vitamin D magnesium",
        "Clinical trial medication",
    ),
    "conditions": (
        "Diabetes melitus type 2",
        "Cirrosis of liver",
        "Niereninsuffizienz chronic",
        "Under active thyroid",
        "Parkinsons",
        "see problem list",
        "Chronic problem",
        "G2P1 at 20 weeks",
        "No information about problems",
        "Liver problem | Migraine",
    ),
}


def in_words(key: str, words: str) -> Json:
    named = concept(text=words)
    if key == "electrolytes":
        return observation(2.0, id="new", when=str(CORA.day)) | {"code": named}
    return medication(named, id="new") if key == "medicationRequests" else condition(named, id="new")


@pytest.mark.parametrize(("key", "words"), [(key, words) for key, given in HALF_READ.items() for words in given])
def test_words_that_are_read_by_half_leave_nobody_calm(key: str, words: str) -> None:
    assert not calm_with(key, in_words(key, words))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("electrolytes", "Serum ferritin"),
        ("medicationRequests", "omeprazole (PRILOSEC) 20 MG capsule"),
        ("conditions", "Gastro-oesophageal reflux disease"),
        ("electrolytes", "C Ab [Presence] in Serum or Plasma"),
        ("electrolytes", "Influenza virus B RNA [Presence] in Respiratory specimen by NAA with probe detection"),
        ("medicationRequests", "Tylenol PM Pill"),
        ("medicationRequests", "NDA020503 200 ACTUAT Albuterol 0.09 MG/ACTUAT Metered Dose Inhaler"),
        ("conditions", "Migraines"),
        ("conditions", "HTN, goal below 140/90"),
    ],
)
def test_words_that_are_read_leave_the_calm_line(key: str, words: str) -> None:
    assert calm_with(key, in_words(key, words))


@pytest.mark.parametrize(
    ("key", "text", "system", "display", "stays_calm"),
    [
        ("electrolytes", "葉酸免疫分析", LOINC, "Folate [Mass/volume] in Serum or Plasma", True),
        ("electrolytes", "Kreatinine in bloed", LOINC, "Folate [Mass/volume] in Serum or Plasma", False),
        ("electrolytes", "電解質", SNOMED, "Evaluation of body fluids", False),
        ("conditions", "Leberzirrhose", SNOMED, "Migraine of long standing (disorder)", False),
        ("medicationRequests", "Wassertablette", SNOMED, "Ramipril 5 mg oral tablet", False),
    ],
)
def test_a_name_that_is_read_speaks_for_no_other_unless_it_is_one_of_loinc(
    key: str, text: str, system: str, display: str, stays_calm: bool
) -> None:
    entry = in_words(key, text)
    member = "medicationCodeableConcept" if key == "medicationRequests" else "code"
    entry[member] = concept("1-1", system, text, display)
    assert calm_with(key, entry) is stays_calm
