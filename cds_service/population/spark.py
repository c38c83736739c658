"""A population on a cluster: the same steps by the same functions, through DataFrames of Spark Connect.

What goes over the wire is which parts of which files to read, who is marked, and the lines of these. The files and the folder
of the run lie where every worker sees them under the same path, and every worker has this package installed. Without an
address a server of Sail is started in this process, for tests and for trying it out.
"""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

import msgspec

from cds_service.errors import Problem, SettingsError
from cds_service.population import steps
from cds_service.population.exports import Chunk, ExportFile, Exports, chunks
from cds_service.population.local import Progress
from cds_service.population.run import Plan, Run, exports_of, service_of, work_of
from cds_service.service import DecisionService
from cds_service.settings import Settings

_PACKAGES = ("pyspark", "pyarrow", "pandas")
_PART = "path string, type string, start bigint, stop bigint"
_BITS = "bits binary, broken string"
_LINES = "lot int, line binary"
_LOTS = "tally binary, rows binary"
_COUNTS = -1
"""The lot of what was counted while lines were sorted."""


def runner_on(remote: str | None) -> Callable[[Plan, DecisionService, Progress], Run]:
    """What runs a plan on the server at an address such as `sc://host:15002`. Raises SettingsError without the packages."""
    if not all(map(find_spec, _PACKAGES)):
        remedy = 'install the extra: pip install "leg-cramps-cds[spark]"'
        raise SettingsError([Problem("--engine", "spark needs packages that are not installed", remedy)])
    return partial(_run, remote)


def _run(remote: str | None, plan: Plan, decision_service: DecisionService, progress: Progress) -> Run:
    exports = exports_of(plan, decision_service)
    plan.work.mkdir(parents=True, exist_ok=True)
    steps.keep_medications(exports.files, plan.work)
    work = work_of(plan, decision_service, exports)
    settings = without_secrets(decision_service.settings)
    spec = pickle.dumps((plan, settings, exports))
    several: dict[str, None] = {}
    with _session(remote) as spark:
        screened = {file for file in exports.files if steps.is_screened(file, work.screen.types)}
        while True:
            progress("screening", 0.0, 0)
            broken = _mark(spark, spec, screened, work)
            progress("deciding", 0.0, 0)
            counted, found = _decide(spark, spec, exports, work, plan.work)
            stray = {item.file for item in counted if item.stray}
            strayed = {file for file in exports.files if str(file.path) in stray} - screened
            lost = steps.lost_types(counted, work.read_types) - exports.partial
            if not strayed and not lost:
                break
            screened |= strayed
            several |= {f"{file.name}: holds resources of several types": None for file in strayed}
            # What was lost is known once all was read: then it is decided anew.
            exports = exports._replace(partial=exports.partial | lost)
            spec = pickle.dumps((plan, settings, exports))
    progress("deciding", 1.0, found.people.total())
    for item in counted:
        found.lines.update(item.lines)
    known = steps.told_of_lost(sorted(steps.lost_types(counted, work.read_types)))
    problems = [*exports.problems, *broken, *several, *known, *(item.broken for item in counted if item.broken)]
    bad = [steps.BadLine(*line) for item in counted for line in item.bad]
    return Run(found, [plan.work / "decisions"], exports, list(dict.fromkeys(problems)), bad)


def without_secrets(settings: Settings) -> Settings:
    """What workers get to see: they need no database, and the key by which patients are named stands in the plan."""
    return settings.model_copy(update={"patient_key": None, "database_url": Settings.model_fields["database_url"].default})


@contextmanager
def _session(remote: str | None) -> Iterator[Any]:
    from pyspark.sql import SparkSession

    if remote:
        yield SparkSession.builder.remote(remote).getOrCreate()
        return
    # Else it tells each of its steps amid ours.
    os.environ.setdefault("RUST_LOG", "error")
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(port=0)
    server.start(background=True)
    _, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://localhost:{port}").getOrCreate()
    try:
        yield session
    finally:
        session.stop()
        server.stop()


def _parts(spark: Any, files: Iterable[ExportFile]) -> Any:
    listed = [(str(part.file.path), part.file.resource_type, part.start, part.stop) for part in chunks(files)]
    return spark.createDataFrame(listed, _PART).repartition(len(listed))


