"""CDS Hooks 2.0.1 on the wire: what is answered, as it is written."""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = "2.0.1"


SUMMARY_LIMIT = 139


class _Answer(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    pass


class Coding(_Answer):
    code: str
    system: str
    display: str | None = None


class Source(_Answer):
    label: str
    url: str | None = None
    topic: Coding | None = None


class Link(_Answer):
    label: str
    url: str
    type: str


class Action(_Answer):
    type: str
    description: str
    resource: dict[str, Any] | None = None
    resource_id: str | None = None


class Suggestion(_Answer):
    label: str
    uuid: str
    is_recommended: bool | None = None
    actions: tuple[Action, ...] = ()


class Card(_Answer):
    uuid: str
    summary: str
    indicator: str
    detail: str
    source: Source
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: str | None = None
    override_reasons: tuple[Coding, ...] = ()
    links: tuple[Link, ...] = ()


class Answer(msgspec.Struct):
    """No default: an empty list of cards is written, as the specification asks."""

    cards: tuple[Card, ...]


class ServiceDescription(_Answer):
    hook: str
    id: str
    title: str
    description: str
    version: str
    usage_requirements: str
    prefetch: dict[str, str]


class Discovery(msgspec.Struct):
    services: tuple[ServiceDescription, ...]


encode = msgspec.json.Encoder(decimal_format="number").encode
