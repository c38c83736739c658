"""The steps of a run, as any process does its part: who is looked at, into which lots lines go, what comes of a lot."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from cds_service.population.exports import Chunk, ExportFile, ExportLine, lines
from cds_service.population.judge import Judge, by_patient
from cds_service.population.records import moment_of
from cds_service.population.screen import (
    MEDICATION,
    PATIENT,
    Screen,
    broken_line,
    header_of,
    is_about,
    kind_named,
    owners_of,
    patient_of,
    version_of,
)
from cds_service.population.totals import BROKEN, OF_NO_PATIENT, UNREADABLE, Totals

BITS = 1 << 26
_LOT = 48 * 1024 * 1024
_LOTS_EACH = 8
_MOST_LOTS = 1000
BAD_KEPT = 1000
_MOST_LOST = 1000
MEDICATIONS_FILE = "medications.sqlite"
_NO_RESOURCE = "is no FHIR resource as JSON"
_REPLACE = (
    "insert into medication values (?, ?, ?) on conflict (id) do update "
    "set at = excluded.at, line = excluded.line where excluded.at >= medication.at"
)


class BadLine(NamedTuple):
    """A line of which nobody can tell whose it is. `place`: where it begins, in bytes."""

    file: str
    place: int
    why: str


class Sorted(NamedTuple):
    """What was counted while lines of a file were sorted. `lost`: those that cannot be read, or do not tell whose they are.

    `stray`: it holds lines of another type than its own, which tell whom the rules are for; `broken`: how it breaks off.
    """

    file: str
    kind: str
    lines: dict[str, int]
    bad: list[BadLine]
    lost: int = 0
    stray: bool = False
    broken: str = ""


@dataclass
class Work:
    """What the processes share: made before they start. `folder` holds what is not done yet."""

    judge: Judge
    screen: Screen
    folder: Path
    read_types: frozenset[str]
    lots: int
    partial: set[str]
    marks: bytearray = field(default_factory=lambda: bytearray(BITS // 8))

    def is_marked(self, patient_id: str) -> bool:
        bit = _bit(patient_id)
        return bool(self.marks[bit >> 3] & 1 << (bit & 7))


def _bit(patient_id: str) -> int:
    return crc32(patient_id.encode()) & (BITS - 1)


def open_medications(folder: Path) -> Callable[[str], bytes | None]:
    """The line of a Medication by its id: from a file, for there may be as many as prescriptions."""
    path = folder / MEDICATIONS_FILE
    connections: dict[tuple[int, int], sqlite3.Connection] = {}

    def medication(name: str) -> bytes | None:
        if not path.is_file():
            return None
        # Each belongs to the thread that opened it.
        here = (os.getpid(), threading.get_ident())
        connection = connections.get(here)
        if connection is None:
            connection = connections[here] = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        found = connection.execute("select line from medication where id = ?", (name,)).fetchone()
        return bytes(found[0]) if found else None

    return medication


def keep_medications(files: Iterable[ExportFile], folder: Path) -> None:
    """The newest version of each Medication; a file that breaks off leaves those that came before."""
    own = [file for file in files if file.resource_type == MEDICATION]
    path = folder / MEDICATIONS_FILE
    path.unlink(missing_ok=True)
    if not own:
        return
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table medication (id text primary key, at text, line blob) without rowid")
        for file in own:
            with contextlib.suppress(OSError, EOFError):
                for line in lines(Chunk(file, 0, None)):
                    version = version_of(line.data)
                    if version and version.resource_id and version.resource_type == MEDICATION:
                        at = moment_of(version.last_updated).astimezone(UTC).isoformat()
                        connection.execute(_REPLACE, (version.resource_id, at, line.data))


def mark(work: Work, bits: bytes) -> None:
    for bit in array("I", bits):
        work.marks[bit >> 3] |= 1 << (bit & 7)


def bits_of(work: Work, chunk: Chunk) -> tuple[bytes, str]:
    """Whom the rules may be for, by the lines of a chunk; and what is wrong with its file."""
    marked, broken = set[int](), ""
    try:
        for line in lines(chunk):
            if work.screen.bears(line.data):
                marked.update(map(_bit, owners_of(line.data)))
    except (OSError, EOFError) as error:
        broken = f"{chunk.file.name}: breaks off ({type(error).__name__})"
    return array("I", marked).tobytes(), broken


def lines_by_lot(work: Work, chunk: Chunk) -> tuple[Mapping[int, Sequence[bytes]], Sorted]:
    """The lines of those who are marked, and every Patient."""
    own, found, bad = chunk.file, Counter[str](), list[BadLine]()
    lots: dict[int, list[bytes]] = defaultdict(list)
    stray, broken, unsure = False, "", 0
    screened = work.screen.types
    try:
        for line in lines(chunk):
            header = header_of(line.data)
            if header is None or header.is_broken:
                _sort_broken(work, own, line, lots, (found, bad))
                continue
            kind, patient_id, is_sure, _ = header
            found[kind] += 1
            if kind in work.read_types or is_about(kind):
                stray = stray or ((kind in screened or is_about(kind) in screened) and not is_screened(own, screened))
                unsure += not is_sure
                if not patient_id:
                    found[OF_NO_PATIENT] += 1
                elif kind == PATIENT or work.is_marked(patient_id):
                    lots[_lot_of(work, patient_id)].append(line.data)
    except (OSError, EOFError) as error:
        broken = f"{own.name}: breaks off ({type(error).__name__})"
    lost = found[UNREADABLE] + found[BROKEN] + unsure
    return lots, Sorted(str(own.path), own.resource_type, found, bad, lost, stray, broken)


def _sort_broken(
    work: Work, own: ExportFile, line: ExportLine, lots: dict[int, list[bytes]], counts: tuple[Counter[str], list[BadLine]]
) -> None:
    """A line that cannot be read leaves everybody in doubt whom it names, of whom nobody knows what it says."""
    found, bad = counts
    header = header_of(line.data)
    kind = header.resource_type if header else own.resource_type or kind_named(line.data)
    names = owners_of(line.data)
    found[BROKEN if names else UNREADABLE] += 1
    if not names and len(bad) < BAD_KEPT:
        bad.append(BadLine(str(own.path), line.place, _NO_RESOURCE))
    for name in filter(work.is_marked, names):
        lots[_lot_of(work, name)].append(broken_line(kind, name))


def _lot_of(work: Work, patient_id: str) -> int:
    return crc32(patient_id.encode()) % work.lots


def is_screened(file: ExportFile, types: Set[str]) -> bool:
    """Whether the lines of a file are asked for whom the rules are: where its type is not known, too."""
    return not file.resource_type or file.resource_type in types or is_about(file.resource_type) in types


def lost_types(counted: Iterable[Sorted], types: Set[str]) -> set[str]:
    """The types of which a file broke off, or more than one in a thousand lines was lost: what is not there may be missing."""
    of, lost, broken, kinds = Counter[str](), Counter[str](), set[str](), dict[str, str]()
    for item in counted:
        kinds[item.file] = item.kind
        of[item.file] += sum(item.lines.values())
        lost[item.file] += item.lost
        broken |= {item.file} if item.broken else set()
    doubtful = broken | {file for file, number in lost.items() if number * _MOST_LOST > of[file]}
    found = {kind for file in doubtful if (kind := kinds[file])}
    return found | ({"", *types} if any(not kinds[file] for file in doubtful) else set())


def told_of_lost(types: Iterable[str]) -> list[str]:
    named = ", ".join(filter(None, types))
    return [f"{named}: what is not there may be missing, as too much of it cannot be read or is nobody's"] if named else []


def decide_lines(work: Work, found: Iterable[bytes]) -> tuple[bytes, bytes, int]:
    """What comes of the lines of a lot: the tally and the rows, written, and how many patients there were."""
    patients = by_patient((patient_of(data), data) for data in found if data)
    judged = work.judge.judge(patients, work.is_marked)
    rows = b"".join(msgspec.json.encode(row) + b"\n" for row in judged.rows)
    return msgspec.json.encode(judged.tally.as_json()), rows, len(patients)


def tally_of(written: Iterable[bytes]) -> Totals:
    tally = Totals()
    for data in written:
        tally.add(Totals.from_json(msgspec.json.decode(data)))
    return tally


def lots_of(files: Iterable[ExportFile], processes: int) -> int:
    """Into how many lots, so that one of them fits into memory though all of its patients were to be looked at.

    So many for each process that none waits long for another at the end.
    """
    size = sum(file.path.stat().st_size * (8 if file.is_compressed else 1) for file in files)
    return min(max(size // _LOT, _LOTS_EACH * processes), _MOST_LOTS)
