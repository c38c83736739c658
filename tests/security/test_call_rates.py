"""A client that runs wild is told to wait, and keeps nobody else waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cds_service.service import DecisionService
from tests.support.calls import CALL, assert_outcome, make
from tests.support.people import body
from tests.support.signing import DISCOVERY, Signer, bearer, clients_file


def test_a_client_may_call_as_often_as_its_table_says(decision_service: DecisionService, tmp_path: Path) -> None:
    wild, calm = Signer("https://wild.example"), Signer("https://calm.example")
    tables: list[dict[str, Any]] = [
        {"iss": wild.iss, "jwks": wild.jwks(), "audiences": [DISCOVERY], "calls_a_minute": 2},
        {"iss": calm.iss, "jwks": calm.jwks(), "audiences": [DISCOVERY]},
    ]
    path = clients_file(tmp_path, *tables)
    with make(decision_service, tmp_path, ("203.0.113.9", 5000), clients=path) as client:
        # Over two minutes of the clock at most, so one of five is beyond what either lets through.
        answers = [client.post(CALL, json=body(), headers=bearer(wild.token())) for _ in range(5)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused
        assert_outcome(refused[0], 429, "too-many-calls")
        assert refused[0].headers["retry-after"] == "60"
        for _ in range(5):
            assert client.post(CALL, json=body(), headers=bearer(calm.token())).status_code == 200