def _mark(spark: Any, spec: bytes, files: Iterable[ExportFile], work: steps.Work) -> list[str]:
    """Mark those whom the rules may be for; what is wrong with the files."""
    found = _parts(spark, files).mapInArrow(partial(_screen, spec), _BITS).toArrow().to_pylist()
    for row in found:
        steps.mark(work, row["bits"])
    return [row["broken"] for row in found if row["broken"]]


def _decide(spark: Any, spec: bytes, exports: Exports, work: steps.Work, folder: Any) -> tuple[list[steps.Sorted], Any]:
    marks = zlib.compress(bytes(work.marks), 1)
    lines = _parts(spark, exports.files).mapInArrow(partial(_sort, spec, marks), _LINES)
    judged = lines.groupBy("lot").applyInArrow(_of_tables(partial(_judge, spec, marks)), _LOTS)
    counted: list[steps.Sorted] = []
    tallies = []
    with (folder / "decisions").open("wb") as opened:
        for row in judged.toLocalIterator():
            if row["rows"] is None:
                counted += msgspec.msgpack.decode(row["tally"], type=list[steps.Sorted])
            else:
                tallies.append(row["tally"])
                opened.write(row["rows"])
    return counted, steps.tally_of(tallies)


@lru_cache(maxsize=1)
def _work(spec: bytes) -> steps.Work:
    """What this worker needs to do its part, made once."""
    plan, settings, exports = pickle.loads(spec)  # noqa: S301  # what this program itself has sent
    assert isinstance(settings, Settings)
    return work_of(plan, service_of(settings, plan.client), exports)


@lru_cache(maxsize=1)
def _marked(spec: bytes, marks: bytes) -> steps.Work:
    work = _work(spec)
    work.marks[:] = zlib.decompress(marks)
    return work


def _screen(spec: bytes, batches: Iterable[Any]) -> Iterator[Any]:
    import pyarrow

    for part in _chunks_in(batches):
        bits, broken = steps.bits_of(_work(spec), part)
        yield pyarrow.RecordBatch.from_pylist([{"bits": bits, "broken": broken}], pyarrow.schema(_schema(_BITS)))


def _sort(spec: bytes, marks: bytes, batches: Iterable[Any]) -> Iterator[Any]:
    import pyarrow

    schema = pyarrow.schema(_schema(_LINES))
    for part in _chunks_in(batches):
        lots, counted = steps.lines_by_lot(_marked(spec, marks), part)
        for number, lines in lots.items():
            yield pyarrow.RecordBatch.from_pylist([{"lot": number, "line": b"\n".join(lines)}], schema)
        yield pyarrow.RecordBatch.from_pylist([{"lot": _COUNTS, "line": msgspec.msgpack.encode(counted)}], schema)


def _judge(spec: bytes, marks: bytes, lot: Any) -> Any:
    import pyarrow

    found = lot.column("line").to_pylist()
    if lot.column("lot")[0].as_py() == _COUNTS:
        told = [msgspec.msgpack.decode(item, type=steps.Sorted) for item in found]
        row = {"tally": msgspec.msgpack.encode(told), "rows": None}
    else:
        tally, rows, _ = steps.decide_lines(_marked(spec, marks), (line for item in found for line in item.split(b"\n")))
        row = {"tally": tally, "rows": rows}
    return pyarrow.Table.from_pylist([row], pyarrow.schema(_schema(_LOTS)))


def _chunks_in(batches: Iterable[Any]) -> Iterator[Chunk]:
    from pathlib import Path

    for batch in batches:
        for row in batch.to_pylist():
            yield Chunk(ExportFile(Path(row["path"]), row["type"]), row["start"], row["stop"])


def _of_tables(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same with the types that Spark asks a function for, to know what it takes."""
    import pyarrow

    def of_tables(table: Any) -> Any:
        return function(table)

    of_tables.__annotations__ = {"table": pyarrow.Table, "return": pyarrow.Table}
    return of_tables


def _schema(text: str) -> list[tuple[str, Any]]:
    """The columns of a table, as Arrow has what Spark writes as text."""
    import pyarrow

    kinds = {"int": pyarrow.int32(), "binary": pyarrow.binary(), "string": pyarrow.string()}
    return [(name, kinds[kind]) for name, kind in (column.split() for column in text.split(", "))]
