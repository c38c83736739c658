"""Calls whose prefetch is fetched from a FHIR server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cds_service.cdshooks.request import HookRequest
from cds_service.fetch.prefetch_queries import PrefetchFetcher
from cds_service.security.clients import Client
from cds_service.service import Decision, DecisionService
from tests.support.calls import request_of
from tests.support.fhir_servers import TOKEN
from tests.support.people import AS_OF, SERVICE, Json, body


def client_of(*bases: str, **members: Any) -> Client:
    return Client("https://ehr.example", fhir_bases=bases, **members)


def authorized(call: Json, base: str, **members: Any) -> Json:
    token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.rs", "subject": "cds"}
    return call | {"fhirServer": base, "fhirAuthorization": token | members}


async def complete(
    request: HookRequest, templates: Mapping[str, str], client: Client | None, deadline: float = 20.0, most_bytes: int = 2**24
) -> HookRequest:
    fetching = PrefetchFetcher(deadline, most_bytes, loopback=True)
    try:
        return await fetching.complete(request, templates, client)
    finally:
        await fetching.close()


async def fetched(decision_service: DecisionService, base: str, call: Json, deadline: float = 20.0, **members: Any) -> Decision:
    """The answer to a call by a client that may name this server."""
    request = request_of(authorized(call, base, **members))
    request = await complete(request, decision_service.templates(SERVICE), client_of(base), deadline)
    return decision_service.answer(SERVICE, request, AS_OF)


def nothing_sent(**context: Any) -> Json:
    return body(**context) | {"prefetch": {}}
