"""Signed callers: who is let in, and every kind of token that is not, each for its own reason and with the same answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import OctKey
from starlette.testclient import TestClient

from cds_service.errors import RequestError, SettingsError
from cds_service.security.client_tokens import ClientTokenVerifier, alike, heard_at, read_token
from cds_service.security.clients import Client
from cds_service.security.replay import Replay
from cds_service.service import DecisionService
from cds_service.store.database import Store
from tests.support.calls import CALL, ORIGIN, assert_outcome, make
from tests.support.people import SERVICE, body, bundle, observation
from tests.support.signing import AUDIENCE, DISCOVERY, ISS, PUBLIC, Signer, bearer, clients_file, encoded, make_key, sign

OUTCOME = {"card": "x", "outcome": "accepted", "outcomeTimestamp": "2026-11-20T10:00:00Z"}
REFUSED = {
    "resourceType": "OperationOutcome",
    "issue": [
        {
            "severity": "error",
            "code": "security",
            "details": {
                "coding": [{"system": "https://leg-cramps.example/error-codes", "code": "not-let-in"}],
                "text": "Authorization: this caller is not let in",
            },
            "diagnostics": "the log of this service says why",
            "expression": ["Authorization"],
        }
    ],
}


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture(scope="module")
def stranger() -> Signer:
    return Signer("https://stranger.example")


Serve = Callable[..., TestClient]


def built(
    decision_service: DecisionService, folder: Path, signer: Signer, settings: dict[str, Any] | None = None, **table: Any
) -> TestClient:
    path = clients_file(folder, {"iss": signer.iss, "jwks": signer.jwks(), "audiences": [DISCOVERY]} | table)
    return make(decision_service, folder, ("203.0.113.9", 5000), clients=path, **(settings or {}))


@pytest.fixture
def serve(decision_service: DecisionService, tmp_path: Path) -> Iterator[Serve]:
    """Services that are closed when the test ends, as their database is opened by the first token."""
    with ExitStack() as stack:
        yield lambda signer, settings=None, **table: stack.enter_context(
            built(decision_service, tmp_path, signer, settings, **table)
        )


@pytest.fixture(scope="module")
def service(
    decision_service: DecisionService, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """One service for all that is refused: tenants are set, so that each refusal can be tried."""
    with built(decision_service, tmp_path_factory.mktemp("trust"), signer, tenants=["north", "south"]) as opened:
        yield opened


def claims(signer: Signer, **members: Any) -> dict[str, Any]:
    return signer.claims(**({"tenant": "north"} | members))


def now() -> int:
    return int(time.time())


# What is let in


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_signed_call_is_answered_and_its_feedback_taken(service: TestClient, signer: Signer, algorithm: str) -> None:
    answer = service.post(CALL, json=body(), headers=bearer(signer.token(algorithm, tenant="north")))
    assert answer.status_code == 200
    assert answer.json()["cards"]
    token = signer.token(algorithm, tenant="south", aud=f"{AUDIENCE}/feedback")
    told = service.post(f"{CALL}/feedback", json={"feedback": [OUTCOME]}, headers=bearer(token))
    assert (told.status_code, told.json()) == (200, {})


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_other_algorithms_are_let_in_only_where_the_client_is_set_so(serve: Serve, algorithm: str) -> None:
    signer = Signer()
    signer.keys[algorithm] = make_key(algorithm, "other")
    assert refused(serve(signer), signer.token(algorithm))
    other = serve(signer, algorithms=[algorithm])
    assert other.post(CALL, json=body(), headers=bearer(signer.token(algorithm))).status_code == 200
    assert refused(other, signer.token("ES384"))


@pytest.mark.parametrize(
    "members",
    [
        {"aud": f"{AUDIENCE}/"},
        {"aud": AUDIENCE.replace("hospital", "Hospital")},
        {"aud": AUDIENCE.replace("https", "HTTPS")},
        {"aud": [AUDIENCE]},
        {"aud": [DISCOVERY, AUDIENCE]},
        {"nbf": 0},
        {"sub": "cds-service"},
        {"tenant": "south"},
        {"unheard": {"of": [None]}},
    ],
    ids=str,
)
def test_what_clients_may_write_differently_is_let_in(service: TestClient, signer: Signer, members: dict[str, Any]) -> None:
    token = signer.token(**{"tenant": "north"} | members)
    assert service.post(CALL, json=body(), headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [{"typ": "jwt"}, {"x5t": "abc"}, {"unheard": "of"}, {"cty": "json"}],
    ids=str,
)
def test_members_of_a_header_that_decide_nothing_do_not_matter(
    service: TestClient, signer: Signer, header: dict[str, Any]
) -> None:
    token = sign(signer.header(**header), claims(signer), signer.keys["ES384"])
    assert service.post(CALL, json=body(), headers=bearer(token)).status_code == 200


def test_times_may_have_fractions(service: TestClient, signer: Signer) -> None:
    token = signer.token(tenant="north", iat=time.time() - 0.5, exp=time.time() + 299)
    assert service.post(CALL, json=body(), headers=bearer(token)).status_code == 200


def test_the_word_bearer_may_be_written_in_any_case(service: TestClient, signer: Signer) -> None:
    headers = {"Authorization": f"bearer  {signer.token(tenant='north')}"}
    assert service.post(CALL, json=body(), headers=headers).status_code == 200


# What is refused


def refused(service: TestClient, *tokens: str, headers: Any = None, path: str = CALL, method: str = "POST") -> bool:
    """Whether the last of these calls, and no earlier one, is refused with the one answer that says nothing."""
    for token in tokens[:-1]:
        assert service.post(path, json=body(), headers=bearer(token)).status_code == 200
    answer = service.request(method, path, json=body() if method == "POST" else None, headers=headers or bearer(tokens[-1]))
    if answer.status_code != 401:
        return False
    assert answer.json() == REFUSED
    assert answer.headers["www-authenticate"] == "Bearer"
    return True


def hmac_with_the_public_key(signer: Signer) -> str:
    public = signer.keys["RS384"].as_pem(private=False)
    head = f"{encoded(signer.header('RS384', alg='HS384'))}.{encoded(claims(signer))}"
    return f"{head}.{encoded(hmac.new(public, head.encode(), hashlib.sha384).digest())}"


def raw(header: Any, content: Any, signature: str = "") -> str:
    return f"{encoded(header)}.{encoded(content)}.{signature}"


def own(signer: Signer, header: dict[str, Any] | None = None, **members: Any) -> str:
    return sign(signer.header(**(header or {})), claims(signer, **members), signer.keys["ES384"])


def by_another_key(signer: Signer, header: dict[str, Any] | None = None) -> str:
    key = make_key("ES384", str(signer.keys["ES384"].kid))
    given = {name: key.as_dict(private=False) if value == "own" else value for name, value in (header or {}).items()}
    return sign(signer.header(**given), claims(signer), key)


def changed(token: str, part: int, content: Any) -> str:
    parts = token.split(".")
    parts[part] = content if isinstance(content, str) else encoded(content)
    return ".".join(parts)


def turned(token: str) -> str:
    """The first letter of the signature another one."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


