"""One run over a population: what it was asked for, and what came of it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import msgspec

from cds_service.errors import Problem, SettingsError
from cds_service.population.exports import Exports, read_exports
from cds_service.population.judge import DAY, Judge, Row, keyed_digest
from cds_service.population.local import BadLine, Progress, Runner, Work, open_medications
from cds_service.population.records import Caller
from cds_service.population.screen import MEDICATION, PATIENT, Screen
from cds_service.population.tally import Tally
from cds_service.service import DecisionService

HOOK = "patient-view"


@dataclass(frozen=True)
class Plan:
    """What to run. `exported`: types that were asked for though no file or manifest tells; `at`: `day` or `encounters`.

    `patient_key` names patients in what is kept; None: a key that nobody has. `swept` is as of `Judge`.
    """

    folders: Sequence[Path]
    as_of: date
    work: Path
    at: str = DAY
    exported: Sequence[str] = ()
    processes: int = 1
    patient_key: bytes | None = None
    keep_ids: bool = False
    swept: Mapping[tuple[str, str], DecisionService] = field(default_factory=dict)


class Run(NamedTuple):
    """What came of it: everything counted, the rows in files, and what is wrong with the exports."""

    tally: Tally
    row_files: Sequence[Path]
    exports: Exports
    problems: Sequence[str]
    bad: Sequence[BadLine]

    def rows(self) -> Iterator[Row]:
        for path in self.row_files:
            yield from map(_row.decode, path.read_bytes().splitlines())


_row = msgspec.json.Decoder(Row)


def run(plan: Plan, decision_service: DecisionService, progress: Progress) -> Run:
    """Raises SettingsError where the exports cannot be used, and KeyboardInterrupt where it is stopped."""
    knowledge = decision_service.knowledge
    service_id = knowledge.service_on(HOOK)
    queries = decision_service.queries[service_id]
    types = {query.resource_type for query in queries.values()} | {MEDICATION}
    unknown = sorted(set(plan.exported) - types)
    if unknown:
        raise SettingsError([Problem("--exported", f"{unknown[0]!r} is not read here", f"use {', '.join(sorted(types))}")])
    exports = read_exports(plan.folders, plan.exported, frozenset(types))
    if not any(file.resource_type == PATIENT for file in exports.files):
        raise SettingsError([Problem("Patient", "is in no file of these exports", "export Patient too")])
    medication = open_medications(plan.work)
    caller = Caller(HOOK, queries, exports.looked_for, exports.partial, medication)
    digest = keyed_digest(plan.patient_key or secrets.token_bytes(32))
    name_of: Callable[[str], str] = str if plan.keep_ids else digest
    judge = Judge(decision_service, service_id, caller, plan.as_of, plan.at, name_of, plan.swept)
    screen = Screen(decision_service, service_id, medication)
    work = Work(judge, screen, plan.work, frozenset(types - {MEDICATION}))
    runner = Runner(work, exports.files, _fingerprint(plan, decision_service, exports), plan.processes, progress)
    found = runner.run()
    return Run(found.tally, found.rows, exports, [*exports.problems, *found.problems], found.bad)


def _fingerprint(plan: Plan, decision_service: DecisionService, exports: Exports) -> str:
    """Differs where what was done already is not what is asked for now."""
    files = [(str(file.path), file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in exports.files]
    asked = (str(plan.as_of), plan.at, sorted(plan.exported), sorted(map(list, plan.swept)), plan.keep_ids)
    settings = decision_service.settings.model_dump_json(exclude={"patient_key", "database_url"})
    told = json.dumps([files, asked, decision_service.knowledge.fingerprint, settings, sorted(decision_service.served)])
    return hashlib.sha256(told.encode() + (plan.patient_key or b"")).hexdigest()
