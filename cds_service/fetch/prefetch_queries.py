"""Before the first stage: what the EHR did not send is read from its FHIR server, all queries at once, within one deadline.

What comes is put under the keys of the prefetch, as if it had been sent. What does not come, or not whole, is marked
there as failed or incomplete, so that nobody takes it for an absence.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol
from urllib.parse import quote

from msgspec import Raw

from cds_service.cdshooks.request import HookRequest, sent_bytes
from cds_service.fetch.client import FetchBudget, FetchFailed, FhirClient
from cds_service.fetch.search_pages import FAILED, NOT_OFFERED, SearchResult, has_failed, is_resource, medications_wanted
from cds_service.fhir.bundles import read_section
from cds_service.fhir.resources import local_reference
from cds_service.log import log
from cds_service.net.addresses import Address, allowed_base, linked
from cds_service.security.clients import Client

_MOST_PAGES = 10
_MOST_MEDICATIONS = 50
_LONGEST_GET = 1800
# What reading and answering the largest charts takes, so that the answer leaves within the deadline.
_RESERVE = 0.1
# Refusals of one form of a search after which the other is tried.
_TRY_POST = ("http-405", "http-414", "http-431")
_TRY_GET = ("http-404", "http-405", "http-415", "http-501")
# How a server says that it does not have a type of resource at all.
_NOT_OFFERED = ("http-404", "http-501")
_TOKEN = re.compile(r"\{\{([^{}]*)\}\}")
_LITERAL = "=&,:/?@!$'()*+;%-._~"
# In a search these would make one id into several, or into something else.
_NOT_IN_ID = re.compile(r"[,|$\\]")
_LONGEST_ID = 256
_MEDICATION = "Medication"


class FhirReader(Protocol):
    async def open(self) -> None: ...

    async def ask(self, visit: FetchBudget, address: Address, form: str | None = None) -> bytes: ...

    async def close(self) -> None: ...


class PrefetchFetcher:
    """`deadline` in seconds is for the whole hook; `most_bytes` is for all that one hook reads."""

    def __init__(self, deadline: float, most_bytes: int, loopback: bool, asker: FhirReader | None = None) -> None:
        self._deadline, self._most_bytes, self._loopback = deadline, most_bytes, loopback
        self._asker = asker or FhirClient(loopback)

    async def complete(
        self, request: HookRequest, templates: Mapping[str, str], client: Client | None, started: float | None = None
    ) -> HookRequest:
        """The request with what its client's FHIR server holds. Without a client, or its token, nobody is asked.

        `started`, by `time.perf_counter`, is when the deadline began to run. Raises nothing for what a server does.
        """
        base = self._base(request, client)
        if base is None:
            return request
        began = time.perf_counter()
        until = (began if started is None else started) + self._deadline - _RESERVE
        visit = FetchBudget(base, until, self._most_bytes, request.authorization.token if request.authorization else None)
        asked = _asked(request, templates)
        if not asked:
            return request
        with suppress(TimeoutError):
            async with asyncio.timeout(visit.seconds_left), asyncio.TaskGroup() as group:
                for key, pages in asked.items():
                    group.create_task(self._fill(pages, filled(templates[key], request), visit))
        _tell(request, asked, began)
        found = {
            key: pages.data() or Raw(NOT_OFFERED if pages.problem in _NOT_OFFERED else FAILED) for key, pages in asked.items()
        }
        return replace(request, prefetch={**request.prefetch, **found}, authorization=None)

    async def open(self, clients: Iterable[Client]) -> None:
        """At start, where any client has a server to ask."""
        if any(client.fhir_bases for client in clients):
            await self._asker.open()

    async def close(self) -> None:
        await self._asker.close()

    def _base(self, request: HookRequest, client: Client | None) -> Address | None:
        given = request.authorization
        if client is None or not request.fhir_server or (given is None and not client.open_server):
            return None
        if given and given.patient not in (None, request.patient_id):
            log.warning("not fetched", hook_instance=request.hook_instance[:80], reason="token of another patient")
            return None
        base = allowed_base(request.fhir_server, client.fhir_bases, self._loopback)
        if base is None:
            log.warning("not fetched", hook_instance=request.hook_instance[:80], reason="no FHIR server of this client")
        return base

    async def _fill(self, pages: SearchResult, question: str | None, visit: FetchBudget) -> None:
        """Ask one query to its end. How far it came is in `pages`, also where the deadline cuts it off."""
        try:
            await self._read(pages, question, visit)
            await self._read_medications(pages, visit)
            pages.problem = ""
        except FetchFailed as failure:
            pages.problem = failure.reason

    async def _read(self, pages: SearchResult, question: str | None, visit: FetchBudget) -> None:
        path, _, query = (question or "").partition("?")
        address = Address(visit.base.origin, f"{visit.base.path}/{path}", query)
        if not pages.begun:
            if not query:
                data = await self._asker.ask(visit, address)
                if not is_resource(data, path.partition("/")[0]):
                    raise FetchFailed("unreadable")
                pages.resource = data
                return
            _add(pages, await self._search(visit, address))
        await self._turn(pages, address, visit)

    async def _search(self, visit: FetchBudget, address: Address) -> bytes:
        """GET, or POST where the address is too long for some server; the other where the server wants that."""
        get = (address, None)
        post = (Address(address.origin, f"{address.path}/_search"), address.query)
        long = len(str(address)) > _LONGEST_GET
        first, second, refusals = (post, get, _TRY_GET) if long else (get, post, _TRY_POST)
        try:
            return await self._asker.ask(visit, *first)
        except FetchFailed as failure:
            if failure.reason not in refusals:
                raise
        return await self._asker.ask(visit, *second)

    async def _turn(self, pages: SearchResult, address: Address, visit: FetchBudget) -> None:
        """Follow `next` as long as it stays at this server. Raises FetchFailed where anything is left."""
        for _ in range(_MOST_PAGES - 1):
            if pages.next_url is None:
                break
            following = linked(pages.next_url, address, self._loopback)
            if following is None or not following.is_within(visit.base):
                raise FetchFailed("next-elsewhere")
            address = following
            _add(pages, await self._asker.ask(visit, address))
        if pages.next_url is not None:
            raise FetchFailed("too-many-pages")
        if pages.is_cut or pages.matches < pages.total:
            raise FetchFailed("fewer-than-told")

    async def _read_medications(self, pages: SearchResult, visit: FetchBudget) -> None:
        """The drugs that a list names by reference only. Raises FetchFailed where one of them does not come."""
        wanted = pages.medications_wanted()
        results = await asyncio.gather(
            *(self._read_medication(pages, reference, visit) for reference in wanted[:_MOST_MEDICATIONS]),
            return_exceptions=True,
        )
        for failure in filter(None, results):
            raise failure
        if len(wanted) > _MOST_MEDICATIONS:
            raise FetchFailed("too-many-references")

    async def _read_medication(self, pages: SearchResult, reference: str, visit: FetchBudget) -> None:
        kind, _, given = local_reference(reference).partition("/")
        name = _encoded(given)
        if kind != _MEDICATION or not name or ("://" in reference and not reference.startswith(f"{visit.base}/")):
            raise FetchFailed("elsewhere")
        data = await self._asker.ask(visit, Address(visit.base.origin, f"{visit.base.path}/{_MEDICATION}/{name}"))
        if not is_resource(data, _MEDICATION):
            raise FetchFailed("unreadable")
        pages.add_resource(data)


def _add(pages: SearchResult, data: bytes) -> None:
    if not pages.add(data):
        raise FetchFailed("unreadable")


def _asked(request: HookRequest, templates: Mapping[str, str]) -> dict[str, SearchResult]:
    """What there is to ask: what was not supplied, what failed at the client, and what was supplied in part."""
    asked: dict[str, SearchResult] = {}
    for key, template in templates.items():
        if key not in request.prefetch or has_failed(request.prefetch[key]):
            if filled(template, request) is not None:
                asked[key] = SearchResult()
        elif pages := _begun(request, key):
            asked[key] = pages
    return asked


def _begun(request: HookRequest, key: str) -> SearchResult | None:
    """A supplied Bundle of which more is to be had: a further page, or drugs that it names by reference."""
    section = read_section(request.prefetch[key], "")
    if not section.incomplete and not medications_wanted(section):
        return None
    pages = SearchResult()
    return pages if pages.add(sent_bytes(request, key)) else None


def filled(template: str, request: HookRequest) -> str | None:
    """A prefetch template as an address below the FHIR base; None where the call does not say what it asks for."""
    values = _values(request)
    parts = _TOKEN.split(template)
    found = [values.get(part) if number % 2 else quote(part, safe=_LITERAL) for number, part in enumerate(parts)]
    return None if None in found else "".join(filter(None, found))


def _values(request: HookRequest) -> dict[str, str | None]:
    """The tokens of CDS Hooks 2.0. Ids are encoded, so that none reaches out of its place in the address."""
    kind, _, name = request.user_id.rpartition("/")
    user = _encoded(name)
    return {
        "context.patientId": _encoded(request.patient_id),
        "context.encounterId": _encoded((request.encounter_id or "").removeprefix("Encounter/")),
        "context.userId": f"{kind}/{user}" if kind.isalpha() and user else None,
        f"user{kind}Id": user,
    }


def _encoded(name: str) -> str | None:
    if not 0 < len(name) <= _LONGEST_ID or name in (".", "..") or _NOT_IN_ID.search(name):
        return None
    return quote(name, safe="")


def fetched_bytes(request: HookRequest) -> int:
    """How much a completed request holds that is still to be read."""
    return sum(len(memoryview(value)) for value in request.prefetch.values() if isinstance(value, Raw))


def _tell(request: HookRequest, asked: Mapping[str, SearchResult], began: float) -> None:
    log.info(
        "fetched",
        hook_instance=request.hook_instance[:80],
        asked=len(asked),
        problems={key: pages.problem for key, pages in asked.items() if pages.problem},
        milliseconds=round((time.perf_counter() - began) * 1000, 1),
    )