Hostile = Callable[[Signer], str]
HOSTILE: dict[str, tuple[Hostile, str]] = {
    "no token at all": (lambda s: "", "no signed token"),
    "no JWT": (lambda s: "let-me-in", "no signed token"),
    "two parts": (lambda s: own(s).rpartition(".")[0], "no signed token"),
    "four parts": (lambda s: own(s) + ".x", "no signed token"),
    "encrypted, five parts": (lambda s: own(s) + ".x.x", "no signed token"),
    "header no JSON": (lambda s: changed(own(s), 0, b"{"), "no signed token"),
    "header a list": (lambda s: changed(own(s), 0, ["alg"]), "no signed token"),
    "claims a list": (lambda s: sign(s.header(), b"[1]", s.keys["ES384"]), "no signed token"),
    "claims nested without end": (lambda s: sign(s.header(), b"[" * 5000, s.keys["ES384"]), "no signed token"),
    "longer than any token": (lambda s: own(s, padding="x" * 9000), "too long"),
    "unknown issuer": (lambda s: own(s, iss="https://stranger.example"), "unknown issuer"),
    "issuer in another case": (lambda s: own(s, iss=ISS.upper()), "unknown issuer"),
    "issuer a list": (lambda s: own(s, iss=[ISS]), "unknown issuer"),
    "no issuer": (lambda s: own(s, iss=None), "unknown issuer"),
    "alg none, no signature": (lambda s: raw(s.header(alg="none"), claims(s)), "algorithm is not let in"),
    "alg None in another case": (lambda s: raw(s.header(alg="NoNe"), claims(s)), "algorithm is not let in"),
    "alg missing": (lambda s: changed(own(s), 0, {"typ": "JWT"}), "no signed token"),
    "alg a number": (lambda s: changed(own(s), 0, s.header(alg=384)), "algorithm is not let in"),
    "HS384 with the public key as secret": (hmac_with_the_public_key, "algorithm is not let in"),
    "HS256 with a secret of its own": (
        lambda s: sign(s.header(alg="HS256"), claims(s), OctKey.generate_key(256)),
        "algorithm is not let in",
    ),
    "RS512, stronger but not agreed": (
        lambda s: sign(s.header("RS384", alg="RS512"), claims(s), s.keys["RS384"]),
        "algorithm is not let in",
    ),
    "PS384, not agreed": (
        lambda s: sign(s.header("RS384", alg="PS384"), claims(s), s.keys["RS384"]),
        "algorithm is not let in",
    ),
    "RS384 named for a key of ES384": (
        lambda s: changed(own(s), 0, s.header("ES384", alg="RS384")),
        "key or header does not fit the algorithm",
    ),
    "ES384 named for a key of RS384": (
        lambda s: changed(own(s), 0, s.header("RS384", alg="ES384")),
        "key or header does not fit the algorithm",
    ),
    "no key id": (lambda s: own(s, {"kid": None}), "no key id"),
    "empty key id": (lambda s: own(s, {"kid": ""}), "no key id"),
    "unknown key id": (lambda s: own(s, {"kid": "another"}), "unknown key"),
    "key id a path": (lambda s: own(s, {"kid": "../../etc/passwd"}), "unknown key"),
    "no typ": (lambda s: own(s, {"typ": None}), "typ is not JWT"),
    "an access token by its typ": (lambda s: own(s, {"typ": "at+jwt"}), "typ is not JWT"),
    "a critical extension": (lambda s: changed(own(s), 0, s.header(crit=["exp"], exp=1)), "asks for an extension"),
    "payload not encoded": (lambda s: changed(own(s), 0, s.header(b64=False, crit=["b64"])), "no signed token"),
    "signed by another key under the same id": (by_another_key, "signature is wrong"),
    "its own key in the header": (lambda s: by_another_key(s, {"jwk": "own"}), "signature is wrong"),
    "its own certificate in the header": (lambda s: by_another_key(s, {"x5c": ["MIIB"]}), "signature is wrong"),
    "its own key set's address in the header": (
        lambda s: by_another_key(s, {"jku": "https://stranger.example/jwks.json"}),
        "jku is not that of the client",
    ),
    "signature changed": (lambda s: turned(own(s)), "signature is wrong"),
    "signature empty": (lambda s: changed(own(s), 2, ""), "signature is wrong"),
    "signature of nothing but zeros": (lambda s: changed(own(s), 2, bytes(96)), "signature is wrong"),
    "claims changed": (lambda s: changed(own(s), 1, claims(s)), "signature is wrong"),
    "signature of another token": (lambda s: changed(own(s), 2, own(s).rpartition(".")[2]), "signature is wrong"),
    "no exp": (lambda s: own(s, exp=None), "claims: missing_claim: Missing claim: 'exp'"),
    "no iat": (lambda s: own(s, iat=None), "claims: missing_claim: Missing claim: 'iat'"),
    "no jti": (lambda s: own(s, jti=None), "claims: missing_claim: Missing claim: 'jti'"),
    "no aud": (lambda s: own(s, aud=None), "claims: missing_claim: Missing claim: 'aud'"),
    "expired": (lambda s: own(s, iat=now() - 200, exp=now() - 31), "expired"),
    "exp a text": (lambda s: own(s, exp=str(now() + 100)), "claims: invalid_claim: Claim 'exp' must be a NumericDate value"),
    "exp not a number": (
        lambda s: own(s, exp=float("nan")),
        "claims: invalid_claim: Claim 'exp' must be a NumericDate value",
    ),
    "exp without end": (
        lambda s: own(s, exp=float("inf")),
        "claims: invalid_claim: Claim 'exp' must be a NumericDate value",
    ),
    "exp larger than any number": (lambda s: own(s, exp=10**400, iat=now() + 0.5), "lives too long"),
    "lives for an hour": (lambda s: own(s, exp=now() + 3600), "lives too long"),
    "lives a second too long": (lambda s: own(s, exp=now() + 301), "lives too long"),
    "issued after it ends": (lambda s: own(s, iat=now() + 10, exp=now() + 5), "lives too long"),
    "issued before numbers": (lambda s: own(s, iat=-(10**400), exp=now() + 5.5), "lives too long"),
    "issued in the future": (lambda s: own(s, iat=now() + 100), "claims: invalid_claim: The token was issued in the future"),
    "not valid yet": (lambda s: own(s, nbf=now() + 100), "claims: invalid_claim: The token is not yet valid"),
    "nbf a text": (lambda s: own(s, nbf="soon"), "claims: invalid_claim: Claim 'nbf' must be a NumericDate value"),
    "audience another service of ours": (lambda s: own(s, aud=f"{DISCOVERY}/another"), "audience is another endpoint"),
    "audience discovery": (lambda s: own(s, aud=DISCOVERY), "audience is another endpoint"),
    "audience the feedback": (lambda s: own(s, aud=f"{AUDIENCE}/feedback"), "audience is another endpoint"),
    "audience of someone else": (lambda s: own(s, aud="https://else.example/cds-services"), "audience is not ours alone"),
    "audience ours and someone else": (
        lambda s: own(s, aud=[AUDIENCE, "https://else.example"]),
        "audience is not ours alone",
    ),
    "audience that begins like ours": (lambda s: own(s, aud=f"{DISCOVERY}.else.example"), "audience is not ours alone"),
    "audience over http": (lambda s: own(s, aud=AUDIENCE.replace("https", "http")), "audience is not ours alone"),
    "two slashes at the end": (lambda s: own(s, aud=f"{AUDIENCE}//"), "audience is another endpoint"),
    "audience nobody": (lambda s: own(s, aud=[]), "claims: invalid_claim: Invalid claim: 'aud'"),
    "audience a number": (
        lambda s: own(s, aud=7),
        "claims: invalid_claim: Claim 'aud' must be an array of StringOrURI value or a single StringOrURI value",
    ),
    "empty jti": (lambda s: own(s, jti=""), "claims: invalid_claim: Invalid claim: 'jti'"),
    "jti a number": (lambda s: own(s, jti=7), "claims: invalid_claim: Claim 'jti' must be a string"),
    "jti longer than any id": (lambda s: own(s, jti="x" * 201), "jti is empty, too long or no text"),
    "no tenant": (lambda s: own(s, tenant=None), "tenant is not let in"),
    "another tenant": (lambda s: own(s, tenant="west"), "tenant is not let in"),
    "tenant a list": (lambda s: own(s, tenant=["north"]), "tenant is not let in"),
}


