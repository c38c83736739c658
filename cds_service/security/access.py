"""Who may call: clients that sign their calls; or, where none is configured, this machine alone."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol

from cds_service.errors import Problem, RequestError, SettingsError
from cds_service.log import log
from cds_service.net.addresses import is_local_host
from cds_service.security.clients import Client
from cds_service.settings import Settings
from cds_service.store.database import Store

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
_REMEDY = (
    "configure the clients that may call (CDS_CLIENTS); or, where a proxy lets only them through, CDS_GUARDED=true; "
    "or try it on this machine alone with cds-service serve --try"
)


class Access(Protocol):
    async def admit(self, scope: Mapping[str, Any], endpoint: str) -> Client | None:
        """The client that calls, None where nobody says who it is. Raises RequestError if it is not let in."""
        ...

    async def close(self) -> None: ...


def access_of(settings: Settings, clients: Sequence[Client], store: Store) -> Access:
    """Raises SettingsError if a client cannot be trusted as it is configured, or if nobody guards an address open to others."""
    if clients:
        # The libraries for signatures are loaded only where someone signs.
        from cds_service.security.client_tokens import ClientTokenVerifier
        from cds_service.security.replay import Replay

        return ClientTokenVerifier(clients, settings.public_url, Replay(store))
    demand_guard(settings)
    log.warning("no client configured", open_to="all that a guard lets through" if settings.guarded else "this machine alone")
    return LoopbackOnly(settings.guarded, settings.cors_origins)


def demand_guard(settings: Settings) -> None:
    """Refuse to start where others could call and nobody would look who they are.

    A loopback address proves nothing: a plain proxy on this machine calls from there, for the whole world. So that unsigned
    calls are answered here has to be asked for.
    """
    if settings.clients or settings.guarded:
        return
    if not settings.trial:
        raise SettingsError([Problem("CDS_CLIENTS", "is not set, and nobody would look who calls", _REMEDY)])
    if not is_local_host(settings.host):
        raise SettingsError(
            [Problem("CDS_HOST", f"{settings.host} can be reached by others, and no client is configured", _REMEDY)]
        )


def pages_shown(settings: Settings) -> str:
    """`off`, `demo` or `signed-in`: as set; unset, `demo` where this machine alone may call, as there nobody else sees them."""
    alone = settings.trial and not (settings.clients or settings.guarded) and is_local_host(settings.host)
    return settings.pages or ("demo" if alone else "off")


class LoopbackOnly:
    """No client configured: open to calls from this machine, or to all that a guard in front of it lets through.

    `origins`: the web pages that may call from a browser on this machine; of the others none may, or any page anywhere could.
    """

    def __init__(self, guarded: bool, origins: Container[str] = ()) -> None:
        self._guarded, self._origins = guarded, origins

    async def admit(self, scope: Mapping[str, Any], endpoint: str) -> None:
        if self._guarded:
            return
        if not (is_nearby(scope) and names_this_machine(scope)):
            problem = Problem("caller", "is not on this machine, and no client is configured", _REMEDY)
            raise RequestError(403, "no-client-configured", "forbidden", [problem])
        origin = _header(scope, b"origin")
        if origin and origin.rpartition("://")[2] != _header(scope, b"host") and origin not in self._origins:
            problem = Problem("Origin", "is a web page from elsewhere", "name it in CDS_CORS_ORIGINS if it may call")
            raise RequestError(403, "foreign-origin", "forbidden", [problem])

    async def close(self) -> None:
        return


def is_nearby(scope: Mapping[str, Any]) -> bool:
    """Whether a call went between two loopback addresses with no proxy in between."""
    caller, server = address_of(scope.get("client")), address_of(scope.get("server"))
    return bool(not is_forwarded(scope) and caller and server and caller.is_loopback and server.is_loopback)


def is_forwarded(scope: Mapping[str, Any]) -> bool:
    """Whether a proxy says that it stands between; or speaks HTTP/1.0, as plain ones do and no browser or client of today."""
    return scope.get("http_version") == "1.0" or any(name in _FORWARDED for name, _ in scope["headers"])


def address_of(peer: object) -> IPv4Address | IPv6Address | None:
    return _address(str(peer[0])) if isinstance(peer, (tuple, list)) and peer else None


@lru_cache(maxsize=256)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def names_this_machine(scope: Mapping[str, Any]) -> bool:
    """The Host header: another name leads through a proxy, or a web page has bent its own name to this machine."""
    given = _header(scope, b"host")
    host = given.rpartition("]")[0].removeprefix("[") if given.startswith("[") else given.partition(":")[0]
    return is_local_host(host.lower())


def _header(scope: Mapping[str, Any], wanted: bytes) -> str:
    return next((str(value, "latin-1") for name, value in scope["headers"] if name == wanted), "")
