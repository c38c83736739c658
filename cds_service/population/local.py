"""A population on one machine, with the standard library alone: two passes over the files, then the charts in lots.

The first pass reads only the types that tell whom the rules may be for, and marks those patients in a bit map. The second
writes the lines of these, and every Patient, into lots on disk. Then each lot is decided. So memory does not grow with the
number of patients, and a run that was stopped goes on where whole steps are done.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

from cds_service.population import steps
from cds_service.population.exports import Chunk, ExportFile, chunks
from cds_service.population.totals import Totals

# As for the workers of the service, decision 28.
_COLLECTED = (50_000, 20, 50)
LIMITS = "limits"
_OF_MEDICATIONS = (steps.MEDICATIONS_FILE, f"{steps.MEDICATIONS_FILE}-journal")
OF_A_RUN = ("done", "decisions", "key", LIMITS, "lots", "marks", *_OF_MEDICATIONS, "state.json")
"""What a run writes into its folder while it is under way."""

Progress = Callable[[str, float, int], None]
"""Told the step, the share of it that is done, and the patients decided so far."""


_WORK: list[steps.Work] = []


def _screen(chunk: Chunk) -> tuple[bytes, str]:
    return steps.bits_of(_WORK[0], chunk)


def _sort(chunk: Chunk) -> steps.Sorted:
    lots, counted = steps.lines_by_lot(_WORK[0], chunk)
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
    tally, rows, patients = steps.decide_lines(work, (data for path in own for data in path.read_bytes().split(b"\n")))
    done = work.folder / "done" / f"{number:04}"
    done.with_suffix(".rows").write_bytes(rows)
    part = done.with_suffix(".part")
    part.write_bytes(tally)
    # By its last name it is whole.
    part.rename(done.with_suffix(".json"))
    return patients


class Finished(NamedTuple):
    """All decisions counted, with what is wrong with the files. The rows lie in `rows`, one file a lot."""

    tally: Totals
    problems: list[str]
    bad: list[steps.BadLine]
    rows: Sequence[Path]


class Runner:
    """Goes through the steps. `plan` is any text that differs where a run stopped before may not be gone on with."""

    def __init__(self, work: steps.Work, files: Sequence[ExportFile], plan: str, processes: int, progress: Progress) -> None:
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
            steps.keep_medications(self._files, folder)
            _WORK[:] = [self._work]
            done = self._mark_and_sort()
            self._work.partial.update(done["partial"])
            (folder / "marks").write_bytes(self._work.marks)
            (folder / "state.json").write_text(json.dumps(done | {"plan": self._plan, "sorted": True}))
        else:
            self._work.marks[:] = (folder / "marks").read_bytes()
            self._work.partial.update(done["partial"])
            _WORK[:] = [self._work]
        self._decide_lots()
        done_files = sorted((folder / "done").glob("*.json"))
        tally = steps.tally_of(path.read_bytes() for path in done_files)
        tally.lines.update(done["lines"])
        rows = [path.with_suffix(".rows") for path in done_files]
        return Finished(tally, done["problems"], [steps.BadLine(*item) for item in done["bad"]], rows)

    def _resumed(self) -> dict[str, Any]:
        path = self._work.folder / "state.json"
        try:
            state = json.loads(path.read_text())
        except (OSError, ValueError):
            return {}
        return state if state.get("plan") == self._plan else {}

    def _mark_and_sort(self) -> dict[str, Any]:
        """Where a file held lines of another type than its own, which tell whom the rules are for, it is screened after all."""
        work, screened = self._work, {file for file in self._files if steps.is_screened(file, self._work.screen.types)}
        problems: dict[str, None] = {}
        while True:
            for bits, broken in self._over(_screen, list(chunks(screened)), "screening"):
                steps.mark(work, bits)
                problems |= {broken: None} if broken else {}
            for path in (work.folder / "lots").iterdir():
                path.unlink()
            counted = list(self._over(_sort, list(chunks(self._files)), "sorting"))
            problems |= {item.broken: None for item in counted if item.broken}
            stray = {item.file for item in counted if item.stray}
            strayed = {file for file in self._files if str(file.path) in stray} - screened
            if not strayed:
                lines_of = sum((Counter(item.lines) for item in counted), Counter[str]())
                bad = [line for item in counted for line in item.bad][: steps.BAD_KEPT]
                partial = sorted(steps.lost_types(counted, work.read_types))
                problems |= dict.fromkeys(steps.told_of_lost(partial))
                return {"problems": list(problems), "lines": lines_of, "bad": bad, "partial": partial}
            problems |= {f"{file.name}: holds resources of several types": None for file in strayed}
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
