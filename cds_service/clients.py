"""The clients that may call: what a site has agreed with each EHR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Client:
    """One EHR. `jku` is the only address its keys may come from; without it they stand in `jwks`.

    `fhir_bases` are the FHIR servers that it may name; `open_server` lets such a server be read without a token.
    `prefetch_keys` maps its names of prefetch keys to ours.
    """

    iss: str
    audiences: tuple[str, ...] = ()
    jku: str | None = None
    jwks: Mapping[str, Any] | None = None
    algorithms: tuple[str, ...] = ("ES384", "RS384")
    tenants: tuple[str, ...] = ()
    fhir_bases: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    prefetch_keys: Mapping[str, str] = field(default_factory=dict)
    jurisdiction: str | None = None
    open_server: bool = False
