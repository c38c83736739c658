"""`population`: what the rules would do over exports of Bulk Data, and two such runs compared."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import typer

from cds_service.errors import Problem, SettingsError
from cds_service.fhir.zones import today
from cds_service.population.compare import DECISIONS, REPORT, compare, read_run
from cds_service.population.local import LIMITS, OF_A_RUN, Clock
from cds_service.population.report import page, report
from cds_service.population.run import Plan, Run, run, service_of
from cds_service.population.totals import UNREADABLE
from cds_service.service import DecisionService
from cds_service.settings import Settings, read_settings
from cds_service.terminal.output import show_json, show_text
from cds_service.terminal.patient_files import day_of

_LOCAL = "local"
_MOST_VALUES = 50
_FILES = ("logic", "cards")


class Choices(NamedTuple):
    """The options of a run, as given."""

    out: Path
    as_of: str | None
    at: str
    exported: Sequence[str]
    sweeps: Sequence[str]
    processes: int
    keep_ids: bool
    engine: str
    remote: str | None
    parquet: bool
    client: str


def judge_population(folders: Sequence[Path], choices: Choices) -> None:
    """Run, and write the report into the folder of the options. Raises SettingsError; stopped by Ctrl-C it can go on."""
    settings = read_settings()
    _require_a_place_of_its_own(choices.out, folders)
    decision_service = service_of(settings, choices.client)
    plan = _plan(folders, choices, decision_service.settings)
    try:
        done = _engine(choices)(plan, decision_service, Clock(_say))
    except KeyboardInterrupt:
        goes_on = "goes on from here" if choices.engine == _LOCAL else "begins anew"
        typer.echo(f"\nStopped. The same command {goes_on}.", err=True)
        sys.exit(130)
    _write(done, plan, decision_service, choices)


def _plan(folders: Sequence[Path], choices: Choices, settings: Settings) -> Plan:
    work = choices.out / "work"
    # Beside the rest of a run, as every process that takes part has to see it.
    shutil.rmtree(work / LIMITS, ignore_errors=True)
    return Plan(
        folders,
        day_of(choices.as_of) if choices.as_of else today(None),
        work,
        choices.at,
        choices.exported,
        choices.processes or os.cpu_count() or 1,
        settings.patient_key.get_secret_value().encode() if settings.patient_key else _key_of(work),
        choices.keep_ids,
        dict(_swept(choices.sweeps, settings, work / LIMITS)),
        choices.client,
    )


def _require_a_place_of_its_own(out: Path, folders: Sequence[Path]) -> None:
    """Raises SettingsError where the report would lie in an export, and would be read with it the next time."""
    within = [folder for folder in folders if out.resolve().is_relative_to(folder.resolve())]
    within += [folder for folder in folders if folder.resolve().is_relative_to((out / "work").resolve())]
    if within:
        problem = Problem("--out", f"{out} and the export {within[0]} lie in one another", "name a folder elsewhere")
        raise SettingsError([problem])
    work = out / "work"
    others = sorted(path.name for path in work.iterdir() if path.name not in OF_A_RUN) if work.is_dir() else []
    if others:
        problem = Problem("--out", f"{work} holds {others[0]}, which no run has written", "name another folder")
        raise SettingsError([problem])
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([Problem("--out", f"{out} cannot be written ({error.strerror})", "name another")]) from None


def _key_of(work: Path) -> bytes:
    """A key for this run alone. It lies beside what is not done yet, so that a run can go on, and goes with it."""
    path = work / "key"
    if not path.is_file():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()


def _engine(choices: Choices) -> Any:
    if choices.engine == _LOCAL:
        return run
    if choices.engine != "spark":
        raise SettingsError([Problem("--engine", f"{choices.engine!r} is unknown", "use local or spark")])
    if choices.remote and not choices.remote.startswith("sc://"):
        raise SettingsError([Problem("--spark-remote", f"{choices.remote!r} is no address", "write sc://HOST:PORT")])
    from cds_service.population.spark import runner_on

    return runner_on(choices.remote)


def _say(text: str) -> None:
    """On one line at a terminal, else a line each."""
    at_terminal = sys.stderr.isatty()
    typer.echo(f"\r{text:<79}" if at_terminal else text, err=True, nl=not at_terminal)


def _write(done: Run, plan: Plan, decision_service: DecisionService, choices: Choices) -> None:
    found = report(done, plan, decision_service)
    out = choices.out
    (out / REPORT).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "report.html").write_text(page(found, decision_service.knowledge), encoding="utf-8")
    with (out / DECISIONS).open("wb") as opened:
        for path in done.row_files:
            with path.open("rb") as part:
                shutil.copyfileobj(part, opened)
    if choices.parquet:
        from cds_service.population.parquet import write_parquet

        write_parquet(done.rows(), out / "parquet")
    shutil.rmtree(plan.work, ignore_errors=True)
    fires = [rule for rule in found["rules"] if rule["fires"] != 0]
    if sys.stderr.isatty():
        typer.echo(err=True)
    show_text(f"{_few(found['patients'])} patients, {len(fires)} of {len(found['rules'])} rules fire.")
    for problem in found["problems"]:
        show_text(f"  {problem}")
    if bad := found["lines"].get(UNREADABLE):
        show_text(f"  Lines that cannot be read: {bad}; the first are named in the report.")
    show_text(f"Read {out / 'report.html'}; for programs: {REPORT}, {DECISIONS}.")


def _swept(given: Sequence[str], settings: Settings, kept: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """A folder of knowledge for each value of each limit, as `potassium.low=3.0:3.6:0.1` says. Raises SettingsError."""
    for number, text in enumerate(given):
        name, _, span = text.partition("=")
        analyte, _, side = name.partition(".")
        for at, value in enumerate(_values(text, span)):
            root = kept / f"{number}-{at}"
            root.mkdir(parents=True)
            for folder in _FILES:
                shutil.copytree(settings.knowledge / folder, root / folder)
            path = root / "logic" / "labs.json"
            labs = json.loads(path.read_text(encoding="utf-8"))
            limits = labs.get(analyte, {}).get("ranges", {}).get(settings.jurisdiction)
            if limits is None or side not in ("low", "high"):
                named = ", ".join(key for key in labs if settings.jurisdiction in labs[key]["ranges"])
                remedy = f"write .low or .high after one of {named}"
                raise SettingsError([Problem("--sweep", f"{name!r} is no limit that can be tried here", remedy)])
            limits[side] = str(value)
            path.write_text(json.dumps(labs), encoding="utf-8")
            yield (name, str(value)), root


def _values(text: str, span: str) -> list[Decimal]:
    try:
        low, high, step = (Decimal(part) for part in span.split(":"))
        count = int((high - low) / step) + 1 if step > 0 else 0
    except (ValueError, ArithmeticError):
        count = 0
    if not 0 < count <= _MOST_VALUES:
        remedy = f"write ANALYTE.low=FROM:TO:STEP, at most {_MOST_VALUES} values"
        raise SettingsError([Problem("--sweep", f"{text!r} names no values, or more than {_MOST_VALUES}", remedy)])
    return [low + step * number for number in range(count)]


def compare_populations(first: Path, second: Path, *, as_json: bool) -> None:
    """Print what the second run does otherwise. Raises SettingsError where a folder holds no run."""
    found = compare(read_run(first), read_run(second))
    if as_json:
        show_json(found)
        return
    show_text(f"{_few(found['patients'])} patients are decided otherwise.")
    for item in found["rules"]:
        show_text(f"  {item['rule']}: {_few(item['gained'])} gain it, {_few(item['lost'])} lose it")
    for item in found["cards"]:
        show_text(f"  card {item['card']}: {_few(item['gained'])} gain it, {_few(item['lost'])} lose it")


def _few(number: int | None) -> str:
    return "under 5" if number is None else f"{number:,}"