Logged = list[MutableMapping[str, Any]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def reasons(logged: Logged) -> list[str]:
    return [line["reason"] for line in logged if line["event"] == "token refused"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_token_is_refused_for_its_own_reason(service: TestClient, signer: Signer, logged: Logged, kind: str) -> None:
    build, reason = HOSTILE[kind]
    token = build(signer)
    assert refused(service, token)
    assert reasons(logged) == [reason]
    assert not [part for part in token.split(".") if len(part) > 40 and part in json.dumps(logged)]


def test_a_token_that_was_used_is_refused_and_so_is_its_jti_in_a_new_one(
    service: TestClient, signer: Signer, logged: Logged
) -> None:
    token = own(signer)
    assert refused(service, token, token)
    jti = str(uuid.uuid4())
    assert refused(service, own(signer, jti=jti), sign(signer.header("RS384"), claims(signer, jti=jti), signer.keys["RS384"]))
    assert reasons(logged) == ["used before", "used before"]


def test_a_refused_token_does_not_use_up_its_jti(service: TestClient, signer: Signer) -> None:
    jti = str(uuid.uuid4())
    assert refused(service, own(signer, jti=jti, tenant="west"))
    assert service.post(CALL, json=body(), headers=bearer(own(signer, jti=jti))).status_code == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "no token"),
        ([("Authorization", "Basic dXNlcjpwYXNz")], "no bearer token"),
        ([("Authorization", "Bearer")], "no signed token"),
        ([("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer d.e.f")], "two Authorization headers"),
        ([("Proxy-Authorization", "Bearer a.b.c")], "no token"),
    ],
    ids=["none", "basic", "bare", "two", "of a proxy"],
)
@pytest.mark.parametrize("path", [CALL, f"{CALL}/feedback", "/cds-services/another"])
def test_without_one_bearer_token_nothing_is_answered(
    service: TestClient, logged: Logged, headers: list[tuple[str, str]], reason: str, path: str
) -> None:
    assert refused(service, "", headers=headers or {"Accept": "*/*"}, path=path)
    assert reasons(logged) == [reason]


