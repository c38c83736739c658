"""Every kind of malformed call gets the right status and names the place, and the service goes on."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from cds_service.service import DecisionService
from tests.support.calls import CALL, assert_outcome, make
from tests.support.cast import without_uuids
from tests.support.people import body, bundle, observation, patient

GOOD = body({"electrolytes": bundle(observation(3.1, when=None, issued="2026-11-12"))})
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(decision_service: DecisionService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with make(decision_service, tmp_path_factory.mktemp("db")) as opened:
        yield opened


def text(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


def without(*names: str) -> str:
    return json.dumps({key: value for key, value in GOOD.items() if key not in names})


def context(**changes: Any) -> str:
    return text(context={key: value for key, value in (GOOD["context"] | changes).items() if value is not ...})


DEEP = "[" * 100_000

MALFORMED: dict[str, tuple[bytes | str, str, list[str]]] = {
    "nothing": ("", "malformed-json", ["body"]),
    "no JSON": ("hello", "malformed-json", ["body"]),
    "cut short": (text()[:-2], "malformed-json", ["body"]),
    "two values": (text() + "{}", "malformed-json", ["body"]),
    "a list": ("[]", "malformed-json", ["body"]),
    "null": ("null", "malformed-json", ["body"]),
    "a trailing comma": ('{"hook":"patient-view",}', "malformed-json", ["body"]),
    "a comment": ("/* hi */ {}", "malformed-json", ["body"]),
    "NaN": ('{"hook": NaN}', "malformed-json", ["body"]),
    "Infinity in the prefetch": (text(prefetch={"x": 1}).replace(": 1}", ": Infinity}"), "malformed-json", ["body"]),
    "no UTF-8": (text().encode().replace(b"Leg cramps", b"Leg \xff\xfe"), "malformed-json", ["body"]),
    "UTF-16": (text().encode("utf-16"), "malformed-json", ["body"]),
    "endless nesting": (DEEP, "malformed-json", ["body"]),
    "endless nesting inside": ('{"prefetch":' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}", "malformed-json", ["body"]),
    "a key twice": (text()[:-1] + ',"hook":"patient-view"}', "duplicate-key", ["hook"]),
    "a key twice with another value": ('{"hook":"order-sign",' + text()[1:], "duplicate-key", ["hook"]),
    "a context key twice": (
        text().replace('"patientId"', '"patientId": "p2", "patientId"'),
        "duplicate-key",
        ["context.patientId"],
    ),
    "a prefetch key twice": (text().replace('"orders"', '"patient": null, "orders"'), "duplicate-key", ["prefetch.patient"]),
    "no members": ("{}", "invalid-request", ["context", "hook", "hookInstance"]),
    "no hook": (without("hook"), "invalid-request", ["hook"]),
    "no hookInstance": (without("hookInstance"), "invalid-request", ["hookInstance"]),
    "no context": (without("context"), "invalid-request", ["context"]),
    "three wrong at once": (
        json.dumps({"hook": 1, "hookInstance": [], "context": "x"}),
        "invalid-request",
        ["context", "hook", "hookInstance"],
    ),
    "another hook": (text(hook="order-sign"), "invalid-request", ["hook"]),
    "an empty hookInstance": (text(hookInstance=" "), "invalid-request", ["hookInstance"]),
    "a numeric hookInstance": (text(hookInstance=7), "invalid-request", ["hookInstance"]),
    "a list as context": (text(context=[]), "invalid-request", ["context"]),
    "null as context": (text(context=None), "invalid-request", ["context"]),
    "no patientId": (context(patientId=...), "invalid-request", ["context.patientId"]),
    "a numeric patientId": (context(patientId=7), "invalid-request", ["context.patientId"]),
    "no userId": (context(userId=...), "invalid-request", ["context.userId"]),
    "a list as encounterId": (context(encounterId=["e"]), "invalid-request", ["context.encounterId"]),
    "a list as prefetch": (text(prefetch=[]), "invalid-request", ["prefetch"]),
    "a string as prefetch": (text(prefetch="{}"), "invalid-request", ["prefetch"]),
    "an object as fhirServer": (text(fhirServer={}), "invalid-request", ["fhirServer"]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_call_names_its_place_and_the_service_goes_on(client: TestClient, name: str) -> None:
    content, slug, places = MALFORMED[name]
    before = client.post(CALL, json=GOOD)
    issues = assert_outcome(client.post(CALL, content=content, headers=JSON), 400, slug)
    assert sorted(issue["expression"][0] for issue in issues) == places
    after = client.post(CALL, json=GOOD)
    assert before.status_code == after.status_code == 200
    assert without_uuids(before.json()) == without_uuids(after.json())


ODD_PREFETCH: dict[str, Any] = {
    "a list": [],
    "a number": 7,
    "a string": "Bundle",
    "no type": {},
    "an unknown type": {"resourceType": "Unheard"},
    "a Bundle in a Bundle": bundle(bundle()),
    "an entry that is a list": {"resourceType": "Bundle", "entry": [[]]},
    "an entry list that is an object": {"resourceType": "Bundle", "entry": {}},
    "a code that is a number": bundle(observation(4) | {"code": 7}),
    "a value that is a string": bundle(observation(4) | {"valueQuantity": {"value": "four", "unit": "mmol/L"}}),
    "a value that is not finite": bundle(observation(4) | {"valueQuantity": {"value": "NaN", "unit": "mmol/L"}}),
    "deep nesting": bundle(observation(4) | {"code": json.loads("[" * 400 + "]" * 400)}),
    "an OperationOutcome": {"resourceType": "OperationOutcome", "issue": [{"severity": "fatal", "code": "exception"}]},
    "an OperationOutcome of nothing": {"resourceType": "OperationOutcome"},
    "another patient's": bundle(observation(2) | {"subject": {"reference": "Patient/other"}}),
}


@pytest.mark.parametrize("key", ["electrolytes", "medicationRequests", "orders", "otherResults", "procedures"])
@pytest.mark.parametrize("name", ODD_PREFETCH)
def test_odd_data_under_a_key_cost_no_answer_and_never_read_as_normal(client: TestClient, key: str, name: str) -> None:
    answer = client.post(CALL, json=body({key: ODD_PREFETCH[name]}))
    assert answer.status_code == 200
    results = [card for card in answer.json()["cards"] if card["source"]["topic"]["code"] == "LegCrampsResults"]
    assert results == []


@pytest.mark.parametrize(
    "name", ["a list", "a number", "no type", "a Bundle in a Bundle", "an OperationOutcome", "an unknown type"]
)
def test_mandatory_data_that_cannot_be_read_are_refused_or_leave_silence(client: TestClient, name: str) -> None:
    answer = client.post(CALL, json=body({"conditions": ODD_PREFETCH[name]}))
    assert answer.status_code in (200, 412)
    if answer.status_code == 200:
        assert answer.json() == {"cards": []}


def test_another_patients_record_is_not_used(client: TestClient) -> None:
    assert_outcome(client.post(CALL, json=body({"patient": patient(id="p2-secret")})), 412, "missing-data")


@pytest.mark.parametrize(
    ("prefetch", "says"),
    [
        ({"patient": patient(id="p2-secret")}, "what came is of another id than context.patientId"),
        ({"patient": None}, "was not supplied"),
        ({"conditions": [{"resourceType": "Condition", "id": "p2-secret"}]}, "what came is neither a resource nor a Bundle"),
        ({"conditions": ODD_PREFETCH["an OperationOutcome"]}, "what came holds an OperationOutcome in place of an answer"),
    ],
    ids=["another id", "null", "a list", "an outcome"],
)
def test_what_came_and_cannot_be_used_is_not_called_missing(client: TestClient, prefetch: dict[str, Any], says: str) -> None:
    answer = client.post(CALL, json=body(prefetch))
    (issue,) = assert_outcome(answer, 412, "missing-data")
    assert issue["details"]["text"].endswith(f" is needed and {says}")
    assert "p2-secret" not in answer.text


def mutated(rng: random.Random, node: Any) -> Any:
    """The same JSON with one place changed into something else."""
    strange = [None, [], {}, "", "x", 0, -1, 10**400, 1e308, True, [None], {"a": None}, "\u0000", "2026-99-99"]
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = rng.choice(list(node))
        if rng.random() < 0.15:
            return {name: value for name, value in node.items() if name != key}
        return node | {key: mutated(rng, node[key])}
    if isinstance(node, list) and node and rng.random() < 0.9:
        at = rng.randrange(len(node))
        return [*node[:at], mutated(rng, node[at]), *node[at + 1 :]]
    return rng.choice(strange)


def test_no_change_of_a_call_makes_the_service_fail(client: TestClient) -> None:
    rng = random.Random(4711)
    rich = copy.deepcopy(GOOD)
    statuses = set()
    for _ in range(1500):
        changed = mutated(rng, rich)
        for _ in range(rng.randint(0, 2)):
            changed = mutated(rng, changed)
        answer = client.post(CALL, content=json.dumps(changed), headers=JSON)
        statuses.add(answer.status_code)
        assert answer.status_code in (200, 400, 412), changed
    assert statuses == {200, 400, 412}
