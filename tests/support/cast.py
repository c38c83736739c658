"""The invented people of `fixtures/`, with the service, the request and the cards of each."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from typing import Any

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import CdsResponse, encode
from cds_service.knowledge.composed_kinds import NotKnown, NotShown
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import load_knowledge
from cds_service.samples.people import Person, patient_file, read_bundle, read_cast, to_hook_request
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT

FIXTURES = ROOT / "fixtures"
CAST = read_cast(FIXTURES)
PEOPLE = pytest.mark.parametrize("person", CAST, ids=lambda person: person.id)


@cache
def conductor_of(jurisdiction: str) -> DecisionService:
    return DecisionService(load_knowledge(ROOT), Settings(jurisdiction=jurisdiction))  # type: ignore[arg-type]


def request_of(person: Person, bundle: dict[str, Any] | None = None) -> dict[str, Any]:
    loaded = bundle or read_bundle(patient_file(FIXTURES, person))
    return to_hook_request(loaded, dict(conductor_of("us").knowledge.queries), person.hook, person)


def service_of(person: Person) -> str:
    return conductor_of("us").knowledge.service_on(person.hook)


def decision(person: Person, as_of: date | None = None, bundle: dict[str, Any] | None = None) -> Decision:
    request = read_request(json.dumps(request_of(person, bundle)).encode(), person.hook)
    return conductor_of(person.jurisdiction).answer(service_of(person), request, as_of or person.day)


def without_uuids(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_uuids(value) for key, value in node.items() if key != "uuid"}
    return [without_uuids(item) for item in node] if isinstance(node, list) else node


def cards_of(answer: Decision) -> Any:
    return without_uuids(json.loads(encode(CdsResponse(answer.cards))))


def excused(knowledge: Knowledge) -> set[str]:
    """The rules of dangers that something seen may excuse: where that cannot be seen any more, they speak."""
    kinds = (NotShown, NotKnown)
    return {rule.id for rule in knowledge.rules if any(isinstance(knowledge.facts[name].kind, kinds) for name in rule.facts)}
