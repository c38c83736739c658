"""A site that maps its own codes: a signed client's codes count as ours, and our tests are ordered under its codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.servicerequest import ServiceRequest
from starlette.testclient import TestClient

from cds_service.cdshooks.request import AS_OF as DAY
from cds_service.facts.evaluate import ChartFacts
from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.run import client_schema
from cds_service.model import State
from cds_service.security.clients import Client, read_clients
from cds_service.service import Decision, DecisionService
from tests.support.calls import CALL, make, request_of
from tests.support.people import (
    AS_OF,
    ICD10,
    LOINC,
    RXNORM,
    SERVICE,
    SNOMED,
    Json,
    body,
    bundle,
    concept,
    condition,
    medication,
    observation,
    service_request,
)
from tests.support.signing import DISCOVERY, ISS, Signer, bearer, clients_file

LABORATORY, DRUGS = "https://hospital.example/laboratory", "https://hospital.example/drugs"
MAP = f"""
[[code]]
system = "{LABORATORY}"
code = "KALI"
means = "loinc|2823-3"

[[code]]
system = "{DRUGS}"
code = "D-0417"
means = "{RXNORM}|4603"

[[code]]
code = "CR-7"
means = "snomed|449917004"

[[code]]
code = "CR-9"
means = "{ICD10}|R25.2"

[[code]]
code = "SMOKES"
means = "snomed|77176002"

[[code]]
system = "{DRUGS}"
code = "D-9000"
other = true

[[code]]
system = "{LABORATORY}"
code = "NOTHING"
other = true

[[order]]
test = "potassium"
system = "{LABORATORY}"
code = "LAB-K"
display = "Potassium, plasma"