def test_the_log_names_issuer_jti_and_tenant_and_never_the_token(service: TestClient, signer: Signer, logged: Logged) -> None:
    token = own(signer, jti="j-1", tenant="west")
    service.post(CALL, json=body(), headers=bearer(token))
    assert (logged[0]["iss"], logged[0]["jti"], logged[0]["tenant"]) == (ISS, "j-1", "west")
    assert not [part for part in token.split(".") if part in json.dumps(logged)]


def test_what_a_token_does_not_say_is_not_logged_as_a_word(service: TestClient, signer: Signer, logged: Logged) -> None:
    service.post(CALL, json=body(), headers=bearer(own(signer, tenant=None)))
    assert "tenant" not in logged[0]


def test_keys_of_one_client_do_not_sign_for_another(
    decision_service: DecisionService, tmp_path: Path, signer: Signer, stranger: Signer
) -> None:
    shared = {"audiences": [DISCOVERY]}
    tables = [{"iss": one.iss, "jwks": one.jwks()} | shared for one in (signer, stranger)]
    with make(decision_service, tmp_path, clients=clients_file(tmp_path, *tables)) as service:
        assert service.post(CALL, json=body(), headers=bearer(stranger.token())).status_code == 200
        assert refused(service, signer.token(iss=stranger.iss))


