"""Keys of clients: fetched from their one address, kept, fetched anew when they change, and never too often."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cds_service.security.jwks import (
    KEPT_SECONDS,
    MOST_BYTES,
    PAUSE_SECONDS,
    STALE_SECONDS,
    FetchedKeys,
    import_keys,
    read_key_set,
)
from cds_service.service import DecisionService
from tests.support.calls import CALL, make
from tests.support.people import body
from tests.support.signing import DISCOVERY, KeyServer, Signer, bearer, clients_file, closed_port, key_server, make_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def shown(signer: Signer) -> Iterator[KeyServer]:
    with key_server() as shown:
        shown.show(signer)
        yield shown


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def keys(shown: KeyServer, clock: Clock) -> AsyncIterator[FetchedKeys]:
    yield FetchedKeys(shown.address, clock)


def kid(signer: Signer, algorithm: str = "ES384") -> str:
    return str(signer.keys[algorithm].kid)


@pytest.mark.asyncio
async def test_keys_are_fetched_once_and_kept(keys: FetchedKeys, shown: KeyServer, signer: Signer, clock: Clock) -> None:
    for algorithm in ("ES384", "RS384", "ES384"):
        found = await keys.find(kid(signer, algorithm))
        assert found
        assert found.as_dict(private=False) == signer.keys[algorithm].as_dict(private=False)
    clock.now += KEPT_SECONDS
    assert await keys.find(kid(signer))
    assert shown.asked == 1


@pytest.mark.asyncio
async def test_many_who_wait_cause_one_fetch(keys: FetchedKeys, shown: KeyServer, signer: Signer) -> None:
    shown.delay = 0.1
    found = await asyncio.gather(*(keys.find(kid(signer)) for _ in range(20)))
    assert all(found)
    assert shown.asked == 1


@pytest.mark.asyncio
async def test_a_new_key_is_found_when_a_token_names_it(
    keys: FetchedKeys, shown: KeyServer, signer: Signer, clock: Clock
) -> None:
    assert await keys.find(kid(signer))
    signer.rotate()
    shown.show(signer)
    clock.now += PAUSE_SECONDS
    assert await keys.find(kid(signer))
    assert shown.asked == 2


@pytest.mark.asyncio
async def test_invented_key_ids_do_not_make_it_ask_again_and_again(keys: FetchedKeys, shown: KeyServer, clock: Clock) -> None:
    for number in range(50):
        assert await keys.find(f"invented-{number}") is None
    assert shown.asked == 1
    clock.now += PAUSE_SECONDS
    await keys.find("invented")
    assert shown.asked == 2


@pytest.mark.asyncio
async def test_a_withdrawn_key_is_refused_when_its_time_is_over(
    keys: FetchedKeys, shown: KeyServer, signer: Signer, clock: Clock
) -> None:
    old = kid(signer)
    assert await keys.find(old)
    signer.rotate()
    shown.show(signer)
    clock.now += KEPT_SECONDS + 1
    # Once more it counts, and is fetched anew beside the answering.
    assert await keys.find(old)
    await refreshed(keys)
    assert await keys.find(old) is None
    assert await keys.find(kid(signer))


async def refreshed(keys: FetchedKeys) -> None:
    assert keys._refreshing is not None
    await keys._refreshing


@pytest.mark.asyncio
async def test_an_address_that_hangs_keeps_nobody_waiting_whose_key_is_known(
    keys: FetchedKeys, shown: KeyServer, signer: Signer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await keys.find(kid(signer))
    asked = asyncio.Event()

    async def hang(address: str) -> bytes:
        asked.set()
        await asyncio.sleep(3600)
        return b""

    monkeypatch.setattr("cds_service.security.jwks.fetch", hang)
    clock.now += KEPT_SECONDS + 1
    async with asyncio.timeout(1):
        for _ in range(3):
            assert await keys.find(kid(signer))
        await asked.wait()
    assert keys._refreshing is not None
    keys._refreshing.cancel()


@pytest.mark.asyncio
async def test_while_their_address_does_not_answer_keys_are_used_for_an_hour(
    keys: FetchedKeys, shown: KeyServer, signer: Signer, clock: Clock
) -> None:
    assert await keys.find(kid(signer))
    shown.status = 503
    clock.now += STALE_SECONDS - 1
    assert await keys.find(kid(signer))
    await refreshed(keys)
    clock.now += 2
    assert await keys.find(kid(signer)) is None
    shown.status = 200
    clock.now += PAUSE_SECONDS
    assert await keys.find(kid(signer))


def spoil(shown: KeyServer, kind: str) -> None:
    padded = json.dumps({"padding": "x" * MOST_BYTES} | json.loads(shown.content)).encode()
    spoilt: dict[str, Any] = {
        "an error": {"status": 500},
        "not found": {"status": 404},
        "a redirect": {"status": 302, "headers": {"Location": shown.address}},
        "no content": {"status": 204},
        "HTML": {"content": b"<html>log in</html>"},
        "cut off": {"content": shown.content[:-1]},
        "a list": {"content": b"[]"},
        "no keys": {"content": b"{}"},
        "keys a text": {"content": b'{"keys": "x"}'},
        "nested without end": {"content": b"[" * 100_000},
        "no UTF-8": {"content": b'{"keys": [{"kid": "\xff"}]}'},
        "too long": {"content": padded},
        "a bomb": {"content": gzip.compress(padded), "headers": {"Content-Encoding": "gzip"}},
    }
    for name, value in spoilt[kind].items():
        setattr(shown, name, value)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "kind",
    [
        "an error",
        "not found",
        "a redirect",
        "no content",
        "HTML",
        "cut off",
        "a list",
        "no keys",
        "keys a text",
        "nested without end",
        "no UTF-8",
        "too long",
        "a bomb",
    ],
)
async def test_an_address_that_answers_wrongly_gives_no_key_and_breaks_nothing(
    keys: FetchedKeys, shown: KeyServer, signer: Signer, kind: str
) -> None:
    spoil(shown, kind)
    assert await keys.find(kid(signer)) is None
    assert shown.asked == 1


@pytest.mark.asyncio
async def test_an_address_where_nobody_listens_gives_no_key() -> None:
    assert await FetchedKeys(f"http://127.0.0.1:{closed_port()}/jwks.json").find("any") is None


@pytest.mark.asyncio
async def test_no_proxy_of_the_environment_is_asked(keys: FetchedKeys, signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert await keys.find(kid(signer))


def test_a_key_that_cannot_be_used_does_not_spoil_the_others() -> None:
    signer = Signer()
    odd: list[Any] = [None, 7, {}, {"kty": "OKP", "crv": "Ed25519", "kid": "x"}, {"kty": ["EC"], "kid": "y"}, {"kid": ["z"]}]
    found, problems = import_keys([*odd, *signer.jwks()["keys"], make_key("ES384", "third").as_dict(private=False)])
    assert set(found) == {kid(signer, "ES384"), kid(signer, "RS384"), "third"}
    assert len(problems) == len(odd)


@pytest.mark.parametrize("content", [b"", b"null", b'"keys"', b'{"keys": {}}'])
def test_what_is_no_key_set_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="is no"):
        read_key_set(content)


def test_a_client_may_change_its_keys_while_the_service_runs(
    decision_service: DecisionService, tmp_path: Path, shown: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cds_service.security.jwks.PAUSE_SECONDS", 0.0)
    signer = Signer(jku=shown.address)
    shown.show(signer)
    path = clients_file(tmp_path, {"iss": signer.iss, "jku": shown.address, "audiences": [DISCOVERY]})
    with make(decision_service, tmp_path, clients=path, environment="development") as service:

        def status(algorithm: str, **header: Any) -> int:
            token = signer.token(algorithm, header=header)
            return service.post(CALL, json=body(), headers=bearer(token)).status_code

        assert [status("ES384"), status("RS384"), status("RS384", jku=None)] == [200, 200, 200]
        signer.rotate()
        assert status("ES384") == 401
        shown.show(signer)
        assert [status("ES384"), status("RS384")] == [200, 200]


def test_an_address_in_the_token_that_is_not_the_clients_is_never_asked(
    decision_service: DecisionService, tmp_path: Path, shown: KeyServer, signer: Signer
) -> None:
    with key_server() as hostile:
        hostile.show(signer)
        for keys in ({"jku": shown.address}, {"jwks": Signer().jwks()}):
            path = clients_file(tmp_path, {"iss": signer.iss, "audiences": [DISCOVERY]} | keys)
            with make(decision_service, tmp_path, clients=path, environment="development") as service:
                token = signer.token(header={"jku": hostile.address})
                assert service.post(CALL, json=body(), headers=bearer(token)).status_code == 401
        assert (hostile.asked, shown.asked) == (0, 0)