[[order]]
test = "electrolytes"
system = "{LABORATORY}"
code = "LAB-EL"
display = "Electrolytes, plasma"
"""
POTASSIUM = {"code": concept("KALI", LABORATORY), "id": "k1"}
FUROSEMIDE = concept("D-0417", DRUGS)


def mapped(folder: Path, **table: Any) -> Path:
    """A clients file with the map beside it."""
    (folder / "codes.toml").write_text(MAP)
    return clients_file(folder, {"iss": ISS, "audiences": [DISCOVERY], "code_map": "codes.toml"} | table)


@contextmanager
def hospital(service: DecisionService, folder: Path, signer: Signer, **table: Any) -> Iterator[TestClient]:
    path = mapped(folder, jwks=signer.jwks(), **table)
    with make(service, folder, ("203.0.113.9", 5000), clients=path, allow_as_of=True) as opened:
        yield opened


def post(service: TestClient, signer: Signer, call: Json) -> list[Json]:
    call = call | {"extension": {DAY: AS_OF.isoformat()}}
    answer = service.post(CALL, json=call, headers=bearer(signer.token()))
    assert answer.status_code == 200, answer.text
    cards: list[Json] = answer.json()["cards"]
    return cards


def chart(potassium: Json, furosemide: Json) -> Json:
    drugs = bundle(medication(furosemide))
    return body({"electrolytes": bundle(observation(2.9) | potassium), "medicationRequests": drugs})


def test_mapped_codes_count_as_the_codes_themselves(decision_service: DecisionService, tmp_path: Path) -> None:
    signer = Signer()
    ours = chart({"code": concept("2823-3", LOINC), "id": "k1"}, concept("4603", RXNORM))
    with hospital(decision_service, tmp_path, signer) as service:
        own, same = post(service, signer, chart(POTASSIUM, FUROSEMIDE)), post(service, signer, ours)
    said = [(card["indicator"], card["summary"]) for card in own]
    assert said == [(card["indicator"], card["summary"]) for card in same]
    assert any("2.9 mmol/L" in summary for _, summary in said)
    assert any("- furosemide (D-0417) (since 5 May 2025), " in card["detail"] for card in own)
    assert not [name for name in ("“KALI”", "“D-0417”") if name in str(own)]


def test_without_the_map_nobody_knows_them(decision_service: DecisionService) -> None:
    decision = decision_service.answer(SERVICE, request_of(chart(POTASSIUM, FUROSEMIDE)), AS_OF)
    assert decision.facts["taking_diuretic"].value is not True
    assert decision.facts["potassium_against_range"].value != "low"
    assert decision.facts["taking_diuretic"].state is State.NOT_UNDERSTOOD
    assert [name for name in ("“KALI”", "“D-0417”") if name in decision.cards[-1].detail] == ["“KALI”", "“D-0417”"]


def test_a_test_is_suggested_under_the_sites_own_code_first(decision_service: DecisionService, tmp_path: Path) -> None:
    signer = Signer()
    with hospital(decision_service, tmp_path, signer) as service:
        # With calcium and creatinine measured, sodium and potassium are what is asked for together.
        measured = {
            "electrolytes": bundle(observation(9.5, "mg/dL", "17861-6", id="ca")),
            "kidneyFunction": bundle(observation(0.9, "mg/dL", "2160-0", id="cr")),
        }
        cards = post(service, signer, body({"medicationRequests": bundle(medication(FUROSEMIDE))} | measured))
    created = [action["resource"] for card in cards for item in card.get("suggestions", ()) for action in item["actions"]]
    orders = [resource for resource in created if resource["resourceType"] == "ServiceRequest"]
    assert [ServiceRequest.model_validate(order) for order in orders]
    codings = {order["code"]["text"]: order["code"]["coding"] for order in orders}
    own, ours = codings.pop("sodium, potassium")
    assert own == {"system": LABORATORY, "code": "LAB-EL", "display": "Electrolytes, plasma"}
    assert (ours["system"], ours["code"]) == (LOINC, "24326-1")
    assert codings
    assert not [item for found in codings.values() for item in found if item["system"] == LABORATORY]


def client_of(knowledge: Knowledge, folder: Path, **table: Any) -> Client:
    path = mapped(folder, jku="https://ehr.example/jwks.json", **table)
    (client,) = read_clients(path, client_schema(knowledge))
    return client


@pytest.fixture
def mapping(decision_service: DecisionService, tmp_path: Path) -> DecisionService:
    return decision_service.for_client(client_of(decision_service.knowledge, tmp_path))


def decide(service: DecisionService, **prefetch: Any) -> Decision:
    return service.answer(SERVICE, request_of(body(prefetch)), AS_OF)


@pytest.mark.parametrize(("code", "pending"), [("LAB-K", (True, False)), ("LAB-EL", (True, True)), ("LAB-X", (None, None))])
def test_an_order_that_comes_back_under_the_sites_code_is_that_test(
    mapping: DecisionService, code: str, pending: tuple[bool | None, bool | None]
) -> None:
    facts = decide(mapping, orders=bundle(service_request(concept(code, LABORATORY)))).facts
    values = [facts[name].value for name in ("potassium_on_order", "sodium_on_order")]
    known = [value if isinstance(value, bool) else None for value in values]
    assert tuple(known) == pending


ENTRIES: Mapping[str, tuple[str, Json, str, Any]] = {
    "a condition under a code without a system": ("conditions", condition(concept("CR-7")), "cramps_on_record", True),
    "a system in another spelling": (
        "medicationRequests",
        medication(concept("D-0417", f"{DRUGS}/|2026")),
        "taking_diuretic",
        True,
    ),
    "the code in another case": ("medicationRequests", medication(concept("d-0417", DRUGS)), "taking_diuretic", None),
    "the code of another system": ("medicationRequests", medication(concept("D-0417", LABORATORY)), "taking_diuretic", None),
    "declared to be nothing of ours": ("medicationRequests", medication(concept("D-9000", DRUGS)), "taking_diuretic", False),
    "words that name something of ours beside it": (
        "medicationRequests",
        medication(concept("D-9000", DRUGS, "Furosemide 40 mg")),
        "taking_diuretic",
        True,
    ),
    "a condition declared to be nothing of ours": (
        "otherResults",
        condition(concept("NOTHING", LABORATORY), id="c9"),
        "hypothyroidism",
        False,
    ),
    "a result declared to be nothing of ours": (
        "electrolytes",
        observation(3.0) | {"code": concept("NOTHING", LABORATORY)},
        "potassium_measured",
        False,
    ),
    "words that name an analyte beside it, in a unit that cannot be read": (
        "electrolytes",
        observation(3.0, "xyz") | {"code": concept("NOTHING", LABORATORY, "Potassium")},
        "potassium_measured",
        None,
    ),
    "an answer by a code of its own": (
        "otherResults",
        observation(None, code="72166-2") | {"valueQuantity": None, "valueCodeableConcept": concept("SMOKES")},
        "smoking",
        True,
    ),
    "a component": (
        "electrolytes",
        observation(
            None,
            code="24326-1",
            component=[{"code": concept("KALI", LABORATORY), "valueQuantity": {"value": 3.0, "unit": "mmol/L"}}],
        )
        | {"valueQuantity": None},
        "potassium_against_range",
        "low",
    ),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_what_a_code_of_the_ehr_means(mapping: DecisionService, name: str) -> None:
    query, entry, fact, expected = ENTRIES[name]
    value = decide(mapping, **{query: bundle(entry)}).facts[fact].value
    assert (value if isinstance(value, bool | str) else None) == expected


@pytest.mark.parametrize(("jurisdiction", "expected"), [("uk", True), ("us", False)])
def test_a_code_that_means_the_leg_in_one_country_does_so_under_the_sites_code_too(
    decision_service: DecisionService, tmp_path: Path, jurisdiction: Any, expected: bool
) -> None:
    client = client_of(decision_service.knowledge, tmp_path)
    service = decision_service.elsewhere(jurisdiction).for_client(client)
    decision = decide(service, conditions=bundle(condition(concept("CR-9"))))
    assert (decision.facts["cramps_on_record"].value is True) is expected


def test_the_facts_of_an_empty_chart_hold_for_a_client_with_a_map_too(mapping: DecisionService) -> None:
    """What is taken from the baseline is what is worked out without it, though the map came later than the knowledge."""
    for call in (chart(POTASSIUM, FUROSEMIDE), chart({"id": "k2"}, concept("D-9000", DRUGS)), body()):
        decision = mapping.answer(SERVICE, request_of(call), AS_OF)
        whole = ChartFacts(decision.view, whole=True)
        assert {name: decision.facts[name].value for name in whole} == {name: whole[name].value for name in whole}


def test_a_client_without_a_map_is_not_touched_by_that_of_another(
    decision_service: DecisionService, mapping: DecisionService
) -> None:
    for service, expected in ((mapping, True), (decision_service, False), (mapping, True)):
        assert (
            decide(service, medicationRequests=bundle(medication(FUROSEMIDE))).facts["taking_diuretic"].value is True
        ) is expected


def test_what_is_fetched_is_asked_for_by_its_own_codes_too(decision_service: DecisionService, mapping: DecisionService) -> None:
    ours, own = decision_service.templates(SERVICE), mapping.templates(SERVICE)
    assert {key for key in ours if ours[key] != own[key]} == {"electrolytes"}
    asked, known = (set(templates["electrolytes"].split("code=")[1].split("&")[0].split(",")) for templates in (own, ours))
    assert asked - known == {"KALI", "LAB-K"}
    assert known < asked


def told(service: DecisionService, call: Json) -> dict[str, Any]:
    chart = service.answer(SERVICE, request_of(call), AS_OF).chart
    return {name: state.value for name, state in chart.query_state.items()}


def test_a_null_is_an_empty_list_where_the_site_says_so(decision_service: DecisionService, tmp_path: Path) -> None:
    declared = decision_service.for_client(client_of(decision_service.knowledge, tmp_path, null_is_empty=True))
    call = body({"electrolytes": None, "orders": None, "conditions": bundle(condition(concept("449917004", SNOMED)))})
    assert told(decision_service, call)["electrolytes"] == State.NONE_SUPPLIED
    assert (told(declared, call)["electrolytes"], told(declared, call)["orders"]) == (State.KNOWN, State.KNOWN)
    assert decide(declared, electrolytes=None).facts["potassium_measured"].value is False
    assert told(declared, body({"conditions": None}))["conditions"] == State.NONE_SUPPLIED


NOT_OFFERED = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "not-supported"}],
}


@pytest.mark.parametrize(
    ("statements", "apart", "enough"),
    [("absent", True, False), (NOT_OFFERED, True, False), (None, True, False), ("answered", True, True),
     ("absent", False, True), (NOT_OFFERED, False, True)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("jurisdiction", ["us", "uk"])
def test_where_drugs_stand_in_statements_too_a_list_without_them_is_not_whole(
    decision_service: DecisionService, tmp_path: Path, jurisdiction: Any, statements: Any, apart: bool, enough: bool
) -> None:
    client = client_of(decision_service.knowledge, tmp_path, medication_statements_apart=apart)
    service = decision_service.elsewhere(jurisdiction).for_client(client)
    given = {} if statements in ("absent", "answered") else {"medicationStatements": statements}
    call = body(given, without=("medicationStatements",) if statements == "absent" else ())
    fact = service.answer(SERVICE, request_of(call), AS_OF).facts["taking_diuretic"]
    assert (fact.value is False) is enough
