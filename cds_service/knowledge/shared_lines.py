"""The lines that every card of a group has, written once with stand-ins for the facts of its rules, and filled in by card."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec

from cds_service.knowledge.schema import Line

_PLACEHOLDER = re.compile(r"(?<=\{)[a-z0-9_]+(?=\.)")


def stand_ins(lines: Iterable[Line], facts: Container[str]) -> set[str]:
    """What shared lines name that is no fact itself."""
    named = {name for line in lines for name in (*_PLACEHOLDER.findall(line.say), *_asked(line.when))}
    return {name for name in named if name not in facts}


def filled(lines: Iterable[Line], facts: Mapping[str, str]) -> tuple[Line, ...]:
    """The lines with the facts of one rule, given by stand-in.

    >>> line = Line(say="Begun ({start.date}).", when={"var": "start"})
    >>> filled([line], {"start": "drug_start"})[0].say, filled([line], {"start": "drug_start"})[0].when
    ('Begun ({drug_start.date}).', {'var': 'drug_start'})
    """
    return tuple(
        msgspec.structs.replace(
            line,
            say=_PLACEHOLDER.sub(lambda found: facts.get(found.group(), found.group()), line.say),
            when=_renamed(line.when, facts),
        )
        for line in lines
    )


def _renamed(logic: Any, facts: Mapping[str, str]) -> Any:
    if isinstance(logic, list):
        return [_renamed(item, facts) for item in logic]
    if not isinstance(logic, dict):
        return logic
    return {
        operator: facts.get(argument, argument)
        if operator == "var" and isinstance(argument, str)
        else _renamed(argument, facts)
        for operator, argument in logic.items()
    }


def _asked(logic: Any) -> Iterable[str]:
    if isinstance(logic, list):
        for item in logic:
            yield from _asked(item)
    elif isinstance(logic, dict):
        for operator, argument in logic.items():
            yield from [argument] if operator == "var" and isinstance(argument, str) else _asked(argument)
