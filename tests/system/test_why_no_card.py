"""Each reason of docs/why-no-card.md is tried: by the command that it gives, in the log, in the metrics and by the status."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cds_service.log import configure
from cds_service.service import DecisionService
from tests.conftest import ROOT
from tests.support.calls import CALL, assert_outcome, make
from tests.support.documents import blocks, run, words
from tests.support.people import body, bundle, concept, condition, patient

PAGE = "docs/why-no-card.md"
BLOCKS = blocks(PAGE)
PAIRS = [(asked.text.strip(), told.text) for asked, told in zip(BLOCKS[::2], BLOCKS[1::2], strict=True)]
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


Log = Callable[[str], dict[str, Any]]


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    with make(decision_service, tmp_path) as opened:
        yield opened


@pytest.fixture
def log(client: TestClient) -> Log:
    """The one line of an event, of all that was logged since the service was built, which has set up a log of its own."""
    sink = io.StringIO()
    configure("info", sink)

    def line_of(event: str) -> dict[str, Any]:
        lines = [json.loads(line) for line in sink.getvalue().splitlines()]
        (found,) = [line for line in lines if line["event"] == event]
        return dict(found)

    return line_of


def told(text: str) -> None:
    """The page says it; what follows shows that it is so."""
    assert text in words(TEXT)


def test_there_are_ten() -> None:
    assert re.findall(r"^### (\d+)\.", TEXT, re.MULTILINE) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize(("command", "expected"), PAIRS)
def test_what_the_page_shows_is_what_the_command_says(command: str, expected: str) -> None:
    shown = words(run(ROOT, command))
    for line in expected.splitlines():
        assert words(line) in shown


def test_an_answer_without_a_card_is_logged_with_its_number(client: TestClient, log: Log) -> None:
    told("`answered` says that the service decided")
    assert client.post(CALL, json=body({"conditions": bundle()})).json() == {"cards": []}
    assert log("answered")["cards"] == 0
    assert 'cds_requests_total{route="call",service="leg-cramps-patient-view",status="200"} 1.0' in client.get("/metrics").text


def test_words_that_nobody_understands_are_counted_by_type(client: TestClient, log: Log) -> None:
    told("`not_understood` in the log counts such entries by type")
    sent = {"conditions": bundle(condition(concept(text="Wadenkrampf")))}
    assert client.post(CALL, json=body(sent)).json() == {"cards": []}
    assert log("answered")["not_understood"] == {"Condition": 1}


def test_the_log_names_the_age(client: TestClient, log: Log) -> None:
    told("In the log `silent_because` then names `age_years`")
    client.post(CALL, json=body({"patient": patient(birthDate="2015-01-01")}))
    assert log("answered")["silent_because"] == ["age_years"]


def test_a_call_with_another_hook_is_refused(client: TestClient, log: Log) -> None:
    told("A call with the wrong hook in its body is refused with 400")
    assert_outcome(client.post(CALL, json=body() | {"hook": "order-open"}), 400, "invalid-request")
    assert log("refused")["places"] == ["hook"]


def test_what_was_not_sent_is_asked_for_or_counted(client: TestClient) -> None:
    told("Without them the answer is 412, with the searches to send")
    bare = {name: value for name, value in body().items() if name != "prefetch"}
    issues = assert_outcome(client.post(CALL, json=bare), 412, "missing-data")
    assert "Condition?patient=" in issues[1]["diagnostics"]
    told("`cds_query_states_total` in `/metrics` counts queries without a full answer")
    client.post(CALL, json=body({"orders": None}))
    assert 'cds_query_states_total{query="orders"' in client.get("/metrics").text


def test_the_statuses_are_those_of_the_page(decision_service: DecisionService, tmp_path: Path, client: TestClient) -> None:
    told("400: the body is wrong. 401: the token was not accepted")
    assert_outcome(client.post(CALL, content=b"{"), 400, "malformed-json")
    told("403: the caller is on another machine and no client is configured")
    with make(decision_service, tmp_path, client=("192.0.2.1", 50000)) as elsewhere:
        assert_outcome(elsewhere.post(CALL, json=body()), 403, "no-client-configured")
    told("404: the address is wrong")
    assert_outcome(client.post("/cds-services/leg-cramps", json=body()), 404, "unknown-service")


def test_a_site_that_approved_one_rule_serves_no_other(tmp_path: Path) -> None:
    told("`explain` lists the others under `Not served here`")
    path = tmp_path / "approvals.json"
    run(ROOT, f'.venv/bin/cds-service approve self-care --name "Dr Anna Sample" --yes --file {path}')
    file = "fixtures/patients/ada-stiffcalf.json"
    settings = f"CDS_SERVE=approved CDS_APPROVALS={path} .venv/bin/cds-service"
    assert "not approved here" in run(ROOT, f"{settings} explain {file}").split("Not served here")[1]
    shown = run(ROOT, f"{settings} run {file}")
    assert "self-care" in shown
    assert "Potassium 3.1" not in shown


def test_the_last_card_names_what_did_not_fit() -> None:
    told("One answer has at most `CDS_MAX_CARDS` cards; the last one names what did not fit.")
    shown = words(run(ROOT, "CDS_MAX_CARDS=2 .venv/bin/cds-service run fixtures/patients/ada-stiffcalf.json"))
    assert "Potassium 3.1" in shown
    assert "[ ] Ask for the cramp history" not in shown
    assert "Also found, not shown as cards: Leg cramps, not tested recently" in shown
