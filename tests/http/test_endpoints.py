"""The HTTP door: what it serves, what it refuses and in which shape, and who may set the date."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fhir.resources.R4B.questionnaire import Questionnaire
from starlette.testclient import TestClient

from cds_service.cdshooks.request import AS_OF
from cds_service.errors import RequestError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from tests.support.calls import CALL, ORIGIN, assert_outcome, make
from tests.support.people import SERVICE, body, bundle, observation


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    with make(decision_service, tmp_path) as opened:
        yield opened


def test_alive_and_ready(client: TestClient, knowledge: Knowledge) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    ready = client.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["rules"] == len(knowledge.rules)


def test_not_ready_without_its_store_but_still_answering(decision_service: DecisionService, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    client = make(decision_service, tmp_path, database_url=f"sqlite+aiosqlite:///{tmp_path}/file/cds.sqlite")
    assert_outcome(client.get("/readyz"), 503, "store-unavailable")
    assert client.post(CALL, json=body()).status_code == 200
    outcome = {"card": "x", "outcome": "accepted", "outcomeTimestamp": "2026-11-20T10:00:00Z"}
    assert_outcome(client.post(f"{CALL}/feedback", json={"feedback": [outcome]}), 503, "store-unavailable")


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/", 404, "unknown-path"),
        ("GET", "/cds-services/", 404, "unknown-path"),
        ("POST", f"{CALL}/", 404, "unknown-path"),
        ("POST", "/cds-services/other", 404, "unknown-service"),
        ("POST", "/cds-services/other/feedback", 404, "unknown-service"),
        ("GET", "/Questionnaire/other", 404, "unknown-questionnaire"),
        ("GET", CALL, 405, "method-not-allowed"),
        ("DELETE", "/cds-services", 405, "method-not-allowed"),
        ("PUT", f"{CALL}/feedback", 405, "method-not-allowed"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_shape_and_nothing_redirects(
    client: TestClient, method: str, path: str, status: int, slug: str
) -> None:
    answer = client.request(method, path, json=body() if method == "POST" else None, follow_redirects=False)
    assert_outcome(answer, status, slug)
    if status == 405:
        assert answer.headers["allow"]


def test_of_whom_no_rule_is_for_a_call_looks_at_no_result(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any) -> None:
        raise AssertionError("results were looked at")

    monkeypatch.setattr("cds_service.chart.index.Measuring", refuse)
    client = make(decision_service, tmp_path)
    results = {"electrolytes": bundle(observation(2.2))}
    assert client.post(CALL, json=body(results | {"conditions": bundle()})).json() == {"cards": []}
    assert_outcome(client.post(CALL, json=body(results)), 500, "internal-error")


def test_every_route_refuses_a_wrong_method_in_the_one_shape(client: TestClient) -> None:
    routes = list(iter_route_contexts(client.app.routes))  # type: ignore[attr-defined]
    assert len(routes) == 10
    for route in routes:
        answer = client.request("PATCH", str(route.path).replace("{service_id}", SERVICE))
        assert_outcome(answer, 405, "method-not-allowed")
        assert set(answer.headers["allow"].split(", ")) == route.methods


@pytest.mark.parametrize("path", ["/cds-services", "/healthz", "/readyz", "/openapi.json", "/leaflets/leg-cramps"])
def test_head_is_answered_where_get_is(client: TestClient, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", [CALL, f"{CALL}/feedback"])
def test_only_json_is_taken(client: TestClient, kind: str, path: str) -> None:
    assert_outcome(client.post(path, content=json.dumps(body()), headers={"Content-Type": kind}), 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_compressed_body_is_refused_plainly(client: TestClient, encoding: str) -> None:
    packed = gzip.compress(json.dumps(body()).encode())
    answer = client.post(CALL, content=packed, headers={"Content-Type": "application/json", "Content-Encoding": encoding})
    assert_outcome(answer, 415, "unsupported-media-type")
    assert "not compressed" in answer.text


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/fhir+json", "APPLICATION/JSON"])
def test_json_in_its_dialects_is_taken(client: TestClient, kind: str) -> None:
    answer = client.post(CALL, content=json.dumps(body()), headers={"Content-Type": kind})
    assert answer.status_code == 200


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(decision_service: DecisionService, tmp_path: Path) -> None:
    client = make(decision_service, tmp_path, body_limit=5000)
    assert client.post(CALL, json=body()).status_code == 200
    large = json.dumps(body() | {"padding": "x" * 6000})
    assert_outcome(client.post(CALL, content=large, headers={"Content-Type": "application/json"}), 413, "body-too-large")


def test_a_body_that_does_not_say_its_length_is_counted(decision_service: DecisionService, tmp_path: Path) -> None:
    client = make(decision_service, tmp_path, body_limit=5000)

    def chunks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    assert_outcome(client.post(CALL, content=chunks(), headers={"Content-Type": "application/json"}), 413, "body-too-large")


def test_a_failure_of_ours_is_told_without_a_trace(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(decision_service, tmp_path)
    monkeypatch.setattr(DecisionService, "answer", lambda *given: 1 / 0)
    answer = client.post(CALL, json=body())
    assert_outcome(answer, 500, "internal-error")
    assert "division" not in answer.text


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/cds-services", None, 200),
        (CALL, json.dumps(body()), 200),
        (CALL, "{", 400),
        ("/cds-services/other", "{}", 404),
        (CALL, "x" * 6000, 413),
        (CALL, json.dumps(body(without=("conditions",))), 412),
    ],
)
def test_cors_headers_stand_on_answers_and_on_errors(
    decision_service: DecisionService, tmp_path: Path, path: str, content: str | None, status: int
) -> None:
    client = make(decision_service, tmp_path, cors_origins=(ORIGIN,), body_limit=5000)
    headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
    answer = client.post(path, content=content, headers=headers) if content else client.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    stranger = client.get("/cds-services", headers={"Origin": "https://stranger.example"})
    assert "access-control-allow-origin" not in stranger.headers


def test_a_failure_of_ours_carries_cors_too(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(decision_service, tmp_path, cors_origins=(ORIGIN,))
    monkeypatch.setattr(DecisionService, "answer", lambda *given: 1 / 0)
    assert client.post(CALL, json=body(), headers={"Origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN


def test_a_preflight_with_authorization_is_let_through(decision_service: DecisionService, tmp_path: Path) -> None:
    client = make(decision_service, tmp_path, cors_origins=(ORIGIN,))
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = client.options(CALL, headers=asked)
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()


def test_without_the_setting_there_is_no_cors(client: TestClient) -> None:
    assert "access-control-allow-origin" not in client.get("/cds-services", headers={"Origin": ORIGIN}).headers


@pytest.mark.parametrize(
    "extra",
    [
        {"fhirServer": "https://ehr.example/fhir"},
        {"fhirServer": "https://ehr.example/fhir", "fhirAuthorization": {"access_token": "secret", "token_type": "Bearer"}},
        {"unheard": {"of": None}},
        {"fhirServer": None},
    ],
)
def test_the_habits_of_the_sandbox_hold(client: TestClient, extra: dict[str, Any]) -> None:
    answer = client.post(CALL, json=body() | extra, headers={"Authorization": "Bearer not.checked.yet"})
    assert answer.status_code == 200
    assert answer.json()["cards"]


def test_extra_prefetch_keys_are_ignored_and_missing_ones_named(client: TestClient) -> None:
    call = body({"unheard": {"resourceType": "Basic"}}, without=("electrolytes",))
    cards = client.post(CALL, json=call).json()["cards"]
    assert "electrolyte results" in cards[-1]["detail"]


def test_no_cramps_no_cards(client: TestClient) -> None:
    low = bundle(observation(2.9, when=None, issued="2026-11-20"))
    assert client.post(CALL, json=body({"conditions": bundle(), "electrolytes": low})).json() == {"cards": []}


@pytest.mark.parametrize(
    ("client_address", "headers", "setting", "honoured"),
    [
        ("127.0.0.1", {}, None, True),
        ("::1", {}, None, True),
        ("10.0.0.9", {}, None, False),
        ("testclient", {}, None, False),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.9"}, None, False),
        ("127.0.0.1", {"Forwarded": "for=10.0.0.9"}, None, False),
        ("127.0.0.1", {}, False, False),
        ("10.0.0.9", {}, True, True),
    ],
)
def test_the_date_may_be_set_only_where_a_setting_or_loopback_allows_it(
    decision_service: DecisionService,
    tmp_path: Path,
    client_address: str,
    headers: dict[str, str],
    setting: bool | None,
    honoured: bool,
) -> None:
    client = make(decision_service, tmp_path, (client_address, 5000), allow_as_of=setting, guarded=True)
    # A result of 1999 counts only on a day of 1999.
    call = body({"electrolytes": bundle(observation(3.1, when="1999-05-05"))}) | {"extension": {AS_OF: "1999-05-20"}}
    call["prefetch"]["conditions"]["entry"][0]["resource"]["onsetDateTime"] = "1998-01-01"
    cards = client.post(CALL, json=call, headers=headers).json()["cards"]
    assert any("Potassium 3.1" in card["summary"] for card in cards) is honoured


@pytest.mark.parametrize("given", ["soon", 20261120, {"on": "2026"}, "2026-13-01"])
def test_a_date_that_is_none_is_refused(client: TestClient, given: Any) -> None:
    issues = assert_outcome(client.post(CALL, json=body() | {"extension": {AS_OF: given}}), 400, "invalid-request")
    assert AS_OF in issues[0]["expression"][0]


def test_request_errors_keep_their_stable_code() -> None:
    error = RequestError(412, "missing-data", "required", [])
    assert (error.status, error.slug, error.code) == (412, "missing-data", "required")


def test_the_form_is_served_as_valid_fhir(client: TestClient, knowledge: Knowledge) -> None:
    answer = client.get("/Questionnaire/leg-cramp-history")
    assert answer.headers["content-type"] == "application/fhir+json"
    assert Questionnaire.model_validate(answer.json())
    assert answer.json() == knowledge.questionnaire
    # A server that it is created on anew may keep the id, by which responses that name a local address are known.
    assert answer.json()["id"] == "leg-cramp-history"
