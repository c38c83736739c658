"""What a monitoring system reads: the right numbers, few labels, nothing of a patient, and not for everyone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from cds_service.service import DecisionService
from tests.conftest import COVERAGE, ROOT
from tests.support.calls import CALL, SECRETS, assert_outcome, make, secret_call
from tests.support.feedback import ACCEPTED, KEY, OVERRIDDEN, until
from tests.support.history import response
from tests.support.people import SERVICE, body, bundle, concept, medication, observation

LOW = {"electrolytes": bundle(observation(3.1))}
UNKNOWN_DRUG = {"medicationRequests": bundle(medication(concept(text="Xyzzyforte 20")))}
DONE = {"code": "action-completed", "system": "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"}


def read(client: TestClient) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, the labels by name."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_cards_states_and_feedback_are_counted(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    with make(decision_service, tmp_path, database_url=database_url) as client:
        cards = client.post(CALL, json=body(LOW | UNKNOWN_DRUG, without=("orders",))).json()["cards"]
        client.post(CALL, content="{")
        client.post("/cds-services/p1-secret", json={})
        client.get("/p1-secret")
        version = next(r.file.version for r in decision_service.knowledge.rules if r.id == "low-potassium")
        found = read(client)
        assert found["cds_requests_total", "call", SERVICE, "200"] == 1
        assert found["cds_requests_total", "call", SERVICE, "400"] == 1
        assert found["cds_requests_total", "call", "unknown", "404"] == 1
        assert found["cds_requests_total", "unknown", "", "404"] == 1
        assert found["cds_request_seconds_count", "call"] == 3
        assert found["cds_cards_total", "results"] == 1
        assert found["cds_rules_shown_total", "low-potassium", version] == 1
        assert found["cds_query_states_total", "orders", "not supplied"] == 1
        assert found["cds_entries_not_understood_total", "MedicationRequest"] == 1
        assert found["cds_journal_lost_rows_total",] == 0
        results = next(card for card in cards if "Potassium" in card["summary"])
        tests = next(card for card in cards if card.get("suggestions"))
        send(client, OVERRIDDEN | {"card": results["uuid"], "overrideReason": {"reason": DONE}})
        send(client, OVERRIDDEN | {"card": results["uuid"], "overrideReason": {"reason": {"code": "p1-secret"}}})
        send(client, OVERRIDDEN | {"card": results["uuid"], "overrideReason": {"userComment": "p1-secret"}})
        taken = tests["suggestions"][0]["uuid"]
        send(client, ACCEPTED | {"card": tests["uuid"], "acceptedSuggestions": [{"id": taken}]})
        send(client, ACCEPTED | {"card": "nobody knows"})
        assert until(lambda: ("cds_rules_accepted_total", "unknown", "") in read(client))
        found = read(client)
        for reason in ("action-completed", "other", "none"):
            assert found["cds_rules_overridden_total", reason, "low-potassium", version] == 1
        assert sum(value for key, value in found.items() if key[0] == "cds_rules_accepted_total" and key[1] != "unknown") == 1
        assert "p1-secret" not in client.get("/metrics").text


def send(client: TestClient, item: dict[str, Any]) -> None:
    for _ in range(2):
        assert client.post(f"{CALL}/feedback", json={"feedback": [item]}).status_code == 200


def test_no_number_speaks_of_a_patient_and_labels_stay_few(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path, patient_key=KEY) as client:
        for number in range(30):
            client.post(CALL, json=secret_call() | {"hookInstance": f"instance-{number}"})
            client.get(f"/zebedee-{number}")
            client.post(f"/cds-services/zebedee-{number}", json={})
        text = client.get("/metrics").text
    assert not [secret for secret in SECRETS if secret.lower() in text.lower()]
    assert "instance-" not in text
    assert len(re.findall(r"^cds_requests_total", text, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    ("client_address", "headers", "setting", "allowed"),
    [
        ("127.0.0.1", {}, None, True),
        ("::1", {}, None, True),
        ("10.1.2.3", {}, None, False),
        ("127.0.0.1", {"X-Forwarded-For": "10.1.2.3"}, None, False),
        ("10.1.2.3", {}, "10.0.0.0/8", True),
        ("127.0.0.1", {}, "10.0.0.0/8", False),
        ("127.0.0.1", {}, "", False),
        ("no address", {}, None, False),
    ],
)
def test_numbers_are_for_this_machine_or_for_whom_the_site_names(
    decision_service: DecisionService,
    tmp_path: Path,
    client_address: str,
    headers: dict[str, str],
    setting: str | None,
    allowed: bool,
) -> None:
    chosen = {} if setting is None else {"metrics_from": setting}
    client = make(decision_service, tmp_path, (client_address, 5000), **chosen)
    answer = client.get("/metrics", headers=headers)
    if allowed:
        assert answer.status_code == 200
    else:
        assert_outcome(answer, 403, "forbidden")


def test_rows_that_were_lost_are_told(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.audit.journal.Journal.__init__.__defaults__", (1,))
    client = make(decision_service, tmp_path)
    for _ in range(3):
        cards = client.post(CALL, json=body(LOW)).json()["cards"]
    found = read(client)
    assert found["cds_journal_waiting",] == 1
    assert found["cds_journal_lost_rows_total",] == 2 * (1 + len(cards))


TWO_WORKERS = """
import os, sys
from pathlib import Path
from cds_service.audit.metrics import Metrics, RequestRecord
from cds_service.audit.journal import Journal
from cds_service.audit.overrides import Overrides
from cds_service.store.database import Store
store = Store("sqlite+aiosqlite:///:memory:")
metrics = Metrics(["s"], [])
for _ in range(3):
    metrics.served(RequestRecord("call", "s", 200, 0.01))
metrics.drain(Journal(store), Overrides(store, None, 30, [], {}))
sys.stdout.write(metrics.text().decode())
metrics.close()
"""


def test_workers_that_share_a_folder_are_summed_up(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), **COVERAGE}
    told = ""
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-c", TWO_WORKERS], env=env, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    assert 'cds_requests_total{route="call",service="s",status="200"} 6.0' in told


def test_a_form_that_nobody_can_read_is_counted(decision_service: DecisionService, tmp_path: Path) -> None:
    """As it is named on a card, so it is in the log and the metrics."""
    with make(decision_service, tmp_path) as client:
        unfinished = bundle(response({"redness": True}) | {"status": "in-progress"})
        cards = client.post(CALL, json=body({"crampHistory": unfinished})).json()["cards"]
        assert any("1 of the forms" in card.get("detail", "") for card in cards)
        assert read(client)["cds_entries_not_understood_total", "QuestionnaireResponse"] == 1
