"""The HTTP door: CDS Hooks 2.0.1 discovery, call and feedback, and health. It parses, calls the conductor and prints."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from typing import Annotated, NamedTuple, get_args

from fastapi import Depends, FastAPI, Path, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cds_service.audit.queries import record_feedback
from cds_service.audit.recorder import Recorder
from cds_service.cards import leaflets, reasons_page
from cds_service.cards.printed import LANGUAGES, Page
from cds_service.cdshooks.feedback import read_feedback
from cds_service.cdshooks.request import AS_OF, HookRequest, read_request, with_prefetch_aliases
from cds_service.cdshooks.response import VERSION, Alive, CdsResponse, CdsService, Discovery, Ready, encode
from cds_service.errors import Problem, RequestError
from cds_service.fetch.prefetch_queries import PrefetchFetcher, fetched_bytes
from cds_service.fhir.zones import today
from cds_service.http.capacity import Capacity
from cds_service.http.middleware import JSON, operation_outcome
from cds_service.log import log
from cds_service.model import Outcome
from cds_service.security.access import access_of, address_of, is_forwarded, is_nearby, names_this_machine
from cds_service.security.call_rates import CallRates
from cds_service.security.clients import Client
from cds_service.service import Decision, DecisionService
from cds_service.settings import Jurisdiction, Settings
from cds_service.store.database import Store

FHIR_JSON = "application/fhir+json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Caller(NamedTuple):
    """Who was let in to a hook, and when the call began, by `time.perf_counter`. `client`: None where nobody signs."""

    service_id: str
    client: Client | None
    started: float


ServiceId = Annotated[str, Path(description="The id of a service, as discovery tells it")]
Name = Annotated[str, Path(description="The name of what is asked for")]
RuleNames = Annotated[str, Query(description="The ids of rules, with commas between them")]
Place = Annotated[str, Query(alias="for", description="The jurisdiction whose rules are told")]


async def _admitted(request: Request, service_id: ServiceId) -> Caller:
    """The one dependency of a hook: nothing of a body is read before its caller is let in."""
    endpoints: CdsHooksEndpoints = request.app.state.endpoints
    return await endpoints.admit(request, service_id)


Admitted = Annotated[Caller, Depends(_admitted)]


class CdsHooksEndpoints:
    """The handlers, with what they share."""

    def __init__(
        self, settings: Settings, decision_service: DecisionService, store: Store, clients: Sequence[Client] = ()
    ) -> None:
        self.settings, self.decision_service, self.store = settings, decision_service, store
        self.clients, self.trust = clients, access_of(settings, clients, store)
        wanted = {client.jurisdiction for client in clients}
        own = settings.jurisdiction
        self._of_place = {own: decision_service} | {
            key: decision_service.elsewhere(key) for key in get_args(Jurisdiction) if key in wanted and key != own
        }
        self._of_client = {client.iss: self._of_place[client.jurisdiction or own].for_client(client) for client in clients}
        self.fetching = PrefetchFetcher(settings.deadline, settings.body_limit, settings.environment == "development")
        self.capacity, self.rates = Capacity(settings.most_calls), CallRates(clients)
        self._asking = asyncio.Lock()
        self.recorder = Recorder(settings, decision_service, store)
        self._discovery = encode(Discovery(tuple(self._describe(key) for key in decision_service.knowledge.services)))

    def _describe(self, key: str) -> CdsService:
        service = self.decision_service.knowledge.services[key]
        return CdsService(
            hook=service.hook,
            id=key,
            title=service.title,
            description=service.description,
            version=VERSION,
            usage_requirements=service.usage_requirements,
            prefetch=self.decision_service.templates(key),
        )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Open the store while the first requests may already come, and keep the collector off what never dies."""
        opening = asyncio.create_task(self.store.open())
        opening.add_done_callback(_note_failure)
        await self.fetching.open(self.clients)
        self.recorder.start()
        gc.collect()
        gc.freeze()
        # Measured: with the default thresholds, full collections make the slowest requests of a busy worker.
        gc.set_threshold(50_000, 20, 50)
        yield
        # Cancelled half-way, the driver's thread would never be told to stop.
        await asyncio.gather(opening, return_exceptions=True)
        self.capacity.close()
        await self.fetching.close()
        await self.recorder.close()
        await self.trust.close()
        await self.store.close()

    async def discover(self, request: Request) -> Response:
        if self.settings.discovery == "signed" or not self.settings.clients:
            await self.trust.admit(request.scope, "")
        return Response(self._discovery, media_type=JSON)

    async def admit(self, request: Request, service_id: str) -> Caller:
        """Raises RequestError: 401, 403, 404 or 429."""
        started = time.perf_counter()
        client = await self.trust.admit(request.scope, f"/{service_id}")
        await self.rates.count(client)
        return Caller(self._known(service_id), client, started)

    async def call(self, request: Request, caller: Admitted) -> Response:
        service_id, client, started = caller
        body = await _json_body(request)
        until = asyncio.get_running_loop().time() + self.settings.deadline
        with self.capacity.call():
            served, run, size = self._conductor(client), self.capacity.run, len(body)
            parsed = await run(size, until, _parsed, body, served.knowledge.services[service_id].hook, client)
            parsed, as_of = self._dated(request, parsed, served.dialect.zone)
            name = client.iss if client else ""
            patient = self.recorder.patient(parsed, name)
            silenced = self.recorder.silenced(patient, served.dialect.zone)
            if await run(size, until, served.concerns, service_id, parsed, as_of):
                parsed = await self.fetching.complete(parsed, served.templates(service_id), client, started)
            size += fetched_bytes(parsed)
            decision = await run(size, until, partial(served.answer, in_brief=True), service_id, parsed, as_of, silenced)
        self.recorder.note(parsed, decision, started, name, patient)
        _log_answer(parsed.hook_instance, decision, started, client)
        return Response(encode(CdsResponse(decision.cards)), media_type=JSON)

    async def feedback(self, request: Request, service_id: ServiceId) -> Response:
        client = await self.trust.admit(request.scope, f"/{service_id}/feedback")
        service_id, body = self._known(service_id), await _json_body(request)
        until = asyncio.get_running_loop().time() + self.settings.deadline
        items = await self.capacity.run(len(body), until, read_feedback, body, self.settings.keep_comments)
        try:
            added = await record_feedback(self.store, service_id, items, datetime.now(UTC), client.iss if client else "")
        except Exception as error:
            log.error("feedback not stored", service=service_id, outcomes=len(items), error=type(error).__name__)
            problem = Problem("feedback", "cannot be written down at present", "send it again later")
            raise RequestError(503, "store-unavailable", "transient", [problem]) from error
        self.recorder.on_feedback(added)
        log.info("feedback", service=service_id, outcomes=len(items), new=len(added))
        return Response(b"{}", media_type=JSON)

    async def questionnaire(self, name: Name) -> Response:
        """Our FHIR R4 Questionnaire, for any renderer: the last part of its address is its name."""
        form = self.decision_service.knowledge.questionnaire
        ours = str(form["url"]).rpartition("/")[2]
        if name != ours:
            problem = Problem("questionnaire", f"{name[:60]!r} is unknown", f"use {ours}")
            raise RequestError(404, "unknown-questionnaire", "not-found", [problem])
        return Response(encode(form), media_type=FHIR_JSON)

    async def leaflet(self, request: Request, name: Name) -> Response:
        """The leaflet for patients: of the site's jurisdiction, or of one that is named."""
        ours = self.decision_service.knowledge.wording.leaflet_name
        known = {ours: self.settings.jurisdiction} | {f"{ours}-{key}": key for key in LANGUAGES}
        if name not in known:
            problem = Problem("leaflet", f"{name[:60]!r} is unknown", f"use one of {', '.join(known)}")
            raise RequestError(404, "unknown-leaflet", "not-found", [problem])
        return _printed(leaflets.render(self.decision_service.knowledge, known[name]), request)

    async def why_this_card(self, request: Request, rules: RuleNames = "", place: Place = "") -> Response:
        """What the rules of a card are and rest on, as its client's jurisdiction has them; nothing of a patient."""
        place = place or self.settings.jurisdiction
        served = self._of_place.get(place)
        if served is None:
            problem = Problem("for", f"{place[:60]!r} is served to nobody here", f"use one of {', '.join(self._of_place)}")
            raise RequestError(404, "unknown-jurisdiction", "not-found", [problem])
        chosen = reasons_page.chosen_rules(served.served, rules)
        return _printed(reasons_page.render(served.knowledge, chosen, place, served.approvals), request)

    async def alive(self) -> Response:
        return Response(encode(Alive("alive")), media_type=JSON)

    async def openapi(self, request: Request) -> Response:
        """What this service takes and answers, as OpenAPI 3.1."""
        return Response(request.app.state.description, media_type=JSON)

    async def metrics(self, request: Request) -> Response:
        """For a monitoring system at an address that the site has named."""
        if not self._may_read_metrics(request):
            problem = Problem("address", "may not read this", "ask from an address of CDS_METRICS_FROM, not through a proxy")
            raise RequestError(403, "forbidden", "forbidden", [problem])
        self.recorder.metrics.drain(self.recorder.journal, self.recorder.overrides)
        return Response(self.recorder.metrics.text(), media_type=METRICS)

    async def ready(self) -> Response:
        """Ready: knowledge is loaded, and the store takes what is written. It is asked once at a time."""
        try:
            async with self._asking:
                await self.store.ping()
        except Exception as error:
            log.error("store unavailable", error=type(error).__name__)
            problem = Problem("store", "cannot be reached", "see CDS_DATABASE_URL and the log")
            raise RequestError(503, "store-unavailable", "transient", [problem]) from error
        served, knowledge = self.decision_service, self.decision_service.knowledge
        shown = len(served.served.keys() - served.shadow)
        told = Ready("ready", knowledge.fingerprint, len(knowledge.rules), shown, len(served.lapsed))
        return Response(encode(told), media_type=JSON)

    def _conductor(self, client: Client | None) -> DecisionService:
        return self._of_client[client.iss] if client else self.decision_service

    def _known(self, service_id: str) -> str:
        if service_id not in self.decision_service.knowledge.services:
            problem = Problem("service", f"{service_id[:60]!r} is unknown", "see GET /cds-services")
            raise RequestError(404, "unknown-service", "not-found", [problem])
        return service_id

    def _dated(self, request: Request, parsed: HookRequest, zone: tzinfo | None) -> tuple[HookRequest, date]:
        """The day asked about: one that is named, as a whole, or else that of now, up to this moment."""
        given = parsed.extension.get(AS_OF)
        if given is None or not self._may_set_as_of(request):
            return replace(parsed, asked_at=datetime.now(UTC)), today(zone)
        try:
            return parsed, date.fromisoformat(given)
        except (TypeError, ValueError):
            problem = Problem(f"extension.{AS_OF}", "is no date", "send YYYY-MM-DD")
            raise RequestError(400, "invalid-request", "value", [problem]) from None

    def _may_set_as_of(self, request: Request) -> bool:
        """By setting; without one, only between two loopback addresses with no proxy in between."""
        if self.settings.allow_as_of is not None:
            return self.settings.allow_as_of
        return is_nearby(request.scope)

    def _may_read_metrics(self, request: Request) -> bool:
        """Whom the site has named, with no proxy in between, as behind one everybody has its address.

        From this machine also by its name: under another one a web page may have bent its own name to this address.
        """
        address = address_of(request.scope.get("client"))
        if address is None or is_forwarded(request.scope) or (address.is_loopback and not names_this_machine(request.scope)):
            return False
        return any(address in network for network in self.settings.metrics_from)


