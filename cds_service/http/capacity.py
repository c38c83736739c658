"""How much is worked on at once: so many calls, and of what takes long little, beside the loop that answers everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from cds_service.errors import Problem, RequestError

P = ParamSpec("P")
T = TypeVar("T")

_SMALL = 130_000
"""Bytes of a call that are worked on where it came: mostly 3 ms, which a thread would lengthen by 1; at the worst some 70."""
_LARGE = 1_000_000
"""Bytes from which a call is worked on alone, for the memory that it takes."""
_THREADS = 2
_HELD = 112 * 2**20
"""Bytes of bodies that are held at once, by calls from a megabyte on: eight of 14 MB, with which `MemoryMax` was measured."""
_HELD_FOR_SMALL = 48 * 2**20
"""What is kept beside that for smaller ones, so that those of usual size are answered meanwhile."""


class Capacity:
    """`most_calls` at once; whoever comes beyond is told to come again. Opened and used in one running loop."""

    def __init__(self, most_calls: int) -> None:
        self._most, self._under_way = most_calls, 0
        self._threads = ThreadPoolExecutor(_THREADS, "call")
        self._large = asyncio.Semaphore(1)

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """One call under way. Raises RequestError (503) where there are as many as may be."""
        if self._under_way >= self._most:
            raise _overloaded()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def run(self, size: int, until: float, work: Callable[P, T], *args: P.args, **given: P.kwargs) -> T:
        """The work on a call of so many bytes. RequestError (503) where its turn has not come `until` then, of the loop."""
        if size <= _SMALL:
            return work(*args, **given)
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as held:
            if size > _LARGE:
                try:
                    async with asyncio.timeout_at(until):
                        await self._large.acquire()
                except TimeoutError:
                    raise _overloaded() from None
                held.callback(self._large.release)
            return await loop.run_in_executor(self._threads, lambda: work(*args, **given))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class HeldBodies:
    """The bytes of all bodies that have come and are not answered yet."""

    def __init__(self) -> None:
        self._held = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[Callable[[int], None]]:
        """What takes the bytes of one body as they come. RequestError (503) where there is no room for more."""
        own = 0

        def take(size: int) -> None:
            nonlocal own
            room = _HELD if own + size > _LARGE else _HELD + _HELD_FOR_SMALL
            if self._held + size > room:
                raise _overloaded()
            own += size
            self._held += size

        try:
            yield take
        finally:
            self._held -= own


def _overloaded() -> RequestError:
    problem = Problem("service", "is answering as many calls as it can", "send it again in a second")
    return RequestError(503, "overloaded", "throttled", [problem])
