"""Who may see the pages, how often somebody may paste, and how much a form may hold."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from cds_service.errors import Problem, RequestError
from cds_service.pages.sandbox import PASTE_LIMIT
from cds_service.security.access import LoopbackOnly, address_of
from cds_service.settings import Settings

PASTES = 30
_WINDOW = 60.0
_MOST_ADDRESSES = 1000
_MOST_FIELDS = 100
# Written as a form, a record takes up to three times its length.
_MOST_BYTES = 3 * PASTE_LIMIT + 10_000


class Guard:
    """`demo`: whoever may call the service here, where no client is named; `signed-in`: whom the site's proxy let in."""

    def __init__(self, settings: Settings, mode: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._signed_in, self._clock = settings, mode == "signed-in", clock
        self._unsigned = None if settings.clients else LoopbackOnly(settings.guarded, settings.cors_origins)
        self._pasted: OrderedDict[str, deque[float]] = OrderedDict()

    async def admit(self, scope: Mapping[str, Any]) -> None:
        """Raises RequestError (403)."""
        if self._signed_in:
            self._demand_sign_in(scope)
        elif self._unsigned:
            await self._unsigned.admit(scope, "")

    def _demand_sign_in(self, scope: Mapping[str, Any]) -> None:
        address, header = address_of(scope.get("client")), self._settings.pages_header.lower().encode()
        text = [value.strip() for name, value in scope["headers"] if name == header]
        from_proxy = address is not None and any(address in network for network in self._settings.pages_from)
        if not from_proxy or len(text) != 1 or not text[0]:
            problem = Problem("sign-in", "is needed to see this page", "come through the proxy of your site, and sign in there")
            raise RequestError(403, "not-signed-in", "forbidden", [problem])

    def count_paste(self, scope: Mapping[str, Any]) -> None:
        """Raises RequestError (429) where one address pastes more than reading takes."""
        now, address = self._clock(), str(address_of(scope.get("client")))
        pasted = self._pasted.setdefault(address, deque())
        self._pasted.move_to_end(address)
        while pasted and now - pasted[0] > _WINDOW:
            pasted.popleft()
        if len(pasted) >= PASTES:
            problem = Problem("request", f"is one of more than {PASTES} in a minute", "wait a minute")
            raise RequestError(429, "too-many-requests", "throttled", [problem])
        pasted.append(now)
        while len(self._pasted) > _MOST_ADDRESSES:
            self._pasted.popitem(last=False)


async def read_fields(request: Request) -> dict[str, list[str]]:
    """The fields of a form. Raises RequestError (415) for what is none, (400, 413) for more than ours have."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        problem = Problem("Content-Type", "is that of no form of these pages", "use the form on the first page")
        raise RequestError(415, "unsupported-media-type", "not-supported", [problem])
    body = await request.body()
    if len(body) > _MOST_BYTES:
        problem = Problem("form", f"is longer than {_MOST_BYTES} bytes", "paste the record of one patient")
        raise RequestError(413, "body-too-large", "too-long", [problem])
    try:
        return await asyncio.to_thread(
            parse_qs, body.decode(errors="replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        problem = Problem("form", f"has more than {_MOST_FIELDS} fields", "use a form of these pages")
        raise RequestError(400, "invalid-request", "invalid", [problem]) from None
