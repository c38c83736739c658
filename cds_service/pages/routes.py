"""The addresses of the pages. Each is let in, answered, and told in one shape when it cannot be."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cds_service.audit.acceptance import Acceptance, received
from cds_service.audit.statistics import Figures, read_figures
from cds_service.cdshooks.response import encode
from cds_service.errors import KnowledgeError, Problem, RequestError
from cds_service.fhir.zones import today
from cds_service.log import log
from cds_service.pages import library
from cds_service.pages.dashboard import PERIODS, as_csv, read_days, say_reason, since, summary
from cds_service.pages.edits import offered, slides
from cds_service.pages.form import questions
from cds_service.pages.guard import Guard
from cds_service.pages.logic_tree import explained
from cds_service.pages.patient_record import read_record
from cds_service.pages.sandbox import PASTE_LIMIT, Choice, Sandbox, Trial
from cds_service.pages.templating import HEADERS, page, problem_page, static
from cds_service.pages.what_if import Slides
from cds_service.service import DecisionService
from cds_service.settings import Settings
from cds_service.store.database import Store

Handler = Callable[[Request], Awaitable[Response]]
Note = Callable[..., None]
T = TypeVar("T")
_MOST_FIELDS = 100
# Written as a form, a record takes up to three times its length.
_MOST_BYTES = 3 * PASTE_LIMIT + 10_000
_LONGEST_SHOWN = 200_000
_DAYS, _RULE_DAYS = 30, 90
_KEPT_SECONDS = 5.0
_MOST_KEPT = 200


def page_routes(settings: Settings, decision_service: DecisionService, mode: str, store: Store, note: Note) -> list[BaseRoute]:
    """The routes of the pages; `note` keeps what was shown, so that feedback on it counts; `store` tells what came of it."""
    pages = Pages(settings, decision_service, mode, store, note)
    shown = [
        ("/", pages.start, "GET"),
        ("/try", pages.pasted, "POST"),
        ("/try", pages.back, "GET"),
        ("/try/{person}", pages.person, "GET"),
        ("/try/{person}/request.json", pages.request_json, "GET"),
        ("/try/{person}/why", pages.why, "GET"),
        ("/try/{person}/what-if", pages.what_if, "GET"),
        ("/try/{person}/history", pages.history, "GET"),
        ("/try/{person}/history", pages.history_answered, "POST"),
        ("/rules", pages.rules, "GET"),
        ("/rules/{rule}", pages.rule, "GET"),
        ("/codes/{key}", pages.codes, "GET"),
        ("/statements", pages.statements, "GET"),
        ("/dashboard", pages.dashboard, "GET"),
        ("/dashboard.csv", pages.dashboard_csv, "GET"),
        ("/pages/{name}", pages.static, "GET"),
    ]
    return [Route(path, pages.guarded(handler), methods=[method]) for path, handler, method in shown]


class Recent(Generic[T]):
    """What was read a moment ago is given again, and one reads at a time, so that no crowd of readers slows the hooks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reading = asyncio.Lock()
        self._kept: dict[Hashable, tuple[float, T | Exception]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives or raises, or did within the last seconds: a store that hangs is not waited for by each in turn."""
        async with self._reading:
            at, found = self._kept.get(key, (0.0, None))
            if found is None or self._clock() - at > _KEPT_SECONDS:
                found = await _outcome(read)
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.clear()
                self._kept[key] = (self._clock(), found)
        if isinstance(found, Exception):
            raise found
        return found


async def _outcome(read: Callable[[], Awaitable[T]]) -> T | Exception:
    try:
        return await read()
    except Exception as error:
        return error


_PAGES_AT_ONCE = 2
_MOST_WAITING = 40


class Pages:
    """The handlers, with what they share."""

    def __init__(self, settings: Settings, decision_service: DecisionService, mode: str, store: Store, note: Note) -> None:
        self._bench, self._mode, self._store, self._note = Sandbox(decision_service), mode, store, note
        self._settings, self._guard = settings, Guard(settings, mode)
        self._slides, self._one_paste = Slides(self._bench), asyncio.Lock()
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
                return problem_page(error.status, error.problems)
            except KnowledgeError as error:
                log.error("page failed", path=handler.__name__, problems=[item.place for item in error.problems])
                return problem_page(500, [Problem("invented people", "cannot be read", "see the log of the service")])

        return decision

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

    async def start(self, request: Request) -> Response:
        return self._start_page({})

    def _start_page(
        self, given: Mapping[str, str], problems: tuple[Problem, ...] = (), text: str = "", status: int = 200
    ) -> Response:
        """`given`: what was chosen for the record that is to be mended, which must not change unnoticed."""
        hooks = list(self._bench.hooks)
        return page(
            "start.html",
            status,
            cast=self._bench.cast,
            jurisdiction=given.get("jurisdiction", self._bench.decision_service.settings.jurisdiction),
            today=given.get("date", today(self._bench.decision_service.dialect.zone).isoformat()),
            hook=given.get("hook", hooks[0]),
            problems=problems,
            text=text,
            hooks=hooks,
        )

    async def back(self, request: Request) -> Response:
        """Nothing that was pasted can be asked for again: who reloads its address pastes anew."""
        return RedirectResponse("/", 303, HEADERS)

    async def person(self, request: Request) -> Response:
        started = time.perf_counter()
        person = self._bench.person(str(request.path_params["person"]))
        trial = self._bench.try_person(person, self._bench.choice(request.query_params, person))
        if self._takes_feedback:
            self._note(trial.request, trial.decision, started, "", None)
        return self._cards_page(request, trial, person=person)

    async def request_json(self, request: Request) -> Response:
        """The call as an EHR would send it, to be piped into curl."""
        person = self._bench.person(str(request.path_params["person"]))
        trial = self._bench.try_person(person, self._bench.choice(request.query_params, person))
        return Response(encode(trial.sent), headers=HEADERS, media_type="application/json")

    async def pasted(self, request: Request) -> Response:
        """What somebody pasted. It comes in the body, is answered and forgotten; one at a time, beside the hooks."""
        self._guard.count_paste(request.scope)
        given = await _form(request)
        text = given.get("text", "")
        async with self._one_paste:
            try:
                trial = await asyncio.to_thread(self._bench.try_pasted, text, self._bench.choice(given, None))
            except RequestError as error:
                log.info("refused", status=error.status, code=error.slug, path="pasted")
                return self._start_page(given, error.problems, text[:PASTE_LIMIT], error.status)
            if given.get("ask") == "why":
                return await self._why_page(trial, text=text)
            return await asyncio.to_thread(self._cards_page, request, trial, text=text)

    async def why(self, request: Request) -> Response:
        person = self._bench.person(str(request.path_params["person"]))
        trial = self._bench.try_person(person, self._bench.choice(request.query_params, person))
        return await self._why_page(trial, person=person)

    async def _why_page(self, trial: Trial, **given: Any) -> Response:
        reasons = await asyncio.to_thread(explained, trial)
        shown: dict[str, Any] = {"person": None, "text": "", "hooks": list(self._bench.hooks)} | given
        shown |= {"trial": trial, "query": _query(trial.choice), "explanation": reasons.explanation, "trees": reasons.trees}
        return await asyncio.to_thread(page, "why.html", **shown)

    async def what_if(self, request: Request) -> Response:
        person, given = self._bench.person(str(request.path_params["person"])), request.query_params
        choice = self._bench.choice(given, person)
        fields = {name: given.getlist(name) for name in given}
        found = await asyncio.to_thread(self._slides.what_if, person, choice, fields)
        knowledge = found.trial.decision.knowledge
        return page(
            "what_if.html",
            person=person,
            choice=choice,
            query=_query(choice),
            found=found,
            slides=slides(knowledge, choice.jurisdiction),
            conditions=offered(knowledge, "condition"),
            drugs=offered(knowledge, "medication"),
        )

    async def history(self, request: Request) -> Response:
        """The Questionnaire, to be answered for an invented person."""
        return self._history_page(request, {})

    def _history_page(
        self, request: Request, given: dict[str, list[str]], problems: tuple[Problem, ...] = (), status: int = 200
    ) -> Response:
        person = self._bench.person(str(request.path_params["person"]))
        asked, query = (
            self._bench.decision_service.knowledge.questionnaire,
            _query(self._bench.choice(request.query_params, person)),
        )
        shown = {"title": asked["title"], "description": asked.get("description", ""), "questions": questions(asked)}
        return page("history.html", status, person=person, query=query, given=given, problems=problems, **shown)

    async def history_answered(self, request: Request) -> Response:
        self._guard.count_paste(request.scope)
        person = self._bench.person(str(request.path_params["person"]))
        given, choice = await _fields(request), self._bench.choice(request.query_params, person)
        try:
            trial = self._bench.try_person(person, choice, given)
        except RequestError as error:
            return self._history_page(request, given, error.problems, error.status)
        return self._cards_page(request, trial, person=person, answered=True)

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
        return page("dashboard.html", board=counted, periods=PERIODS, say_reason=self._say_reason)

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
            return await self._figures_read.get(days, lambda: read_figures(self._store, since(days, now)))
        except Exception as error:
            log.error("figures not read", error=type(error).__name__)
            problem = Problem("store", "cannot be read at present", "try again later; see the log of the service")
            raise RequestError(503, "store-unavailable", "transient", [problem]) from error

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

    def _cards_page(self, request: Request, trial: Trial, **given: Any) -> Response:
        return page(
            "cards.html",
            trial=trial,
            record=read_record(trial),
            cards=trial.decision.cards,
            query=_query(trial.choice),
            base=str(request.base_url).rstrip("/"),
            sent=_cut(_pretty(trial.sent)),
            response=_cut(_pretty(trial.answer)),
            hooks=list(self._bench.hooks),
            drafts=list(self._bench.drafts.values()),
            takes_feedback=self._takes_feedback,
            history_title=self._bench.decision_service.knowledge.questionnaire["title"],
            **({"person": None, "text": "", "answered": False} | given),
        )


def _query(choice: Choice) -> str:
    """What was chosen, as it may stand in an address that is shared."""
    return urlencode({"jurisdiction": choice.jurisdiction, "hook": choice.hook, "date": choice.day, "draft": choice.draft})


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _cut(text: str) -> str:
    """No browser shows a record of megabytes, and whoever pasted it has it."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}\n… cut: {len(text)} characters in all"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name."""
    return {name: values[-1] for name, values in (await _fields(request)).items()}


async def _fields(request: Request) -> dict[str, list[str]]:
    """The fields of a form. Raises RequestError (415) for what is none, (400, 413) for more than ours have."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        problem = Problem("Content-Type", "is that of no form of these pages", "use the form on the first page")
        raise RequestError(415, "unsupported-media-type", "not-supported", [problem])
    body = await request.body()
    if len(body) > _MOST_BYTES:
        problem = Problem("form", f"is longer than {_MOST_BYTES} bytes", "paste the record of one patient")
        raise RequestError(413, "body-too-large", "too-long", [problem])
    try:
        return await asyncio.to_thread(
            parse_qs, body.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        problem = Problem("form", f"has more than {_MOST_FIELDS} fields", "use a form of these pages")
        raise RequestError(400, "invalid-request", "invalid", [problem]) from None
