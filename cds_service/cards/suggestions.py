"""What a card offers besides tests: drafts to take away again, and a form to have filled in. Each is one action."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from cds_service.cards.text import clip, plain
from cds_service.cdshooks.response import Action, Suggestion
from cds_service.knowledge.card_files import FormRequest, Removal
from cds_service.model import Evidence, Fact

NAME = "{name}"
_WIDTH = 60
# HL7 Structured Data Capture 3.0.0, CodeSystem `temp`: a task to fill in a form, and the form that it is about.
_SDC = "http://hl7.org/fhir/uv/sdc/CodeSystem/temp"


def removals(offers: Sequence[Removal], facts: Mapping[str, Fact], taken: set[str]) -> list[Suggestion]:
    """Each draft that a fact found, unless a more urgent card offers it already; `taken` keeps account of these.

    Never preselected: an order is taken away by whoever wrote it. A draft without an id cannot be named, so not be removed.
    """
    return [_removal(offer, item) for offer, item in _drafts(offers, facts) if _first(item.reference, taken)]


def _drafts(offers: Sequence[Removal], facts: Mapping[str, Fact]) -> Iterator[tuple[Removal, Evidence]]:
    for offer in offers:
        for item in facts[offer.fact].evidence:
            if "/" in item.reference:
                yield offer, item


def _first(reference: str, taken: set[str]) -> bool:
    if reference in taken:
        return False
    taken.add(reference)
    return True


def _removal(offer: Removal, item: Evidence) -> Suggestion:
    name = clip(plain(item.name), _WIDTH)
    action = Action(type="delete", description=offer.description.replace(NAME, name), resource_id=item.reference)
    return Suggestion(label=offer.label.replace(NAME, name), uuid=str(uuid.uuid4()), actions=(action,))


def form_request(asked: FormRequest, questionnaire: Mapping[str, Any], patient: str, requester: str, today: date) -> Suggestion:
    """A Task (R4) to fill in our Questionnaire; the answers come back with the next call, as the EHR keeps them."""
    task: dict[str, Any] = {
        "resourceType": "Task",
        "status": "ready",
        "intent": "order",
        "code": {"coding": [{"system": _SDC, "code": "complete-questionnaire", "display": "Complete Questionnaire"}]},
        "description": asked.description,
        "for": {"reference": patient},
        "authoredOn": today.isoformat(),
        "input": [
            {
                "type": {"coding": [{"system": _SDC, "code": "questionnaire", "display": "Questionnaire"}]},
                "valueCanonical": f"{questionnaire['url']}|{questionnaire['version']}",
            }
        ],
    }
    if requester:
        task["requester"] = {"reference": requester}
    action = Action(type="create", description=asked.description, resource=task)
    return Suggestion(label=asked.label, uuid=str(uuid.uuid4()), actions=(action,))
