"""Signed callers: each call carries a JWT that a configured client signed for this very endpoint, once (CDS Hooks 2.0).

Every refusal is the same 401; its reason stands in the log alone. Neither a token nor a part of it is ever logged but
`iss`, `jti` and `tenant`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError

from cds_service.errors import Mendable, Problem, RequestError, SettingsError
from cds_service.log import log
from cds_service.security.clients import Client
from cds_service.security.jwks import JwkSet, Key, keys_of
from cds_service.security.replay import Replay, Unavailable

LEEWAY_SECONDS = 30
"""So far may the clocks of a client and of this service differ."""
_BASE = "/cds-services"
_LONGEST_TOKEN = 8192
_LONGEST_ID = 200
_REFUSAL = Problem("Authorization", "this caller is not let in", "the log of this service says why")


class _Registry(jws.JWSRegistry):
    """Room for a header with a long `jku`; members that we do not know are left alone, but for `crit`."""

    max_header_length = 2048


class Token(NamedTuple):
    """A token as it was given; nothing in it is true until its signature is verified."""

    signed: jws.CompactSignature
    header: Mapping[str, Any]
    claims: dict[str, Any]


class _Refused(Exception):
    """Not let in, for this reason."""


class _Known(NamedTuple):
    client: Client
    keys: JwkSet
    audiences: tuple[str, ...]
    registry: _Registry


class ClientTokenVerifier:
    """Lets a call in if a client signed it. `clock` gives seconds since the epoch."""

    def __init__(
        self, clients: Iterable[Client], public_url: str | None, replay: Replay, clock: Callable[[], float] = time.time
    ) -> None:
        self._replay, self._clock = replay, clock
        self._known = _prepare(clients, public_url)
        needed: dict[str, jwt.ClaimsOption] = {name: {"essential": True} for name in ("iss", "aud", "exp", "iat", "jti")}
        self._registry = jwt.JWTClaimsRegistry(now=lambda: int(clock()), leeway=LEEWAY_SECONDS, **needed)

    async def admit(self, scope: Mapping[str, Any], endpoint: str) -> Client:
        """The client that signed this call. `endpoint`: what follows `/cds-services` in the address, such as `/my-service`.

        Raises RequestError: 401 always alike, and 503 where the database cannot say whether the token was used before.
        """
        text: dict[str, object] = {}
        try:
            token = read_token(_bearer(scope))
            told = {name: token.claims.get(name) for name in ("iss", "jti", "tenant")}
            text = {name: str(value)[:_LONGEST_ID] for name, value in told.items() if value is not None}
            return await self._judge(token, endpoint)
        except _Refused as refused:
            log.warning("token refused", reason=str(refused), **text)
            raise RequestError(401, "not-let-in", "security", [_REFUSAL]) from None
        except Unavailable as error:
            log.error("token not looked up", reason=str(error), **text)
            problem = Problem("Authorization", "cannot be looked up at present", "send the call again later, with a new token")
            raise RequestError(503, "store-unavailable", "transient", [problem]) from None

    async def close(self) -> None:
        await self._replay.close()

    async def _judge(self, token: Token, endpoint: str) -> Client:
        issuer = token.claims.get("iss")
        known = self._known.get(issuer) if isinstance(issuer, str) else None
        if known is None:
            raise _Refused("unknown issuer")
        kid = _check_header(token.header, known.client)
        key = await known.keys.find(kid)
        if key is None:
            raise _Refused("unknown key")
        _verify(token, key, known)
        self._check_claims(token.claims, known, endpoint)
        if not await self._replay.first_use(known.client.iss, token.claims["jti"], token.claims["exp"] + LEEWAY_SECONDS):
            raise _Refused("used before")
        return known.client

    def _check_claims(self, claims: dict[str, Any], known: _Known, endpoint: str) -> None:
        try:
            self._registry.validate(claims)
        except ExpiredTokenError:
            raise _Refused("expired") from None
        except JoseError as error:
            raise _Refused(f"claims: {error}") from None
        if not self._is_brief(claims["iat"], claims["exp"], known.client.token_lifetime):
            raise _Refused("lives too long")
        if not (0 < len(claims["jti"]) <= _LONGEST_ID and _is_text(claims["jti"])):
            raise _Refused("jti is empty, too long or no text")
        if known.client.tenants and claims.get("tenant") not in known.client.tenants:
            raise _Refused("tenant is not let in")
        _check_audience(claims["aud"], known.audiences, endpoint)

    def _is_brief(self, issued: float, expires: float, lifetime: int) -> bool:
        """Compared with now first: the difference of two numbers of any size may be none."""
        now = self._clock()
        near = now - lifetime - LEEWAY_SECONDS <= issued and expires <= now + lifetime + LEEWAY_SECONDS
        return near and 0 < expires - issued <= lifetime


def _prepare(clients: Iterable[Client], public_url: str | None) -> dict[str, _Known]:
    """Raises SettingsError naming every client without an audience or with a key that cannot be used."""
    known: dict[str, _Known] = {}
    problems: list[Problem] = []
    for client in clients:
        audiences = client.audiences or ((public_url + _BASE,) if public_url else ())
        if not audiences:
            remedy = "write the public address of this service there, or into CDS_PUBLIC_URL"
            problems.append(Problem(f"CDS_CLIENTS: {client.iss}: audiences", "are missing", remedy))
        try:
            registry = _Registry(algorithms=client.algorithms, strict_check_header=False)
            known[client.iss] = _Known(client, keys_of(client), tuple(map(alike, audiences)), registry)
        except Mendable as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    return known


def doubts(public_url: str | None, clients: Iterable[Client]) -> Iterable[Problem]:
    """What would be refused of clients of whom something else is wrong too: of those without keys that is told already."""
    try:
        _prepare([client for client in clients if client.jku or client.jwks], public_url)
    except SettingsError as error:
        return error.problems
    return ()


def _bearer(scope: Mapping[str, Any]) -> bytes:
    given: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        raise _Refused("no token" if not given else "two Authorization headers")
    kind, _, value = given[0].partition(b" ")
    if kind.lower() != b"bearer":
        raise _Refused("no bearer token")
    return value.strip()


def read_token(value: bytes) -> Token:
    """Raises _Refused if it has not the form of a signed token."""
    if len(value) > _LONGEST_TOKEN:
        raise _Refused("too long")
    try:
        signed = jws.extract_compact(value, registry=_Registry())
        claims = json.loads(signed.payload)
    except (JoseError, ValueError, RecursionError, TypeError, AttributeError):
        raise _Refused("no signed token") from None
    header = signed.headers()
    if not isinstance(claims, dict) or not isinstance(header, dict):
        raise _Refused("no signed token")
    return Token(signed, header, claims)


def _check_header(header: Mapping[str, Any], client: Client) -> str:
    """The id of the key, of a header that this client may send."""
    if header.get("alg") not in client.algorithms:
        raise _Refused("algorithm is not let in")
    if str(header.get("typ")).upper() != "JWT":
        raise _Refused("typ is not JWT")
    if "crit" in header or "b64" in header:
        raise _Refused("asks for an extension")
    if header.get("jku", client.jku) != client.jku:
        raise _Refused("jku is not that of the client")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _Refused("no key id")
    return kid


def _is_text(value: str) -> bool:
    """Whether it can be written down: JSON may hold half a character."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _verify(token: Token, key: Key, known: _Known) -> None:
    """The library binds the algorithm to type, curve and declared use of the key."""
    try:
        good = jws.validate_compact(token.signed, key, registry=known.registry)
    except (JoseError, ValueError, TypeError):
        raise _Refused("key or header does not fit the algorithm") from None
    if not good:
        raise _Refused("signature is wrong")


