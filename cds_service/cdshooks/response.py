"""CDS Hooks 2.0.1 on the wire: what is answered, as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

VERSION = "2.0.1"


SUMMARY_LIMIT = 139


class _Message(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True, gc=False):
    pass


class CardCoding(_Message):
    code: str
    system: str
    display: str | None = None


class CardSource(_Message):
    label: str
    url: str | None = None
    topic: CardCoding | None = None


class CardLink(_Message):
    label: str
    url: str
    type: str


class Action(_Message):
    type: str
    description: str
    resource: dict[str, Any] | None = None
    resource_id: str | None = None


class Suggestion(_Message):
    label: str
    uuid: str
    is_recommended: bool | None = None
    actions: tuple[Action, ...] = ()


class Card(_Message):
    uuid: str
    summary: str
    indicator: str
    detail: str
    source: CardSource
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: str | None = None
    override_reasons: tuple[CardCoding, ...] = ()
    links: tuple[CardLink, ...] = ()
    extension: Mapping[str, Any] | None = None


class CdsResponse(msgspec.Struct):
    """No default: an empty list of cards is written, as the specification asks."""

    cards: tuple[Card, ...]


class CdsService(_Message):
    hook: str
    id: str
    title: str
    description: str
    version: str
    usage_requirements: str
    prefetch: dict[str, str]


class Discovery(msgspec.Struct):
    services: tuple[CdsService, ...]


class IssueDetails(msgspec.Struct):
    """`coding`: our stable code of what is wrong."""

    coding: tuple[CardCoding, ...]
    text: str


class Issue(msgspec.Struct):
    """One problem: its place as `expression`, and what can be done as `diagnostics`."""

    severity: Literal["error"]
    code: str
    details: IssueDetails
    diagnostics: str
    expression: tuple[str, ...]


class Refusal(msgspec.Struct, tag_field="resourceType", tag="OperationOutcome"):
    """The one shape of everything that is refused: a FHIR R4 OperationOutcome."""

    issue: tuple[Issue, ...]


class Alive(msgspec.Struct):
    status: Literal["alive"]


class Ready(msgspec.Struct):
    """`knowledge` is its fingerprint; `served` and `lapsed` count rules: that speak here, and whose approval counts no more."""

    status: Literal["ready"]
    knowledge: str
    rules: int
    served: int
    lapsed: int


encode = msgspec.json.Encoder(decimal_format="number").encode
