"""What the description of the interface holds beside the path operations: messages, refusals, and who may call.

FastAPI describes the paths; what is taken and answered is described from the structs that are read and written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from cds_service.cdshooks.messages import CALLS, FeedbackCall
from cds_service.cdshooks.response import SUMMARY_LIMIT, Alive, CdsResponse, Discovery, Ready, Refusal
from cds_service.knowledge.knowledge import Knowledge

Json = dict[str, Any]

_JSON = "application/json"
_REFS = "#/components/schemas/{name}"
_WRITTEN = (CdsResponse, Discovery, Alive, Ready, Refusal)
_REFUSALS = {
    400: "The body is no well-formed JSON, or a member is missing or wrong; every problem is named",
    401: "The call is not signed by a client of this site",
    403: "Not for this address, or no client is configured and the call comes from elsewhere",
    404: "There is nothing of this name",
    405: "The path does not take this method",
    408: "The body did not come in time",
    412: "Mandatory data were not supplied",
    413: "The body is larger than the site allows",
    415: "The body is not JSON",
    429: "The client calls more often than this site lets it",
    500: "The service failed; its log says where",
    503: "Too many calls are under way, or the database is not to be had; send it again later",
}
POSTED = (400, 401, 403, 404, 405, 408, 413, 415, 500)
"""How any call with a body may be refused."""
_CLIENT: Json = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "As CDS Hooks describes it; asked for where the site has configured clients",
}


def answers(schema: str | Json, *refusals: int, kind: str = _JSON) -> dict[int | str, Json]:
    """What a path operation answers: with 200 what the schema says, and refusals in the one shape.

    No `default`, which would let any answer pass, and no 422: what is wrong with a call is told by 400.
    """
    told = {"$ref": _REFS.format(name=schema)} if isinstance(schema, str) else schema
    found: dict[int | str, Json] = {200: {"content": {kind: {"schema": told}}}}
    return found | {status: {"$ref": f"#/components/responses/{status}"} for status in sorted((*refusals, 405, 500))}


def takes(name: str) -> Json:
    """The body of a call, which the service reads itself, to tell every problem of it at once."""
    return {"requestBody": {"required": True, "content": {_JSON: {"schema": {"$ref": _REFS.format(name=name)}}}}}


def describe(app: FastAPI, router: APIRouter, knowledge: Knowledge) -> Json:
    """The OpenAPI 3.1 document of the path operations of a router of the application."""
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, license_info=app.license_info, routes=router.routes
    )
    for item in found["paths"].values():
        for operation in item.values():
            # FastAPI adds what it would answer to parameters that it checks: here all are texts, and it refuses none.
            operation["responses"].pop("422", None)
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "service_id":
                    parameter["schema"]["enum"] = list(knowledge.services)
    found["security"] = [{}, {"client": []}]
    hooks = dict.fromkeys(service.hook for service in knowledge.services.values())
    shape = {_JSON: {"schema": {"$ref": _REFS.format(name=Refusal.__name__)}}}
    found["components"] = {
        "schemas": _schemas(hooks),
        "responses": {str(status): {"description": text, "content": shape} for status, text in _REFUSALS.items()},
        "securitySchemes": {"client": _CLIENT},
    }
    return found


def _schemas(hooks: Iterable[str]) -> Json:
    calls = [CALLS[hook] for hook in hooks]
    choices, found = msgspec.json.schema_components((*calls, FeedbackCall, *_WRITTEN), ref_template=_REFS)
    written = msgspec.json.schema_components(_WRITTEN, ref_template=_REFS)[1]
    for name in written:
        _say_what_is_left_out(found[name])
    found["Card"]["properties"]["summary"]["maxLength"] = SUMMARY_LIMIT
    found["Card"]["properties"]["indicator"] = {"enum": ["info", "warning", "critical"]}
    found["Call"] = {"oneOf": list(choices[: len(calls)])}
    return found


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
