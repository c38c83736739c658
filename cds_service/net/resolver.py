"""Names to addresses for aiohttp: looked up once, checked, and connected to as checked, so that no second answer counts."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from cds_service.net.addresses import is_public


class PublicResolver(AbstractResolver):
    """Raises OSError, which aiohttp reports as a failed connection, if even one address is not public.

    `loopback` leaves `localhost` be.
    """

    def __init__(self, lookup: Callable[[str, int], Awaitable[list[str]]], loopback: bool) -> None:
        self._lookup, self._loopback = lookup, loopback

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        addresses = await self._lookup(host, port)
        own = self._loopback and host == "localhost"
        if not addresses or not (own or all(map(is_public, addresses))):
            raise OSError("the host has no public address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in dict.fromkeys(addresses)
        ]

    async def close(self) -> None:
        """Nothing is held open."""
