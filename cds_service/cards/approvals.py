"""A site's own clinical sign-off: `approvals.json`, each bound to what was signed.

What a rule does rests on more than the rule: its card, the facts that it asks for, their codes, units and ranges, and the tests
that it offers. A change of any of these ends the approval until somebody has looked at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cds_service.errors import Problem, SettingsError
from cds_service.knowledge.fact_kinds import OfEquation
from cds_service.knowledge.knowledge import Knowledge, Rule

_REMEDY = "sign it with cds-service approve"
_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Approval:
    """A site's own clinical sign-off of one version of a rule. `date` and `until`, its last day, are YYYY-MM-DD.

    `basis` holds by name each part that was signed, as a hash.
    """

    rule: str
    version: str
    name: str
    date: str
    until: str = ""
    basis: Mapping[str, str] = field(default_factory=dict)


class Approvals(NamedTuple):
    """What a site has signed: by rule and version what counts, and by rule what changed since, which ends it."""

    signed: Mapping[tuple[str, str], Approval]
    lapsed: Mapping[str, Sequence[str]]


NOTHING_SIGNED = Approvals({}, {})


def basis_of(rule: Rule, knowledge: Knowledge) -> dict[str, str]:
    """Each part that a rule rests on, by name, as a hash: equal as long as nothing of it changes."""
    return {name: _hash(part) for name, part in parts_of(rule, knowledge)}


@lru_cache(maxsize=4)
def signatures_of(knowledge: Knowledge) -> Mapping[str, str]:
    """Of each rule, by id, its version with a hash of all that it rests on, as Semantic Versioning writes it: `0.1.1+3f2a…`."""
    return {rule.id: f"{rule.file.version}+{_hash(basis_of(rule, knowledge))}" for rule in knowledge.rules}


def changes(signed: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts that are not as they were signed: changed, added or gone."""
    return sorted(name for name in {*signed, *now} if signed.get(name) != now.get(name))


def parts_of(rule: Rule, knowledge: Knowledge) -> Iterator[tuple[str, Any]]:
    yield "rule", rule.file
    yield "card", knowledge.cards[rule.id].file
    # How urgent the card is, and what stands around its lines.
    yield f"group {rule.file.group}", next(group for group in knowledge.groups if group.id == rule.file.group)
    for use in rule.orders:
        yield f"test {use.order}", knowledge.orders[use.order]
    for name in knowledge.facts_behind(rule):
        kind = knowledge.facts[name].kind
        yield f"fact {name}", kind
        if isinstance(kind, OfEquation):
            yield f"equation {kind.equation}", knowledge.equations[kind.equation]
    for key in knowledge.codes_behind(rule):
        yield f"codes {key}", [knowledge.value_sets.get(key), knowledge.labs.get(key)]


def _hash(part: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()[:_LENGTH]


def read_approvals(path: Path | None, knowledge: Knowledge, today: date) -> Approvals:
    """Raises SettingsError naming everything in the file that is wrong. What has lapsed is told and not refused."""
    items = load_approvals(path)
    problems = [problem for at, item in enumerate(items) for problem in _doubts(item, f"{path}: [{at}]", knowledge, today)]
    twice = [item.rule for at, item in enumerate(items) if item.rule in {other.rule for other in items[:at]}]
    problems += [Problem(f"{path}: {name}", "is signed twice", "keep the latest") for name in dict.fromkeys(twice)]
    if problems:
        raise SettingsError(problems)
    found = {item.rule: (item, changes(item.basis, basis_of(knowledge.rule_by_id[item.rule], knowledge))) for item in items}
    return Approvals(
        {(item.rule, item.version): item for item, changed in found.values() if not changed},
        {name: tuple(changed) for name, (_, changed) in found.items() if changed},
    )


def load_approvals(path: Path | None) -> list[Approval]:
    """The file as it is. Raises SettingsError if it cannot be read or has another shape."""
    if path is None:
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Approval])
    except OSError as error:
        raise SettingsError([Problem("CDS_APPROVALS", f"{path} cannot be read: {error.strerror}", "mend the path")]) from None
    except msgspec.DecodeError as error:
        remedy = f'write [{{"rule": …, "version": …, "name": …, "date": …, "basis": …}}], or {_REMEDY}'
        raise SettingsError([Problem("CDS_APPROVALS", f"{path}: {error}", remedy)]) from None


def _doubts(item: Approval, place: str, knowledge: Knowledge, today: date) -> Iterator[Problem]:
    rule = knowledge.rule_by_id.get(item.rule)
    if rule is None:
        yield Problem(f"{place}.rule", f"{item.rule[:60]!r} is no rule", "see logic/CATALOGUE.md")
    elif item.version != rule.file.version:
        message = f"{item.rule} {item.version[:20]!r} was signed, and {rule.file.version} is what would be served"
        yield Problem(f"{place}.version", message, _REMEDY)
    elif not item.basis:
        yield Problem(f"{place}.basis", "is missing: nobody can tell what was signed", _REMEDY)
    if not item.name.strip():
        yield Problem(f"{place}.name", "is empty", "name the clinician who signed")
    signed, until = _day(item.date), _day(item.until)
    if signed is None or signed > today:
        yield Problem(f"{place}.date", f"{item.date[:20]!r} is no day on which it can have been signed", "write YYYY-MM-DD")
    if item.until and (until is None or until < today):
        yield Problem(f"{place}.until", f"{item.until[:20]!r} is over, or no day", f"take it out, or {_REMEDY}")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
