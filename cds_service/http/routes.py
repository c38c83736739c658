"""The path operations of the HTTP door: where each endpoint is found, what it answers, and how it may refuse."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response

from cds_service.cards.footer import WHY
from cds_service.cdshooks.messages import FeedbackCall
from cds_service.cdshooks.response import Alive, CdsResponse, Discovery, Ready, encode
from cds_service.http.endpoints import FHIR_JSON, CdsHooksEndpoints
from cds_service.http.openapi import POSTED, answers, describe, takes

_HTML = "text/html"
_TEXT = {"type": "string"}
_NOTHING = {"type": "object", "maxProperties": 0}
_FORM = {
    "type": "object",
    "required": ["resourceType"],
    "properties": {"resourceType": {"const": "Questionnaire"}},
}
_NOT_CHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed since"}}


def cds_hooks_router(endpoints: CdsHooksEndpoints) -> APIRouter:
    """Each endpoint writes its answer itself: no model of FastAPI stands between a card and the wire."""
    router = APIRouter(default_response_class=Response, generate_unique_id_function=lambda route: route.name)
    get, post = router.get, router.post
    get("/cds-services", summary="The services", responses=answers(Discovery.__name__, 401, 403, 503))(endpoints.discover)
    post(
        "/cds-services/{service_id}",
        summary="Cards for one patient",
        responses=answers(CdsResponse.__name__, *POSTED, 412, 429, 503),
        openapi_extra=takes("Call"),
    )(endpoints.call)
    post(
        "/cds-services/{service_id}/feedback",
        summary="What became of cards",
        responses=answers(_NOTHING, *POSTED, 503),
        openapi_extra=takes(FeedbackCall.__name__),
    )(endpoints.feedback)
    get("/Questionnaire/{name}", summary="The form to ask a patient", responses=answers(_FORM, 404, kind=FHIR_JSON))(
        endpoints.questionnaire
    )
    get(
        "/leaflets/{name}",
        summary="The leaflet for patients",
        responses=answers(_TEXT, 404, kind=_HTML) | _NOT_CHANGED,
    )(endpoints.leaflet)
    get(WHY, summary="What the rules of a card rest on", responses=answers(_TEXT, 404, kind=_HTML) | _NOT_CHANGED)(
        endpoints.why_this_card
    )
    get("/healthz", summary="Whether the process lives", responses=answers(Alive.__name__))(endpoints.alive)
    get("/readyz", summary="Whether knowledge is loaded and the database answers", responses=answers(Ready.__name__, 503))(
        endpoints.ready
    )
    get("/metrics", summary="Numbers for Prometheus", responses=answers(_TEXT, 403, kind="text/plain"))(endpoints.metrics)
    get("/openapi.json", summary="This document", responses=answers({"type": "object"}))(endpoints.openapi)
    return router


def serve(app: FastAPI, endpoints: CdsHooksEndpoints) -> None:
    """Add the path operations with their description. HEAD is answered where GET is, as HTTP asks, and not described."""
    app.state.endpoints = endpoints
    router = cds_hooks_router(endpoints)
    app.state.description = encode(describe(app, router, endpoints.decision_service.knowledge))
    for route in router.routes:
        if isinstance(route, APIRoute) and route.methods == {"GET"}:
            route.methods = {"GET", "HEAD"}
    app.include_router(router)
