"""What was read a moment ago is given again, and one reads at a time, so that no crowd of readers slows the hooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
_SECONDS = 5.0
_MOST = 200


class Recent(Generic[T]):
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reading = asyncio.Lock()
        self._kept: dict[Hashable, tuple[float, T | Exception]] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives or raises, or did within the last seconds: a store that hangs is not waited for by each in turn."""
        async with self._reading:
            at, found = self._kept.get(key, (0.0, None))
            if found is None or self._clock() - at > _SECONDS:
                found = await _outcome(read)
                if len(self._kept) >= _MOST:
                    self._kept.clear()
                self._kept[key] = (self._clock(), found)
        if isinstance(found, Exception):
            raise found
        return found


async def _outcome(read: Callable[[], Awaitable[T]]) -> T | Exception:
    try:
        return await read()
    except Exception as error:
        return error
