"""CDS Hooks 2.0.1 on the wire: the request as it is read, the answer as it is written.

Reading is tolerant of unknown members and strict about what the service needs; every problem of a request is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from cds_service.errors import Problem, RequestError
from cds_service.fhir.bundles import PrefetchValue

T = TypeVar("T")

AS_OF = "example.leg-cramps.as-of"
"""Request extension by which an invented patient is judged at her own date. Honoured only where a setting allows it."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """`fhirAuthorization`: the token for the FHIR server of this one call, and the patient whom it is for, if it says so."""

    token: str = field(repr=False)
    patient: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HookRequest:
    """A hook call. `prefetch` maps a key to what stands under it: read already, or raw where some of it cannot be read.

    `sent` is the whole prefetch as it came, `sent_as` the client's own names of keys by ours; `user_id` is `Type/id`.
    `draft_orders` is the Bundle of a hook on ordering; of its orders only `selections` are in question, or all where None.
    `asked_at`: the moment of the call; None where it asks about a day as a whole.
    """

    hook: str
    hook_instance: str
    patient_id: str
    encounter_id: str | None = None
    prefetch: Mapping[str, PrefetchValue | Raw] = field(default_factory=dict)
    sent: Raw = field(default_factory=Raw, repr=False)
    sent_as: Mapping[str, str] = field(default_factory=dict)
    fhir_server: str | None = None
    authorization: Authorization | None = None
    user_id: str = ""
    extension: dict[str, Any] = field(default_factory=dict)
    draft_orders: Raw | None = None
    selections: tuple[str, ...] | None = None
    asked_at: datetime | None = None


ON_ORDERS = ("order-select", "order-sign")
_SELECTS = "order-select"


class _Name:
    """A member's name, each occurrence its own: a key given twice stays visible, where a parser would take the last."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _name(kind: type, text: str) -> _Name:
    return _Name(text)


_members = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=_name)
_sections = msgspec.json.Decoder(dict[_Name, PrefetchValue], dec_hook=_name)
_items = msgspec.json.Decoder(list[Raw])
_text = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NULL = b"null"
_MOST_KEYS = 200
_MOST_DRAFTS = 1000
"""More than any EHR sends, and so few that none can be made to cost much."""
_TOKEN = re.compile(r"[!-~]{1,16384}")


def read_request(body: bytes, hook: str) -> HookRequest:
    """Parse a call of a service on `hook`. Raises RequestError (400) naming every member that is wrong."""
    root = _open_envelope(body)
    problems: list[Problem] = []
    context = _member_object(root, "context", "context", problems)
    if not context and not problems:
        problems.append(Problem("context", "is empty", "send the context object of the hook"))
    prefetch = _prefetch(root, problems)
    request = HookRequest(
        hook=_member_text(root, "hook", "hook", problems),
        hook_instance=_member_text(root, "hookInstance", "hookInstance", problems),
        patient_id=_patient_id(context, problems),
        encounter_id=_encounter_id(context, problems),
        prefetch=prefetch,
        sent=root.get("prefetch", Raw()),
        fhir_server=_member_text(root, "fhirServer", "fhirServer", problems, required=False) or None,
        authorization=_authorization(root),
        user_id=_member_text(context, "userId", "context.userId", problems) if context else "",
        extension=_extension(root),
        draft_orders=_draft_orders(context, problems) if hook in ON_ORDERS and context else None,
        selections=_selections(context, problems) if hook == _SELECTS and context else None,
    )
    _check_hook(request.hook, hook, problems)
    if problems:
        raise RequestError(400, "invalid-request", "invalid", problems)
    return request


def with_prefetch_aliases(request: HookRequest, names: Mapping[str, str]) -> HookRequest:
    """The request with a client's own names of prefetch keys changed to ours. Raises RequestError (400) if one comes twice."""
    if names.keys().isdisjoint(request.prefetch):
        return request
    prefetch: dict[str, PrefetchValue | Raw] = {}
    for key, value in request.prefetch.items():
        name = names.get(key, key)
        if name in prefetch:
            raise _twice(f"prefetch.{name}")
        prefetch[name] = value
    return replace(request, prefetch=prefetch, sent_as={ours: theirs for theirs, ours in names.items()})


