"""Servers that misbehave and callers who mean harm: none makes an absence, a connection elsewhere or a failure of ours."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from cds_service.errors import RequestError
from cds_service.fetch.client import FetchBudget, FetchFailed, FhirClient
from cds_service.fetch.prefetch_queries import PrefetchFetcher
from cds_service.fhir.resources import Observation
from cds_service.model import Outcome, State
from cds_service.net.addresses import Address
from cds_service.security.clients import Client
from cds_service.service import Decision, DecisionService
from tests.support.calls import request_of
from tests.support.cards import last
from tests.support.fetching import authorized, client_of, complete, fetched, nothing_sent
from tests.support.fhir_servers import TOKEN, Ehr, Listener, serving
from tests.support.people import AS_OF, LEG_CRAMPS, SERVICE, bundle, observation, patient

Misbehaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOW = bundle(observation(3.1))


def answering(status: int = 200, content: bytes = b"", headers: Mapping[str, str] | None = None) -> Misbehaviour:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            status=status, body=content, headers={"Content-Type": "application/fhir+json"} | dict(headers or {})
        )

    return answer


async def never(request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits so long")


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.01)


async def cut(request: web.Request) -> web.StreamResponse:
    """Promises more than it sends."""
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(json.dumps(LOW).encode())
    assert request.transport is not None
    request.transport.abort()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 1024 * 1024)
    return response


@cache
def bomb(megabytes: int = 200) -> bytes:
    """So many MB of a JSON string, in some 200 kB of gzip."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [squeezer.compress(b'{"resourceType":"Bundle","id":"')]
    parts += [squeezer.compress(b"0" * 1024 * 1024) for _ in range(megabytes)]
    return b"".join([*parts, squeezer.compress(b'"}'), squeezer.flush()])


async def gzip_bomb(request: web.Request) -> web.Response:
    return web.Response(body=bomb(), headers={"Content-Encoding": "gzip", "Content-Type": "application/fhir+json"})