def _parsed(body: bytes, hook: str, client: Client | None) -> HookRequest:
    parsed = read_request(body, hook)
    return with_prefetch_aliases(parsed, client.prefetch_keys) if client else parsed


async def _json_body(request: Request) -> bytes:
    kind = request.headers.get("content-type", JSON).split(";")[0].strip().lower()
    if kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        problem = Problem("Content-Type", f"{kind[:60]!r} is not JSON", f"send {JSON}")
        raise RequestError(415, "unsupported-media-type", "not-supported", [problem])
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        problem = Problem("Content-Encoding", f"{encoding[:60]!r} is not read", "send the body as it is, not compressed")
        raise RequestError(415, "unsupported-media-type", "not-supported", [problem])
    return await request.body()


async def http_error(request: Request, error: Exception) -> Response:
    """What the router refuses, in the one shape: an unknown path, a method that a path does not have."""
    assert isinstance(error, HTTPException)
    slug, code = {404: ("unknown-path", "not-found"), 405: ("method-not-allowed", "not-supported")}.get(
        error.status_code, ("http-error", "processing")
    )
    remedy = "see GET /cds-services" if error.status_code == 404 else f"use {(error.headers or {}).get('Allow', '')}"
    problem = Problem("request", str(error.detail), remedy)
    return operation_outcome(RequestError(error.status_code, slug, code, [problem]), error.headers)


