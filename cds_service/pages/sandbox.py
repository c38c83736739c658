"""One person tried: an invented one, or what somebody pasted, asked of a service as an EHR asks, and what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, tzinfo
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from cds_service.cdshooks.request import AS_OF, ON_ORDERS, HookRequest, read_request
from cds_service.cdshooks.response import CdsResponse, encode
from cds_service.errors import KnowledgeError, Problem, RequestError
from cds_service.explain.left_out import why_no_cards
from cds_service.fhir.zones import today
from cds_service.model import Finding
from cds_service.pages.form import response
from cds_service.samples.people import Person, fixtures_of, known_on, patient_file, read_bundle, read_cast, to_hook_request
from cds_service.samples.records import places_in, read_record, require_one_patient
from cds_service.samples.supply import Supply, as_chosen, lifted, read_supply, sorted_by_code
from cds_service.service import Decision, DecisionService
from cds_service.settings import Jurisdiction

PASTE_LIMIT = 2_000_000
_SIGNED = "order-sign"
_KINDS = {"Observation": "result", "Condition": "condition", "MedicationRequest": "drug", "MedicationStatement": "drug"}
_OTHER = "other resource"
# Look-back windows begin long before.
_FIRST, _LAST = date(1900, 1, 1), date(2199, 12, 31)


class Choice(NamedTuple):
    """What a page may choose of a call. None of it tells of a patient, so that it may stand in an address.

    `notes` tell of what was made to fit what was chosen.
    """

    jurisdiction: Jurisdiction
    hook: str
    draft: str
    day: date
    notes: tuple[str, ...] = ()
    supply: Supply = ()


class DraftChoice(NamedTuple):
    """An order that may be written for anybody."""

    name: str
    title: str
    resource: dict[str, Any]


class Trial(NamedTuple):
    """A call with its answer; `sent` is the request as JSON, `places` where its parts stand in a record that was pasted."""

    choice: Choice
    sent: dict[str, Any]
    request: HookRequest
    decision: Decision
    places: Mapping[str, str] = MappingProxyType({})

    @property
    def answer(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(encode(CdsResponse(self.decision.cards)))
        return loaded

    @property
    def no_cards_as(self) -> str:
        return why_no_cards(self.decision, self.places)

    @property
    def findings(self) -> Mapping[str, Finding]:
        return {finding.rule_id: finding for finding in self.decision.findings}


class Sandbox:
    """Where people are tried. The cast is read when it is first asked for; a conductor a jurisdiction."""

    def __init__(self, decision_service: DecisionService) -> None:
        self.decision_service = decision_service
        self._folder = fixtures_of(decision_service.settings.knowledge)
        self._elsewhere: dict[str, DecisionService] = {}

    @cached_property
    def cast(self) -> Sequence[Person]:
        """Nobody where a site keeps no invented people beside its knowledge."""
        return read_cast(self._folder) if (self._folder / "cast.json").is_file() else ()

    def found(self, words: str) -> list[Person]:
        """The people whose story, cards or quirks say every word."""
        wanted = words.lower().split()
        return [person for person in self.cast if all(word in said_of(person) for word in wanted)]

    @cached_property
    def drafts(self) -> Mapping[str, DraftChoice]:
        read = [(path, read_bundle(path)) for path in sorted(self._folder.glob("drafts/*.json"))]
        return {path.stem: DraftChoice(path.stem, _title(path, order), order) for path, order in read}

    @property
    def hooks(self) -> Mapping[str, str]:
        return {service.hook: key for key, service in self.decision_service.knowledge.services.items()}

    def person(self, name: str) -> Person:
        """Raises RequestError (404)."""
        found = next((person for person in self.cast if person.id == name), None)
        if found is None:
            problem = Problem("person", "is none of the invented people", "choose one of the list")
            raise RequestError(404, "unknown-person", "not-found", [problem])
        return found

    def there(self, jurisdiction: Jurisdiction) -> DecisionService:
        if jurisdiction not in self._elsewhere:
            self._elsewhere[jurisdiction] = self.decision_service.elsewhere(jurisdiction)
        return self._elsewhere[jurisdiction]

    def choice(self, given: Mapping[str, str], person: Person | None) -> Choice:
        """What was chosen, else what fits the person. Raises RequestError (400) naming every choice that cannot be."""
        settings, problems = self.decision_service.settings, list[Problem]()
        place = given.get("jurisdiction") or (person.jurisdiction if person else settings.jurisdiction)
        hook = given.get("hook") or (person.hook if person else next(iter(self.hooks)))
        draft = given.get("draft", "")
        _demand(place, get_args(Jurisdiction), "jurisdiction", problems)
        _demand(hook, self.hooks, "hook", problems)
        _demand(draft, ["", *self.drafts], "draft", problems)
        day = _day(given.get("date", ""), person, self.decision_service.dialect.zone, problems)
        supply = read_supply(given, self.decision_service.knowledge.queries, problems)
        if problems:
            raise RequestError(400, "invalid-request", "value", problems)
        hook, draft, note = self._with_draft(hook, draft)
        notes = (note, self._not_yet(person, day) if person else "")
        return Choice(place, hook, draft, day, tuple(filter(None, notes)), supply)  # type: ignore[arg-type]  # demanded above

    def _with_draft(self, hook: str, draft: str) -> tuple[str, str, str]:
        """A draft is an order that is being written: only a hook on ordering is called with one."""
        ordering = [name for name in self.hooks if name in ON_ORDERS]
        if not draft or hook in ordering:
            return hook, draft, ""
        if not ordering:
            return hook, "", "No draft order was added: this service has no hook on ordering."
        signed = _SIGNED if _SIGNED in ordering else ordering[0]
        return signed, draft, f"A draft order counts only on a hook on ordering, so {signed} was asked instead of {hook}."

    def record(self, person: Person, day: date) -> dict[str, Any]:
        """As it stood on a day before that of the story; from then on as it is."""
        return self._known_on(person, day)[0]

    def _known_on(self, person: Person, day: date) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        whole = read_bundle(patient_file(self._folder, person))
        return known_on(whole, day) if day < person.day else (whole, [])

    def _not_yet(self, person: Person, day: date) -> str:
        """`On 1999-01-01 this was not on record yet, and is not sent: 4 results, 1 drug, 2 conditions.`"""
        later = Counter(_KINDS.get(str(item["resourceType"]), _OTHER) for item in self._known_on(person, day)[1])
        counted = ", ".join(f"{number} {name}{'s' if number > 1 else ''}" for name, number in later.items())
        return f"On {day} this was not on record yet, and is not sent: {counted}." if later else ""

    def try_person(self, person: Person, choice: Choice, given: Mapping[str, Sequence[str]] | None = None) -> Trial:
        """`given`: answers to the Questionnaire, in place of any that the record holds."""
        sent = self.call(self.record(person, choice.day), person, choice)
        if given is not None:
            self._answer(sent, given, choice.day)
        return self.ask(sent, choice)

    def answers(self, given: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """What of the fields of a form answers the Questionnaire."""
        asked = (item["linkId"] for item in self.decision_service.knowledge.questionnaire["item"])
        found = {name: [value for value in given.get(name, ()) if value.strip()] for name in asked}
        return {name: values for name, values in found.items() if values}

    def try_pasted(self, text: str, choice: Choice) -> Trial:
        """Raises RequestError with every problem by its place, as the service itself would, and for what is no record."""
        loaded = read_pasted(text)
        hook = loaded.get("hook") if "context" in loaded else None
        if hook is not None:
            _demand_hook(hook, self.hooks)
            choice = choice._replace(hook=str(hook), draft="", notes=())
        sent = self.call(loaded, None, choice)
        return self.ask(sent, choice)._replace(places=places_in(loaded, sent))

    def call(self, loaded: dict[str, Any], person: Person | None, choice: Choice) -> dict[str, Any]:
        """A record as the EHR of this person would send it; what is a call already remains one."""
        orders = [self.drafts[choice.draft].resource] if choice.draft else []
        queries = dict(self.decision_service.knowledge.queries)
        person = lifted(person, choice.supply) if person else None
        sent = to_hook_request(loaded, queries, choice.hook, person, orders)
        given = sent.get("extension")
        prefetch = sent.get("prefetch") or {}
        if choice.supply and isinstance(prefetch, dict):
            if sent is not loaded:
                templates = self.decision_service.templates(self.hooks[choice.hook])
                prefetch = sorted_by_code(prefetch, queries, templates)
            sent = {**sent, "prefetch": as_chosen(prefetch, choice.supply)}
        return {**sent, "extension": {**(given if isinstance(given, dict) else {}), AS_OF: choice.day.isoformat()}}

    def ask(self, sent: dict[str, Any], choice: Choice) -> Trial:
        request = read_request(json.dumps(sent, ensure_ascii=False).encode(errors="replace"), choice.hook)
        decision = self.there(choice.jurisdiction).answer(self.hooks[choice.hook], request, choice.day)
        return Trial(choice, sent, request, decision)

    def _answer(self, sent: dict[str, Any], given: Mapping[str, Sequence[str]], day: date) -> None:
        """Put the answers where an EHR would: under the query that asks for them."""
        knowledge = self.decision_service.knowledge
        key = next(name for name, query in knowledge.queries.items() if query.resource_type == "QuestionnaireResponse")
        decision = response(knowledge.questionnaire, given, sent["context"]["patientId"], day)
        sent["prefetch"][key] = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": decision}]}


def said_of(person: Person) -> str:
    told = (person.id, person.story, person.jurisdiction, person.hook, *person.quirks, *(card.summary for card in person.cards))
    return " ".join(told).lower()


def read_pasted(text: str) -> dict[str, Any]:
    """A patient Bundle or a hook call. Raises RequestError (400) with the line and column, or the entry, of what is wrong."""
    if len(text) > PASTE_LIMIT:
        problem = Problem("text", f"is longer than {PASTE_LIMIT} characters", "paste the record of one patient")
        raise RequestError(413, "body-too-large", "too-long", [problem])
    loaded = read_record(text.encode(errors="replace"))
    require_one_patient(loaded)
    return loaded


def _refused(problems: Sequence[Problem]) -> RequestError:
    return RequestError(400, "invalid-request", "invalid", problems)


def _demand(value: str, known: Sequence[str] | Mapping[str, str], place: str, problems: list[Problem]) -> None:
    if value not in known:
        problems.append(Problem(place, f"{value[:60]!r} is unknown", f"use one of {', '.join(filter(None, known))}"))


def _demand_hook(hook: object, known: Mapping[str, str]) -> None:
    if not isinstance(hook, str) or hook not in known:
        raise _refused([Problem("hook", "is none that this service knows", f"use one of {', '.join(known)}")])


def _day(text: str, person: Person | None, zone: tzinfo | None, problems: list[Problem]) -> date:
    try:
        day = date.fromisoformat(text) if text else person.day if person else today(zone)
    except ValueError:
        problems.append(Problem("date", f"{text[:60]!r} is no date", "give YYYY-MM-DD"))
        return _FIRST
    if not _FIRST <= day <= _LAST:
        problems.append(Problem("date", f"{day} is no day on which anybody is judged", f"give one from {_FIRST} to {_LAST}"))
    return day


def _title(path: Path, order: dict[str, Any]) -> str:
    concept = order.get("medicationCodeableConcept")
    if not isinstance(concept, dict):
        raise KnowledgeError([Problem(str(path), "names no drug", "give it a medicationCodeableConcept with a text")])
    return str(concept.get("text") or path.stem)
