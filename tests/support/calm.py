"""A record of which all is well, and whether the card still says so once something is added to it."""

from __future__ import annotations

import copy
import json
from typing import Any

from cds_service.cdshooks.request import read_request
from cds_service.errors import RequestError
from cds_service.model import Outcome
from cds_service.samples.people import Person
from cds_service.service import Decision
from tests.support.cast import CAST, conductor_of, request_of, service_of

Json = dict[str, Any]
CALM = "likely-idiopathic"
CORA = next(person for person in CAST if person.id == "cora-allwell")
OWN = f"Patient/{CORA.id}"


def decide(person: Person, request: Json, *, in_brief: bool = False) -> Decision | None:
    try:
        parsed = read_request(json.dumps(request).encode(), person.hook)
        return conductor_of(person.jurisdiction).answer(service_of(person), parsed, person.day, in_brief=in_brief)
    except RequestError:
        return None


def fired(decision: Decision) -> set[str]:
    return {item.rule_id for item in decision.findings if item.outcome is Outcome.FIRES}


def beside(key: str, *entries: Any) -> Json:
    """The calm record with more entries under a query."""
    request = request_of(CORA)
    request["prefetch"][key].setdefault("entry", []).extend(copy.deepcopy(entries))
    return request


def is_calm(request: Json) -> bool:
    decision = decide(CORA, request)
    return decision is not None and CALM in fired(decision)


def calm_with(key: str, *resources: Json) -> bool:
    """Whether it stays calm beside these resources, as they are of this patient."""
    return is_calm(beside(key, *[{"resource": item | {"subject": {"reference": OWN}}} for item in resources]))
