"""The one tool that reads FHIR servers: bounded in time, bytes and tries, and blind to where a server would send it.

aiohttp and stamina are imported with the first question, as a service that is sent everything never needs them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from cds_service.net.addresses import Address

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

Lookup = Callable[[str, int], Awaitable[list[str]]]

_ACCEPT = "application/fhir+json, application/json;q=0.9"
_FORM = "application/x-www-form-urlencoded"
# A page of 500 problems has about 1 MB, with narrative 2: what is larger is a mistake or an attack.
_PAGE_BYTES = 4 * 1024 * 1024
# Twenty hooks at once with a dozen queries each go through side by side, and no EHR sees more of one worker.
_CONNECTIONS = 256
_IDLE_SECONDS = 15
_FIRST_PAUSE, _JITTER = 0.05, 0.05
_LEAST_TO_TRY_AGAIN = 0.1
_TRY_AGAIN = ("unreachable", "http-429", "http-503")


class FetchFailed(Exception):
    """An answer that did not come, by a fixed reason such as `timeout` or `http-403`. Never holds an address."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        self.reason, self.pause = reason, pause
        super().__init__(reason)


@dataclass(slots=True)
class FetchBudget:
    """What the questions of one hook share: the server and its token, what is left of time (`time.perf_counter`) and bytes."""

    base: Address
    until: float
    bytes_left: int
    token: str | None = field(default=None, repr=False)

    @property
    def seconds_left(self) -> float:
        return self.until - time.perf_counter()

    def take(self, size: int) -> None:
        """Raises FetchFailed where the hook has read more than it may."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise FetchFailed("too-large")

    def pause(self, error: Exception) -> float | bool:
        """For how long to wait before the second try; False where there is none, or no time for one."""
        if not isinstance(error, FetchFailed) or error.reason not in _TRY_AGAIN:
            return False
        if error.pause is None:
            return self.seconds_left > _FIRST_PAUSE + _JITTER + _LEAST_TO_TRY_AGAIN
        return error.pause if error.pause + _LEAST_TO_TRY_AGAIN < self.seconds_left else False


class FhirClient:
    """One session of an app. `loopback` lets `localhost` be this machine; `lookup` names the addresses of a host."""

    def __init__(self, loopback: bool = False, lookup: Lookup | None = None) -> None:
        self._loopback, self._lookup = loopback, lookup or _system_lookup
        self._session: ClientSession | None = None

    async def ask(self, visit: FetchBudget, address: Address, form: str | None = None) -> bytes:
        """The body of a GET, or with `form` of a POST. Tried twice at most. Raises FetchFailed."""
        if not address.is_within(visit.base):
            raise FetchFailed("elsewhere")
        session = self._opened()
        try:
            return await self._try(session, visit, address, form)
        except FetchFailed as failure:
            return await self._again(failure, session, visit, address, form)

    async def _again(
        self, failure: FetchFailed, session: ClientSession, visit: FetchBudget, address: Address, form: str | None
    ) -> bytes:
        """The second try. Most questions need none, and the machinery of trying again costs as much as half a question."""
        from stamina import retry_context

        async for attempt in retry_context(
            on=visit.pause, attempts=2, timeout=None, wait_initial=_FIRST_PAUSE, wait_jitter=_JITTER
        ):
            with attempt:
                if attempt.num == 1:
                    raise failure
                return await self._try(session, visit, address, form)
        raise AssertionError("each attempt returns or raises")

    async def _try(self, session: ClientSession, visit: FetchBudget, address: Address, form: str | None) -> bytes:
        from aiohttp import ClientError
        from yarl import URL

        headers = {"Accept": _ACCEPT}
        if visit.token:
            headers["Authorization"] = f"Bearer {visit.token}"
        if form is not None:
            headers["Content-Type"] = _FORM
        method, data = ("GET", None) if form is None else ("POST", form.encode())
        try:
            async with session.request(
                method, URL(str(address), encoded=True), data=data, headers=headers, allow_redirects=False
            ) as response:
                return await _body(response, visit)
        except (ClientError, OSError):
            raise FetchFailed("unreachable") from None

    def _opened(self) -> ClientSession:
        """Made with the first question. Nothing of the environment (proxies, netrc), no cookie from one patient to the next."""
        if self._session is None:
            from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
            from stamina.instrumentation import set_on_retry_hooks

            from cds_service.net.resolver import PublicResolver

            set_on_retry_hooks(())
            connector = TCPConnector(
                limit=_CONNECTIONS,
                resolver=PublicResolver(self._lookup, self._loopback),
                keepalive_timeout=_IDLE_SECONDS,
            )
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                timeout=ClientTimeout(total=None),
                trust_env=False,
            )
        return self._session

    async def open(self) -> None:
        """Ready before the first question, so that no deadline pays for the imports."""
        self._opened()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _body(response: ClientResponse, visit: FetchBudget) -> bytes:
    if response.status != 200:
        response.close()
        raise FetchFailed(f"http-{response.status}", _retry_after(response.headers))
    chunks: list[bytes] = []
    left = _PAGE_BYTES
    async for chunk in response.content.iter_any():
        left -= len(chunk)
        try:
            if left < 0:
                raise FetchFailed("too-large")
            visit.take(len(chunk))
        except FetchFailed:
            response.close()
            raise
        chunks.append(chunk)
    return b"".join(chunks)


def _retry_after(headers: Mapping[str, Any]) -> float | None:
    """Seconds, given as such or as a date; None where nothing readable is given."""
    given = str(headers.get("Retry-After", "")).strip()
    if given.isascii() and given.isdigit():
        return float(given[:9])
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time()) if given else None
    except (ValueError, TypeError, OverflowError):
        return None


async def _system_lookup(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(item[4][0]) for item in found]
