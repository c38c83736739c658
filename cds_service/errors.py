"""What a person can mend, told plainly. Anything else is a bug and is left to rise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong: where, what (with the value), and what to do about it."""

    place: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" -> {self.remedy}" if self.remedy else "")


class Mendable(Exception):
    """A mistake of a person, with every problem found at once. Shown without a traceback."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class LogicError(Mendable):
    """A JSON Logic expression that is refused at load."""


class KnowledgeError(Mendable):
    """`logic/` or `cards/` breaks a house rule."""


class SettingsError(Mendable):
    """The environment asks for something that cannot be."""


class RequestError(Mendable):
    """A call that cannot be answered. `status` is the HTTP status, `code` a FHIR issue type, `slug` our stable code."""

    def __init__(self, status: int, slug: str, code: str, problems: Iterable[Problem]) -> None:
        self.status, self.slug, self.code = status, slug, code
        super().__init__(problems)
