"""What the service takes and answers, as an OpenAPI 3.1 document. Answers are described from the structs that write them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from cds_service import __version__
from cds_service.cards.footer import WHY
from cds_service.cdshooks.request import ON_ORDERS
from cds_service.cdshooks.response import SUMMARY_LIMIT, CdsResponse, Discovery, encode
from cds_service.knowledge.knowledge import Knowledge

Json = dict[str, Any]

_JSON, _FHIR = "application/json", "application/fhir+json"
_REFS = "#/components/schemas/{name}"
_TEXT: Json = {"type": "string", "minLength": 1}
_COUNT: Json = {"type": "integer", "minimum": 0}
_NULLABLE_TEXT: Json = {"type": ["string", "null"]}

_REFUSALS = {
    400: "The body is no well-formed JSON, or a member is missing or wrong; every problem is named",
    401: "The call is not signed by a client of this site",
    403: "Not for this address, or no client is configured and the call comes from elsewhere",
    404: "There is nothing of this name",
    405: "The path does not take this method",
    429: "The client calls more often than this site lets it",
    408: "The body did not come in time",
    412: "Mandatory data were not supplied",
    413: "The body is larger than the site allows",
    415: "The body is not JSON",
    500: "The service failed; its log says where",
    503: "Too many calls are under way, or the database is not to be had; send it again later",
}
_POSTED = (400, 401, 403, 404, 405, 408, 413, 415, 500)


def document(knowledge: Knowledge) -> bytes:
    """The document for these services, as JSON."""
    form = str(knowledge.questionnaire["url"]).rpartition("/")[2]
    return _document(
        tuple(knowledge.services), tuple(dict.fromkeys(service.hook for service in knowledge.services.values())), form
    )


@lru_cache(maxsize=4)
def _document(services: tuple[str, ...], hooks: tuple[str, ...], form: str) -> bytes:
    return encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Recurrent leg cramps: CDS Hooks service",
                "version": __version__,
                "summary": "CDS Hooks 2.0.1",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [{}, {"client": []}],
            "paths": _paths(services, form),
            "components": {"schemas": _schemas(hooks), "responses": _responses(), "securitySchemes": {"client": _CLIENT}},
        }
    )


_CLIENT: Json = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "As CDS Hooks describes it; asked for where the site has configured clients",
}


def _paths(services: tuple[str, ...], form: str) -> Json:
    named = {"name": "service_id", "in": "path", "required": True, "schema": {"type": "string", "enum": list(services)}}
    leaflet = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
    return {
        "/cds-services": {"get": _get("discover", "The services", _ref("Discovery"), 401, 403, 503)},
        "/cds-services/{service_id}": {
            "parameters": [named],
            "post": _post("call", "Cards for one patient", "Call", _ref("CdsResponse"), 412, 429, 503),
        },
        "/cds-services/{service_id}/feedback": {
            "parameters": [named],
            "post": _post("feedback", "What became of cards", "Feedback", {"type": "object", "maxProperties": 0}, 503),
        },
        f"/Questionnaire/{form}": {
            "get": _get("questionnaire", "The form to ask a patient", _ref("Questionnaire"), kind=_FHIR)
        },
        "/leaflets/{name}": {
            "parameters": [leaflet],
            "get": _get("leaflet", "The leaflet for patients", {"type": "string"}, 404, kind="text/html"),
        },
        WHY: {
            "parameters": [
                {"name": "rules", "in": "query", "required": True, "schema": _TEXT},
                {"name": "for", "in": "query", "required": False, "schema": _TEXT},
            ],
            "get": _get("why_this_card", "What the rules of a card rest on", {"type": "string"}, 404, kind="text/html"),
        },
        "/healthz": {"get": _get("alive", "Whether the process lives", _object({"status": {"const": "alive"}}))},
        "/readyz": {"get": _get("ready", "Whether knowledge is loaded and the database answers", _ref("Ready"), 503)},
        "/metrics": {"get": _get("metrics", "Numbers for Prometheus", {"type": "string"}, 403, kind="text/plain")},
        "/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
    }


def _get(name: str, summary: str, schema: Json, *refusals: int, kind: str = _JSON) -> Json:
    answers: Json = {"200": {"description": summary, "content": {kind: {"schema": schema}}}}
    if name in ("leaflet", "why_this_card"):
        answers["304"] = {"description": "Not changed since"}
    return {"operationId": name, "summary": summary, "responses": answers | _refusals(*refusals, 405, 500)}


def _post(name: str, summary: str, taken: str, schema: Json, *refusals: int) -> Json:
    content = {_JSON: {"schema": _ref(taken)}}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": summary, "content": {_JSON: {"schema": schema}}}} | _refusals(*_POSTED, *refusals),
    }


def _refusals(*statuses: int) -> Json:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _responses() -> Json:
    shape = {_JSON: {"schema": _ref("OperationOutcome")}}
    return {str(status): {"description": text, "content": shape} for status, text in _REFUSALS.items()}


def _ref(name: str) -> Json:
    return {"$ref": _REFS.format(name=name)}


def _object(members: Json, optional: Json | None = None) -> Json:
    """An object with these members, and nothing else."""
    return {
        "type": "object",
        "properties": members | (optional or {}),
        "required": list(members),
        "additionalProperties": False,
    }


def _taken(members: Json, optional: Json) -> Json:
    """An object that we read: other members are let pass."""
    return {"type": "object", "properties": members | optional, "required": list(members)}


def _schemas(hooks: tuple[str, ...]) -> Json:
    _, decision = msgspec.json.schema_components((CdsResponse, Discovery), ref_template=_REFS)
    for schema in decision.values():
        _say_what_is_left_out(schema)
    decision["Card"]["properties"]["summary"]["maxLength"] = SUMMARY_LIMIT
    decision["Card"]["properties"]["indicator"] = {"enum": ["info", "warning", "critical"]}
    resource = {"type": "object", "required": ["resourceType"]}
    return decision | {
        "Call": _call(hooks),
        "Feedback": _taken({"feedback": {"type": "array", "items": _FEEDBACK_ITEM}}, {}),
        "Questionnaire": resource | {"properties": {"resourceType": {"const": "Questionnaire"}}},
        "Ready": _object(
            {"status": {"const": "ready"}, "knowledge": _TEXT, "rules": _COUNT, "served": _COUNT, "lapsed": _COUNT}
        ),
        "OperationOutcome": _OUTCOME,
    }


def _say_what_is_left_out(schema: Json) -> None:
    """A member without a value is left out, never null or empty, though its default says so."""
    schema["additionalProperties"] = False
    for member in schema["properties"].values():
        if "default" in member and member.get("type") == "array":
            member["minItems"] = 1
        member.pop("default", None)
        if "anyOf" in member:
            (own,) = [choice for choice in member.pop("anyOf") if choice.get("type") != "null"]
            member.update(own)


def _call(hooks: tuple[str, ...]) -> Json:
    """A call by its hook: those on ordering bring the orders that are being written."""
    return {"oneOf": [_call_of(hook) for hook in hooks]}


def _call_of(hook: str) -> Json:
    members = {"userId": _TEXT, "patientId": _TEXT}
    if hook in ON_ORDERS:
        members["draftOrders"] = _taken({}, {"entry": {"type": ["array", "null"]}, "resourceType": {"const": "Bundle"}})
    if hook == ON_ORDERS[0]:
        members["selections"] = {"type": "array", "items": _TEXT}
    context = _taken(members, {"encounterId": _NULLABLE_TEXT})
    anything = {"type": ["object", "null"]}
    optional = {
        "prefetch": anything,
        "fhirServer": _NULLABLE_TEXT,
        "fhirAuthorization": anything,
        "extension": {"type": "object"},
    }
    return _taken({"hook": {"const": hook}, "hookInstance": _TEXT, "context": context}, optional)


_REASON = _taken({}, {"reason": _taken({}, {"code": {"type": "string"}, "system": {"type": "string"}})})
_FEEDBACK_ITEM = _taken(
    {
        "card": _TEXT | {"maxLength": 200},
        "outcome": {"enum": ["accepted", "overridden"]},
        "outcomeTimestamp": {"type": "string", "format": "date-time"},
    },
    {
        "acceptedSuggestions": {"type": "array", "items": _taken({"id": _TEXT}, {})},
        "overrideReason": _REASON | {"properties": _REASON["properties"] | {"userComment": {"type": "string"}}},
    },
)
_CODING = _object({"system": _TEXT, "code": _TEXT})
_ISSUE = _object(
    {
        "severity": {"const": "error"},
        "code": _TEXT,
        "details": _object({"coding": {"type": "array", "items": _CODING}, "text": _TEXT}),
        "diagnostics": _TEXT,
        "expression": {"type": "array", "items": _TEXT, "minItems": 1},
    }
)
_OUTCOME = _object({"resourceType": {"const": "OperationOutcome"}, "issue": {"type": "array", "items": _ISSUE, "minItems": 1}})