# Which endpoints ask


def test_discovery_is_open_unless_a_setting_asks_for_a_token(serve: Serve, signer: Signer) -> None:
    assert serve(signer).get("/cds-services").status_code == 200
    signed = serve(signer, {"discovery": "signed"})
    assert refused(signed, signer.token(), path="/cds-services", method="GET")
    assert signed.get("/cds-services", headers=bearer(signer.token(aud=DISCOVERY))).status_code == 200


def test_what_holds_nothing_of_a_patient_asks_for_no_token(service: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/Questionnaire/leg-cramp-history", "/leaflets/leg-cramps"):
        assert service.get(path).status_code == 200


def test_a_preflight_needs_no_token_and_origins_of_clients_are_added(serve: Serve, signer: Signer) -> None:
    service = serve(signer, {"cors_origins": (ORIGIN,)}, cors_origins=["https://other.example:8443"])
    for origin in (ORIGIN, "https://other.example:8443"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert service.options(CALL, headers=asked).status_code == 200
        unsigned = service.post(CALL, json=body(), headers={"Origin": origin})
        assert (unsigned.status_code, unsigned.headers["access-control-allow-origin"]) == (401, origin)


# What is agreed with a client


def test_a_client_is_answered_as_its_jurisdiction_reads(
    serve: Serve, decision_service: DecisionService, signer: Signer
) -> None:
    cards = {}
    for place in ("us", "uk"):
        service = serve(signer, jurisdiction=place)
        answer = service.post(CALL, json=body(), headers=bearer(signer.token()))
        # In words alone: the id of a card may hold any digits.
        cards[place] = " ".join(card["detail"] for card in answer.json()["cards"])
    assert decision_service.settings.jurisdiction == "us"
    assert ("999" in cards["uk"], "999" in cards["us"]) == (True, False)


def test_a_client_may_call_prefetch_keys_by_its_own_names(serve: Serve, signer: Signer) -> None:
    service = serve(signer, prefetch_keys={"item1": "conditions", "-user": "electrolytes"})
    call = body({"electrolytes": bundle(observation(2.9, when=None, issued=time.strftime("%Y-%m-%d")))})
    usual = service.post(CALL, json=call, headers=bearer(signer.token())).json()["cards"]
    call["prefetch"]["item1"] = call["prefetch"].pop("conditions")
    call["prefetch"]["-user"] = call["prefetch"].pop("electrolytes")
    named = service.post(CALL, json=call, headers=bearer(signer.token())).json()["cards"]
    assert [card["summary"] for card in named] == [card["summary"] for card in usual]
    assert "2.9" in usual[0]["summary"]


def test_one_prefetch_key_under_two_names_is_refused(serve: Serve, signer: Signer) -> None:
    service = serve(signer, prefetch_keys={"item1": "conditions"})
    answer = service.post(CALL, json=body({"item1": bundle()}), headers=bearer(signer.token()))
    assert_outcome(answer, 400, "duplicate-key")


# Audiences


@pytest.mark.parametrize(
    ("audience", "endpoint", "heard"),
    [
        (DISCOVERY, "", {DISCOVERY}),
        (DISCOVERY, "/a", {f"{DISCOVERY}/a"}),
        (DISCOVERY, "/a/feedback", {f"{DISCOVERY}/a", f"{DISCOVERY}/a/feedback"}),
        (f"{DISCOVERY}/a", "/a", {f"{DISCOVERY}/a"}),
        (f"{DISCOVERY}/a", "/a/feedback", {f"{DISCOVERY}/a", f"{DISCOVERY}/a/feedback"}),
        (f"{DISCOVERY}/a", "/b", set()),
        (f"{DISCOVERY}/a", "", set()),
        ("sand_man", "/a", {"sand_man"}),
        ("sand_man", "", {"sand_man"}),
    ],
)
def test_an_audience_stands_for_its_own_endpoints(audience: str, endpoint: str, heard: set[str]) -> None:
    assert set(heard_at(audience, endpoint)) == heard


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://CDS.Example/cds-services/", "https://cds.example/cds-services"),
        ("HTTPS://cds.example", "https://cds.example"),
        ("https://cds.example/Cds-Services", "https://cds.example/Cds-Services"),
        ("https://cds.example//", "https://cds.example/"),
        ("sand_man", "sand_man"),
        ("Sand_Man/", "Sand_Man/"),
    ],
)
def test_addresses_differ_in_no_more_than_case_of_host_and_one_slash(written: str, read: str) -> None:
    assert alike(written) == read


