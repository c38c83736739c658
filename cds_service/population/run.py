"""One run over a population: what it was asked for, and what came of it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from cds_service.cards.approvals import read_approvals
from cds_service.errors import Problem, SettingsError
from cds_service.fhir.zones import today
from cds_service.knowledge.load import load_knowledge
from cds_service.lint.run import client_schema
from cds_service.population.exports import Exports, read_exports
from cds_service.population.judge import DAY, ENCOUNTERS, Judge, Manner, Row, keyed_digest
from cds_service.population.local import Progress, Runner
from cds_service.population.records import CallMaker
from cds_service.population.screen import MEDICATION, PATIENT, Screen
from cds_service.population.steps import BadLine, Work, lots_of, open_medications
from cds_service.population.totals import Totals
from cds_service.security.clients import read_clients
from cds_service.service import DecisionService
from cds_service.settings import Jurisdiction, Settings

HOOK = "patient-view"


@dataclass(frozen=True)
class Plan:
    """What to run. `exported`: types that were asked for though no file or manifest tells; `at`: `day` or `encounters`.

    `patient_key` names patients in what is kept, by default one that nobody has. `swept`: by a limit and its value the folder
    of the knowledge that has it. `client`: whose codes and ways of speaking the exports have, by its `iss`.
    """

    folders: Sequence[Path]
    as_of: date
    work: Path
    at: str = DAY
    exported: Sequence[str] = ()
    processes: int = 1
    patient_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    keep_ids: bool = False
    swept: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    client: str = ""


class Run(NamedTuple):
    """What came of it: everything counted, the rows in files, and what is wrong with the exports."""

    tally: Totals
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
    exports = exports_of(plan, decision_service)
    runner = Runner(
        work_of(plan, decision_service, exports),
        exports.files,
        _fingerprint(plan, decision_service, exports),
        plan.processes,
        progress,
    )
    found = runner.run()
    return Run(found.tally, found.rows, exports, [*exports.problems, *found.problems], found.bad)


def service_of(settings: Settings, iss: str = "") -> DecisionService:
    """The service as this site has it, as it reads and answers one client. Raises SettingsError where that is unknown."""
    knowledge = load_knowledge(settings.knowledge)
    decision_service = DecisionService(knowledge, settings, read_approvals(settings.approvals, knowledge, today(None)))
    if not iss:
        return decision_service
    clients = read_clients(settings.clients, client_schema(knowledge, settings.environment == "development"))
    client = next((client for client in clients if client.iss == iss), None)
    if client is None:
        named = ", ".join(client.iss for client in clients) or "none: CDS_CLIENTS names no file"
        raise SettingsError([Problem("--client", f"{iss[:60]!r} is not configured", f"use the iss of a client: {named}")])
    # Only what is a jurisdiction is read from the file.
    place = cast("Jurisdiction", client.jurisdiction or settings.jurisdiction)
    return decision_service.elsewhere(place).for_client(client)


def exports_of(plan: Plan, decision_service: DecisionService) -> Exports:
    """Raises SettingsError where they cannot be used."""
    types = _types(decision_service)
    unknown = sorted(set(plan.exported) - types)
    if unknown:
        raise SettingsError([Problem("--exported", f"{unknown[0]!r} is not read here", f"use {', '.join(sorted(types))}")])
    if plan.at not in (DAY, ENCOUNTERS):
        raise SettingsError([Problem("--at", f"{plan.at!r} is unknown", f"use {DAY} or {ENCOUNTERS}")])
    exports = read_exports(plan.folders, plan.exported, types)
    if not any(file.resource_type == PATIENT for file in exports.files):
        raise SettingsError([Problem("Patient", "is in no file of these exports", "export Patient too")])
    return exports


def _types(decision_service: DecisionService) -> frozenset[str]:
    queries = decision_service.queries[decision_service.knowledge.service_on(HOOK)]
    return frozenset(query.resource_type for query in queries.values()) | {MEDICATION}


def work_of(plan: Plan, decision_service: DecisionService, exports: Exports) -> Work:
    """All that a process needs to do its part."""
    service_id = decision_service.knowledge.service_on(HOOK)
    medication = open_medications(plan.work)
    partial = set(exports.partial)
    caller = CallMaker(HOOK, decision_service.queries[service_id], exports.looked_for, partial, medication)
    name_of: Callable[[str], str] = str if plan.keep_ids else keyed_digest(plan.patient_key)
    settings = decision_service.settings
    roots = {key: settings.model_copy(update={"knowledge": root}) for key, root in plan.swept.items()}
    swept = {key: service_of(changed, plan.client) for key, changed in roots.items()}
    judge = Judge(decision_service, service_id, caller, Manner(plan.as_of, plan.at, name_of, swept))
    screen = Screen(decision_service, service_id, medication)
    return Work(
        judge, screen, plan.work, _types(decision_service) - {MEDICATION}, lots_of(exports.files, plan.processes), partial
    )


def _fingerprint(plan: Plan, decision_service: DecisionService, exports: Exports) -> str:
    """Differs where what was done already is not what is asked for now."""
    files = [(str(file.path), file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in exports.files]
    key = keyed_digest(plan.patient_key)("going on")
    lots, told = lots_of(exports.files, plan.processes), [sorted(exports.looked_for), sorted(exports.partial), exports.problems]
    asked = (
        key,
        lots,
        told,
        str(plan.as_of),
        plan.at,
        plan.client,
        sorted(plan.exported),
        sorted(map(list, plan.swept)),
        plan.keep_ids,
    )
    settings = decision_service.settings.model_dump_json(exclude={"patient_key", "database_url"})
    text = json.dumps([files, asked, decision_service.knowledge.fingerprint, settings, sorted(decision_service.served)])
    return hashlib.sha256(text.encode()).hexdigest()
