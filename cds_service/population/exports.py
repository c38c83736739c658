"""The files of FHIR Bulk Data exports: which there are, what was asked for, and their lines."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

import msgspec

from cds_service.errors import Problem, SettingsError
from cds_service.population.screen import PATIENT
from cds_service.samples.formats import doubt_about_text

MANIFEST = "manifest.json"
_CHUNK = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_LINES = re.compile(r"\.(?:ndjson|jsonl)(?:\.gz)?$", re.IGNORECASE)
_FILTERED = re.compile(r"(?:^|,)\s*([A-Z][A-Za-z]+)\?")
# UTF-16, zip, gzip under another name, a page of HTML or XML.
_NO_LINES = re.compile(rb"\xff\xfe|\xfe\xff|PK\x03\x04|\x1f\x8b|\s*<")
_TYPE = re.compile(r"(?<![A-Za-z])([A-Z][A-Za-z]+)(?![A-Za-z])")


class ExportFile(NamedTuple):
    """One file of NDJSON. `resource_type`: by manifest, name or first line; empty where none of them tells."""

    path: Path
    resource_type: str

    @property
    def name(self) -> str:
        """As it can be told, whatever bytes it is made of."""
        return printable(self.path.name)

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix.lower() == ".gz"


def printable(name: str) -> str:
    """A name of a file that may hold bytes of no character."""
    return name.encode(errors="replace").decode()


class Chunk(NamedTuple):
    """The lines of a file that begin within these bytes; a compressed file is one."""

    file: ExportFile
    start: int
    stop: int | None


class ExportLine(NamedTuple):
    """A line without its end. `place`: where it begins, in bytes of the file as it is unpacked."""

    data: bytes
    place: int


class Exports(NamedTuple):
    """What was exported: its files, and of which types one may say that what is not there is not on record.

    `looked_for`: types that were exported, with or without a file; `partial`: those of which only some were asked for.
    `problems`: what is wrong with files, in words.
    """

    files: Sequence[ExportFile]
    looked_for: Set[str]
    partial: Set[str]
    problems: Sequence[str]


class _ExportedType(msgspec.Struct, rename="camel"):
    resource_type: str = ""


_kind = msgspec.json.Decoder(_ExportedType)


def read_exports(folders: Iterable[Path], exported: Iterable[str] = (), known: Set[str] = frozenset()) -> Exports:
    """All exports as one. Raises SettingsError where a folder is none or holds no NDJSON.

    `exported`: types that were asked for though no file tells; `known`: the types that are read here.
    """
    parts = [part for folder in folders for part in _parts(folder, known)]
    looked_for = set(exported).union(*(part.looked_for for part in parts))
    partial = set[str]().union(*(part.partial for part in parts))
    # An export of its own has its own patients; what lies in a folder without any belongs to all.
    groups = [part.looked_for for part in parts if PATIENT in part.looked_for]
    shared = set(exported).union(*(part.looked_for for part in parts if PATIENT not in part.looked_for))
    partial |= {kind for kind in looked_for - shared if any(kind not in group for group in groups)}
    files = [file for part in parts for file in part.files]
    return Exports(files, frozenset(looked_for), frozenset(partial), [text for part in parts for text in part.problems])


def _parts(folder: Path, known: Set[str]) -> Iterator[Exports]:
    """Each folder in which files lie directly, with its manifest."""
    below = sorted(folder.rglob("*")) if folder.is_dir() else []
    every = [path for path in below if not path.is_dir()]
    if not any(_LINES.search(path.name) for path in every):
        remedy = "give the folder of a Bulk Data export: one file of NDJSON or more for each resource type"
        raise SettingsError([Problem(str(folder), "holds no *.ndjson or *.ndjson.gz", remedy)])
    linked = [
        f"{printable(path.name)}: is a link to a folder, which is not followed"
        for path in below
        if path.is_symlink() and path.is_dir()
    ]
    yield Exports([], set(), set(known) if linked else set(), linked)
    for place in sorted({path.parent for path in every}):
        yield _read_folder(place, [path for path in every if path.parent == place], known)


def _read_folder(folder: Path, every: Sequence[Path], known: Set[str]) -> Exports:
    problems: list[str] = []
    manifest = _manifest(folder, problems)
    named = {name: str(item.get("type") or "") for item in _listed(manifest, "output") if (name := _file_named(item))}
    errors = {name for item in _listed(manifest, "error") if (name := _file_named(item))}
    found = [path for path in every if _LINES.search(path.name) and path.name not in errors]
    own = [ExportFile(path, named.get(path.name, "")) for path in found]
    files, lost = _readable(own, known, problems)
    missing = named.keys() - {path.name for path in every}
    problems += [f"{printable(folder.name)}: the manifest names {name}, which is not there" for name in sorted(missing)]
    problems += [f"{printable(folder.name)}: the server reported errors in {name}" for name in sorted(errors)]
    unread = [path for path in every if not _LINES.search(path.name) and _type_by_name(path, known)]
    problems += [f"{printable(path.name)}: is no *.ndjson or *.ndjson.gz, so nothing of it was read" for path in unread]
    asked = _asked(manifest)
    partial = lost | asked.partial | {named[name] for name in missing} | {_type_by_name(path, known) for path in unread}
    partial |= known if asked.since or errors or "" in partial else set()
    return Exports(files, {file.resource_type for file in files} | asked.types | lost, partial, problems)


def _file_named(item: Mapping[str, Any]) -> str:
    return Path(_split(str(item.get("url") or "")).path).name


def _split(address: str) -> SplitResult:
    """Of what is no address nothing."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _readable(files: Sequence[ExportFile], known: Set[str], problems: list[str]) -> tuple[list[ExportFile], set[str]]:
    """Files with their type by their first line, else by their name; and the types of what cannot be lines of JSON."""
    kept, lost = [], set()
    for file in files:
        by_name = file.resource_type or _type_by_name(file.path, known)
        try:
            with closing(_opened(file)) as opened:
                first = opened.readline(_CHUNK)
        except (OSError, EOFError) as error:
            problems.append(f"{file.name}: cannot be read ({type(error).__name__})")
            lost.add(by_name)
            continue
        doubt = doubt_about_text(first[:64], file.name) if _NO_LINES.match(first) else None
        if file.is_compressed and not file.path.stat().st_size:
            doubt = Problem(file.name, "is empty, and no gzip")
        if doubt:
            problems.append(f"{doubt.place}: {doubt.message}, so nothing of it was read")
            lost.add(by_name)
            continue
        kept.append(ExportFile(file.path, file.resource_type or type_of(first) or by_name))
    return kept, lost