def test_the_public_url_is_the_audience_of_clients_that_name_none(
    decision_service: DecisionService, tmp_path: Path, signer: Signer
) -> None:
    path = clients_file(tmp_path, {"iss": signer.iss, "jwks": signer.jwks()})
    with make(decision_service, tmp_path, clients=path, public_url=PUBLIC) as service:
        assert service.post(CALL, json=body(), headers=bearer(signer.token())).status_code == 200
    with pytest.raises(SettingsError, match="audiences: are missing"):
        make(decision_service, tmp_path, clients=path)


# The database


class Away(Store):
    async def open(self) -> Any:
        raise ConnectionError("refused")


@pytest.mark.asyncio
async def test_without_the_database_no_token_is_let_in(signer: Signer) -> None:
    trust = ClientTokenVerifier(
        [Client(signer.iss, (DISCOVERY,), jwks=signer.jwks())], None, Replay(Away("sqlite+aiosqlite://"))
    )
    headers = [(b"authorization", f"Bearer {signer.token()}".encode())]
    for _ in range(2):
        with pytest.raises(RequestError) as caught:
            await trust.admit({"headers": headers}, f"/{SERVICE}")
        assert (caught.value.status, caught.value.slug) == (503, "store-unavailable")
    await trust.close()


def test_without_the_database_a_signed_call_is_refused_over_http(serve: Serve, tmp_path: Path, signer: Signer) -> None:
    (tmp_path / "file").write_text("no folder")
    service = serve(signer, {"database_url": f"sqlite+aiosqlite:///{tmp_path}/file/cds.sqlite"})
    assert_outcome(service.post(CALL, json=body(), headers=bearer(signer.token())), 503, "store-unavailable")
    assert refused(service, signer.token(aud=DISCOVERY))


# The example of the specification

