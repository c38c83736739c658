"""The file of clients: read strictly, every mistake told at once with its place and remedy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cds_service.errors import SettingsError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.run import client_schema
from cds_service.security.client_tokens import ClientTokenVerifier
from cds_service.security.clients import Client, ClientSchema, read_clients
from cds_service.security.replay import Replay
from cds_service.service import DecisionService
from cds_service.store.database import Store
from tests.conftest import ROOT
from tests.support.calls import make
from tests.support.signing import ISS, Signer, clients_file, make_key

EXAMPLE = ROOT / "deploy/clients.example.toml"
JKU = "https://ehr.example/jwks.json"
KNOWN = ClientSchema(("conditions", "electrolytes"), ("us", "uk"))
DEVELOPMENT = ClientSchema(KNOWN.prefetch_keys, KNOWN.jurisdictions, loopback=True)


def problems(path: Path, known: ClientSchema = KNOWN) -> list[tuple[str, str, str]]:
    with pytest.raises(SettingsError) as caught:
        read_clients(path, known)
    return [(item.place.removeprefix(f"{path}: "), item.message, item.remedy) for item in caught.value.problems]


def places(folder: Path, *tables: dict[str, Any], known: ClientSchema = KNOWN) -> list[str]:
    return [place for place, _, _ in problems(clients_file(folder, *tables), known)]


def test_without_a_file_there_is_no_client() -> None:
    assert read_clients(None, KNOWN) == ()


def test_a_client_is_what_its_table_says(tmp_path: Path) -> None:
    table = {
        "iss": ISS,
        "jku": JKU,
        "audiences": ["https://cds.example/cds-services"],
        "algorithms": ["RS256", "RS384"],
        "tenants": ["north"],
        "fhir_bases": ["https://ehr.example/fhir/"],
        "cors_origins": ["https://ehr.example"],
        "jurisdiction": "uk",
        "open_server": True,
        "token_lifetime": 60,
        "prefetch_keys": {"item1": "conditions", "-user": "electrolytes"},
    }
    (client,) = read_clients(clients_file(tmp_path, table), KNOWN)
    assert client == Client(
        iss=ISS,
        jku=JKU,
        audiences=("https://cds.example/cds-services",),
        algorithms=("RS256", "RS384"),
        tenants=("north",),
        fhir_bases=("https://ehr.example/fhir",),
        cors_origins=("https://ehr.example",),
        jurisdiction="uk",
        open_server=True,
        token_lifetime=60,
        prefetch_keys={"item1": "conditions", "-user": "electrolytes"},
    )


def test_what_is_left_out_is_the_safe_choice(tmp_path: Path) -> None:
    (client,) = read_clients(clients_file(tmp_path, {"iss": ISS, "jku": JKU}), KNOWN)
    assert client == Client(ISS, jku=JKU)
    assert client.algorithms == ("ES384", "RS384")
    assert (client.open_server, client.fhir_bases, client.token_lifetime) == (False, (), 300)


def test_every_mistake_is_told_at_once_with_place_and_remedy(tmp_path: Path) -> None:
    tables: list[dict[str, Any]] = [
        {"iss": ISS, "jku": "http://ehr.example/jwks.json", "colour": "red", "tenants": "north"},
        {"iss": ISS, "algorithms": ["HS256"], "fhir_bases": ["https://ehr.example/fhir", "ftp://ehr.example"]},
        {"jku": JKU, "token_lifetime": 7200, "jurisdiction": "fr", "open_server": "yes"},
    ]
    found = problems(clients_file(tmp_path, *tables))
    assert [place for place, _, _ in found] == [
        "client[0].colour",
        "client[0].jku",
        "client[0].tenants",
        "client[1].jku",
        "client[1].algorithms[0]",
        "client[1].fhir_bases[1]",
        "client[2].iss",
        "client[2].jurisdiction",
        "client[2].open_server",
        "client[2].token_lifetime",
        "client[1].iss",
    ]
    assert all(message and remedy for _, message, remedy in found)
    assert "'http://ehr.example/jwks.json' cannot be" in found[1][1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", ""),
        ("iss", 7),
        ("iss", "two words"),
        ("iss", ["https://ehr.example"]),
        ("iss", "x" * 501),
        ("jku", "ehr.example/jwks.json"),
        ("jku", "https://"),
        ("jku", "https://user@ehr.example/jwks.json"),
        ("jku", "https://ehr.example/jwks.json#part"),
        ("jku", "https://ehr.example:port/jwks.json"),
        ("jku", "file:///etc/passwd"),
        ("jku", "http://127.0.0.1:8080/jwks.json"),
        ("fhir_bases", ["https://ehr.example/fhir?tenant=1"]),
        ("fhir_bases", ["http://127.0.0.1:8080/fhir"]),
        ("fhir_bases", []),
        ("cors_origins", ["*"]),
        ("cors_origins", ["https://*.example"]),
        ("cors_origins", ["https://ehr.example/"]),
        ("cors_origins", ["null"]),
        ("algorithms", []),
        ("algorithms", ["none"]),
        ("algorithms", ["RS512"]),
        ("audiences", [""]),
        ("tenants", [7]),
        ("jurisdiction", "US"),
        ("open_server", 1),
        ("token_lifetime", 0),
        ("token_lifetime", True),
        ("token_lifetime", 60.5),
        ("prefetch_keys", {"item1": "unheard"}),
        ("prefetch_keys", {"item1": "conditions", "item2": "conditions"}),
        ("prefetch_keys", "conditions"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    found = places(tmp_path, {"iss": ISS, "jku": JKU} | {name: value})
    assert found
    assert all(place.startswith(f"client[0].{name}") for place in found)


def test_http_is_for_loopback_in_development_alone(tmp_path: Path) -> None:
    local = {
        "iss": ISS,
        "jku": "http://127.0.0.1:8080/jwks.json",
        "fhir_bases": ["http://localhost:8080/fhir", "http://[::1]/fhir"],
    }
    path = clients_file(tmp_path, local)
    (client,) = read_clients(path, DEVELOPMENT)
    assert client.fhir_bases == ("http://localhost:8080/fhir", "http://[::1]/fhir")
    assert len(problems(path)) == 3
    for address in ("http://ehr.example/fhir", "http://127.0.0.1.example/fhir", "http://10.0.0.1/fhir", "http://0.0.0.0/fhir"):
        assert places(tmp_path, {"iss": ISS, "jku": JKU, "fhir_bases": [address]}, known=DEVELOPMENT)


def test_a_client_without_keys_is_refused(tmp_path: Path) -> None:
    assert places(tmp_path, {"iss": ISS}) == ["client[0].jku"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("", "client"),
        ("client = 7", "client"),
        ("[client]\niss = 'x'", "client"),
        ("client = [7]", "client"),
        ("[[clients]]\niss = 'x'", "clients"),
        ("[[client]]\niss = 'x'", "client[0].jku"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: str, place: str) -> None:
    path = tmp_path / "clients.toml"
    path.write_text(content)
    assert problems(path)[0][0] == place


@pytest.mark.parametrize("content", [b"[[client", b"\xff", None])
def test_a_file_that_cannot_be_read_is_told_by_its_setting(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clients.toml"
    if content is not None:
        path.write_bytes(content)
    ((place, message, remedy),) = problems(path)
    assert (place, bool(remedy)) == ("CDS_CLIENTS", True)
    assert str(path) in message


def unusable_keys(signer: Signer) -> list[dict[str, Any]]:
    good = signer.keys["ES384"].as_dict(private=False)
    return [
        {name: value for name, value in good.items() if name != "kid"},
        signer.keys["ES384"].as_dict(private=True) | {"kid": "private"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        make_key("RS384", "short", 1024).as_dict(private=False),
        good | {"use": "enc", "kid": "for-encryption"},
        good | {"x": good["y"], "kid": "off-the-curve"},
        good | {"kid": "without-x", "x": 7},
        good | {"kid": "twin"},
        good | {"kid": "twin"},
    ]


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_every_inline_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    signer = Signer()
    keys = [*unusable_keys(signer), *signer.jwks()["keys"]]
    (client,) = read_clients(clients_file(tmp_path, {"iss": ISS, "jwks": {"keys": keys}, "audiences": ["x"]}), KNOWN)
    with pytest.raises(SettingsError) as caught:
        ClientTokenVerifier([client], None, Replay(Store("sqlite+aiosqlite://")))
    assert [item.place for item in caught.value.problems] == [f"CDS_CLIENTS: {ISS}: jwks: keys[{at}]" for at in range(9)]
    told = [item.message for item in caught.value.problems]
    assert told[:4] == ["has no kid", "is a private key", "kty 'oct' is neither EC nor RSA", "has 1024 bits, fewer than 2048"]
    assert told[-2:] == ["another key has the same kid"] * 2


def test_what_is_wrong_with_keys_and_audiences_is_told_beside_all_else(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Signer().keys["ES384"].as_dict(private=False) | {"kid": 5}
    path = clients_file(tmp_path, {"iss": ISS, "audience": ["x"], "jwks": {"keys": [key]}}, {"iss": "https://b.example"})
    with pytest.raises(SettingsError) as caught:
        make(decision_service, tmp_path, clients=path)
    told = [item.place.removeprefix(f"{path}: ").removeprefix("CDS_CLIENTS: ") for item in caught.value.problems]
    assert told == ["client[0].audience", "client[1].jku", f"{ISS}: audiences", f"{ISS}: jwks: keys[0]"]


def test_the_example_stands_without_the_file_of_codes_and_names_every_member(knowledge: Knowledge, tmp_path: Path) -> None:
    alone = tmp_path / EXAMPLE.name
    shutil.copy(EXAMPLE, alone)
    assert {client.code_map for client in read_clients(alone, client_schema(knowledge))} == {None}
    shutil.copy(EXAMPLE.with_name("codes.example.toml"), tmp_path)
    alone.write_text(alone.read_text().replace('# code_map = "', 'code_map = "'))
    clients = read_clients(alone, client_schema(knowledge))
    assert [client for client in clients if client.code_map]
    assert ClientTokenVerifier(clients, "https://cds.hospital.example", Replay(Store("sqlite+aiosqlite://")))
    text = EXAMPLE.read_text()
    for name in Client.__dataclass_fields__:
        assert re.search(rf"^(\[+client\.|# )?{name}\b", text, re.MULTILINE), name
    assert not [client for client in clients if "example" not in client.iss]


def test_a_wrong_file_stops_the_start(decision_service: DecisionService, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"prefetch_keys\.item1: 'unheard' is no key of ours"):
        make(
            decision_service,
            tmp_path,
            clients=clients_file(tmp_path, {"iss": ISS, "jku": JKU, "prefetch_keys": {"item1": "unheard"}}),
        )
