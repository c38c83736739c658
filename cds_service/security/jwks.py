"""The public keys of a client: written in its settings, or fetched from its one address and kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from joserfc.jwk import ECKey, RSAKey

from cds_service.errors import Problem, SettingsError
from cds_service.log import log
from cds_service.security.clients import Client

Key = ECKey | RSAKey

KEPT_SECONDS = 600.0
"""After this time keys are fetched anew: a key that the client has withdrawn is refused from the next but one call on."""
STALE_SECONDS = 3600.0
"""So long are keys used while their address does not answer."""
PAUSE_SECONDS = 10.0
"""Between two fetches, so that tokens with invented key ids do not make this service knock at the client's door."""
PATIENCE_SECONDS = 3.0
MOST_BYTES = 256 * 1024
_LEAST_RSA_BITS = 2048


class JwkSet(Protocol):
    async def find(self, kid: str) -> Key | None: ...


def keys_of(client: Client) -> JwkSet:
    """Raises SettingsError naming each inline key that cannot be used."""
    if client.jwks is None:
        assert client.jku is not None
        return FetchedKeys(client.jku)
    found, problems = import_keys(client.jwks["keys"])
    if problems:
        place = f"CDS_CLIENTS: {client.iss}: jwks"
        raise SettingsError(
            Problem(f"{place}: {kid}", why, "write public EC or RSA keys, each with its kid") for kid, why in problems
        )
    return InlineKeys(found)


def import_keys(described: list[Any]) -> tuple[dict[str, Key], list[tuple[str, str]]]:
    """The usable keys by kid; and of the others what names them, with why they are not used."""
    found: dict[str, Key] = {}
    problems: list[tuple[str, str]] = []
    times = Counter(str(item.get("kid")) for item in described if isinstance(item, dict))
    for at, item in enumerate(described):
        try:
            key = _import(item)
            if times[str(item["kid"])] > 1:
                raise ValueError("another key has the same kid")
            found[item["kid"]] = key
        except Exception as error:
            # What is no key makes the library raise many kinds; the other keys are good all the same.
            problems.append((f"keys[{at}]", str(error)[:200] or type(error).__name__))
    return found, problems


def _import(item: Any) -> Key:
    """A public key for signatures. Raises ValueError, or what the library raises, if it is anything else."""
    if not isinstance(item, dict) or not isinstance(item.get("kid"), str) or not item["kid"]:
        raise ValueError("has no kid")
    kinds: dict[Any, type[Key]] = {"EC": ECKey, "RSA": RSAKey}
    if item.get("kty") not in kinds:
        raise ValueError(f"kty {str(item.get('kty'))[:20]!r} is neither EC nor RSA")
    if "d" in item:
        raise ValueError("is a private key")
    key: Key = kinds[item["kty"]].import_key(item)
    key.check_use("sig")
    key.check_key_op("verify")
    if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA_BITS:
        raise ValueError(f"has {key.public_key.key_size} bits, fewer than {_LEAST_RSA_BITS}")
    return key


class InlineKeys:
    """Keys exchanged by hand."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = keys

    async def find(self, kid: str) -> Key | None:
        return self._keys.get(kid)


class FetchedKeys:
    """The key set at a configured address; one fetch at a time, however many wait for it."""

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address, self._clock = address, clock
        self._keys: Mapping[str, Key] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> Key | None:
        """The key of this id, fetched anew where it is unknown or the set is old. Never raises.

        A set that may still be used is fetched anew beside the answering, for its address may hang.
        """
        if kid in self._keys and KEPT_SECONDS < self._age() <= STALE_SECONDS:
            if self._refreshing is None or self._refreshing.done():
                self._refreshing = asyncio.create_task(self._refresh_alone())
            return self._keys[kid]
        if kid not in self._keys or self._age() > KEPT_SECONDS:
            async with self._fetching:
                # Another who waited may have fetched it in between.
                if kid not in self._keys or self._age() > KEPT_SECONDS:
                    await self._refresh()
        return self._keys.get(kid) if self._age() <= STALE_SECONDS else None

    async def _refresh_alone(self) -> None:
        async with self._fetching:
            await self._refresh()

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    async def _refresh(self) -> None:
        if self._clock() - self._tried_at < PAUSE_SECONDS:
            return
        self._tried_at = self._clock()
        try:
            self._keys, problems = import_keys(read_key_set(await fetch(self._address)))
            self._fetched_at = self._clock()
            log.info("keys fetched", address=self._address, keys=len(self._keys), unusable=problems[:5])
        except Exception as error:
            log.error("keys not fetched", address=self._address, error=type(error).__name__, reason=str(error)[:200])


def read_key_set(content: bytes) -> list[Any]:
    """Raises ValueError if it is no key set."""
    try:
        loaded = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("is no JSON") from None
    keys = loaded.get("keys") if isinstance(loaded, dict) else None
    if not isinstance(keys, list):
        raise ValueError('is no key set: {"keys": […]}')
    return keys


async def fetch(address: str) -> bytes:
    """What stands at an address: no redirect is followed, no proxy asked, no more read than a key set can hold.

    Raises ValueError for another answer than 200 or for too long a one, and what the client raises if there is none.
    """
    import aiohttp

    # A session a fetch: there is one in ten minutes, and nothing to close when the service ends.
    patience = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    headers = {"Accept": "application/jwk-set+json, application/json"}
    async with (
        aiohttp.ClientSession(timeout=patience, trust_env=False, headers=headers) as session,
        session.get(address, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise ValueError(f"answered {answer.status}")
        content = bytearray()
        async for chunk in answer.content.iter_chunked(64 * 1024):
            content += chunk
            if len(content) > MOST_BYTES:
                raise ValueError(f"is longer than {MOST_BYTES} bytes")
        return bytes(content)