# The example token and public key of CDS Hooks, section "Trusting CDS Clients" (HL7/cds-hooks at fb10ca77, Apache-2.0).
EXAMPLE_KEY = {
    "kty": "EC",
    "use": "sig",
    "crv": "P-384",
    "kid": "example-kid",
    "x": "46SDH7Znh821wblCBglA61sNE9ZrHYKKt3qRtRTmSXyOI_FIGBLWrWa0GPUkDCEk",
    "y": "XMcRuuoGW7CXjQdy-F5i3FeBE0x9hPLdeFdSoDd3ELmx404tLX0VRRcqzAsPhXcI",
    "alg": "ES384",
}
EXAMPLE_TOKEN = (
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCIsImtpZCI6ImV4YW1wbGUta2lkIiwiamt1IjoiaHR0cHM6Ly9maGlyLWVoci5leGFtcGxlLmNvbS9qd2tf"
    "dXJpIn0.eyJpc3MiOiJodHRwczovL2ZoaXItZWhyLmV4YW1wbGUuY29tLyIsImF1ZCI6Imh0dHBzOi8vY2RzLmV4YW1wbGUub3JnL2Nkcy1zZXJ2aWNl"
    "cy9zb21lLXNlcnZpY2UiLCJleHAiOjE0MjI1Njg4NjAsImlhdCI6MTMxMTI4MDk3MCwianRpIjoiZWUyMmIwMjEtZTFiNy00NjExLWJhNWItOGVlYzZh"
    "MzNhYzFlIiwidGVuYW50IjoiMmRkZDZjM2EtOGU5YS00NGM2LWEzMDUtNTIxMTFhZDMwMmEyIn0.d1WfLjGRKlcWB94l9do4cM8REXeYJLL6SGUBO8VH"
    "ZhfM8mwKYP70EMxJ67War4TQblEpaQrp11wx5p7oPFm2ETYgCicS84vXWEIYTdjooZdooCSDf2L8-i4awdoUwiEb"
)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("token", "at", "reason"),
    [
        (EXAMPLE_TOKEN, 1_795_000_000, "expired"),
        (EXAMPLE_TOKEN, 1_422_568_800, "lives too long"),
        (EXAMPLE_TOKEN[:-1] + "c", 1_795_000_000, "signature is wrong"),
    ],
    ids=["today", "before it ended", "its last letter changed"],
)
async def test_the_example_token_of_the_specification_is_read_and_refused_for_its_age(
    logged: Logged, tmp_path: Path, token: str, at: int, reason: str
) -> None:
    jku = read_token(token.encode()).header.get("jku")
    audience = "https://cds.example.org/cds-services"
    ehr = Client("https://fhir-ehr.example.com/", (audience,), jku=jku, jwks={"keys": [EXAMPLE_KEY]})
    trust = ClientTokenVerifier([ehr], None, Replay(Store(f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")), clock=lambda: at)
    with pytest.raises(RequestError) as caught:
        await trust.admit({"headers": [(b"authorization", f"Bearer {token}".encode())]}, "/some-service")
    assert caught.value.status == 401
    assert reasons(logged) == [reason]


# Whatever else is sent


@pytest.fixture(scope="module")
def unsure() -> Iterator[tuple[asyncio.AbstractEventLoop, ClientTokenVerifier, str]]:
    """A trust whose database is away: what is refused with 401 has not passed, what asks the database has."""
    signer = Signer()
    loop = asyncio.new_event_loop()
    trust = ClientTokenVerifier(
        [Client(signer.iss, (DISCOVERY,), jwks=signer.jwks())], None, Replay(Away("sqlite+aiosqlite://"))
    )
    yield loop, trust, signer.token()
    loop.close()


def status_of(unsure: tuple[asyncio.AbstractEventLoop, ClientTokenVerifier, str], value: bytes) -> int:
    loop, trust, _ = unsure
    try:
        loop.run_until_complete(trust.admit({"headers": [(b"authorization", b"Bearer " + value)]}, f"/{SERVICE}"))
    except RequestError as error:
        return error.status
    return 200


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_to_a_token_passes(
    unsure: tuple[asyncio.AbstractEventLoop, ClientTokenVerifier, str], data: st.DataObject
) -> None:
    token = unsure[2].encode()
    at = data.draw(st.integers(0, len(token) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=4) | st.sampled_from([b"A", b".", b"=", b"_", b"-", b"\x00", b"\xff"]))
    cut = data.draw(st.integers(0, 3))
    value = token[:at] + piece + token[at + cut :]
    if value.strip() != token:
        assert status_of(unsure, value) == 401
    assert status_of(unsure, token) == 503


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(b".".join))
def test_no_bytes_pass_or_break_it(unsure: tuple[asyncio.AbstractEventLoop, ClientTokenVerifier, str], value: bytes) -> None:
    assert status_of(unsure, value) == 401


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(["alg", "kid", "typ", "jku", "jwk", "crit", "b64", "x5c", "x5u", "use", "iss", "exp", "aud", "jti"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_NAMES, _JSON), st.dictionaries(_NAMES, _JSON), st.binary(max_size=100))
def test_no_header_and_claims_of_any_shape_pass_or_break_it(
    unsure: tuple[asyncio.AbstractEventLoop, ClientTokenVerifier, str],
    header: dict[str, Any],
    content: dict[str, Any],
    signature: bytes,
) -> None:
    usual = {"alg": "ES384", "typ": "JWT", "kid": "ES384-1"}
    given_claims = {"iss": ISS, "aud": AUDIENCE, "exp": now() + 100, "iat": now(), "jti": "x"}
    value = f"{encoded(usual | header)}.{encoded(given_claims | content)}.{encoded(signature)}"
    assert status_of(unsure, value.encode()) == 401


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "aud", "jti", "sub", "tenant"]), _JSON, min_size=1))
def test_claims_of_any_shape_that_are_well_signed_break_nothing(content: dict[str, Any]) -> None:
    signed = sign(_SIGNER.header(), json.dumps(_SIGNER.claims() | content).encode(), _SIGNER.keys["ES384"])
    loop = asyncio.new_event_loop()
    trust = ClientTokenVerifier(
        [Client(_SIGNER.iss, (DISCOVERY,), jwks=_SIGNER.jwks())], None, Replay(Away("sqlite+aiosqlite://"))
    )
    assert status_of((loop, trust, ""), signed.encode()) in (401, 503)
    loop.close()


