"""Calls over HTTP of a service made for a test, and what each kind of refusal looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.cdshooks.request import HookRequest, read_request
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.people import SERVICE, body, bundle, concept, condition, medication, observation, patient

CALL = f"/cds-services/{SERVICE}"
ORIGIN = "https://ehr.example"
SECRETS = ["zebedee", "1944-04-14", "Obscurin", "77.123", "quokka", "p1-secret"]


def make(
    decision_service: DecisionService, tmp_path: Path, client: tuple[str, int] = ("127.0.0.1", 50000), **settings: Any
) -> TestClient:
    chosen = {"database_url": f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite", "pages": "off"} | settings
    return TestClient(
        build_app(Settings(**chosen), decision_service),
        base_url="http://127.0.0.1:8000",
        client=client,
        raise_server_exceptions=False,
    )


def assert_outcome(answer: Any, status: int, slug: str) -> list[dict[str, Any]]:
    """One shape for everything that goes wrong."""
    assert answer.status_code == status, answer.text
    loaded = answer.json()
    assert loaded["resourceType"] == "OperationOutcome"
    assert answer.headers["content-type"] == "application/json"
    issues: list[dict[str, Any]] = loaded["issue"]
    for issue in issues:
        assert issue["severity"] == "error"
        assert issue["details"]["coding"][0]["code"] == slug
        assert issue["details"]["text"]
        assert issue["diagnostics"]
        assert len(issue["expression"]) == 1
    return issues


def request_of(call: dict[str, Any]) -> HookRequest:
    return read_request(json.dumps(call).encode(), "patient-view")


def secret_call() -> dict[str, Any]:
    own = {"reference": "Patient/p1-secret"}
    name = [{"family": "Zebedee", "given": ["Quokka"]}]
    call = body(
        {
            "patient": patient(id="p1-secret", name=name, birthDate="1944-04-14"),
            "conditions": bundle(condition(concept(text="leg cramps, says Quokka"), subject=own)),
            "medicationRequests": bundle(medication(concept(text="Obscurin 5 mg"), subject=own)),
            "electrolytes": bundle(observation(77.123, subject=own), observation("77.123x", subject=own, id="zebedee-2")),
        }
    )
    call["context"]["patientId"] = "p1-secret"
    return call