def _note_failure(opening: asyncio.Task[object]) -> None:
    """The service answers hooks without its store; `/readyz` and feedback try again."""
    if not opening.cancelled() and opening.exception():
        log.error("store unavailable", error=type(opening.exception()).__name__)


def _log_answer(hook_instance: str, decision: Decision, started: float, client: Client | None) -> None:
    """Ids, counts and times; of the patient nothing."""
    log.info(
        "answered",
        service=decision.service_id,
        client=client.iss if client else None,
        hook_instance=hook_instance[:80],
        knowledge=decision.knowledge.fingerprint,
        fired=[item.rule_id for item in decision.findings if item.outcome is Outcome.FIRES],
        cards=len(decision.cards),
        silent_because=decision.silent_because,
        foreign_resources=decision.chart.other_patients.total(),
        silenced=len(decision.suppressed),
        not_understood=dict(decision.not_understood),
        milliseconds=round((time.perf_counter() - started) * 1000, 1),
    )


def _printed(page: Page, request: Request) -> Response:
    headers = {
        "Content-Security-Policy": page.policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "max-age=3600",
        "ETag": page.tag,
    }
    if request.headers.get("if-none-match") == page.tag:
        return Response(status_code=304, headers=headers)
    return Response(page.content, headers=headers, media_type="text/html")
