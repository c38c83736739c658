"""`logic/release.json`: what each rule rested on when it was released last, so that nothing changes without a new version.

Only rules have versions. A card, a fact, a value set, a test or a group changes what the rules say that rest on it: one of
these has to have a new version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from cds_service.cards.approvals import basis_of
from cds_service.errors import KnowledgeError, Problem
from cds_service.knowledge.knowledge import Knowledge, Rule

FILE = "logic/release.json"
_FEW = 3
_COMMAND = "run: cds-service release"


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """`versions` by rule, `parts` by name, each as a hash."""

    versions: dict[str, str]
    parts: dict[str, str]


class Part(msgspec.Struct):
    digest: str
    rules: list[str]


def release_of(knowledge: Knowledge) -> Release:
    versions = {rule.id: rule.file.version for rule in knowledge.rules}
    return Release(versions, {name: part.digest for name, part in sorted(_parts(knowledge).items())})


def write_release(knowledge: Knowledge) -> int:
    """Write the file anew and return of how many parts. Raises KnowledgeError where something changed silently."""
    problems = list(_silent_changes(knowledge, read_release(knowledge.root)))
    if problems:
        raise KnowledgeError(problems)
    found = release_of(knowledge)
    (knowledge.root / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    return len(found.parts)


def read_release(root: Path) -> Release:
    """Empty if there is no file yet. Raises KnowledgeError if it has another shape."""
    try:
        return msgspec.json.decode((root / FILE).read_bytes(), type=Release)
    except FileNotFoundError:
        return Release({}, {})
    except (OSError, msgspec.DecodeError) as error:
        raise KnowledgeError([Problem(FILE, f"cannot be read: {error}", f"restore it, or remove it and {_COMMAND}")]) from None


def nothing_changed_without_a_version(knowledge: Knowledge) -> Iterator[Problem]:
    if not (knowledge.root / FILE).is_file():
        yield Problem(FILE, "is missing", _COMMAND)
        return
    try:
        yield from _silent_changes(knowledge, read_release(knowledge.root))
    except KnowledgeError as error:
        yield from error.problems


def _silent_changes(knowledge: Knowledge, released: Release) -> Iterator[Problem]:
    for name, part in _parts(knowledge).items():
        if released.parts.get(name, part.digest) == part.digest:
            continue
        versions = {rule: (released.versions.get(rule), knowledge.rule_by_id[rule].file.version) for rule in part.rules}
        if all(before == now for before, now in versions.values()):
            rules = ", ".join(part.rules[:_FEW]) + (f" and {len(part.rules) - _FEW} more" if len(part.rules) > _FEW else "")
            text = f"{name} changed since the last release, and no rule that rests on it has a new version"
            one = f"raise its version in {knowledge.rule_by_id[part.rules[0]].place}"
            remedy = f"give a new version to those of {rules} that it changes" if len(part.rules) > 1 else one
            yield Problem(_place(name, knowledge), text, remedy)


def _parts(knowledge: Knowledge) -> Mapping[str, Part]:
    """Each part that rules rest on, once, with these rules. A rule and its card are named by the rule."""
    found: dict[str, Part] = {}
    for rule in (rule for rule in knowledge.rules if _is_whole(rule, knowledge)):
        for name, digest in basis_of(rule, knowledge).items():
            own = f"{name} {rule.id}" if name in ("rule", "card") else name
            found.setdefault(own, Part(digest, [])).rules.append(rule.id)
    return found


def _is_whole(rule: Rule, knowledge: Knowledge) -> bool:
    """Of a rule without all that it names, other house rules tell."""
    orders = [knowledge.orders.get(use.order) for use in rule.orders]
    groups = {group.id for group in knowledge.groups}
    known = all(order and order.pending_fact in knowledge.facts for order in orders)
    return known and rule.file.group in groups and rule.id in knowledge.cards


def _place(name: str, knowledge: Knowledge) -> str:
    kind, _, key = name.partition(" ")
    if kind == "rule":
        return knowledge.rule_by_id[key].place
    if kind == "card":
        return knowledge.cards[key].place
    if kind == "fact":
        return knowledge.facts[key].place
    if kind == "codes":
        return f"logic/value_sets/{key}.json" if key in knowledge.value_sets else f"logic/labs.json {key}"
    folder = {"group": "cards/groups.json", "test": "logic/orders.json", "equation": "logic/equations.json"}
    return f"{folder[kind]} {key}"