SLOW = ("never answers", "answers a byte at a time, for ever", "second page never comes")
WHOLE = json.dumps(LOW).encode()
FAILING: dict[str, Misbehaviour] = {
    "never answers": never,
    "answers a byte at a time, for ever": drip,
    "401": answering(401),
    "403": answering(403, b'{"resourceType":"OperationOutcome"}'),
    "404": answering(404),
    "410": answering(410),
    "429": answering(429),
    "429 until tomorrow": answering(429, headers={"Retry-After": "86400"}),
    "500": answering(500, b"Traceback"),
    "503": answering(503),
    "a good answer with a status of its own": answering(206, WHOLE),
    "204": answering(204),
    "redirect": answering(307, headers={"Location": "https://elsewhere.example/fhir/Observation"}),
    "HTML": answering(200, b"<html><body>Please log in</body></html>", headers={"Content-Type": "text/html"}),
    "XML": answering(200, b'<Bundle xmlns="http://hl7.org/fhir"/>'),
    "nothing": answering(),
    "truncated JSON": answering(200, WHOLE[:-40]),
    "bytes after the JSON": answering(200, WHOLE + b"}"),
    "no UTF-8": answering(200, WHOLE.replace(b"final", b"fin\xff\xfe")),
    "null": answering(200, b"null"),
    "a list": answering(200, b"[]"),
    "no resourceType": answering(200, b"{}"),
    "another resource": answering(200, b'{"resourceType":"Patient","id":"p1"}'),
    "an outcome in place of a Bundle": answering(200, b'{"resourceType":"OperationOutcome","issue":[{"severity":"warning"}]}'),
    "an outcome of severity error in the Bundle": answering(
        200,
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}}]}',
    ),
    "JSON as deep as the sea": answering(200, b'{"resourceType":"Bundle","entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "hangs up": hang_up,
    "sends less than it promised": cut,
    "64 MB": flood,
    "a gzip bomb": gzip_bomb,
    "gzip that is none": answering(200, WHOLE, headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", FAILING)
async def test_results_that_do_not_come_are_not_assessed_and_said_so(decision_service: DecisionService, name: str) -> None:
    async with serving(Ehr(Observation=FAILING[name])) as base:
        answer = await fetched(decision_service, base, nothing_sent(), deadline=2.0 if name in SLOW else 20.0)
    for key in ("electrolytes", "kidneyFunction", "otherResults", "bloodTests"):
        assert answer.chart.query_state[key] is State.FAILED
    assert answer.chart.query_state["medicationRequests"] is State.KNOWN
    assert finding(answer, "low-potassium") is Outcome.UNKNOWN
    assert "electrolyte results" in last(answer.cards)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", FAILING)
async def test_where_the_mandatory_data_do_not_come_the_call_is_refused(decision_service: DecisionService, name: str) -> None:
    async with serving(Ehr(Condition=FAILING[name])) as base:
        with pytest.raises(RequestError) as caught:
            await fetched(decision_service, base, nothing_sent(), deadline=2.0 if name in SLOW else 20.0)
    assert (caught.value.status, [item.place for item in caught.value.problems]) == (412, ["prefetch.conditions"])


def finding(answer: Decision, rule: str) -> Outcome:
    return next(item.outcome for item in answer.findings if item.rule_id == rule)


def paged(second: Any) -> Misbehaviour:
    """A first page with a low result, and a `next` link, then what is told."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "page" in request.query:
            if callable(second):
                response: web.StreamResponse = await second(request)
                return response
            return web.json_response(second)
        if "2823-3" not in request.query.get("code", ""):
            return web.json_response(bundle())
        url = f"{request.scheme}://{request.host}/fhir/Observation?page=2"
        return web.json_response(LOW | {"link": [{"relation": "next", "url": url}]})

    return answer


async def endless(request: web.Request) -> web.Response:
    number = int(request.query["page"])
    url = f"{request.scheme}://{request.host}/fhir/Observation?page={number + 1}"
    return web.json_response(bundle(link=[{"relation": "next", "url": url}]))


CUT_OFF: dict[str, Any] = {
    "endless paging": endless,
    "second page fails": answering(500),
    "second page never comes": never,
    "second page is HTML": answering(200, b"<html>"),
    "second page is another resource": {"resourceType": "Patient"},
    "second page is a bomb": gzip_bomb,
    "second page is a redirect": answering(302, headers={"Location": "/fhir/Observation?page=3"}),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", CUT_OFF)
async def test_what_came_before_it_broke_off_counts_and_the_rest_is_incomplete(
    decision_service: DecisionService, name: str
) -> None:
    ehr = Ehr(Observation=paged(CUT_OFF[name]))
    async with serving(ehr) as base:
        answer = await fetched(decision_service, base, nothing_sent(), deadline=2.0 if name in SLOW else 20.0)
    assert answer.chart.query_state["electrolytes"] is State.INCOMPLETE
    assert finding(answer, "low-potassium") is Outcome.FIRES
    assert finding(answer, "low-sodium") is Outcome.UNKNOWN
    assert "electrolyte results" in last(answer.cards)
    assert sum("page=" in line for line in ehr.asked) <= 9


@pytest.mark.asyncio
async def test_fewer_results_than_the_server_counts_are_incomplete(decision_service: DecisionService) -> None:
    included = {"resource": {"resourceType": "Medication", "id": "x"}, "search": {"mode": "include"}}
    cut_short = LOW | {"total": 2, "entry": [*LOW["entry"], included]}
    async with serving(Ehr(Observation=cut_short)) as base:
        answer = await fetched(decision_service, base, nothing_sent())
    assert answer.chart.query_state["electrolytes"] is State.INCOMPLETE


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "link", ["http://127.0.0.1:{port}/fhir?page=2", "//127.0.0.1:{port}/fhir", "http://localhost:{port}/fhir"]
)
@pytest.mark.parametrize("kind", ["next", "redirect"])
async def test_the_token_goes_nowhere_but_to_the_server_that_was_named(
    decision_service: DecisionService, link: str, kind: str
) -> None:
    listener = Listener()
    async with listener.open() as port:
        url = link.format(port=port)
        led = LOW | {"link": [{"relation": "next", "url": url}]}
        async with serving(Ehr(Observation=led if kind == "next" else answering(307, headers={"Location": url}))) as base:
            answer = await fetched(decision_service, base, nothing_sent())
    assert listener.connections == 0
    assert answer.chart.query_state["electrolytes"] is (State.INCOMPLETE if kind == "next" else State.FAILED)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/admin?page=2", "/fhir/../admin?page=2", "/fhirs?page=2", "/fhir/%2e%2e/admin?page=2"])
async def test_a_next_link_outside_the_base_is_not_followed(decision_service: DecisionService, path: str) -> None:
    ehr = Ehr(Observation=LOW | {"link": [{"relation": "next", "url": path}]})
    async with serving(ehr) as base:
        answer = await fetched(decision_service, base, nothing_sent())
    assert answer.chart.query_state["electrolytes"] is State.INCOMPLETE
    assert not [line for line in ehr.asked if "page=2" in line]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "headers", "tries"),
    [
        (503, {}, 2),
        (429, {}, 2),
        (503, {"Retry-After": "0"}, 2),
        (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 2),
        (429, {"Retry-After": "soon"}, 2),
        (429, {"Retry-After": "3600"}, 1),
        (503, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, 1),
        (500, {}, 1),
        (401, {}, 1),
        (404, {}, 1),
    ],
)
async def test_a_second_try_is_made_once_where_it_may_help_and_there_is_time(
    decision_service: DecisionService, status: int, headers: dict[str, str], tries: int
) -> None:
    ehr = Ehr(QuestionnaireResponse=answering(status, headers=headers))
    async with serving(ehr) as base:
        answer = await fetched(decision_service, base, nothing_sent())
    assert ehr.count("QuestionnaireResponse") == tries
    assert answer.chart.query_state["crampHistory"] is State.FAILED


@pytest.mark.asyncio
@pytest.mark.parametrize("first", [answering(503), answering(429, headers={"Retry-After": "0"}), hang_up])
async def test_what_comes_at_the_second_try_counts(decision_service: DecisionService, first: Misbehaviour) -> None:
    tries: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        tries.append(request.method)
        return await first(request) if len(tries) == 1 else web.json_response(LEG_CRAMPS_ONLY)

    async with serving(Ehr(Condition=answer)) as base:
        found = await fetched(decision_service, base, nothing_sent())
    assert len(tries) == 2
    assert found.cards


LEG_CRAMPS_ONLY = bundle(LEG_CRAMPS)


@pytest.mark.asyncio
async def test_a_gzip_bomb_is_stopped_at_a_few_megabytes(decision_service: DecisionService) -> None:
    assert len(bomb()) < 300_000
    async with serving(Ehr(QuestionnaireResponse=gzip_bomb)) as base:
        await fetched(decision_service, base, nothing_sent())
        tracemalloc.start()
        try:
            await fetched(decision_service, base, nothing_sent())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


@pytest.mark.asyncio
async def test_one_hook_reads_no_more_than_its_share(decision_service: DecisionService) -> None:
    wide = bundle(observation(3.1, text={"status": "generated", "div": "x" * 100_000}))
    async with serving(Ehr(Observation=wide)) as base:
        request = request_of(authorized(nothing_sent(), base))
        after = await complete(request, decision_service.templates(SERVICE), client_of(base), most_bytes=250_000)
    states = decision_service.answer(SERVICE, after, AS_OF).chart.query_state
    results = [states[key] for key in ("electrolytes", "kidneyFunction", "otherResults", "bloodTests")]
    assert State.FAILED in results


@pytest.mark.asyncio
async def test_a_cookie_of_one_patient_is_not_sent_with_the_next(decision_service: DecisionService) -> None:
    seen: list[str | None] = []

    async def conditions(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.json_response(LEG_CRAMPS_ONLY, headers={"Set-Cookie": "patient=p1; Path=/"})

    async with serving(Ehr(Condition=conditions)) as base:
        base = base.replace("127.0.0.1", "localhost")  # a bare address has no cookies anyway
        fetching = PrefetchFetcher(20, 2**24, loopback=True)
        for _ in range(2):
            request = request_of(authorized(nothing_sent(), base))
            await fetching.complete(request, decision_service.templates(SERVICE), client_of(base))
        await fetching.close()
    assert seen == [None, None]


@pytest.mark.asyncio
async def test_proxies_of_the_environment_are_not_used(
    decision_service: DecisionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    async with listener.open() as port, serving(Ehr()) as base:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        answer = await fetched(decision_service, base, nothing_sent())
    assert listener.connections == 0
    assert answer.cards


HOSTILE = [
    "http://127.0.0.1:{port}/fhir",
    "https://127.0.0.1:{port}/fhir",
    "https://localhost:{port}/fhir",
    "http://localhost:{port}/fhir",
    "https://[::1]:{port}/fhir",
    "https://[::ffff:127.0.0.1]:{port}/fhir",
    "https://2130706433:{port}/fhir",
    "https://0x7f000001:{port}/fhir",
    "https://0177.0.0.1:{port}/fhir",
    "https://127.1:{port}/fhir",
    "https://0.0.0.0:{port}/fhir",
    "https://ehr.example@127.0.0.1:{port}/fhir",
    "https://ehr.example:443@127.0.0.1:{port}/fhir",
    "https://127.0.0.1:{port}\\@ehr.example/fhir",
    "https://127.0.0.1:{port}#@ehr.example/fhir",
    "https://127.0.0.1:{port}?@ehr.example/fhir",
    "https://①②⑦.⓪.⓪.①:{port}/fhir",
    "https://localhost.:{port}/fhir",
    "https://ehr.example:{port}/fhir",
    "https://ehr.example.evil.example:{port}/fhir",
    "https://ehr.example/fhir/../../127.0.0.1:{port}",
    "//127.0.0.1:{port}/fhir",
    "gopher://127.0.0.1:{port}/fhir",
    "https://private.example:{port}/fhir",
]


@pytest.mark.asyncio
@pytest.mark.parametrize("server", HOSTILE)
@pytest.mark.parametrize("configured", [False, True], ids=["stranger", "configured"])
async def test_a_hostile_server_is_never_connected_to(decision_service: DecisionService, server: str, configured: bool) -> None:
    """Even where a careless site has put the very address on its list; every name leads to the listener."""

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    listener = Listener()
    async with listener.open() as port:
        told = server.format(port=port)
        bases = ("https://ehr.example/fhir", *([told] if configured else []))
        fetching = PrefetchFetcher(2, 2**24, loopback=False, asker=FhirClient(lookup=lookup))
        request = request_of(authorized(nothing_sent(), told))
        after = await fetching.complete(request, decision_service.templates(SERVICE), client_of(*bases))
        await fetching.close()
    assert listener.connections == 0
    assert all(isinstance(value, Raw) and b"Bundle" not in bytes(value) for value in after.prefetch.values())


@pytest.mark.asyncio
async def test_the_client_itself_asks_nobody_outside_the_base() -> None:
    listener = Listener()
    async with listener.open() as port:
        client = FhirClient(loopback=True)
        visit = FetchBudget(Address(f"http://127.0.0.1:{port}", "/fhir"), 1e9, 1000, TOKEN)
        for address in (Address(f"http://127.0.0.1:{port}", "/admin"), Address(f"http://localhost:{port}", "/fhir")):
            with pytest.raises(FetchFailed, match="elsewhere"):
                await client.ask(visit, address)
        await client.close()
    assert listener.connections == 0
    assert TOKEN not in repr(visit)


class Canned:
    """Stands for the network: gives to each resource type what it was told, as bytes."""

    def __init__(self, electrolytes: list[bytes]) -> None:
        self.electrolytes = electrolytes

    async def open(self) -> None: ...

    async def ask(self, visit: FetchBudget, address: Address, form: str | None = None) -> bytes:
        kind = address.path.split("/")[2]
        if kind == "Observation":
            return self.electrolytes.pop(0) if self.electrolytes else b"{}"
        return json.dumps({"Patient": patient(), "Condition": LEG_CRAMPS_ONLY}.get(kind, bundle())).encode()

    async def close(self) -> None:
        """Nothing is open."""


def answered_with(decision_service: DecisionService, *pages: bytes) -> Decision:
    templates = decision_service.templates(SERVICE)
    results = {"kidneyFunction", "otherResults", "bloodTests"}
    call = authorized(nothing_sent() | {"prefetch": dict.fromkeys(results, bundle())}, "https://ehr.example/fhir")
    fetching = PrefetchFetcher(5, 2**24, loopback=False, asker=Canned(list(pages)))
    client = Client("https://ehr.example", fhir_bases=("https://ehr.example/fhir",))
    request = asyncio.run(fetching.complete(request_of(call), templates, client))
    return decision_service.answer(SERVICE, request, AS_OF)


NEXT = {"link": [{"relation": "next", "url": "https://ehr.example/fhir/Observation?page=2"}]}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
MEMBERS = "resourceType Bundle Observation OperationOutcome entry resource link relation next url total issue severity"
WORDS = st.sampled_from(MEMBERS.split())


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5)


JSON_LIKE = st.recursive(SCALARS | WORDS, nested, max_leaves=15) | st.dictionaries(WORDS, SCALARS | WORDS).map(
    lambda members: members | {"resourceType": "Bundle"}
)
GARBAGE = st.binary(max_size=200) | JSON_LIKE.map(lambda value: json.dumps(value).encode())
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(garbage=GARBAGE)
def test_no_answer_of_a_server_makes_the_service_fail_or_an_absence_of_garbage(
    decision_service: DecisionService, garbage: bytes
) -> None:
    answer = answered_with(decision_service, garbage)
    known = answer.chart.query_state["electrolytes"] is State.KNOWN
    assert not known or json.loads(garbage)["resourceType"] == "Bundle"
    assert finding(answer, "low-potassium") is not Outcome.SILENT, "only a potassium can say that it is not low"


@MANY
@given(place=st.integers(min_value=1, max_value=len(WHOLE) - 1))
def test_an_answer_cut_off_anywhere_is_not_read_as_normal(decision_service: DecisionService, place: int) -> None:
    assert answered_with(decision_service, WHOLE[:place]).chart.query_state["electrolytes"] is State.FAILED


@MANY
@given(garbage=GARBAGE)
def test_garbage_on_the_second_page_takes_nothing_from_the_first(decision_service: DecisionService, garbage: bytes) -> None:
    answer = answered_with(decision_service, json.dumps(LOW | NEXT).encode(), garbage)
    assert finding(answer, "low-potassium") is not Outcome.SILENT
    assert answer.chart.query_state["electrolytes"] is not State.NOT_SUPPLIED
    assert len(answer.chart.all(Observation)) >= 1
