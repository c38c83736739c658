"""Cards of a chart with one difference, found by their topic or place."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from cds_service.cdshooks.request import read_request
from cds_service.cdshooks.response import Card
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.people import AS_OF, SERVICE, body


@lru_cache(maxsize=32)
def service_with(knowledge: Knowledge, **choices: Any) -> DecisionService:
    """The same for the same choices: it takes its time to be made, and many tests ask for one."""
    return DecisionService(knowledge, Settings(**choices))


def cards(knowledge: Knowledge, prefetch: Any = None, without: tuple[str, ...] = (), **choices: Any) -> tuple[Card, ...]:
    decision_service = service_with(knowledge, **choices)
    request = read_request(json.dumps(body(prefetch, without)).encode(), "patient-view")
    return decision_service.answer(SERVICE, request, AS_OF).cards


def by_topic(found: tuple[Card, ...], topic: str) -> Card:
    return next(card for card in found if card.source.topic and card.source.topic.code == f"LegCramps{topic}")


def last(cards: tuple[Card, ...]) -> str:
    return cards[-1].detail
