"""Clients as they are: what EHRs and the sandbox send beside or against the specification, each habit in one test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.cards.footer import TOPIC_SYSTEM
from cds_service.cdshooks.request import AS_OF as DAY
from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import Card
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.people import (
    AS_OF,
    LEG_CRAMPS,
    OWN,
    RXNORM,
    SERVICE,
    SNOMED,
    Json,
    body,
    bundle,
    concept,
    condition,
    draft,
    observation,
    ordering,
    patient,
)

ORIGIN = "http://127.0.0.1:8080"
SIGN = "/cds-services/leg-cramps-order-sign"
QUININE = concept("997010", RXNORM, "Quinine sulfate 324 mg capsule")
LOW = observation(2.9, when="2026-11-19")


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(
        guarded=True, allow_as_of=True, cors_origins=(ORIGIN,), database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"
    )
    with TestClient(build_app(settings, decision_service)) as opened:
        yield opened


def cards(decision_service: DecisionService, request: Json) -> tuple[Card, ...]:
    parsed = read_request(json.dumps(request).encode(), request["hook"])
    return decision_service.answer(decision_service.knowledge.service_on(request["hook"]), parsed, AS_OF).cards


# --- Epic

EPIC_CODES = "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369"
EPIC_NOTHING = {
    "resourceType": "Bundle",
    "type": "searchset",
    "total": 0,
    "entry": [
        {
            "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001",
            "search": {"mode": "outcome"},
            "resource": {
                "resourceType": "OperationOutcome",
                "issue": [
                    {
                        "severity": "warning",
                        "code": "processing",
                        "details": {"coding": [{"system": EPIC_CODES, "code": "4101"}], "text": "No results."},
                    }
                ],
            },
        }
    ],
}


def test_nothing_found_with_a_warning_is_nothing_found(decision_service: DecisionService) -> None:
    empty = body({"electrolytes": bundle(), "medicationRequests": bundle()})
    epic = body({"electrolytes": EPIC_NOTHING, "medicationRequests": EPIC_NOTHING})
    assert [(card.summary, card.detail) for card in cards(decision_service, epic)] == [
        (card.summary, card.detail) for card in cards(decision_service, empty)
    ]


def test_data_under_a_key_of_another_query_count_by_their_type(decision_service: DecisionService) -> None:
    """Keys are typed in by hand; what stands under one of ours is read by what it is."""
    swapped = body({"electrolytes": bundle(), "orders": bundle(LOW)})
    assert any("Potassium 2.9" in card.summary for card in cards(decision_service, swapped))


def test_keys_that_a_site_typed_in_count_by_the_type_of_what_they_hold(decision_service: DecisionService) -> None:
    own = body(without=("patient", "conditions", "electrolytes"))
    own["prefetch"] |= {"-patient": patient(), "item1": bundle(LEG_CRAMPS), "item2": bundle(LOW), "-user": PRACTITIONER}
    told = cards(decision_service, own)
    assert any("Potassium 2.9" in card.summary for card in told)
    assert not any("sodium" in card.summary for card in told)
    assert "electrolyte results" in told[-1].detail


PRACTITIONER = {"resourceType": "Practitioner", "id": "u1"}


@pytest.mark.parametrize(
    "nothing", [None, bundle(), bundle(PRACTITIONER), {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}]
)
def test_a_key_that_nobody_asked_for_and_that_holds_nothing_proves_nothing(client: TestClient, nothing: Any) -> None:
    call = body({"item1": nothing}, without=("conditions",))
    answer = client.post(f"/cds-services/{SERVICE}", json=call)
    assert answer.status_code == 412


def test_an_absence_under_such_a_key_is_no_absence(decision_service: DecisionService) -> None:
    """Which conditions item1 was to hold is not known, so malaria is not ruled out by it."""
    call = ordering(draft(QUININE), without=("conditions",))
    call["prefetch"]["item1"] = bundle(LEG_CRAMPS)
    assert cards(decision_service, call) == ()


def test_references_are_absolute(decision_service: DecisionService) -> None:
    absolute = {"reference": "https://ehr.example/interconnect/api/FHIR/R4/Patient/p1", "display": "Invented, Person"}
    call = body({"electrolytes": bundle(LOW | {"subject": absolute}), "conditions": bundle(LEG_CRAMPS | {"subject": absolute})})
    assert any("Potassium 2.9" in card.summary for card in cards(decision_service, call))


def epic_draft(**members: Any) -> Json:
    """As of 2024: the Medication is a further entry with several RxNorm codes, the requester only says that it is absent."""
    absent = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
    reference = {"reference": "https://ehr.example/FHIR/R4/Medication/eK", "display": "quiNINE sulfate 324 mg capsule"}
    return draft(None, intent="order", requester=absent, medicationReference=reference, **members)


EPIC_MEDICATION = {
    "resourceType": "Medication",
    "id": "eK",
    "code": {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.88", "code": code} for code in ("9071", "997010", "1")]},
}


@pytest.mark.parametrize("further", [(), (EPIC_MEDICATION,)], ids=["reference and words", "Medication as a further entry"])
def test_epics_drafts_are_read(decision_service: DecisionService, further: tuple[Json, ...]) -> None:
    (card,) = cards(decision_service, ordering(epic_draft(), *further))
    assert card.indicator == "critical"
    (suggestion,) = card.suggestions
    assert len(suggestion.actions) == 1
    assert card.selection_behavior == "any"
    assert "quiNINE sulfate 324 mg" in suggestion.actions[0].description or "9071" in suggestion.actions[0].description


def test_an_older_procedure_request_among_the_drafts_is_left_alone(decision_service: DecisionService) -> None:
    older = {"resourceType": "ProcedureRequest", "id": "x", "status": "draft", "code": {"text": "quinine level"}}
    assert cards(decision_service, ordering(older)) == ()


def test_topic_codes_are_letters_and_digits_and_the_same_for_every_patient(decision_service: DecisionService) -> None:
    """An override is remembered under the topic, so it must not change with what fired beside it."""
    first, second = (
        {card.summary.split(" ")[0]: card.source.topic for card in cards(decision_service, call)}
        for call in (body({"electrolytes": bundle(LOW)}), body({"electrolytes": bundle(LOW), "bloodTests": bundle()}))
    )
    assert first == second
    for topic in first.values():
        assert topic is not None
        assert topic.code.isalnum()
        assert topic.code.isascii()
        assert topic.system == TOPIC_SYSTEM


def test_epics_feedback_with_plural_reasons_and_ids_that_are_no_uuids_is_taken(client: TestClient) -> None:
    item = {
        "card": "abc-1.2^not-a-uuid",
        "outcome": "overridden",
        "outcomeTimestamp": "2026-11-20T10:00:00Z",
        "overrideReasons": {
            "reason": {"code": "3", "system": "urn:oid:1.2.840.114350"},
            "extension": {"com.epic.cdshooks.feedback.overrideReason.comment": "no"},
        },
    }
    answer = client.post(f"{SIGN}/feedback", json={"feedback": [item]})
    assert (answer.status_code, answer.json()) == (200, {})


def test_a_trigger_in_an_extension_changes_nothing(client: TestClient) -> None:
    trigger = {"com.epic.cdshooks.request.bpa-trigger-action": "23", "com.epic.cdshooks.request.fhir-version": "R4"}
    answer = client.post(SIGN, json=ordering(draft(QUININE)) | {"extension": trigger | {DAY: "2026-11-20"}})
    assert answer.status_code == 200
    assert len(answer.json()["cards"]) == 1


# --- Medplum


def test_a_null_is_none_supplied_and_never_normal(decision_service: DecisionService) -> None:
    nulls = ("medicationRequests", "medicationStatements", "electrolytes", "kidneyFunction", "otherResults", "bloodTests")
    told = cards(decision_service, body(dict.fromkeys(nulls)))
    assert told
    assert not any("normal" in card.summary or "in range" in card.detail for card in told)
    assert not any("not measured" in card.detail or "Nothing found" in card.summary for card in told)


def test_without_templates_the_prefetch_is_an_empty_object_and_what_lacks_is_told(client: TestClient) -> None:
    answer = client.post(f"/cds-services/{SERVICE}", json=body() | {"prefetch": {}})
    assert answer.status_code == 412
    assert {"prefetch.patient", "prefetch.conditions"} == {issue["expression"][0] for issue in answer.json()["issue"]}


# --- Oracle Health


def test_a_small_panel_learns_all_it_needs_from_the_summary_and_the_first_line(decision_service: DecisionService) -> None:
    """Its samples show no suggestions: what to do stands in words too, so nothing rests on a button."""
    for call in (body({"electrolytes": bundle(LOW)}), ordering(draft(QUININE))):
        for card in cards(decision_service, call):
            assert len(card.summary) < 140
            assert len(card.detail.split("\n")[0]) <= 320
            for suggestion in card.suggestions:
                name = suggestion.label.removeprefix("Order ").removeprefix("Remove ").removeprefix("Ask for the ")
                # A panel is told by the tests that it stands for.
                known = decision_service.knowledge.orders.values()
                told = next((order.title for order in known if order.stands_for and order.label == suggestion.label), name)
                assert told.split(" ")[0].lower().rstrip(",") in f"{card.summary} {card.detail}".lower()


def test_no_card_rests_on_a_link(decision_service: DecisionService) -> None:
    assert not any(card.links for card in cards(decision_service, body({"electrolytes": bundle(LOW)})))


# --- the CDS Hooks sandbox


@pytest.mark.parametrize("path", ["/cds-services", SIGN, f"{SIGN}/feedback"])
def test_the_sandboxs_preflights_with_authorization_pass(client: TestClient, path: str) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "GET" if path == "/cds-services" else "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = client.options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


def sandbox_draft(**members: Any) -> Json:
    """As its source writes it: no intent while selecting, `category` and `reasonCode` as objects, no encounter."""
    return {
        "resourceType": "MedicationRequest",
        "id": "request-123",
        "status": "draft",
        "subject": OWN,
        "authoredOn": "2026-11-20",
        "category": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/medicationrequest-category", "code": "community"}]
        },
        "dosageInstruction": [{"timing": {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d", "boundsPeriod": {}}}}],
    } | members


def sandbox_call(order: Json, hook: str) -> Json:
    call = ordering(order, hook=hook, selections=["MedicationRequest/request-123"])
    return call | {"fhirServer": "http://127.0.0.1:8090/fhir"}


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_the_sandboxs_drafts_are_read_though_they_are_no_valid_fhir(client: TestClient, hook: str) -> None:
    order = sandbox_draft(medicationCodeableConcept=QUININE, reasonCode=concept("449917004", SNOMED, "Leg cramps"))
    headers = {"Origin": ORIGIN, "Authorization": "Bearer signed.with.apublickey"}
    answer = client.post(f"/cds-services/leg-cramps-{hook}", json=sandbox_call(order, hook), headers=headers)
    assert answer.status_code == 200
    (card,) = answer.json()["cards"]
    assert card["suggestions"][0]["actions"][0]["resourceId"] == "MedicationRequest/request-123"


def test_before_a_drug_is_chosen_the_sandbox_sends_a_draft_without_one(client: TestClient) -> None:
    answer = client.post("/cds-services/leg-cramps-order-select", json=sandbox_call(sandbox_draft(), "order-select"))
    assert (answer.status_code, answer.json()) == (200, {"cards": []})


def test_the_sandboxs_reason_decides_whether_a_remedy_is_for_cramps(decision_service: DecisionService) -> None:
    magnesium = concept("6582", RXNORM, "Magnesium oxide")
    for reason, count in ((concept("449917004", SNOMED), 1), (concept(text="Constipation"), 0)):
        order = sandbox_draft(medicationCodeableConcept=magnesium, reasonCode=reason)
        assert len(cards(decision_service, sandbox_call(order, "order-sign"))) == count


def test_a_read_that_failed_leaves_its_key_out_and_is_told_as_not_assessed(decision_service: DecisionService) -> None:
    call = ordering(draft(QUININE), without=("crampHistory",))
    (card,) = cards(decision_service, call)
    assert "cramp history" in card.detail


def test_the_imaging_demo_of_the_sandbox_is_nobodys_business_here(client: TestClient) -> None:
    study = {"resourceType": "ServiceRequest", "id": "example-request-id", "status": "draft", "intent": "plan", "subject": OWN}
    call = ordering(
        study, hook="order-select", selections=["ServiceRequest/example-request-id"], without=("patient", "conditions")
    )
    answer = client.post("/cds-services/leg-cramps-order-select", json=call)
    assert (answer.status_code, answer.json()) == (200, {"cards": []})


def test_one_resource_per_read_is_as_good_as_a_bundle(decision_service: DecisionService) -> None:
    call = body(
        {"patient": patient(), "conditions": bundle(LEG_CRAMPS, condition(concept(text="x"), id="c2"), type="collection")}
    )
    assert cards(decision_service, call)
