"""What a site says of the codes of one EHR, read from a TOML or JSON file beside the file of clients."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cds_service.errors import Problem, SettingsError
from cds_service.fhir.resources import local_code
from cds_service.model import CodeMap

_SEE = "see deploy/codes.example.toml"
_MEANING = 'write means = "loinc|CODE" with a code of our sets, or other = true'
_LONGEST = 200
LocalCode = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MapSchema:
    """What a code map may refer to. `tests`: our tests, each with the codes, as `system|code`, under which it is suggested.

    `doubt_about`: why a `system|code` is no code of ours; empty if it is one.
    """

    tests: Mapping[str, Sequence[str]] = field(default_factory=dict)
    doubt_about: Callable[[str], str] = lambda token: "is no code of ours"


def read_code_map(path: Path, known: MapSchema) -> CodeMap:
    """Raises SettingsError naming everything that is wrong."""
    problems: list[Problem] = []
    loaded = _load(path)
    tables = {name: _tables(loaded.pop(name, []), f"{path}: {name}", problems) for name in ("code", "order")}
    problems += [Problem(f"{path}: {name}", "is unknown", f"write [[code]] and [[order]] tables; {_SEE}") for name in loaded]
    if not (problems or any(tables.values())):
        problems.append(Problem(str(path), "maps nothing", f"write [[code]] and [[order]] tables; {_SEE}"))
    entries = _Entries(path, known, problems)
    for at, table in enumerate(tables["code"]):
        entries.read_code(table, f"code[{at}]")
    for at, table in enumerate(tables["order"]):
        entries.read_order(table, f"order[{at}]")
    if problems:
        raise SettingsError(problems)
    return entries.made()


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        loaded = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SettingsError(
            [Problem(str(path), f"cannot be read: {error.strerror}", "mend the path, from the file of clients")]
        ) from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SettingsError([Problem(str(path), f"is no {kind}: {error}", _SEE)]) from None
    if not isinstance(loaded, dict):
        raise SettingsError([Problem(str(path), "is no object", _SEE)])
    return loaded


def _tables(given: Any, place: str, problems: list[Problem]) -> list[dict[str, Any]]:
    if isinstance(given, list) and all(isinstance(table, dict) for table in given):
        return given
    problems.append(Problem(place, "is no list of tables", _SEE))
    return []


class _Entries:
    """Every entry is read by itself, and every problem is noted with its place."""

    def __init__(self, path: Path, known: MapSchema, problems: list[Problem]) -> None:
        self._path, self._known, self._problems = path, known, problems
        self._codes: dict[LocalCode, tuple[str, ...]] = {}
        self._others: set[LocalCode] = set()
        self._orders: dict[str, dict[str, str]] = {}
        self._seen: dict[LocalCode, str] = {}

    def made(self) -> CodeMap:
        """An order code counts as the codes of its tests when it comes back, unless an entry says what it means."""
        back: dict[LocalCode, tuple[str, ...]] = {}
        for test, coding in self._orders.items():
            code = local_code(coding.get("system", ""), coding["code"])
            back[code] = (*back.get(code, ()), *self._known.tests[test])
        others = frozenset(self._others)
        codes = {code: meant for code, meant in back.items() if code not in others} | self._codes
        return CodeMap(codes, others, self._orders)

    def read_code(self, table: dict[str, Any], place: str) -> None:
        code = self._code(table, place, ("system", "code", "means", "other"))
        means, other = table.get("means"), table.get("other")
        if (means is None) == (other is None):
            self._note(place, "needs means or other, and only one of them", _MEANING)
        elif other is not None and other is not True:
            self._note(f"{place}.other", f"{_shown(other)} cannot be", "write true, or leave it out")
        elif means is not None and (doubt := self._doubt_about(means)):
            self._note(f"{place}.means", f"{_shown(means)} {doubt}", _MEANING)
        if code is None:
            return
        token, code = "|".join(code), local_code(*code)
        if code in self._seen:
            self._note(
                place, f"{_shown(code[1])} of this system stands in {self._seen[code]} too", "say once what a code means"
            )
        elif not self._known.doubt_about(token):
            self._note(place, f"{_shown(code[1])} is understood without a map", "take it out")
        self._seen[code] = place
        if isinstance(means, str):
            self._codes[code] = (means,)
        elif other:
            self._others.add(code)

    def read_order(self, table: dict[str, Any], place: str) -> None:
        code = self._code(table, place, ("test", "system", "code", "display"))
        test, display = table.get("test"), table.get("display")
        is_known = isinstance(test, str) and test in self._known.tests
        if not is_known:
            self._note(f"{place}.test", f"{_shown(test)} is no test of ours", f"use one of {', '.join(self._known.tests)}")
        elif test in self._orders:
            self._note(f"{place}.test", f"{test!r} is given twice", "write one order code for each test")
        if display is not None and not _is_text(display):
            self._note(f"{place}.display", f"{_shown(display)} cannot be", "write its name there, or leave it out")
        if code is not None and is_known:
            coding = {"system": code[0], "code": code[1], "display": display}
            self._orders[str(test)] = {name: str(value) for name, value in coding.items() if value}

    def _doubt_about(self, means: Any) -> str:
        return self._known.doubt_about(means) if isinstance(means, str) and "|" in means else "is no system|code"

    def _code(self, table: dict[str, Any], place: str, members: Sequence[str]) -> LocalCode | None:
        """The local code of an entry; the system may be left out, where the EHR sends none."""
        for name in table:
            if name not in members:
                self._note(f"{place}.{name}", "is unknown", f"use {', '.join(members)}")
        system, code = table.get("system", ""), table.get("code")
        is_system = "system" not in table or _is_text(system)
        if not is_system:
            self._note(
                f"{place}.system", f"{_shown(system)} cannot be", "write it as the EHR sends it; leave it out if it sends none"
            )
        if not _is_text(code):
            self._note(f"{place}.code", f"{_shown(code)} cannot be", "write it as the EHR sends it, in quotation marks")
            return None
        return (str(system).strip(), str(code).strip()) if is_system else None

    def _note(self, place: str, message: str, remedy: str) -> None:
        self._problems.append(Problem(f"{self._path}: {place}", message, remedy))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= _LONGEST and value.isprintable()


def _shown(value: object) -> str:
    return repr(value)[:80]
