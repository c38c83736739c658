"""The service tried on itself: started for real, called over HTTP for an invented patient, her cards printed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec
import uvicorn

from cds_service.cdshooks.request import AS_OF
from cds_service.cdshooks.response import Card
from cds_service.errors import Problem, SettingsError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.net.connections import bounded_connections
from cds_service.samples.people import Person, fixtures_of, patient_file, read_bundle, read_cast, to_hook_request
from cds_service.security.access import demand_guard, pages_shown
from cds_service.settings import Settings
from cds_service.terminal.output import show_cards, show_text

_PATIENCE = 20.0


class _Cards(msgspec.Struct):
    cards: tuple[Card, ...]


# Nobody is to be counted of the demonstration, and its log would stand amid the cards.
TRIED = {"CDS_TRIAL": "true", "CDS_DATABASE_URL": "sqlite+aiosqlite:///:memory:", "CDS_LOG_LEVEL": "error"}


def serve(settings: Settings, before: Callable[[], None] | None = None) -> None:
    """Serve until interrupted. `before`: what is shown where everything is ready to start.

    Raises SettingsError if the port is taken, or if strangers could call unasked.
    """
    server = _server(settings)
    if before:
        before()
        server.on_start = partial(_say_where, settings)
    server.run()


def demonstrate(settings: Settings, knowledge: Knowledge) -> None:
    """Serve only until one request has been posted and the cards of its answer shown. Raises as `serve` does."""
    server = _server(settings)
    with _demonstrating(server, settings, knowledge) as failures:
        server.run()
    if failures:
        raise failures[0]


class _Server(uvicorn.Server):
    """Tells when it can be called."""

    on_start: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_start()


def _server(settings: Settings) -> _Server:
    demand_guard(settings)
    _demand_free_port(settings)
    return _Server(
        uvicorn.Config(
            "cds_service.app:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            access_log=False,
            # Who calls is judged by the address that really called.
            proxy_headers=False,
            server_header=False,
            log_level="warning",
            http=bounded_connections(settings.receive_timeout),
            # A call that is under way is answered; half a body does not hold the process for longer.
            timeout_graceful_shutdown=5,
        )
    )


@contextmanager
def _demonstrating(server: _Server, settings: Settings, knowledge: Knowledge) -> Iterator[list[Exception]]:
    failures: list[Exception] = []

    def show() -> None:
        try:
            _wait_for(server)
            _call_and_show(settings, knowledge)
        except Exception as error:
            failures.append(error)
        server.should_exit = True

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    yield failures
    server.should_exit = True
    thread.join(timeout=_PATIENCE)


def _wait_for(server: _Server) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)


def _call_and_show(settings: Settings, knowledge: Knowledge) -> None:
    person = read_cast(fixtures_of(settings.knowledge))[0]
    service_id = next(iter(knowledge.services))
    cards = _call(f"{_base(settings)}/cds-services/{service_id}", person, knowledge, settings)
    show_cards(f"{person.id}, judged on {person.as_of}: {person.story}", cards)
    _say_where(settings)


def _say_where(settings: Settings) -> None:
    base = _base(settings)
    where = f"; to look at in a browser: {base}/" if pages_shown(settings) != "off" else ""
    show_text(f"Serving on {base}; discovery is at {base}/cds-services{where}")


def _base(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"


def _call(url: str, person: Person, knowledge: Knowledge, settings: Settings) -> tuple[Card, ...]:
    bundle = read_bundle(patient_file(fixtures_of(settings.knowledge), person))
    service = next(iter(knowledge.services.values()))
    body = to_hook_request(bundle, dict(knowledge.queries), service.hook, person)
    body["extension"] = {AS_OF: person.as_of}
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310  our own address
    try:
        with urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read(), type=_Cards).cards
    except URLError as error:
        raise SettingsError([Problem(url, f"did not answer: {error.reason}", "see the log above")]) from error


def _demand_free_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            remedy = "choose another: PORT=8001 make run, or CDS_PORT=8001"
            raise SettingsError([Problem(f"port {settings.port}", f"cannot be used: {error.strerror}", remedy)]) from None
