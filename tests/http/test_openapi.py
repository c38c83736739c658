"""The document of the service is complete and true: every route is in it, and what comes back is what it says."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import schemathesis
from fastapi.routing import iter_route_contexts
from hypothesis import HealthCheck, settings
from jsonschema_rs import validator_for
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from cds_service.app import build_app
from cds_service.knowledge.load import load_knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT
from tests.support.people import SERVICE, body, bundle, observation

FOLDER = tempfile.TemporaryDirectory(prefix="cds-openapi-")
APP = build_app(
    Settings(
        database_url=f"sqlite+aiosqlite:///{FOLDER.name}/cds.sqlite",
        cors_origins=(),
        log_level="error",
        guarded=True,
    ),
    DecisionService(load_knowledge(ROOT), Settings()),
)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)
DOCUMENT: dict[str, Any] = SCHEMA.raw_schema
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_route_and_method_stands_in_the_document_and_nothing_else() -> None:
    served = {(route.path, method.lower()) for route in iter_route_contexts(APP.routes) for method in route.methods or ()}
    told = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method in ("get", "post")}
    assert {pair for pair in served if pair[1] != "head"} == told


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for item in value.values() for found in references(item)]
        return [found for item in value for found in references(item)] if isinstance(value, list) else []

    for reference in references(DOCUMENT):
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found
    SCHEMA.validate()


@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_document_tells(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(checks=CHECKS)


def test_a_whole_call_with_cards_is_answered_as_the_document_says() -> None:
    prefetch = {"electrolytes": bundle(observation(2.2), observation(128, code="2951-2", id="o2"))}
    for call in (body(), body(prefetch), body({"conditions": bundle()})):
        case = SCHEMA["/cds-services/{service_id}"]["POST"].Case(
            path_parameters={"service_id": SERVICE}, body=call, media_type="application/json"
        )
        answer = case.call()
        assert answer.status_code == 200
        case.validate_response(answer, checks=[*CHECKS, positive_data_acceptance])


@pytest.mark.parametrize(
    ("card", "allowed"),
    [
        ({}, True),
        ({"summary": "x" * 140}, False),
        ({"indicator": "success"}, False),
        ({"links": []}, False),
        ({"odd": 1}, False),
    ],
)
def test_the_document_refuses_cards_that_break_the_specification(card: dict[str, Any], allowed: bool) -> None:
    sent = {"uuid": "u", "summary": "s", "indicator": "info", "detail": "d", "source": {"label": "l"}} | card
    schema = {"$ref": "#/components/schemas/CdsResponse", "components": DOCUMENT["components"]}
    assert validator_for(schema).is_valid({"cards": [sent]}) is allowed
