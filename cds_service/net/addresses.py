"""Addresses that a caller names, judged before anything is connected to. What is odd is refused, not repaired.

A strict shape and our own spelling of it leave no room for two parsers to read one address differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

_LONGEST = 8000
_ADDRESS = re.compile(r"(https?)://([a-z0-9.-]+|\[::1\])(?::([0-9]{1,5}))?(/[^?]*)?(?:\?(.*))?", re.IGNORECASE)
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:xn--[a-z0-9-]{1,59}|[a-z]{2,63})")
# No percent sign, no backslash, no semicolon: each has led some server to another path than the one that was checked.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~$@:+,=!-]+)*")
_QUERY = re.compile(r'[^\s"<>\\#\x00-\x20\x7f-\U0010ffff]*')
_PORTS = {"https": "443", "http": "80"}
_HIGHEST_PORT = 65535
_TRANSLATED = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Address:
    """`https://ehr.example/fhir?page=2` in parts: origin `https://ehr.example`, path `/fhir`, query `page=2`."""

    origin: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        return f"{self.origin}{self.path}" + (f"?{self.query}" if self.query else "")

    def is_within(self, base: Address) -> bool:
        """Of the same origin, at the path of the base or below it."""
        return self.origin == base.origin and (self.path == base.path or self.path.startswith(f"{base.path}/"))


@lru_cache(maxsize=1024)
def read_address(text: str, loopback: bool = False) -> Address | None:
    """An https address of a named host, else None. With `loopback`, http of this very machine too."""
    match = _ADDRESS.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    scheme, host, port, path, query = match[1].lower(), match[2].lower(), match[3], match[4] or "", match[5] or ""
    path = path.removesuffix("/")
    known = _NAME.fullmatch(host) if scheme == "https" else loopback and is_local_host(host.strip("[]"))
    if not known or not _is_port(port) or not _is_plain(path) or not _QUERY.fullmatch(query):
        return None
    shown_port = f":{int(port)}" if port and str(int(port)) != _PORTS[scheme] else ""
    return Address(f"{scheme}://{host}{shown_port}", path, query)


def linked(text: str, current: Address, loopback: bool = False) -> Address | None:
    """Where a link on the page of `current` leads, if that is an address as above."""
    try:
        return read_address(urljoin(str(current), text), loopback)
    except ValueError:
        return None


def _is_port(port: str | None) -> bool:
    return port is None or 0 < int(port) <= _HIGHEST_PORT


def _is_plain(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def allowed_base(text: str, bases: Iterable[str], loopback: bool = False) -> Address | None:
    """The FHIR base that a call names, if it is one of these bases or lies below one, else None."""
    base = read_address(text, loopback)
    if base is None or base.query:
        return None
    allowed = (read_address(item, loopback) for item in bases)
    return base if any(item and base.is_within(item) for item in allowed) else None


def is_local_host(host: str | None) -> bool:
    """Whether a host of an address names this machine."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_public(text: str) -> bool:
    """Whether an IP address is one of the open internet: not of this machine, this network or a special use."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address in _TRANSLATED:
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address.ipv4_mapped or address.sixtofour or address.teredo:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
