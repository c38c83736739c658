"""A population on one machine, with the standard library alone: two passes over the files, then the charts in lots.

The first pass reads only the types that tell whom the rules may be for, and marks those patients in a bit map. The second
writes the lines of these, and every Patient, into lots on disk. Then each lot is decided. So memory does not grow with the
number of patients, and a run that was stopped goes on where whole steps are done.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from cds_service.population.exports import Chunk, ExportFile, chunks, lines
from cds_service.population.judge import Judge, by_patient
from cds_service.population.records import patient_of
from cds_service.population.screen import MEDICATION, PATIENT, Screen, header_of, version_of
from cds_service.population.totals import Totals

_BITS = 1 << 26
_LOT = 48 * 1024 * 1024
_LOTS_EACH = 8
_MOST_LOTS = 1000
_BAD_KEPT = 1000
# As for the workers of the service, decision 28.
_COLLECTED = (50_000, 20, 50)
_MEDICATIONS = "medications.sqlite"
_NO_RESOURCE = "is no FHIR resource as JSON"
UNREADABLE, BROKEN, OF_NO_PATIENT = "that cannot be read", "that cannot be read in full", "of no patient"
_REPLACE = (
    "insert into medication values (?, ?, ?) on conflict (id) do update "
    "set at = excluded.at, line = excluded.line where excluded.at >= medication.at"
)

Progress = Callable[[str, float, int], None]
"""Told the step, the share of it that is done, and the patients decided so far."""


class BadLine(NamedTuple):
    """A line of which nobody can tell whose it is. `place`: where it begins, in bytes."""

    file: str
    place: int
    why: str


class Sorted(NamedTuple):
    """What was counted while lines were sorted. `stray`: a file that holds lines of another type than its own."""

    lines: dict[str, int]
    bad: list[BadLine]
    stray: str = ""
    broken: str = ""


@dataclass
class Work:
    """What the processes share: made before they start. `folder` holds what is not done yet."""

    judge: Judge
    screen: Screen
    folder: Path
    read_types: frozenset[str]
    lots: int = 1
    marks: bytearray = field(default_factory=lambda: bytearray(_BITS // 8))

    def is_marked(self, patient_id: str) -> bool:
        bit = _bit(patient_id)
        return bool(self.marks[bit >> 3] & 1 << (bit & 7))


_WORK: list[Work] = []


def _bit(patient_id: str) -> int:
    return crc32(patient_id.encode()) & (_BITS - 1)


def open_medications(folder: Path) -> Callable[[str], bytes | None]:
    """The line of a Medication by its id: from a file, for there may be as many as prescriptions."""
    path = folder / _MEDICATIONS
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
    path = folder / _MEDICATIONS
    path.unlink(missing_ok=True)
    if not own:
        return
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table medication (id text primary key, at text, line blob) without rowid")
        for file in own:
            with contextlib.suppress(OSError, EOFError):
                for line in lines(Chunk(file, 0, None)):
                    version = version_of(line.data)
                    if version and version.resource_id:
                        connection.execute(_REPLACE, (version.resource_id, version.last_updated, line.data))


def mark(work: Work, bits: bytes) -> None:
    for bit in array("I", bits):
        work.marks[bit >> 3] |= 1 << (bit & 7)


def bits_of(work: Work, chunk: Chunk) -> tuple[bytes, str]:
    """Whom the rules may be for, by the lines of a chunk; and what is wrong with its file."""
    marked, broken = set[int](), ""
    try:
        for line in lines(chunk):
            if work.screen.bears(line.data) and (patient_id := patient_of(line.data)):
                marked.add(_bit(patient_id))
    except (OSError, EOFError) as error:
        broken = f"{chunk.file.path.name}: breaks off ({type(error).__name__})"
    return array("I", marked).tobytes(), broken


def lines_by_lot(work: Work, chunk: Chunk) -> tuple[Mapping[int, Sequence[bytes]], Sorted]:
    """The lines of those who are marked, and every Patient."""
    found, bad, stray, broken = Counter[str](), list[BadLine](), "", ""
    lots: dict[int, list[bytes]] = defaultdict(list)
    screened, own = work.screen.types, chunk.file
    try:
        for line in lines(chunk):
            header = header_of(line.data)
            if header is None:
                found[UNREADABLE] += 1
                bad += [BadLine(own.path.name, line.place, _NO_RESOURCE)] if len(bad) < _BAD_KEPT else []
                continue
            kind, patient_id, is_broken = header
            found[BROKEN if is_broken else kind] += 1
            if kind in screened and own.resource_type not in screened:
                stray = str(own.path)
            if kind in work.read_types or is_broken:
                if not patient_id:
                    found[OF_NO_PATIENT] += 1
                elif kind == PATIENT or work.is_marked(patient_id):
                    lots[crc32(patient_id.encode()) % work.lots].append(line.data)
    except (OSError, EOFError) as error:
        broken = f"{own.path.name}: breaks off ({type(error).__name__})"
    return lots, Sorted(found, bad, stray, broken)


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


def _screen(chunk: Chunk) -> tuple[bytes, str]:
    return bits_of(_WORK[0], chunk)


def _sort(chunk: Chunk) -> Sorted:
    lots, counted = lines_by_lot(_WORK[0], chunk)
    for number, data in lots.items():
        with _lot(_WORK[0].folder, number, str(os.getpid())).open("ab") as opened:
            opened.write(b"\n".join(data) + b"\n")
    return counted


def _lot(folder: Path, number: int, writer: str) -> Path:
    return folder / "lots" / f"{number:04}.{writer}"


def _decide(number: int) -> int:
    """Decide a lot, write what came of it, and say how many patients there were."""
    work = _WORK[0]
    own = sorted((work.folder / "lots").glob(f"{number:04}.*"))
    tally, rows, patients = decide_lines(work, (data for path in own for data in path.read_bytes().split(b"\n")))
    done = work.folder / "done" / f"{number:04}"
    done.with_suffix(".rows").write_bytes(rows)
    part = done.with_suffix(".part")
    part.write_bytes(tally)
    # By its last name it is whole.
    part.rename(done.with_suffix(".json"))
    return patients


def lots_of(files: Iterable[ExportFile], processes: int) -> int:
    """Into how many lots, so that one of them fits into memory though all of its patients were to be looked at.

    So many for each process that none waits long for another at the end.
    """
    size = sum(file.path.stat().st_size * (8 if file.is_compressed else 1) for file in files)
    return min(max(size // _LOT, _LOTS_EACH * processes), _MOST_LOTS)


class Finished(NamedTuple):
    """All decisions counted, with what is wrong with the files. The rows lie in `rows`, one file a lot."""

    tally: Totals
    problems: list[str]
    bad: list[BadLine]
    rows: Sequence[Path]


class Runner:
    """Goes through the steps. `plan` is any text that differs where a run stopped before may not be gone on with."""

    def __init__(self, work: Work, files: Sequence[ExportFile], plan: str, processes: int, progress: Progress) -> None:
        self._work, self._files, self._plan = work, files, plan
        self._processes, self._progress, self._patients = processes, progress, 0

    def run(self) -> Finished:
        """Raises KeyboardInterrupt where it is stopped; what is done by then is kept."""
        folder = self._work.folder
        done = self._resumed()
        if not done.get("sorted"):
            for name in ("lots", "done"):
                shutil.rmtree(folder / name, ignore_errors=True)
                (folder / name).mkdir(parents=True)
            keep_medications(self._files, folder)
            _WORK[:] = [self._work]
            done = self._mark_and_sort()
            (folder / "marks").write_bytes(self._work.marks)
            (folder / "state.json").write_text(json.dumps(done | {"plan": self._plan, "sorted": True}))
        else:
            self._work.marks[:] = (folder / "marks").read_bytes()
            _WORK[:] = [self._work]
        self._decide_lots()
        done_files = sorted((folder / "done").glob("*.json"))
        tally = tally_of(path.read_bytes() for path in done_files)
        tally.lines.update(done["lines"])
        rows = [path.with_suffix(".rows") for path in done_files]
        return Finished(tally, done["problems"], [BadLine(*item) for item in done["bad"]], rows)

    def _resumed(self) -> dict[str, Any]:
        path = self._work.folder / "state.json"
        try:
            state = json.loads(path.read_text())
        except (OSError, ValueError):
            return {}
        return state if state.get("plan") == self._plan else {}

    def _mark_and_sort(self) -> dict[str, Any]:
        """Where a file held lines of another type than its own, which tell whom the rules are for, it is screened after all."""
        work, screened = self._work, {file for file in self._files if file.resource_type in self._work.screen.types | {""}}
        problems: dict[str, None] = {}
        while True:
            for bits, broken in self._over(_screen, list(chunks(screened)), "screening"):
                mark(work, bits)
                problems |= {broken: None} if broken else {}
            for path in (work.folder / "lots").iterdir():
                path.unlink()
            counted, bad, stray = Counter[str](), list[BadLine](), set[str]()
            for item in self._over(_sort, list(chunks(self._files)), "sorting"):
                counted.update(item.lines)
                bad += item.bad[: _BAD_KEPT - len(bad)]
                stray |= {item.stray} if item.stray else set()
                problems |= {item.broken: None} if item.broken else {}
            strayed = {file for file in self._files if str(file.path) in stray} - screened
            if not strayed:
                return {"problems": list(problems), "lines": counted, "bad": bad}
            problems |= {f"{file.path.name}: holds resources of several types": None for file in strayed}
            screened |= strayed

    def _decide_lots(self) -> None:
        waiting = [number for number in range(self._work.lots) if not self._is_done(number)]
        for count in self._over(_decide, waiting, "deciding"):
            self._patients += count

    def _is_done(self, number: int) -> bool:
        return (self._work.folder / "done" / f"{number:04}.json").is_file()

    def _over(self, task: Callable[[Any], Any], items: Sequence[Any], step: str) -> Iterator[Any]:
        """What a task gives for each item, as it comes. The processes are begun anew, so they know what was found before."""
        self._progress(step, 0.0, 0)
        if self._processes == 1:
            for number, item in enumerate(items, 1):
                yield task(item)
                self._progress(step, number / len(items), self._patients)
            return
        context = multiprocessing.get_context("fork")
        # What is shared never dies: a collector that looks at it costs time, and copies its pages.
        gc.collect()
        gc.freeze()
        with ProcessPoolExecutor(self._processes, context, initializer=_begin) as pool:
            waiting: set[Future[Any]] = {pool.submit(task, item) for item in items}
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                    self._progress(step, 1 - len(waiting) / len(items), self._patients)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _begin() -> None:
    """Ctrl-C reaches every process of a terminal; the first one decides what is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(*_COLLECTED)


class Clock:
    """Says how far a run is, at most once a second, with patients a second and the time that is left."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now, self._step, self._began, self._said = say, now, "", 0.0, 0.0

    def __call__(self, step: str, share: float, patients: int) -> None:
        now = self._now()
        if step != self._step:
            self._step, self._began, self._said = step, now, 0.0
        if now - self._said < 1 and share < 1:
            return
        self._said, taken = now, now - self._began
        pace = f", {patients / taken:,.0f} patients a second" if patients and taken else ""
        left = f", {taken / share * (1 - share):,.0f} s left" if 0 < share < 1 else ""
        self._say(f"{step} {share:.0%}{pace}{left}")
