"""The composition root: settings, knowledge, endpoints and pages become one ASGI application."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from cds_service import __version__
from cds_service.cards.approvals import read_approvals
from cds_service.errors import Mendable, Problem, SettingsError
from cds_service.fhir.zones import today, zone_named
from cds_service.http.endpoints import CdsHooksEndpoints, http_error
from cds_service.http.middleware import ErrorsAndLimits
from cds_service.http.routes import serve
from cds_service.lint.run import client_schema, load_checked
from cds_service.log import LogThread, configure, log
from cds_service.security.access import pages_shown
from cds_service.security.clients import Client, read_clients
from cds_service.service import DecisionService
from cds_service.settings import Settings, read_settings
from cds_service.store.database import Store


def create_app() -> FastAPI:
    """The ASGI factory, configured by the environment. Ends the process with a plain report if it cannot be."""
    try:
        settings = read_settings()
        app = build_app(settings, prepare(settings))
    except Mendable as error:
        sys.stderr.write(f"The service cannot start:\n{error}\n")
        raise SystemExit(1) from None
    configure(settings.log_level, LogThread(sys.stderr))
    return app


def prepare(settings: Settings) -> DecisionService:
    """Knowledge and approvals read and checked. Raises KnowledgeError or SettingsError."""
    knowledge = load_checked(settings.knowledge)
    zone = zone_named(settings.time_zone) if settings.time_zone else None
    approvals = read_approvals(settings.approvals, knowledge, today(zone))
    if settings.serve == "approved" and not (approvals.signed or settings.shadow):
        message = "nothing would be served: no approval counts" + ("; all have lapsed" if approvals.lapsed else "")
        raise SettingsError([Problem("CDS_APPROVALS", message, "sign rules with cds-service approve, or set CDS_SERVE=drafts")])
    return DecisionService(knowledge, settings, approvals)


def build_app(settings: Settings, decision_service: DecisionService) -> FastAPI:
    """Raises SettingsError if the clients cannot be read, or if nobody guards an address that others can reach."""
    configure(settings.log_level)
    for rule, changed in decision_service.lapsed.items():
        log.warning("approval lapsed", rule=rule, changed=list(changed))
    clients = _clients(settings, decision_service)
    endpoints = CdsHooksEndpoints(settings, decision_service, Store(settings.database_url), clients)
    app = FastAPI(
        title="Recurrent leg cramps: CDS Hooks service",
        summary="CDS Hooks 2.0.1",
        version=__version__,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=endpoints.lifespan,
        exception_handlers={HTTPException: http_error},
    )
    serve(app, endpoints)
    if pages_shown(settings) != "off":
        from cds_service.pages.routes import page_routes
        from cds_service.pages.templating import pages_for_browsers

        app.add_exception_handler(HTTPException, pages_for_browsers(http_error))
        app.router.routes += page_routes(
            settings, decision_service, pages_shown(settings), endpoints.store, endpoints.recorder.note
        )
    limits = (settings.body_limit, settings.receive_timeout)
    app.add_middleware(ErrorsAndLimits, *limits, served=endpoints.recorder.metrics.served)
    _let_in_browsers(app, {*settings.cors_origins, *(origin for client in clients for origin in client.cors_origins)})
    return app


def _let_in_browsers(app: FastAPI, origins: set[str]) -> None:
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(origins),
            allow_methods=["GET", "POST", "OPTIONS"],
            allow_headers=["authorization", "content-type"],
        )


def _clients(settings: Settings, decision_service: DecisionService) -> tuple[Client, ...]:
    known = client_schema(decision_service.knowledge, settings.environment == "development")
    return read_clients(settings.clients, replace(known, doubts=partial(_doubts, settings.public_url)))


def _doubts(public_url: str | None, clients: Iterable[Client]) -> Iterable[Problem]:
    from cds_service.security.client_tokens import doubts

    return doubts(public_url, clients)