def sent_bytes(request: HookRequest, key: str) -> bytes:
    """What stands under a prefetch key, as it came."""
    sent = {name.text: bytes(value) for name, value in _members.decode(request.sent).items()}
    return sent.get(key) or sent.get(request.sent_as.get(key, ""), b"")


def _open_envelope(body: bytes) -> dict[str, Raw]:
    try:
        # msgspec reads only the strings it decodes; a resource that nobody reads must be UTF-8 all the same.
        body.decode("utf-8")
        return _once(_members.decode(body), "")
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8", "send the body as UTF-8") from None
    except RecursionError:
        raise _malformed("the JSON is nested too deeply", "send FHIR resources as they are") from None
    except msgspec.ValidationError:
        raise _malformed("the body is no JSON object", 'send {"hook": …, "hookInstance": …, "context": {…}}') from None
    except msgspec.DecodeError as error:
        raise _malformed(str(error), "send well-formed JSON (RFC 8259)") from None


def _malformed(message: str, remedy: str) -> RequestError:
    return RequestError(400, "malformed-json", "structure", [Problem("body", message, remedy)])


def _once(members: Mapping[_Name, T], place: str) -> dict[str, T]:
    """The members by name. A name given twice leaves open which was meant, and whose data these are, so it is refused.

    Inside resources the last value wins, as in most parsers.
    """
    found: dict[str, T] = {}
    for name, value in members.items():
        if name.text in found:
            raise _twice(f"{place}.{name.text}" if place else name.text)
        found[name.text] = value
    return found


def _twice(place: str) -> RequestError:
    return RequestError(400, "duplicate-key", "structure", [Problem(place, "is given twice", "give each member once")])


def _prefetch(root: dict[str, Raw], problems: list[Problem]) -> Mapping[str, PrefetchValue | Raw]:
    """All sections read in one go; where some resource cannot be, each is left raw, to be read piece by piece."""
    raw = root.get("prefetch")
    if raw is None or _is_null(raw):
        return {}
    try:
        found: Mapping[str, PrefetchValue | Raw] = _once(_sections.decode(raw), "prefetch")
    except _UNREADABLE:
        found = _member_object(root, "prefetch", "prefetch", problems)
    if len(found) > _MOST_KEYS:
        problems.append(
            Problem("prefetch", f"has {len(found)} keys, and at most {_MOST_KEYS} are read", "send what was asked for")
        )
        return {}
    return found


def _member_object(root: dict[str, Raw], name: str, place: str, problems: list[Problem]) -> dict[str, Raw]:
    raw = root.get(name)
    if raw is None:
        problems.append(Problem(place, "is missing", f"send the {name} object of the hook"))
        return {}
    try:
        found = _members.decode(raw)
    except _UNREADABLE:
        problems.append(Problem(place, f"is {_kind(raw)}, not an object", f"send {name} as a JSON object"))
        return {}
    return _once(found, place)


def _member_text(members: dict[str, Raw], name: str, place: str, problems: list[Problem], *, required: bool = True) -> str:
    raw = members.get(name)
    if raw is None or (not required and _is_null(raw)):
        if required and (members or "." not in place):
            problems.append(Problem(place, "is missing", "send a non-empty string"))
        return ""
    try:
        text = _text.decode(raw).strip()
    except _UNREADABLE:
        problems.append(Problem(place, f"is {_kind(raw)}, not a string", "send a non-empty string"))
        return ""
    if required and not text:
        problems.append(Problem(place, "is empty", "send a non-empty string"))
    return text


def _is_null(raw: Raw) -> bool:
    view = memoryview(raw)
    return len(view) == len(_NULL) and view == _NULL


def _kind(raw: Raw) -> str:
    """What stands there instead, by its first byte; never its content, which may be about a patient."""
    first = bytes(memoryview(raw)[:1])
    kinds = {b"{": "an object", b"[": "a list", b'"': "a string", b"n": "null", b"t": "a boolean", b"f": "a boolean"}
    return kinds.get(first, "a number")