def _check_audience(given: Any, audiences: Iterable[str], endpoint: str) -> None:
    """Among several audiences each must be ours: another one that gets the token could call with it in the client's name."""
    named = [alike(item) for item in ([given] if isinstance(given, str) else given)]
    if not all(any(f"{item}/".startswith(f"{ours}/") for ours in audiences) for item in named):
        raise _Refused("audience is not ours alone")
    if not any(item in heard_at(ours, endpoint) for ours in audiences for item in named):
        raise _Refused("audience is another endpoint")


def heard_at(audience: str, endpoint: str) -> tuple[str, ...]:
    """What `aud` may say at an endpoint, for one audience of a client.

    The address of discovery stands for each service below it, that of a service for itself and its feedback; feedback is
    called by either name, as the specification leaves it open. Any other text stands for itself, everywhere.
    """
    service = endpoint.removesuffix("/feedback")
    if audience.endswith(_BASE):
        return audience + endpoint, audience + service
    if f"{_BASE}/" in audience:
        own = service and audience.endswith(_BASE + service)
        return (audience, audience + endpoint.removeprefix(service)) if own else ()
    return (audience,)


def alike(address: str) -> str:
    """An address with its host in lower case and without one trailing slash; what is no address as it is."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{host.lower()}{slash}{path}".removesuffix("/")
