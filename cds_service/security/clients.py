"""The clients that may call: what a site has agreed with each EHR, read from its file `clients.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cds_service.errors import Problem, SettingsError
from cds_service.fhir.zones import zone_named
from cds_service.model import CodeMap
from cds_service.net.addresses import is_local_host
from cds_service.security.code_map import MapSchema, read_code_map

ALGORITHMS = ("ES384", "RS384", "RS256", "ES256")
_RECOMMENDED = ("ES384", "RS384")
_LIFETIME = 300
_MOST_CALLS = 1_000_000
_LONGEST_LIFETIME = 3600
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Client:
    """One EHR. `jku` is the only address its keys may come from; without it they stand in `jwks`.

    `fhir_bases` are the FHIR servers that it may name; `open_server` lets such a server be read without a token.
    `prefetch_keys` maps its names of prefetch keys to ours. `token_lifetime`: most seconds from `iat` to `exp`.
    `code_map`: what its own codes mean. `null_is_empty`: its null is an empty list. `medication_statements_apart`: drugs stand
    in its MedicationStatements that no MedicationRequest tells. `time_zone`: by its IANA name, where its days begin and end.
    `calls_a_minute`: as many hooks as a worker answers it in a minute. `shadow`: what it is not shown, nor what the site says.
    """

    iss: str
    audiences: tuple[str, ...] = ()
    jku: str | None = None
    jwks: Mapping[str, Any] | None = None
    algorithms: tuple[str, ...] = _RECOMMENDED
    tenants: tuple[str, ...] = ()
    fhir_bases: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    prefetch_keys: Mapping[str, str] = field(default_factory=dict)
    jurisdiction: str | None = None
    open_server: bool = False
    token_lifetime: int = _LIFETIME
    code_map: CodeMap | None = None
    null_is_empty: bool = False
    medication_statements_apart: bool = False
    time_zone: str | None = None
    calls_a_minute: int | None = None
    shadow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientSchema:
    """What a clients file may refer to: keys, jurisdictions, codes, what may be in shadow; `loopback` allows http here.

    `doubts`: what else is wrong with the clients of a file that is refused anyway, so that all is told at once.
    """

    prefetch_keys: Collection[str]
    jurisdictions: Collection[str]
    loopback: bool = False
    codes: MapSchema = field(default_factory=MapSchema)
    doubts: Callable[[Iterable[Client]], Iterable[Problem]] = lambda clients: ()
    shadow: Collection[str] = ()


def read_clients(path: Path | None, known: ClientSchema) -> tuple[Client, ...]:
    """The clients of a site; none without a file. Raises SettingsError naming everything that is wrong."""
    if path is None:
        return ()
    problems: list[Problem] = []
    loaded = _load(path)
    tables = loaded.pop("client", [])
    problems += [Problem(f"{path}: {name}", "is unknown", "write [[client]] tables") for name in loaded]
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        problems.append(Problem(f"{path}: client", "is no list of tables", "write one [[client]] table an EHR"))
        tables = []
    entries = [_ClientEntry(table, path, at, known, problems) for at, table in enumerate(tables)]
    clients = tuple(entry.read() for entry in entries)
    _refuse_twins(clients, entries, problems)
    if problems:
        raise SettingsError([*problems, *known.doubts(clients)])
    return clients


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([Problem("CDS_CLIENTS", f"{path} cannot be read: {error.strerror}", "mend the path")]) from None
    except ValueError as error:
        remedy = "see deploy/clients.example.toml"
        raise SettingsError([Problem("CDS_CLIENTS", f"{path} is no TOML: {error}", remedy)]) from None


def _refuse_twins(clients: tuple[Client, ...], entries: list[_ClientEntry], problems: list[Problem]) -> None:
    seen: set[str] = set()
    for client, entry in zip(clients, entries, strict=True):
        if client.iss in seen:
            problems.append(
                Problem(f"{entry.place}.iss", f"{client.iss!r} stands in another table too", "write one table an EHR")
            )
        seen.add(client.iss)


class _ClientEntry:
    """One table: each member is read by its own method, and every problem is noted with its place."""

    def __init__(self, table: dict[str, Any], path: Path, at: int, known: ClientSchema, problems: list[Problem]) -> None:
        self.table, self.known, self.problems = table, known, problems
        self.place, self.folder = f"{path}: client[{at}]", path.parent

    def read(self) -> Client:
        self._names()
        self._keys_given()
        return Client(
            iss=self._one("iss", _is_text, "", "write the iss of its tokens, as the EHR sends it"),
            audiences=self._many("audiences", _is_text, "write the public addresses of this service, or what its aud says"),
            jku=self._one("jku", self._is_address, None, "write the https address of its key set"),
            jwks=self._one("jwks", _is_key_set, None, "write [[client.jwks.keys]] tables"),
            algorithms=self._many("algorithms", ALGORITHMS.__contains__, f"use {', '.join(ALGORITHMS)}") or _RECOMMENDED,
            tenants=self._many("tenants", _is_text, "write the tenants that may call"),
            fhir_bases=tuple(
                base.rstrip("/")
                for base in self._many(
                    "fhir_bases", self._is_base, "write https addresses without query, as fhirServer names them"
                )
            ),
            cors_origins=self._many("cors_origins", _is_origin, "write scheme://host[:port] without a path, never *"),
            prefetch_keys=self._prefetch_keys(),
            jurisdiction=self._one(
                "jurisdiction", self.known.jurisdictions.__contains__, None, f"use one of {', '.join(self.known.jurisdictions)}"
            ),
            open_server=self._switch("open_server"),
            token_lifetime=self._one("token_lifetime", _is_lifetime, _LIFETIME, "write seconds, 30 to 3600"),
            code_map=self._code_map(),
            null_is_empty=self._switch("null_is_empty"),
            medication_statements_apart=self._switch("medication_statements_apart"),
            calls_a_minute=self._one("calls_a_minute", _is_rate, None, "write a number from 1 to 1,000,000"),
            shadow=self._many("shadow", self.known.shadow.__contains__, "use what CDS_SHADOW takes: rules, topic:TOPIC, all"),
            time_zone=self._one("time_zone", _is_zone, None, "write an IANA name such as Europe/London; or install tzdata"),
        )

    def _switch(self, name: str) -> bool:
        return bool(self._one(name, lambda value: isinstance(value, bool), False, "write true or false"))

    def _code_map(self) -> CodeMap | None:
        """The file that it names, beside the file of clients."""
        name = self._one("code_map", _is_file_name, None, "write the name of a file beside this one")
        if name is None:
            return None
        try:
            return read_code_map(self.folder / name, self.known.codes)
        except SettingsError as error:
            self.problems += error.problems
            return None

    def _note(self, name: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(f"{self.place}.{name}", message, remedy))

    def _names(self) -> None:
        members = tuple(Client.__dataclass_fields__)
        for name in self.table:
            if name not in members:
                self._note(name, "is unknown", f"use {', '.join(members)}")
        if "iss" not in self.table:
            self._note("iss", "is missing", "write the iss of its tokens, as the EHR sends it")

    def _keys_given(self) -> None:
        """With both the keys are those that were given by hand, and `jku` is what its tokens may name."""
        if not ("jku" in self.table or "jwks" in self.table):
            self._note("jku", "and jwks are missing: one of them is needed", "write where its keys are, or the keys")

    def _one(self, name: str, good: Callable[[Any], bool], default: Any, remedy: str) -> Any:
        if name not in self.table:
            return default
        value = self.table[name]
        if isinstance(value, (list, dict)) != (name == "jwks") or not good(value):
            self._note(name, f"{_shown(value)} cannot be", remedy)
            return default
        return value

    def _many(self, name: str, good: Callable[[Any], bool], remedy: str) -> tuple[str, ...]:
        values = self.table.get(name, [])
        if not isinstance(values, list) or (name in self.table and not values):
            self._note(name, f"{_shown(values)} is no list, or an empty one", f"{remedy}; or leave it out")
            return ()
        for at, value in enumerate(values):
            if not isinstance(value, str) or not good(value):
                self._note(f"{name}[{at}]", f"{_shown(value)} cannot be", remedy)
        return tuple(value for value in values if isinstance(value, str))

    def _prefetch_keys(self) -> dict[str, str]:
        """Its names to ours. Two to one would lose what stands under one of them."""
        given = self.table.get("prefetch_keys", {})
        if not isinstance(given, dict):
            self._note("prefetch_keys", "is no table", 'write "its key" = "ourKey"')
            return {}
        ours = sorted(self.known.prefetch_keys)
        for theirs, key in given.items():
            if key not in ours:
                self._note(f"prefetch_keys.{theirs}", f"{_shown(key)} is no key of ours", f"use one of {', '.join(ours)}")
            elif list(given.values()).count(key) > 1:
                self._note(f"prefetch_keys.{theirs}", f"{key!r} is given twice", "map one of its keys to each of ours")
        return {theirs: key for theirs, key in given.items() if isinstance(key, str)}

    def _is_address(self, value: Any) -> bool:
        parts = _parts(value)
        if parts is None or parts.username or parts.fragment:
            return False
        return parts.scheme == "https" or (parts.scheme == "http" and self.known.loopback and is_local_host(parts.hostname))

    def _is_base(self, value: Any) -> bool:
        return self._is_address(value) and not urlsplit(value).query


def _parts(value: object) -> SplitResult | None:
    """The parts of an absolute address, None if it is none."""
    if not isinstance(value, str) or not _is_text(value):
        return None
    try:
        parts = urlsplit(value)
        return parts if parts.hostname and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable() and " " not in value


def _is_zone(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(zone_named(value))
    except ValueError:
        return False


def _is_file_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()


def _is_origin(value: object) -> bool:
    parts = _parts(value)
    if parts is None or parts.scheme not in ("https", "http"):
        return False
    return not (parts.path or parts.query or parts.fragment or parts.username or "*" in parts.netloc)


def _is_rate(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_CALLS


def _is_lifetime(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 30 <= value <= _LONGEST_LIFETIME


def _is_key_set(value: object) -> bool:
    """The shape alone; whether each key can be used is told by `keys`."""
    return isinstance(value, dict) and list(value) == ["keys"] and isinstance(value["keys"], list) and bool(value["keys"])


def _shown(value: object) -> str:
    return repr(value)[:80]
