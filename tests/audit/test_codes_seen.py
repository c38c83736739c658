"""Codes that nobody knows are counted for the site that can map them, and tell nothing of any one patient."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from cds_service.audit.codes_seen import (
    CodesSeen,
    SeenCode,
    UnknownCode,
    read_codes,
    unknown_codes,
    unknown_units,
    write_codes,
)
from cds_service.audit.queries import purge
from cds_service.cli import app
from cds_service.service import DecisionService
from cds_service.store.database import Store
from cds_service.store.tables import codes_seen
from tests.support.calls import CALL, make, request_of
from tests.support.feedback import rows
from tests.support.people import AS_OF, RXNORM, SERVICE, UCUM, Json, body, bundle, concept, medication, observation

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
DRUGS = "https://hospital.example/drugs"
KALI = UnknownCode("Observation", "urn:oid:1.2.3", "KALI", "Kalium i.S.")


def call_of(patient: str, *entries: Json, query: str = "medicationRequests") -> Json:
    own = {"reference": f"Patient/{patient}"}
    call = body({query: bundle(*(entry | {"subject": own} for entry in entries))}, patientId=patient)
    call["prefetch"]["patient"]["id"] = patient
    call["prefetch"]["conditions"]["entry"][0]["resource"]["subject"] = own
    return call


def codes_in(service: DecisionService, *entries: Json, query: str = "medicationRequests") -> list[tuple[str, ...]]:
    request = request_of(call_of("p1", *entries, query=query))
    return [tuple(item) for item in unknown_codes(service.answer(SERVICE, request, AS_OF))]


TAKEN: dict[str, tuple[Json, list[tuple[str, ...]]]] = {
    "a code of its own with a display": (concept("D-17", DRUGS, display="Xyzzyforte"), [(DRUGS, "D-17", "Xyzzyforte")]),
    "the text beside a code may be anything": (concept("D-17", DRUGS, text="for Quokka"), [(DRUGS, "D-17", "")]),
    "a code of a system that is read, in no set": (concept("197361", RXNORM), [(RXNORM, "197361", "")]),
    "without a system": (concept("D-17"), [("", "D-17", "")]),
    "words alone": (concept(text="Xyzzyforte 20"), []),
    "a code with blanks is no code": (concept("see Quokka", DRUGS), []),
    "a code that is too long": (concept("x" * 65, DRUGS), []),
    "a code that holds an address of mail": (concept("quokka@ehr.example", DRUGS), []),
    "a system that holds a query": (concept("D-17", "https://ehr.example/?patient=1"), []),
    "a display with a long number": (concept("D-17", DRUGS, display="Xyzzyforte 19440414"), [(DRUGS, "D-17", "")]),
    "a display of two lines": (concept("D-17", DRUGS, display="Xyzzy\nforte"), [(DRUGS, "D-17", "")]),
    "a drug that is known": (concept("4603", RXNORM), []),
    "a drug whose words are known": (concept("D-18", DRUGS, display="Amlodipine"), []),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_of_an_entry_is_a_code_and_its_display(decision_service: DecisionService, name: str) -> None:
    drug, expected = TAKEN[name]
    assert codes_in(decision_service, medication(drug)) == [("MedicationRequest", *item) for item in expected]


def test_of_an_entry_with_many_codes_some_are_taken(decision_service: DecisionService) -> None:
    drug = {"coding": [{"system": DRUGS, "code": f"D-{number}"} for number in range(9)]}
    assert len(codes_in(decision_service, medication(drug))) == 3


def test_results_and_conditions_are_looked_at_too(decision_service: DecisionService) -> None:
    unread = observation(3.0, "xx") | {"code": concept("KALI", DRUGS, display="Qwxyz")}
    assert codes_in(decision_service, unread, query="electrolytes") == [("Observation", DRUGS, "KALI", "Qwxyz")]
    condition = {"resourceType": "Condition", "id": "c9", "code": concept("C9", DRUGS)}
    assert ("Condition", DRUGS, "C9", "") in codes_in(decision_service, condition, query="otherResults")


def seen(*sightings: tuple[str, UnknownCode]) -> list[SeenCode]:
    found = CodesSeen(Store("sqlite+aiosqlite://"))
    for patient, code in sightings:
        found.note("ehr", patient, [code], NOW)
    return list(found._waiting.values())


def times(patients: str, code: UnknownCode = KALI) -> Iterable[tuple[str, UnknownCode]]:
    return ((patient, code) for patient in patients)


def test_a_code_counts_once_three_patients_had_it() -> None:
    assert seen(*times("aaaabbbb")) == []
    assert seen(*times("abc")) == [SeenCode("ehr", *KALI, 1, NOW)]
    assert seen(*times("abcabc")) == [SeenCode("ehr", *KALI, 4, NOW)]


def test_words_count_once_three_patients_had_the_same() -> None:
    said = [KALI._replace(words=f"for patient {name}") for name in "abcd"]
    assert [item.words for item in seen(*zip("abcd", said, strict=True))] == [""]
    assert [item.words for item in seen(*times("abc", KALI._replace(words="")), *times("abc"))] == ["Kalium i.S."]


def test_of_what_is_held_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cds_service.audit.codes_seen._MOST_HELD", 20)
    found = CodesSeen(Store("sqlite+aiosqlite://"))
    for number in range(1000):
        found.note("ehr", "a", [KALI._replace(code=f"K{number}")], NOW)
    assert len(found._held) == 20


def test_what_is_held_of_a_patient_and_of_words_can_be_read_by_nobody() -> None:
    found = CodesSeen(Store("sqlite+aiosqlite://"))
    found.note("ehr", "zebedee", [KALI._replace(words="for Quokka")], NOW)
    held = repr(found._held)
    assert len(found._held) == 2
    assert not [word for word in ("zebedee", "Quokka", "KALI") if word in held]


@pytest.mark.asyncio
async def test_what_is_written_adds_up(database_url: str) -> None:
    one, two = Store(database_url), Store(database_url)
    first = SeenCode("ehr", *KALI, 4, NOW)
    await write_codes(one, [first, first._replace(code="NATRI", words="")])
    await write_codes(two, [first._replace(words="", answers=2, last_seen=NOW + timedelta(days=1))])
    await write_codes(two, [first._replace(client="another", answers=1)])
    assert await read_codes(one) == [
        first._replace(answers=6, last_seen=NOW + timedelta(days=1)),
        first._replace(code="NATRI", words="", answers=4),
        first._replace(client="another", answers=1),
    ]
    assert [item.answers for item in await read_codes(one, NOW + timedelta(hours=1))] == [6]
    assert (await purge(one, NOW + timedelta(hours=1), NOW)).codes == 2
    assert [item.answers for item in await read_codes(two)] == [6]
    await one.close()
    await two.close()


@pytest.mark.asyncio
async def test_no_client_can_fill_the_database(database_url: str) -> None:
    store = Store(database_url)
    many = [SeenCode("ehr", *KALI._replace(code=f"K{number}"), 1, NOW) for number in range(10)]
    await write_codes(store, many[:6], most=7)
    await write_codes(store, many, most=7)
    found = await read_codes(store)
    await store.close()
    assert sorted(item.answers for item in found) == [1, 2, 2, 2, 2, 2, 2]


def called(client: TestClient, *patients: str) -> None:
    secret = medication(concept("D-99", DRUGS, text="Xyzzyforte, says Quokka"), id="m9")
    for patient in patients:
        drugs = [medication(concept("D-17", DRUGS, display="Xyzzyforte"))]
        drugs += [secret] if patient == "zebedee" else []
        assert client.post(CALL, json=call_of(patient, *drugs)).status_code == 200


def test_one_patient_by_several_spellings_of_her_server_is_one(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    drug = medication(concept("D-17", DRUGS, display="for Quokka"))
    with make(decision_service, tmp_path, database_url=database_url) as client:
        for server in (None, "http://127.0.0.1:1/fhir", "http://127.0.0.1:1/fhir/"):
            call = call_of("anna", drug) | ({"fhirServer": server} if server else {})
            assert client.post(CALL, json=call).status_code == 200
    assert asyncio.run(rows(database_url, codes_seen)) == []


def test_from_an_answer_to_the_command_the_dashboard_and_the_metrics(
    decision_service: DecisionService, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(decision_service, tmp_path, database_url=database_url, pages="demo") as client:
        called(client, "anna", "berta", "zebedee", "anna")
        numbers = client.get("/metrics").text
    with make(decision_service, tmp_path, database_url=database_url, pages="demo") as client:
        page = client.get("/dashboard").text
    assert 'cds_codes_not_identified_total{system="other"} 5.0' in numbers
    (row,) = asyncio.run(rows(database_url, codes_seen))
    assert (row.resource_type, row.system, row.code, row.words) == ("MedicationRequest", DRUGS, "D-17", "Xyzzyforte")
    assert row.answers == 2
    monkeypatch.setenv("CDS_DATABASE_URL", database_url)
    told = CliRunner().invoke(app, ["codes-seen"]).stdout
    assert told.splitlines()[1].split() == ["2", "MedicationRequest", f"{DRUGS}|D-17", "Xyzzyforte"]
    (as_json,) = json.loads(CliRunner().invoke(app, ["codes-seen", "--json"]).stdout)
    assert as_json["code"] == "D-17"
    assert "Codes that nobody knows" in page
    assert "D-17" in page
    for text in (numbers, told, page, str(row)):
        assert not [word for word in ("zebedee", "D-99", "Quokka") if word.lower() in text.lower()]


def test_where_nothing_was_seen_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")
    assert "No code" in CliRunner().invoke(app, ["codes-seen"]).stdout


def test_metrics_name_a_system_that_is_read_and_no_other(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path) as client:
        for system in (RXNORM, DRUGS, "urn:x-zebedee"):
            client.post(CALL, json=call_of("p1", medication(concept("197361", system))))
        text: Any = client.get("/metrics").text
    assert 'cds_codes_not_identified_total{system="rxnorm"} 1.0' in text
    assert 'cds_codes_not_identified_total{system="other"} 2.0' in text
    assert "zebedee" not in text


def test_units_that_several_patients_had_are_named_and_others_are_not(database_url: str) -> None:
    found = CodesSeen(Store(database_url))
    given = ["mval/l", "Mrs Quokka 1944", "x" * 21, "19440414"]
    told = [found.common_units("ehr", patient, given) for patient in ("a", "a", "b", "c")]
    assert told == [{"other"}, {"other"}, {"other"}, {"mval/l", "other"}]
    assert found.common_units("another", "a", ["mval/l"]) == {"other"}


def test_only_so_many_units_are_named(database_url: str) -> None:
    found = CodesSeen(Store(database_url))
    units = [f"u{number}" for number in range(60)]
    for patient in ("a", "b", "c"):
        told = found.common_units("ehr", patient, units)
    assert len(told - {"other"}) == 50
    assert found.common_units("ehr", "d", ["u1", "u59"]) - {"other"} <= told


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ({"value": 4, "unit": "mmol/L"}, set()),
        ({"value": 4, "unit": "mval/l"}, {"mval/l"}),
        ({"value": 4, "code": "mval/l", "system": UCUM}, {"mval/l"}),
        ({"value": 4}, {"none"}),
        ({"unit": "mval/l"}, set()),
    ],
)
def test_a_unit_that_is_not_understood_is_found(
    decision_service: DecisionService, quantity: dict[str, Any], expected: set[str]
) -> None:
    call = body({"electrolytes": bundle(observation(4, valueQuantity=quantity))})
    assert unknown_units(decision_service.answer(SERVICE, request_of(call), NOW.date(), in_brief=True)) == expected


def test_of_whom_no_rule_is_for_no_unit_is_looked_at(decision_service: DecisionService) -> None:
    call = body({"conditions": bundle(), "electrolytes": bundle(observation(4, unit="mval/l"))})
    assert unknown_units(decision_service.answer(SERVICE, request_of(call), NOW.date(), in_brief=True)) == set()
