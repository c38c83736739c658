"""The lines of a card: what its rules say, once each, with what dates or reasons it in brackets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

BETWEEN = ": "
"""Stands in the text of a line between what it is about and what it says of it."""


class Said(NamedTuple):
    """One line that stands, filled in. `is_reason`: it belongs in brackets behind what the first line of its rule is about.

    `is_of_record`: what it is about is something on record, of which other rules may speak too.
    """

    about: str
    says: str = ""
    is_reason: bool = False
    is_of_record: bool = False


def told(rules: Iterable[Sequence[Said]], headlines: Sequence[str]) -> list[str]:
    """What stands below a summary with these headlines; what is said of the same thing shares a line.

    What the summary says in full, of its one finding, is not said again at the head of a line.

    >>> told([[Said("Goitre", "look.", is_of_record=True)], [Said("Goitre", "ask. Feel.", is_of_record=True)]], [])
    ['Goitre: look. Ask. Feel.']
    """
    once: dict[tuple[str, int], dict[str, None]] = {}
    for at, rule in enumerate(rules):
        for line in _with_reasons(rule):
            once.setdefault((line.about, -1 if line.is_of_record else at), {})[line.says] = None
    lines = _without_shorter(dict.fromkeys(_joined([about], list(says)) for (about, _), says in once.items()))
    return [_without_head(line, headlines[0]) for line in lines] if len(headlines) == 1 else lines


def told_of_tests(rules: Iterable[Sequence[Said]]) -> list[str]:
    """Each test with its reasons; those of which the same is said share a line.

    >>> told_of_tests([[Said("TSH", "none."), Said("goitre", "", True)], [Said("HbA1c", "none.")]])
    ['TSH (goitre), HbA1c: none.']
    """
    tests: dict[str, list[str]] = {}
    for rule in rules:
        for line in _with_reasons(rule):
            tests.setdefault(line.says, []).append(line.about)
    return [_capital(_joined(names, [says])) for says, names in tests.items()]


def _without_shorter(lines: Iterable[str]) -> list[str]:
    """A result that is named alone is not named where more is said of it: `Sodium 119.` beside `Sodium 119, low.`"""
    given = list(lines)
    return [line for line in given if not any(other.startswith(line.removesuffix(".") + ", ") for other in given)]


def _with_reasons(rule: Sequence[Said]) -> Iterator[Said]:
    """Behind what has one bracket already they stand in it; of several they would belong to one, so they stand behind."""
    reasons = "; ".join(dict.fromkeys(line.about for line in rule if line.is_reason))
    for line in rule:
        if line.is_reason:
            continue
        brackets = line.about.count("(")
        if not reasons:
            yield line
        elif brackets == 1 and line.about.endswith(")"):
            yield line._replace(about=f"{line.about[:-1]}; {reasons})")
        else:
            yield line._replace(about=f"{line.about}, {reasons}" if brackets else f"{line.about} ({reasons})")
        reasons = ""


def _joined(about: Sequence[str], says: Sequence[str]) -> str:
    """Whole sentences stay sentences."""
    if any(". " in text for text in says):
        end = " ".join([says[0], *map(_capital, says[1:])])
    else:
        end = "; ".join([*(text.removesuffix(".") for text in says[:-1]), says[-1]])
    return BETWEEN.join(filter(None, (", ".join(about), end)))


def _without_head(line: str, headline: str) -> str:
    rest = line[len(headline) :].lstrip(" ,:") if line.startswith((f"{headline},", f"{headline}:")) else ""
    return _capital(rest) if rest else line


def _capital(text: str) -> str:
    """A name such as `eGFR` is written as it is."""
    return text[:1].upper() + text[1:] if text[1:2] == text[1:2].lower() else text
