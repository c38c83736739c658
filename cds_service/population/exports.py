"""The files of FHIR Bulk Data exports: which there are, what was asked for, and their lines."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from cds_service.errors import Problem, SettingsError
from cds_service.samples.formats import doubt_about_text

MANIFEST = "manifest.json"
_CHUNK = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_LINES = re.compile(r"\.(?:ndjson|jsonl)(?:\.gz)?$", re.IGNORECASE)
_TYPE = re.compile(r"(?<![A-Za-z])([A-Z][A-Za-z]+)(?![A-Za-z])")


class ExportFile(NamedTuple):
    """One file of NDJSON. `resource_type`: by manifest, name or first line; empty where none of them tells."""

    path: Path
    resource_type: str

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix.lower() == ".gz"


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
    files: list[ExportFile] = []
    looked_for, partial, problems = set(exported), set[str](), list[str]()
    for folder in folders:
        found = sorted(path for path in folder.rglob("*") if _LINES.search(path.name)) if folder.is_dir() else []
        if not found:
            remedy = "give the folder of a Bulk Data export: one file of NDJSON or more for each resource type"
            raise SettingsError([Problem(str(folder), "holds no *.ndjson or *.ndjson.gz", remedy)])
        manifest = _manifest(folder, problems)
        named = {Path(urlsplit(str(item.get("url"))).path).name: str(item.get("type")) for item in _listed(manifest, "output")}
        errors = {Path(urlsplit(str(item.get("url"))).path).name for item in _listed(manifest, "error")}
        own = [
            ExportFile(path, named.get(path.name) or _type_by_name(path, known)) for path in found if path.name not in errors
        ]
        missing = named.keys() - {path.name for path in found}
        problems += [f"{folder.name}: the manifest names {name}, which is not there" for name in sorted(missing)]
        problems += [f"{folder.name}: the server reported errors in {name}" for name in sorted(errors)]
        readable, doubted = _readable(own)
        problems += doubted
        partial |= {file.resource_type for file in own} - {file.resource_type for file in readable}
        own = readable
        asked = _asked(manifest)
        looked_for |= {file.resource_type for file in own} | asked.types
        partial |= asked.partial | {named[name] for name in missing}
        partial |= set(known) if asked.since or errors else set()
        files += own
    return Exports(files, frozenset(looked_for), frozenset(partial), tuple(problems))


def _readable(files: Sequence[ExportFile]) -> tuple[list[ExportFile], list[str]]:
    """Files with their type by their first line where nothing else told it; and what cannot be lines of JSON."""
    kept, problems = [], []
    for file in files:
        try:
            with closing(_opened(file)) as opened:
                first = opened.readline(_CHUNK)
        except (OSError, EOFError) as error:
            problems.append(f"{file.path.name}: cannot be read ({type(error).__name__})")
            continue
        doubt = doubt_about_text(first[:2], file.path.name) if first[:2] in (b"\xff\xfe", b"\xfe\xff", b"PK") else None
        if doubt:
            problems.append(f"{doubt.place}: {doubt.message}, so nothing of it was read")
            continue
        kept.append(file if file.resource_type else file._replace(resource_type=type_of(first)))
    return kept, problems


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
    query = parse_qs(urlsplit(str(manifest.get("request") or "")).query)
    types = {name.strip() for text in query.get("_type", ()) for name in text.split(",") if name.strip()}
    filtered = {text.partition("?")[0].strip() for text in query.get("_typeFilter", ())}
    return _Asked(types, filtered, "_since" in query)


def _manifest(folder: Path, problems: list[str]) -> Mapping[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        problems.append(f"{folder.name}: {MANIFEST} is no JSON, and was not used")
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
