"""The addresses of the pages. Each is let in, answered, and told in one shape when it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial, wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cds_service.audit.acceptance import Acceptance, received
from cds_service.audit.by_rule import look_back
from cds_service.audit.statistics import Figures, read_figures
from cds_service.errors import KnowledgeError, Problem, RequestError
from cds_service.log import log
from cds_service.pages import library
from cds_service.pages.dashboard import PERIODS, Recent, as_csv, read_days, say_reason, since, summary
from cds_service.pages.guard import Guard
from cds_service.pages.sandbox import Sandbox
from cds_service.pages.templating import HEADERS, near_names, page, problem_page, static
from cds_service.pages.try_it import Note, TryIt
from cds_service.service import DecisionService
from cds_service.settings import Settings
from cds_service.store.database import Store

Handler = Callable[[Request], Awaitable[Response]]
_DAYS, _RULE_DAYS = 30, 90
_PAGES_AT_ONCE = 2
_MOST_WAITING = 40


def page_routes(settings: Settings, decision_service: DecisionService, mode: str, store: Store, note: Note) -> list[BaseRoute]:
    """The routes of the pages; `note` keeps what was shown, so that feedback on it counts; `store` tells what came of it."""
    pages = Pages(settings, decision_service, mode, store, note)
    shown = [
        ("/", pages.tried.start, "GET"),
        ("/try", pages.tried.pasted, "POST"),
        ("/try", pages.tried.back, "GET"),
        ("/try/{person}", pages.tried.person, "GET"),
        ("/try/{person}/request.json", pages.tried.request_json, "GET"),
        ("/try/{person}/why", pages.tried.why, "GET"),
        ("/try/{person}/what-if", pages.tried.what_if, "GET"),
        ("/try/{person}/history", pages.tried.history, "GET"),
        ("/try/{person}/history", pages.tried.history_answered, "POST"),
        ("/rules", pages.rules, "GET"),
        ("/rules/{rule}", pages.rule, "GET"),
        ("/codes/{key}", pages.codes, "GET"),
        ("/statements", pages.statements, "GET"),
        ("/dashboard", pages.dashboard, "GET"),
        ("/dashboard.csv", pages.dashboard_csv, "GET"),
        ("/pages/{name}", pages.static, "GET"),
    ]
    return [Route(path, pages.guarded(handler), methods=[method]) for path, handler, method in shown]


class Pages:
    """The handlers of what is read, and the guard and the queue that all share."""

    def __init__(self, settings: Settings, decision_service: DecisionService, mode: str, store: Store, note: Note) -> None:
        self._bench, self._mode, self._store = Sandbox(decision_service), mode, store
        self._settings, self._guard = settings, Guard(settings, mode)
        self.tried = TryIt(self._bench, self._guard, note if self._takes_feedback else None)
        self._at_once, self._waiting = asyncio.Semaphore(_PAGES_AT_ONCE), 0
        self._figures_read = Recent[Figures]()
        self._rules_received = Recent[list[Acceptance]]()

    def guarded(self, handler: Handler) -> Handler:
        """With whoever may not look refused, and every mistake of a person told on a page."""

        @wraps(handler)
        async def decision(request: Request) -> Response:
            try:
                await self._guard.admit(request.scope)
                async with self._turn():
                    return await handler(request)
            except RequestError as error:
                log.info("refused", status=error.status, code=error.slug, path=handler.__name__)
                return problem_page(error.status, error.problems, self._near(request) if error.status == 404 else {})
            except KnowledgeError as error:
                log.error("page failed", path=handler.__name__, problems=[item.place for item in error.problems])
                return problem_page(500, [Problem("invented people", "cannot be read", "see the log of the service")])

        return decision

    def _near(self, request: Request) -> dict[str, str]:
        """Pages whose names are like the one that is not there."""
        knowledge, given = self._bench.decision_service.knowledge, request.path_params
        places: list[tuple[str, str, Iterable[str]]] = [
            ("person", "/try/", [person.id for person in self._bench.cast]),
            ("rule", "/rules/", [rule.id for rule in knowledge.rules]),
            ("key", "/codes/", (*knowledge.value_sets, *knowledge.labs)),
        ]
        return {
            f"{folder}{name}": name
            for part, folder, known in places
            if part in given
            for name in near_names(str(given[part]), known)
        }

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Pages are for a few people beside the calls of EHRs, so a few are made at once, and a queue has an end."""
        if self._waiting >= _MOST_WAITING:
            raise RequestError(503, "overloaded", "throttled", [Problem("pages", "are asked for too often", "come again")])
        self._waiting += 1
        try:
            async with self._at_once:
                yield
        finally:
            self._waiting -= 1

    async def static(self, request: Request) -> Response:
        return static(request)

    async def rules(self, request: Request) -> Response:
        knowledge, given = self._bench.decision_service.knowledge, request.query_params
        return page(
            "rules.html",
            rules=library.chosen(knowledge, given),
            total=len(knowledge.rules),
            options=library.options(knowledge),
            indicators=library.indicators(knowledge),
            given=given,
        )

    async def rule(self, request: Request) -> Response:
        text = library.rule_page(self._bench.decision_service.knowledge, str(request.path_params["rule"]))
        here = await self._received(text.rule.id) if self._may_count else None
        return page(
            "rule.html",
            page=text,
            received=here,
            here_days=_RULE_DAYS,
            say_reason=self._say_reason,
            may_count=self._may_count,
        )

    async def _received(self, rule: str) -> list[Acceptance] | None:
        """None where the store cannot be read: the rule itself can."""
        try:
            first = since(_RULE_DAYS, datetime.now(UTC))
            return await self._rules_received.get(rule, lambda: received(self._store, first, rule))
        except Exception as error:
            log.error("figures not read", error=type(error).__name__)
            return None

    async def dashboard(self, request: Request) -> Response:
        decision_service, now = self._bench.decision_service, datetime.now(UTC)
        days = read_days(request.query_params.get("days", str(_DAYS)))
        figures = await self._figures(days, now)
        counted = await asyncio.to_thread(summary, figures, decision_service.knowledge, decision_service.queries, days, now)
        return page("dashboard.html", board=counted, looked=figures.looked_back, periods=PERIODS, say_reason=self._say_reason)

    async def dashboard_csv(self, request: Request) -> Response:
        """The same in rows, for a spreadsheet."""
        days, now = read_days(request.query_params.get("days", str(_DAYS))), datetime.now(UTC)
        written = await asyncio.to_thread(as_csv, await self._figures(days, now), self._bench.decision_service.knowledge)
        name = f"cards-{now.date()}-{days}-days.csv"
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(written, headers=headers, media_type="text/csv")

    async def _figures(self, days: int, now: datetime) -> Figures:
        """Raises RequestError: 403 where real patients are counted and nobody signs in, 503 where the store cannot be read."""
        if not self._may_count:
            problem = Problem("dashboard", "is for who has signed in", "set CDS_PAGES=signed-in, with the proxy of your site")
            raise RequestError(403, "not-signed-in", "forbidden", [problem])
        try:
            return await self._figures_read.get(days, partial(self._read, days, now))
        except Exception as error:
            log.error("figures not read", error=type(error).__name__)
            problem = Problem("store", "cannot be read at present", "try again later; see the log of the service")
            raise RequestError(503, "store-unavailable", "transient", [problem]) from error

    async def _read(self, days: int, now: datetime) -> Figures:
        served = self._bench.decision_service
        looked_back = await look_back(self._store, served.knowledge, days, served.shadow)
        return (await read_figures(self._store, since(days, now)))._replace(looked_back=looked_back)

    @property
    def _may_count(self) -> bool:
        """Where EHRs call the figures are of real patients: then nobody sees them without having signed in."""
        return self._mode == "signed-in" or not (self._settings.clients or self._settings.guarded)

    def _say_reason(self, code: str) -> str:
        return say_reason(code, self._bench.decision_service.knowledge)

    async def codes(self, request: Request) -> Response:
        parts, rules = library.codes(self._bench.decision_service.knowledge, str(request.path_params["key"]))
        return page("codes.html", parts=parts, rules=rules)

    async def statements(self, request: Request) -> Response:
        knowledge = self._bench.decision_service.knowledge
        return page("statements.html", placed=library.statements(knowledge), leaflet=knowledge.wording.leaflet_name)

    @property
    def _takes_feedback(self) -> bool:
        """Not where EHRs call: their figures must not count invented people, and where they sign a browser cannot."""
        return self._mode == "demo" and not (self._settings.clients or self._settings.guarded)
