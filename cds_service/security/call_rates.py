"""How often a client may call, where its table says so: one EHR that runs wild must not keep the others waiting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cds_service.errors import Problem, RequestError
from cds_service.security.clients import Client


class CallRates:
    """Counted by each worker for itself, in the minute of the clock."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._most = {client.iss: client.calls_a_minute for client in clients if client.calls_a_minute}
        # Loaded only where somebody is limited.
        self._limiter: Any = _limiter() if self._most else None

    async def count(self, client: Client | None) -> None:
        """One call more. Raises RequestError (429) where that is more than the client may."""
        most = self._most.get(client.iss) if client else None
        if client is None or most is None:
            return
        from limits import RateLimitItemPerMinute

        if not await self._limiter.hit(RateLimitItemPerMinute(most), client.iss):
            problem = Problem("caller", f"has called more than {most} times in this minute", "wait for the next minute")
            raise RequestError(429, "too-many-calls", "throttled", [problem])


def _limiter() -> Any:
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    return FixedWindowRateLimiter(MemoryStorage())
