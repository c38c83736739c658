"""The pages on which a person is tried: an invented one by an address, a record of one's own or answers to a form by a form."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cds_service.cdshooks.response import encode
from cds_service.errors import Problem, RequestError
from cds_service.facts.questionnaire import told_history
from cds_service.fhir.zones import today
from cds_service.log import log
from cds_service.pages.edits import offered, slides
from cds_service.pages.form import filled_in, questions
from cds_service.pages.guard import Guard, read_fields
from cds_service.pages.logic_tree import explained
from cds_service.pages.patient_record import read_record
from cds_service.pages.sandbox import PASTE_LIMIT, Choice, Sandbox, Trial, said_of
from cds_service.pages.templating import HEADERS, page
from cds_service.pages.what_if import Slides, turns
from cds_service.samples.people import Person
from cds_service.samples.supply import PREFIX, read_supply, supplied_keys

Note = Callable[..., None]
Fields = Mapping[str, Sequence[str]]
_LONGEST_SHOWN = 200_000
# What is sent by a form has no address: its tabs are buttons of this form.
_FORM = "asked"


class TryIt:
    """The handlers. `note` keeps what was shown, so that feedback on it counts; None where none is taken."""

    def __init__(self, bench: Sandbox, guard: Guard, note: Note | None) -> None:
        self._bench, self._guard, self._note = bench, guard, note
        self._slides, self._one_paste = Slides(bench), asyncio.Lock()

    async def start(self, request: Request) -> Response:
        return self._start_page({"q": request.query_params.get("q", "")})

    def _start_page(
        self, given: Mapping[str, str], problems: tuple[Problem, ...] = (), text: str = "", status: int = 200
    ) -> Response:
        """`given`: what was chosen for the record that is to be mended, which must not change unnoticed."""
        hooks, queries = list(self._bench.hooks), self._bench.decision_service.knowledge.queries
        return page(
            "start.html",
            status,
            people=self._bench.found(given.get("q", "")),
            everybody=len(self._bench.cast),
            featured=[person for person in self._bench.cast if person.featured],
            q=given.get("q", ""),
            jurisdiction=given.get("jurisdiction", self._bench.decision_service.settings.jurisdiction),
            today=given.get("date", today(self._bench.decision_service.dialect.zone).isoformat()),
            hook=given.get("hook", hooks[0]),
            problems=problems,
            text=text,
            hooks=hooks,
            said_of=said_of,
            supply=supplied_keys(queries, None, read_supply(given, queries, [])),
        )

    async def back(self, request: Request) -> Response:
        """Nothing that was pasted can be asked for again: who reloads its address pastes anew."""
        return RedirectResponse("/", 303, HEADERS)

    async def person(self, request: Request) -> Response:
        started = time.perf_counter()
        person, choice = self._asked(request, {})
        try:
            trial = self._bench.try_person(person, choice)
        except RequestError as error:
            return self._refused(person, choice, error)
        if self._note:
            self._note(trial.request, trial.decision, started, "", None)
        return self._cards_page(request, trial, self._in_full(trial, person=person), person=person)

    def _refused(self, person: Person, choice: Choice, error: RequestError) -> Response:
        """What the service does not answer at all, as where the EHR leaves out what it cannot do without."""
        shown = self._shown(choice, person=person)
        return page("refused.html", error.status, problems=error.problems, **shown)

    def _in_full(self, trial: Trial, person: Person | None = None, text: str = "", given: Fields | None = None) -> Trial | None:
        """The same without what was chosen to be left out; None where nothing was, or where that cannot be asked."""
        choice = trial.choice._replace(supply=())
        if not trial.choice.supply:
            return None
        return self._bench.try_person(person, choice, given) if person else self._bench.try_pasted(text, choice)

    def _asked(self, request: Request, given: Fields) -> tuple[Person, Choice]:
        """Who is asked for, and how: as a form has it, else as the address."""
        person = self._bench.person(str(request.path_params["person"]))
        return person, self._bench.choice({**request.query_params, **_last(given)}, person)

    async def request_json(self, request: Request) -> Response:
        """The call as an EHR would send it, to be piped into curl."""
        trial = self._bench.try_person(*self._asked(request, {}))
        return Response(encode(trial.sent), headers=HEADERS, media_type="application/json")

    async def pasted(self, request: Request) -> Response:
        """What somebody pasted. It comes in the body, is answered and forgotten; one at a time, beside the hooks."""
        self._guard.count_paste(request.scope)
        given = _last(await read_fields(request))
        text = given.get("text", "")
        async with self._one_paste:
            try:
                trial = await asyncio.to_thread(self._bench.try_pasted, text, self._bench.choice(given, None))
            except RequestError as error:
                log.info("refused", status=error.status, code=error.slug, path="pasted")
                return self._start_page(given, error.problems, text[:PASTE_LIMIT], error.status)
            if given.get("ask") == "why":
                return await self._why_page(trial, text=text)
            return await asyncio.to_thread(self._pasted_cards, request, trial, text)

    def _pasted_cards(self, request: Request, trial: Trial, text: str) -> Response:
        return self._cards_page(request, trial, self._in_full(trial, text=text), text=text)

    async def why(self, request: Request) -> Response:
        person, choice = self._asked(request, {})
        try:
            trial = self._bench.try_person(person, choice)
        except RequestError as error:
            return self._refused(person, choice, error)
        return await self._why_page(trial, person=person)

    async def _why_page(self, trial: Trial, **given: Any) -> Response:
        reasons = await asyncio.to_thread(explained, trial)
        shown = self._shown(trial.choice, **given) | {"explanation": reasons.explanation, "trees": reasons.trees}
        return await asyncio.to_thread(page, "why.html", trial=trial, **shown)

    async def what_if(self, request: Request) -> Response:
        person, choice = self._asked(request, {})
        fields = {name: request.query_params.getlist(name) for name in request.query_params}
        found = await asyncio.to_thread(self._slides.what_if, person, choice, fields)
        knowledge = found.trial.decision.knowledge
        return page(
            "what_if.html",
            found=found,
            slides=slides(knowledge, choice.jurisdiction),
            conditions=offered(knowledge, "condition"),
            drugs=offered(knowledge, "medication"),
            **self._shown(choice, person=person),
        )

    async def history(self, request: Request) -> Response:
        """The Questionnaire, to be answered for an invented person, as far as the record answers it already."""
        person, choice = self._asked(request, {})
        return self._history_page(person, choice, self._on_record(person, choice))

    def _on_record(self, person: Person, choice: Choice) -> Fields:
        asked = self._bench.decision_service.knowledge.questionnaire
        told = told_history(self._bench.try_person(person, choice).decision.view)
        return filled_in(asked, told[1]) if told else {}

    def _history_page(
        self, person: Person, choice: Choice, given: Fields, problems: tuple[Problem, ...] = (), status: int = 200
    ) -> Response:
        asked = self._bench.decision_service.knowledge.questionnaire
        shown = {"description": asked.get("description", ""), "questions": questions(asked), "given": given}
        return page("history.html", status, problems=problems, **shown, **self._shown(choice, person, answers=given))

    async def history_answered(self, request: Request) -> Response:
        """What the answers change. They come in the body and go on from page to page as fields of a form."""
        self._guard.count_paste(request.scope)
        given = await read_fields(request)
        person, choice = self._asked(request, given)
        asked, answers = _last(given).get("ask", "cards"), self._bench.answers(given)
        if asked == "history":
            return self._history_page(person, choice, given)
        try:
            trial = self._bench.try_person(person, choice, given)
        except RequestError as error:
            return self._history_page(person, choice, given, error.problems, error.status)
        if answers == self._on_record(person, choice):
            # Who only looked at the form sees the record as it is.
            return RedirectResponse(f"/try/{person.id}{'/why' if asked == 'why' else ''}?{_query(choice)}", 303, HEADERS)
        if asked == "why":
            return await self._why_page(trial, person=person, answers=answers)
        before = self._in_full(trial, person, given=given)
        return self._cards_page(request, trial, before, person=person, answers=answers)

    def _cards_page(self, request: Request, trial: Trial, in_full: Trial | None, **given: Any) -> Response:
        shown = self._shown(trial.choice, **given)
        return page(
            "cards.html",
            trial=trial,
            record=read_record(trial),
            cards=trial.decision.cards,
            turned=tuple(turns(in_full, trial)) if in_full else (),
            base=str(request.base_url).rstrip("/"),
            sent=_cut(_pretty(trial.sent)),
            response=_cut(_pretty(trial.answer)),
            takes_feedback=bool(self._note and shown["person"] and shown["answers"] is None),
            **shown,
        )

    def _shown(
        self, choice: Choice, person: Person | None = None, text: str = "", answers: Fields | None = None
    ) -> dict[str, Any]:
        """What every page of a record is given: whose it is, how it is asked for, and by which form or address."""
        return {
            "person": person,
            "name": _name(person) if person else "Your own record",
            "text": text,
            "answers": answers,
            "form": "" if person and answers is None else _FORM,
            "choice": choice,
            "query": _query(choice),
            "hooks": list(self._bench.hooks),
            "supply": supplied_keys(self._bench.decision_service.knowledge.queries, person, choice.supply),
            "drafts": list(self._bench.drafts.values()),
            "history_title": self._bench.decision_service.knowledge.questionnaire["title"],
        }


def _name(person: Person) -> str:
    return person.id.replace("-", " ").title()


def _query(choice: Choice) -> str:
    """What was chosen, as it may stand in an address that is shared."""
    chosen = {"jurisdiction": choice.jurisdiction, "hook": choice.hook, "date": choice.day, "draft": choice.draft}
    return urlencode(chosen | {f"{PREFIX}{key}": state for key, state in choice.supply})


def _last(fields: Fields) -> dict[str, str]:
    """The last field of each name."""
    return {name: values[-1] for name, values in fields.items()}


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _cut(text: str) -> str:
    """No browser shows a record of megabytes, and whoever pasted it has it."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}\n… cut: {len(text)} characters in all"
