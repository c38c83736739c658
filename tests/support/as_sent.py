"""Requests as real systems send them, with what must hold of each answer: `tests/data/as-sent`."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from cds_service.cdshooks.request import AS_OF, read_request
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import Decision
from tests.conftest import ROOT
from tests.support.cards import service_with

FOLDER = ROOT / "tests/data/as-sent"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


def decide(knowledge: Knowledge, name: str) -> Decision:
    body = (FOLDER / f"{name}.json").read_bytes()
    sent = json.loads(body)
    service = service_with(knowledge)
    request = read_request(body, sent["hook"])
    return service.answer(knowledge.service_on(sent["hook"]), request, date.fromisoformat(sent["extension"][AS_OF]))
