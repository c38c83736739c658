"""A patient file asked of the service, as a site of some jurisdiction would ask it on some day."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from cds_service.cards.approvals import read_approvals
from cds_service.cdshooks.request import ON_ORDERS, read_request
from cds_service.errors import Problem, SettingsError
from cds_service.explain.left_out import Omissions, left_out
from cds_service.fhir.zones import today, zone_named
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.load import load_knowledge
from cds_service.samples.people import Person, fixtures_of, read_cast, resources_of, to_hook_request
from cds_service.samples.records import is_call, places_in, read_record, require_one_patient
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings, read_settings


class Asking(NamedTuple):
    """What the options choose; None: what fits the patient."""

    as_of: str | None = None
    jurisdiction: str | None = None
    hook: str | None = None
    draft: Path | None = None


class Asked(NamedTuple):
    """What came of it, and whose file it was, where it is that of an invented patient. `places`: where in the file what was
    sent stands.
    """

    person: Person | None
    decision: Decision
    places: Mapping[str, str] = MappingProxyType({})

    @property
    def left_out(self) -> Omissions:
        return left_out(self.decision.view, self.places)


STANDARD_INPUT = Path("-")


class PatientFile(NamedTuple):
    """What was given, read. `path` may be that of standard input."""

    path: Path
    loaded: dict[str, Any]

    @property
    def name(self) -> str:
        return "standard input" if self.path == STANDARD_INPUT else self.path.name


def read_patient_file(path: Path) -> PatientFile:
    """A Bundle, a call, a resource or NDJSON; `-` is standard input. Raises RequestError, which says what it is instead."""
    name = "standard input" if path == STANDARD_INPUT else str(path)
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        problem = Problem(name, f"cannot be read ({error.strerror})", "give a FHIR R4 Bundle as JSON, or - for standard input")
        raise SettingsError([problem]) from None
    return PatientFile(path, read_record(data, name))


def is_record(loaded: Mapping[str, Any]) -> bool:
    """Whether it is the record of somebody or a call, and not a resource alone."""
    return loaded.get("resourceType") == "Bundle" or is_call(loaded)


def ask(file: PatientFile, asking: Asking, overridden: Sequence[str] = ()) -> Asked:
    """Raises RequestError for what the service refuses, and where a Bundle does not hold exactly one Patient."""
    settings, loaded = read_settings(), file.loaded
    person = _cast_member(file.path, settings)
    place = asking.jurisdiction or (person.jurisdiction if person else settings.jurisdiction)
    if place not in ("us", "uk"):
        raise SettingsError([Problem("--jurisdiction", f"{place!r} is unknown", "use us or uk")])
    knowledge = load_knowledge(settings.knowledge)
    decision_service = DecisionService(
        knowledge, settings.model_copy(update={"jurisdiction": place}), read_approvals(settings.approvals, knowledge, _today())
    )
    day = day_of(asking.as_of) if asking.as_of else (person.day if person else _today())
    require_one_patient(loaded)
    draft = asking.draft
    hook = _hook(asking.hook or loaded.get("hook") or (person.hook if person else None), draft, knowledge)
    service_id = knowledge.service_on(hook)
    body = to_hook_request(
        loaded, dict(knowledge.queries), hook, person, resources_of(read_patient_file(draft).loaded) if draft else ()
    )
    request = read_request(json.dumps(body).encode(), hook)
    silent = _overridden(overridden, decision_service.rules[service_id], day)
    return Asked(person, decision_service.answer(service_id, request, day, silent), places_in(loaded, body))


def _overridden(given: Sequence[str], rules: Sequence[Rule], day: date) -> dict[str, date]:
    """`RULE@DAY` as a mapping; those that no longer count are left out, as the service does."""
    known, found = {rule.id for rule in rules}, {}
    for item in given:
        name, _, on = item.partition("@")
        if name not in known:
            raise SettingsError([Problem("--overridden", f"{name!r} is no rule of this service", "see logic/CATALOGUE.md")])
        when = day_of(on or day.isoformat(), "--overridden")
        if 0 <= (day - when).days <= read_settings().override_days:
            found[name] = when
    return found


def _hook(asked: str | None, draft: Path | None, knowledge: Knowledge) -> str:
    """The hook to call: what is asked for, else that of the first service."""
    known = [service.hook for service in knowledge.services.values()]
    hook = asked or known[0]
    if draft and hook not in ON_ORDERS:
        problem = Problem("--draft", f"goes with a hook on ordering, not with {hook!r}", f"add --hook {ON_ORDERS[-1]}")
        raise SettingsError([problem])
    if hook not in known:
        raise SettingsError([Problem("--hook", f"{hook!r} is unknown", f"use one of {', '.join(known)}")])
    return hook


def _cast_member(path: Path, settings: Settings) -> Person | None:
    folder = fixtures_of(settings.knowledge)
    if not (folder / "cast.json").is_file() or path.resolve().parent != (folder / "patients").resolve():
        return None
    return next((person for person in read_cast(folder) if person.id == path.stem), None)


def _today() -> date:
    zone = read_settings().time_zone
    return today(zone_named(zone) if zone else None)


def day_of(text: str, option: str = "--as-of") -> date:
    if text == "today":
        return _today()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SettingsError([Problem(option, f"{text!r} is no date", "give YYYY-MM-DD, or today")]) from None