_SIGNER = Signer()


ODD: list[Any] = ["\ud800", "a\x00b", "a\nb", "x" * 5000, "", 7, 1e300, True, None, ["\udfff"], {"\ud800": 1}, "‮"]


@pytest.mark.parametrize("name", ["iss", "jti", "tenant"])
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_whatever_stands_in_what_is_logged_the_refusal_is_the_same_and_logged_once(
    decision_service: DecisionService, tmp_path: Path, signer: Signer, name: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = {"iss": "https://nobody.example", "jti": "1", "tenant": "t"} | {name: value}
    token = ".".join((encoded({"alg": "ES384", "typ": "JWT", "kid": "k"}), encoded(claims), encoded(b"0" * 96)))
    with built(decision_service, tmp_path, signer) as client:
        answer = client.post(CALL, json=body(), headers=bearer(token))
    assert (answer.status_code, answer.json()) == (401, REFUSED)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert [line["reason"] for line in lines if line["event"] == "token refused"] == ["unknown issuer"]
    assert not [line for line in lines if line["event"] == "failed"]


def test_a_token_whose_id_is_half_a_character_is_not_let_in(
    decision_service: DecisionService, tmp_path: Path, signer: Signer
) -> None:
    with built(decision_service, tmp_path, signer) as client:
        token = sign(signer.header(), json.dumps(signer.claims(jti="\ud800")), signer.keys["ES384"])
        assert client.post(CALL, json=body(), headers=bearer(token)).json() == REFUSED


@pytest.mark.parametrize(
    ("configured", "named", "status"),
    [
        (None, None, 200),
        (None, "https://x.example/k", 401),
        ("https://ehr.example/k", "https://x.example/k", 401),
        ("https://ehr.example/k", "https://ehr.example/k", 200),
        ("https://ehr.example/k", None, 200),
    ],
)
def test_an_address_of_keys_that_is_not_the_clients_is_refused_also_where_keys_were_given_by_hand(
    decision_service: DecisionService, tmp_path: Path, configured: str | None, named: str | None, status: int
) -> None:
    signer = Signer(jku=named)
    table: dict[str, Any] = {"jku": configured} if configured else {}
    with built(decision_service, tmp_path, signer, **table) as client:
        assert client.post(CALL, json=body(), headers=bearer(signer.token())).status_code == status
