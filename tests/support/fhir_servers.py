"""FHIR servers to fetch from: `sekmet-fhir` with the cast on it, and one that misbehaves as told."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from aiohttp import web

from cds_service.samples.people import patient_file, read_bundle, read_cast
from tests.conftest import ROOT
from tests.support.people import LEG_CRAMPS, bundle, patient

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FIXTURES = ROOT / "fixtures"
TOKEN = secrets.token_urlsafe(24)
_OWN_IDS = ("Patient", "Medication", "Encounter")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def renamed(bundle: Json, person_id: str) -> Json:
    """On one server each id is there once; in the files of the cast many people have an `o1`."""
    told = json.dumps(bundle)
    for entry in bundle["entry"]:
        resource = entry["resource"]
        kind, name = resource["resourceType"], resource.get("id")
        if name and kind not in _OWN_IDS:
            told = told.replace(f'"id": "{name}"', f'"id": "{person_id}-{name}"').replace(
                f'{kind}/{name}"', f'{kind}/{person_id}-{name}"'
            )
    loaded: Json = json.loads(told)
    return loaded


def _transaction(bundle: Json) -> Json:
    entries = [
        {**entry, "request": {"method": "PUT", "url": f"{entry['resource']['resourceType']}/{entry['resource']['id']}"}}
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] != "OperationOutcome"
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


@contextmanager
def sekmet(folder: Path) -> Iterator[str]:
    """The address of a FHIR R4 server in a process of its own, which wants a bearer token, with all of the cast on it."""
    port = free_port()
    base = f"http://127.0.0.1:{port}/fhir"
    chosen = {
        "host": "127.0.0.1",
        "port": port,
        "base_url": base,
        "data_dir": str(folder),
        "simulator": {"enabled": False},
        "server_auth": {"types": ["bearer"], "tokens": [TOKEN]},
        "validation": {"inbound": "off"},
        "log_inbound": False,
    }
    (folder / "settings.yaml").write_text(json.dumps(chosen))
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-m", "sekmet.cli", "serve", "-c", str(folder / "settings.yaml")]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
        try:
            _await(running, f"{base}/metadata", folder / "log")
            for person in read_cast(FIXTURES):
                _post(base, _transaction(renamed(read_bundle(patient_file(FIXTURES, person)), person.id)))
            yield base
        finally:
            running.terminate()
            running.wait()


def _await(running: subprocess.Popen[bytes], url: str, log: Path) -> None:
    while running.poll() is None:
        try:
            with urlopen(url):
                return
        except (URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(log.read_text())


def _post(url: str, bundle: Json) -> None:
    headers = {"Content-Type": "application/fhir+json", "Authorization": f"Bearer {TOKEN}"}
    with urlopen(Request(url, json.dumps(bundle).encode(), headers)) as answer:
        assert answer.status == 200


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """The address of a FHIR base on this machine where one handler answers everything."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"http://127.0.0.1:{port}/fhir"
    finally:
        await runner.cleanup()


class Ehr:
    """A FHIR server of one patient. What it is told to answer to a resource type it does, and counts who asks."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"Patient": patient(), "Condition": bundle(LEG_CRAMPS)} | answers
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path_qs}")
        self.tokens.add(request.headers.get("Authorization"))
        kind = request.path.removeprefix("/fhir/").split("/")[0]
        answer = self.answers.get(kind, bundle())
        if callable(answer):
            given: web.StreamResponse = await answer(request)
            return given
        return web.json_response(answer, content_type="application/fhir+json")

    def count(self, kind: str) -> int:
        return sum(f"/fhir/{kind}" in line for line in self.asked)


class Listener:
    """Nobody is to connect to it."""

    def __init__(self) -> None:
        self.connections = 0

    async def _note(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._note, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