def type_of(line: bytes) -> str:
    """The resource type of a line; empty where it cannot be read."""
    try:
        return _kind.decode(line.removeprefix(_BOM)).resource_type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _type_by_name(path: Path, known: Set[str]) -> str:
    return next((word for word in _TYPE.findall(path.name) if word in known), "")


class _Asked(NamedTuple):
    types: Set[str] = frozenset()
    partial: Set[str] = frozenset()
    since: bool = False


def _asked(manifest: Mapping[str, Any]) -> _Asked:
    """What the request of an export asked for: `_type` names its types, `_typeFilter` takes only some of one."""
    query = parse_qs(_split(str(manifest.get("request") or "")).query)
    types = {name.strip() for text in query.get("_type", ()) for name in text.split(",") if name.strip()}
    # Several filters are several parameters, or stand in one with commas between them.
    filtered = {kind for text in query.get("_typeFilter", ()) for kind in _FILTERED.findall(text)}
    return _Asked(types, filtered, "_since" in query)


def _manifest(folder: Path, problems: list[str]) -> Mapping[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        problems.append(f"{printable(folder.name)}: {MANIFEST} is no JSON, and was not used")
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _listed(manifest: Mapping[str, Any], member: str) -> list[Mapping[str, Any]]:
    items = manifest.get(member)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def chunks(files: Iterable[ExportFile]) -> Iterator[Chunk]:
    """The files in parts, so that several processes share a large one."""
    for file in files:
        size = file.path.stat().st_size
        if file.is_compressed or size <= _CHUNK:
            yield Chunk(file, 0, None)
        else:
            yield from (Chunk(file, start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK))


def lines(chunk: Chunk) -> Iterator[ExportLine]:
    """The lines that begin in a chunk, blank ones left out. Raises OSError or EOFError where a file is broken off."""
    with closing(_opened(chunk.file)) as opened:
        place = chunk.start
        if place:
            opened.seek(place - 1)
            place += len(opened.readline()) - 1
        for data in opened:
            if chunk.stop is not None and place >= chunk.stop:
                return
            text = data.removeprefix(_BOM).strip() if place == 0 else data.strip()
            if text:
                yield ExportLine(text, place)
            place += len(data)


def _opened(file: ExportFile) -> IO[bytes]:
    if file.is_compressed:
        return gzip.open(file.path)  # type: ignore[return-value]  # a file of bytes
    return file.path.open("rb", buffering=1024 * 1024)
