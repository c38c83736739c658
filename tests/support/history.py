"""Responses to the cramp history."""

from __future__ import annotations

from typing import Any

from tests.support.people import OWN

OURS = "https://leg-cramps.example/Questionnaire/leg-cramp-history"


def response(answers: dict[str, Any], when: str = "2026-11-01", **members: Any) -> dict[str, Any]:
    answers = {"leg-cramps": True} | answers
    items = [{"linkId": link, "answer": [{"valueBoolean": value}]} for link, value in answers.items()]
    base = {"resourceType": "QuestionnaireResponse", "id": f"q{when}", "questionnaire": OURS, "status": "completed"}
    return base | {"subject": OWN, "authored": when, "item": items} | members


def coded(*codes: str | None) -> list[dict[str, Any]]:
    return [{"valueCoding": {"system": "https://leg-cramps.example/CodeSystem/cramp-history", "code": code}} for code in codes]
