"""A hook with nothing prefetched: how long it takes where the FHIR server answers each query in 50 ms.

`python -m bench.fetching` starts that server and one worker, and keeps so many hooks under way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fastapi import FastAPI

from bench.__main__ import SERVICE, load, server
from bench.bodies import SIZES, body
from cds_service.app import build_app, prepare
from cds_service.fetch.prefetch_queries import PrefetchFetcher
from cds_service.security.clients import Client
from cds_service.settings import read_settings

_BASE = "BENCH_FHIR_BASE"
_EMPTY = b'{"resourceType":"Bundle","type":"searchset","total":0}'


def app() -> FastAPI:
    """The service, whose every caller is one client that may name the FHIR server of the bench."""
    client = Client("https://ehr.example", fhir_bases=(os.environ[_BASE],))
    complete = PrefetchFetcher.complete

    async def as_client(
        self: PrefetchFetcher, request: Any, templates: Any, _: Client | None, started: float | None = None
    ) -> Any:
        return await complete(self, request, templates, client, started)

    PrefetchFetcher.complete = as_client  # type: ignore[assignment, method-assign]
    settings = read_settings()
    return build_app(settings, prepare(settings))


def nothing_prefetched(content: bytes, base: str) -> bytes:
    call = json.loads(content)
    token = {"access_token": "bench", "token_type": "Bearer", "expires_in": 300, "scope": "", "subject": "bench"}
    return json.dumps(call | {"prefetch": {}, "fhirServer": base, "fhirAuthorization": token}).encode()


def fhir_server(content: bytes, milliseconds: float) -> Callable[[web.Request], Any]:
    """Gives what the body holds as prefetch: a resource type to its first key, the rest is empty."""
    prefetch = json.loads(content)["prefetch"]
    patient = json.dumps(prefetch["patient"]).encode()
    kinds = {"Condition": "conditions", "MedicationRequest": "medicationRequests"}
    bundles = {kind: json.dumps(prefetch[key]).encode() for kind, key in kinds.items()}
    results = json.dumps(prefetch["electrolytes"]).encode()

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(milliseconds / 1000)
        kind = request.path.split("/")[2]
        if kind == "Patient":
            found = patient
        elif kind == "Observation":
            found = results if "2823-3" in request.query["code"] else _EMPTY
        else:
            found = bundles.get(kind, _EMPTY)
        return web.Response(body=found, content_type="application/fhir+json")

    return answer


async def serve(content: bytes, port: int, milliseconds: float) -> None:
    site = web.Application()
    site.router.add_route("*", "/{path:.*}", fhir_server(content, milliseconds))
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


def _serve(content: bytes, port: int, milliseconds: float) -> None:
    asyncio.run(serve(content, port, milliseconds))


def run(content: bytes, chosen: argparse.Namespace) -> None:
    base = f"http://127.0.0.1:{chosen.fhir_port}/fhir"
    os.environ |= {_BASE: base, "CDS_ENVIRONMENT": "development"}
    sent = nothing_prefetched(content, base)
    print(f"{'at once':>8}{'hooks':>8}{'hooks/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'slowest':>9}")
    with server("bench.fetching:app", factory=True) as ours:
        asyncio.run(load(ours.port, SERVICE, [sent], 1, 1))
        for concurrency in chosen.at_once:
            began = time.perf_counter()
            times = sorted(asyncio.run(load(ours.port, SERVICE, [sent], concurrency, chosen.seconds)))
            rate = len(times) / (time.perf_counter() - began)
            p50, p99 = (times[int(len(times) * part)] * 1000 for part in (0.5, 0.99))
            print(f"{concurrency:>8}{len(times):>8}{rate:>9.0f}{p50:>9.0f}{p99:>9.0f}{times[-1] * 1000:>9.0f}", flush=True)
        print(f"resident memory of the worker: {ours.resident():.0f} MiB")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--milliseconds", type=float, default=50, help="that the FHIR server takes for each answer")
    options.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options.add_argument("--at-once", type=int, nargs="*", default=[1, 20], help="hooks under way")
    options.add_argument("--fhir-port", type=int, default=8765)
    chosen = options.parse_args()
    content = body(*SIZES["60 kB"])
    serving = multiprocessing.Process(target=_serve, args=(content, chosen.fhir_port, chosen.milliseconds), daemon=True)
    serving.start()
    try:
        run(content, chosen)
    finally:
        serving.terminate()
        serving.join()


if __name__ == "__main__":
    main()
