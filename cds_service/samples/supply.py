"""What an EHR supplies of each prefetch key: as on record, or left out, emptied or failed, to see what becomes unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from cds_service.errors import Problem
from cds_service.knowledge.schema import Query
from cds_service.samples.people import FAILED, Person

Supply = tuple[tuple[str, str], ...]
"""The keys that do not come as they would, each with a state of STATES."""

PREFIX = "prefetch."
IN_FULL = "in-full"
_LEFT_OUT, _NULL, _EMPTY, _FAILED = "left-out", "null", "empty", "failed"
STATES = {
    _LEFT_OUT: "left out",
    _NULL: "null",
    _EMPTY: "an empty Bundle",
    _FAILED: "an OperationOutcome",
    IN_FULL: "in full",
}
_CODES = re.compile(r"[?&]code=([^&]*)")


class SuppliedKey(NamedTuple):
    """One key of the switch. `comes` is what this person's EHR does with it by itself; `chosen` a state, or nothing."""

    key: str
    title: str
    comes: str
    chosen: str

    @property
    def states(self) -> Mapping[str, str]:
        return {state: title for state, title in STATES.items() if state != IN_FULL or self.comes}


def supplied_keys(queries: Mapping[str, Query], person: Person | None, supply: Supply) -> list[SuppliedKey]:
    by_itself, chosen = _by_itself(person), dict(supply)
    return [
        SuppliedKey(key, query.title, STATES.get(by_itself.get(key, ""), ""), chosen.get(key, ""))
        for key, query in queries.items()
        if not query.from_context
    ]


def _by_itself(person: Person | None) -> Mapping[str, str]:
    if person is None:
        return {}
    listed = ((_LEFT_OUT, person.withheld), (_NULL, person.null_keys), (_FAILED, person.failed_keys))
    return {key: state for state, keys in listed for key in keys}


def read_supply(given: Mapping[str, str], queries: Mapping[str, Query], problems: list[Problem]) -> Supply:
    """The fields `prefetch.<key>` of a form or an address; each that cannot be is noted."""
    found = []
    for name, state in given.items():
        key = name.removeprefix(PREFIX)
        if name == key or not state:
            continue
        if key not in queries or queries[key].from_context:
            problems.append(Problem(name[:80], "is none of the prefetch keys", f"use one of {', '.join(queries)}"))
        elif state not in STATES:
            problems.append(Problem(name, f"{state[:60]!r} is unknown", f"use one of {', '.join(STATES)}"))
        else:
            found.append((key, state))
    return tuple(sorted(found))


def lifted(person: Person, supply: Supply) -> Person:
    """The person with an EHR that supplies by itself what was asked for in full, or in another state."""
    keys = {key for key, _ in supply}
    kept = {name: tuple(set(getattr(person, name)) - keys) for name in ("withheld", "null_keys", "failed_keys")}
    return replace(person, **kept)


def as_chosen(prefetch: Mapping[str, Any], supply: Supply) -> dict[str, Any]:
    found = dict(prefetch)
    for key, state in supply:
        if state == _LEFT_OUT:
            found.pop(key, None)
        elif state != IN_FULL:
            found[key] = {_NULL: None, _EMPTY: _empty(), _FAILED: FAILED}[state]
    return found


def _empty() -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": []}


def sorted_by_code(prefetch: dict[str, Any], queries: Mapping[str, Query], templates: Mapping[str, str]) -> dict[str, Any]:
    """Each entry under the key whose search would have found it: of several keys of a type the first holds all of them."""
    found = dict(prefetch)
    for kind in {query.resource_type for query in queries.values()}:
        keys = [key for key, query in queries.items() if query.resource_type == kind and found.get(key)]
        asked = {key: _codes(templates.get(key, "")) for key in keys}
        if len(keys) < 2 or not any(asked.values()):
            continue
        placed: dict[str, list[Any]] = {key: [] for key in keys}
        for entry in (entry for key in keys for entry in found[key]["entry"]):
            codes = set(_codes_of(entry["resource"]))
            placed[next((key for key in keys if codes & asked[key]), keys[0])].append(entry)
        found |= {key: {**found[key], "entry": entries} for key, entries in placed.items()}
    return found


def _codes(template: str) -> frozenset[str]:
    asked = _CODES.search(template)
    return frozenset(asked.group(1).split(",")) if asked else frozenset()


def _codes_of(resource: Mapping[str, Any]) -> Iterator[str]:
    """The codes of an entry and of its components, as far as it is written as FHIR has it."""
    for part in (resource, *_listed(resource.get("component"))):
        concept = part.get("code") if isinstance(part, dict) else None
        for coding in _listed(concept.get("coding")) if isinstance(concept, dict) else ():
            if isinstance(coding, dict) and isinstance(coding.get("code"), str):
                yield coding["code"]


def _listed(value: object) -> Iterable[Any]:
    return value if isinstance(value, list) else ()
