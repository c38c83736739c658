"""A hospital that is connected, from end to end: a signed call that brings nothing, cards from its FHIR server, an override."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from cds_service.cdshooks.request import AS_OF as DAY
from cds_service.store.database import Store
from cds_service.store.tables import answers, shown_cards
from tests.support.calls import CALL, make
from tests.support.cast import CAST, conductor_of
from tests.support.fetching import authorized
from tests.support.fhir_servers import TOKEN, sekmet
from tests.support.people import Json, body
from tests.support.signing import AUDIENCE, DISCOVERY, ISS, Signer, bearer, clients_file

AT_THE_EHR = {"Content-Type": "application/fhir+json", "Authorization": f"Bearer {TOKEN}"}
KEY = "a key for tests, long enough to be one"


@pytest.fixture(scope="module")
def fhir_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sekmet(tmp_path_factory.mktemp("sekmet")) as base:
        yield base


@contextmanager
def hospital(folder: Path, fhir_server: str, signer: Signer, **table: Any) -> Iterator[TestClient]:
    known = {"iss": signer.iss, "jwks": signer.jwks(), "audiences": [DISCOVERY], "fhir_bases": [fhir_server]}
    path = clients_file(folder, known | table)
    settings: Json = {"clients": path, "environment": "development", "allow_as_of": True, "deadline": 30.0, "patient_key": KEY}
    with make(conductor_of("us"), folder, ("203.0.113.9", 5000), **settings) as opened:
        yield opened


def call_of(patient: str, fhir_server: str, day: str) -> Json:
    return authorized(body(patientId=patient) | {"prefetch": {}, "extension": {DAY: day}}, fhir_server)


def post(service: TestClient, signer: Signer, call: Json) -> list[Json]:
    answer = service.post(CALL, json=call, headers=bearer(signer.token("RS384")))
    assert answer.status_code == 200, answer.text
    cards: list[Json] = answer.json()["cards"]
    return cards


@pytest.mark.parametrize("jurisdiction", ["us", "uk"])
def test_a_signed_call_with_nothing_prefetched_gets_the_cards_of_its_jurisdiction(
    tmp_path: Path, fhir_server: str, jurisdiction: str
) -> None:
    signer = Signer()
    person = next(person for person in CAST if person.jurisdiction == jurisdiction and len(person.cards) > 1)
    with hospital(tmp_path, fhir_server, signer, jurisdiction=jurisdiction) as service:
        cards = post(service, signer, call_of(person.id, fhir_server, person.as_of))
    assert [(card["indicator"], card["summary"]) for card in cards] == [(card.indicator, card.summary) for card in person.cards]


def test_what_one_client_overrides_is_silent_for_this_patient_and_kept_without_her_name(
    tmp_path: Path, fhir_server: str
) -> None:
    signer, call = Signer(), call_of("ada-stiffcalf", fhir_server, "2026-11-20")
    with hospital(tmp_path, fhir_server, signer) as service:
        first = post(service, signer, call)
        chosen = next(card for card in first if card["indicator"] != "critical")
        told = {
            "card": chosen["uuid"],
            "outcome": "overridden",
            "outcomeTimestamp": datetime.now(UTC).isoformat(),
            "overrideReason": {"reason": chosen["overrideReasons"][0]},
        }
        token = bearer(signer.token("ES384", aud=f"{AUDIENCE}/feedback"))
        assert service.post(f"{CALL}/feedback", json={"feedback": [told]}, headers=token).status_code == 200
        again = until(lambda: [card["summary"] for card in post(service, signer, call)], without=chosen["summary"])
        other = post(service, signer, call_of("bert-quietleg", fhir_server, "2026-11-20"))
    assert set(again) < {card["summary"] for card in first}
    assert isinstance(other, list)
    rows = asyncio.run(kept(f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"))
    assert {row.client for row in rows} == {ISS}
    assert "ada-stiffcalf" not in str(rows)


def until(look: Any, without: str) -> list[str]:
    """What is seen once a summary is gone: the override is learned beside the answering."""
    for _ in range(200):
        seen: list[str] = look()
        if without not in seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"{without!r} is still shown")


async def kept(url: str) -> list[Any]:
    store = Store(url)
    engine = await store.open()
    async with engine.connect() as connection:
        rows = [*await connection.execute(select(answers)), *await connection.execute(select(shown_cards))]
    await store.close()
    return rows


def test_the_form_is_asked_for_filled_in_and_comes_back(tmp_path: Path, fhir_server: str) -> None:
    """The whole way: the Task of a card is kept by the EHR, the form is answered there, and the next call knows the answers."""
    signer, call = Signer(), call_of("ada-stiffcalf", fhir_server, "2026-11-20")
    with hospital(tmp_path, fhir_server, signer) as service:
        first = post(service, signer, call)
        asked = [item for card in first for item in card.get("suggestions", ()) if "cramp history" in item["label"]]
        (action,) = asked[0]["actions"]
        kept_task = httpx.post(f"{fhir_server}/Task", json=action["resource"], headers=AT_THE_EHR)
        assert kept_task.status_code == 201
        (form,) = [part["valueCanonical"] for part in kept_task.json()["input"]]
        form_served = service.get(f"/Questionnaire/{form.partition('|')[0].rpartition('/')[2]}").json()
        assert form == f"{form_served['url']}|{form_served['version']}"
        answered = {
            "resourceType": "QuestionnaireResponse",
            "questionnaire": form,
            "status": "completed",
            "subject": kept_task.json()["for"],
            "authored": "2026-11-20T09:00:00Z",
            "item": [
                {"linkId": "leg-cramps", "answer": [{"valueBoolean": True}]},
                {"linkId": "over-ten-minutes", "answer": [{"valueBoolean": True}]},
                {"linkId": "eases-with-stretching", "answer": [{"valueBoolean": False}]},
            ],
        }
        assert httpx.post(f"{fhir_server}/QuestionnaireResponse", json=answered, headers=AT_THE_EHR).status_code == 201
        again = post(service, signer, call)
    assert not [item for card in again for item in card.get("suggestions", ()) if "cramp history" in item["label"]]
    assert again[0]["indicator"] == "critical"
    assert "10 minutes" in again[0]["summary"]
