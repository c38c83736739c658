"""What clinicians did with the cards, as CDS Hooks feedback and its dialects bring it.

A comment is measured; its words are kept only where a site wants them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from cds_service.errors import Problem, RequestError
from cds_service.fhir.dates import read_instant

_OUTCOMES = ("accepted", "overridden")
_LONGEST_ID = 200
_LONGEST_COMMENT = 10_000
_MOST_ITEMS = 1000
_MOST_ACCEPTED = 200
_EPIC = "com.epic.cdshooks.feedback.overrideReason."
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Feedback(NamedTuple):
    """One outcome of one card. `fingerprint` is equal for the same feedback sent twice."""

    card: str
    outcome: str
    outcome_at: datetime
    accepted: tuple[str, ...]
    reason_system: str
    reason_code: str
    comment_length: int
    comment: str | None = None

    @property
    def fingerprint(self) -> str:
        parts = (self.card, self.outcome, self.outcome_at.isoformat(), *sorted(self.accepted))
        text = "\x1f".join((*parts, self.reason_system, self.reason_code, str(self.comment_length)))
        return hashlib.sha256(text.encode()).hexdigest()


def read_feedback(body: bytes, keep_comments: bool = False) -> tuple[Feedback, ...]:
    """Parse a feedback call, each outcome once, without the words of comments unless they are kept.

    Raises RequestError (400) naming every member that is wrong.
    """
    try:
        body.decode("utf-8")
        loaded = msgspec.json.decode(body)
    except _UNREADABLE:
        raise _refused([Problem("body", "is no well-formed JSON", 'send {"feedback": […]}')]) from None
    items = loaded.get("feedback") if isinstance(loaded, dict) else None
    if not isinstance(items, list):
        raise _refused([Problem("feedback", "is missing or no list", 'send {"feedback": […]}')])
    if len(items) > _MOST_ITEMS:
        message = f"has {len(items)} outcomes, and at most {_MOST_ITEMS} are taken at once"
        raise _refused([Problem("feedback", message, "send the rest in further calls")])
    problems: list[Problem] = []
    read = [_read_item(item, f"feedback[{at}]", problems) for at, item in enumerate(items)]
    if problems:
        raise _refused(problems)
    own = {item.fingerprint: item for item in read if item}.values()
    return tuple(own) if keep_comments else tuple(item._replace(comment=None) for item in own)


def _refused(problems: list[Problem]) -> RequestError:
    return RequestError(400, "invalid-feedback", "invalid", problems)


def _read_item(item: object, place: str, problems: list[Problem]) -> Feedback | None:
    if not isinstance(item, dict):
        problems.append(Problem(place, "is no object", "send one object an outcome"))
        return None
    card = _text(item, "card", place, problems)
    outcome = _text(item, "outcome", place, problems)
    if outcome and outcome not in _OUTCOMES:
        problems.append(Problem(f"{place}.outcome", f"{outcome[:40]!r} is unknown", "send accepted or overridden"))
    when = read_instant(_text(item, "outcomeTimestamp", place, problems))
    if when is None and item.get("outcomeTimestamp"):
        problems.append(
            Problem(f"{place}.outcomeTimestamp", "is no date and time", "send RFC 3339, such as 2026-01-31T09:30:00Z")
        )
    accepted = _accepted(item.get("acceptedSuggestions"), f"{place}.acceptedSuggestions", problems)
    system, code, comment = _override(item)
    when = when or datetime.min.replace(tzinfo=UTC)
    return Feedback(card, outcome, when, accepted, system, code, len(comment or ""), comment and comment[:_LONGEST_COMMENT])


def _text(item: Mapping[str, Any], name: str, place: str, problems: list[Problem]) -> str:
    value = item.get(name)
    if isinstance(value, str) and 0 < len(value.strip()) <= _LONGEST_ID and "\0" not in value:
        return value.strip()
    message = "is missing" if value is None else "is no string of 1 to 200 characters without NUL"
    problems.append(Problem(f"{place}.{name}", message, "send it as CDS Hooks 2.0 describes"))
    return ""


def _accepted(value: object, place: str, problems: list[Problem]) -> tuple[str, ...]:
    if value is None:
        return ()
    listed = value if isinstance(value, list) and len(value) <= _MOST_ACCEPTED else [None]
    ids = [item.get("id") if isinstance(item, dict) else None for item in listed]
    if not all(isinstance(name, str) and name for name in ids):
        problems.append(
            Problem(
                place, f"is no list of at most {_MOST_ACCEPTED} objects with an id", 'send [{"id": "<uuid of the suggestion>"}]'
            )
        )
        return ()
    return tuple(storable(str(name))[:_LONGEST_ID] for name in ids)


def _override(item: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Reason and comment, from `overrideReason`, or from Epic's `overrideReasons` and its extension."""
    given = item.get("overrideReason") or item.get("overrideReasons")
    given = given[0] if isinstance(given, list) and given else given
    if not isinstance(given, dict):
        return "", "", None
    reason = given.get("reason")
    reason = reason if isinstance(reason, dict) else _epic_reason(given.get("extension"))
    comment = given.get("userComment")
    words = storable(comment) if isinstance(comment, str) else None
    return _short(reason.get("system")), _short(reason.get("code")), words


def _epic_reason(extension: object) -> dict[str, Any]:
    if not isinstance(extension, dict):
        return {}
    return {key.removeprefix(_EPIC): value for key, value in extension.items() if key.startswith(_EPIC)}


def _short(value: object) -> str:
    return storable(value).strip()[:_LONGEST_ID] if isinstance(value, str) else ""


def storable(text: str) -> str:
    """A text without the one character that PostgreSQL cannot hold."""
    return text.replace("\0", "")