def _patient_id(context: dict[str, Raw], problems: list[Problem]) -> str:
    patient_id = _member_text(context, "patientId", "context.patientId", problems)
    return patient_id.removeprefix("Patient/")


def _encounter_id(context: dict[str, Raw], problems: list[Problem]) -> str | None:
    encounter_id = _member_text(context, "encounterId", "context.encounterId", problems, required=False)
    return encounter_id.removeprefix("Encounter/") or None


def _check_hook(given: str, expected: str, problems: list[Problem]) -> None:
    if given and given != expected:
        problems.append(Problem("hook", f"{given[:40]!r} is not the hook of this service", f"send {expected!r}"))


def _draft_orders(context: dict[str, Raw], problems: list[Problem]) -> Raw | None:
    """The Bundle, with no more asked of it than that it is one: what is in it may be unfinished."""
    place = "context.draftOrders"
    bundle = _member_object(context, "draftOrders", place, problems)
    kind = _member_text(bundle, "resourceType", f"{place}.resourceType", problems, required=False)
    if kind and kind != "Bundle":
        problems.append(Problem(place, f"is a {kind[:40]!r}", "send a Bundle of the orders being written"))
    entries = bundle.get("entry")
    if entries is not None and not _is_null(entries):
        listed = _list(entries)
        if listed is None:
            problems.append(Problem(f"{place}.entry", f"is {_kind(entries)}, not a list", "send a list of entries"))
        elif len(listed) > _MOST_DRAFTS:
            problems.append(_too_many(f"{place}.entry", len(listed)))
    return context.get("draftOrders")


def _too_many(place: str, count: int) -> Problem:
    return Problem(place, f"has {count} items, and at most {_MOST_DRAFTS} are read", "send the orders that are being written")


def _selections(context: dict[str, Raw], problems: list[Problem]) -> tuple[str, ...]:
    """`Type/id` of each order that was just selected; a bare id is let pass, as older clients send it."""
    place, remedy = "context.selections", 'send a list such as ["MedicationRequest/1"]'
    raw = context.get("selections")
    if raw is None:
        problems.append(Problem(place, "is missing", remedy))
        return ()
    items = _list(raw)
    if items is None:
        problems.append(Problem(place, f"is {_kind(raw)}, not a list", remedy))
        return ()
    if len(items) > _MOST_DRAFTS:
        problems.append(_too_many(place, len(items)))
        return ()
    found = []
    for at, item in enumerate(items):
        try:
            found.append(_text.decode(item).strip())
        except _UNREADABLE:
            problems.append(Problem(f"{place}[{at}]", f"is {_kind(item)}, not a string", remedy))
    if not all(found):
        problems.append(Problem(f"{place}[{found.index('')}]", "is empty", remedy))
    return tuple(found)


def _list(raw: Raw) -> list[Raw] | None:
    try:
        return _items.decode(raw)
    except _UNREADABLE:
        return None


def _extension(root: dict[str, Raw]) -> dict[str, Any]:
    """Extensions are agreed beforehand; what is not understood is ignored, whatever its shape."""
    try:
        return _object.decode(root["extension"])
    except (KeyError, *_UNREADABLE):
        return {}


def _authorization(root: dict[str, Raw]) -> Authorization | None:
    """None where no bearer token can be read: the call then goes on without fetching.

    What the token allows is for the FHIR server to say: scopes are written in many ways, and nothing is decided by them.
    """
    try:
        given = _object.decode(root["fhirAuthorization"])
    except (KeyError, *_UNREADABLE):
        return None
    token, kind, patient = given.get("access_token"), given.get("token_type") or "Bearer", given.get("patient")
    if not (isinstance(token, str) and _TOKEN.fullmatch(token) and isinstance(kind, str) and kind.lower() == "bearer"):
        return None
    return Authorization(token, patient.removeprefix("Patient/") if isinstance(patient, str) and patient else None)
