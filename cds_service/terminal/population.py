"""The command `population` with its options. What it does is loaded when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def population(
    folders: Annotated[list[Path], typer.Argument(help="Folders of Bulk Data exports; or `compare` and two folders of --out.")],
    out: Annotated[Path, typer.Option("--out", help="Where the report is written.")] = Path("var/population"),
    as_of: Annotated[str | None, typer.Option("--as-of", help="Judge at this date (YYYY-MM-DD). Default: today.")] = None,
    at: Annotated[
        str, typer.Option("--at", help="day: all as of one day; encounters: at each visit, as recorded by then.")
    ] = "day",
    exported: Annotated[
        list[str] | None, typer.Option("--exported", help="A type that was exported though there is no file; may be repeated.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option("--sweep", help="Try limits, as ANALYTE.low=FROM:TO:STEP; may be repeated.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", min=0, help="Processes at once; with --engine spark the cores of the cluster. Default: those here."
        ),
    ] = 0,
    patient_ids: Annotated[bool, typer.Option("--patient-ids", help="Keep ids of patients, not keyed hashes of them.")] = False,
    client: Annotated[str, typer.Option("--client", help="Whose EHR it is, by iss: with the codes of its map.")] = "",
    engine: Annotated[str, typer.Option("--engine", help="local, or spark where one machine is too small.")] = "local",
    spark_remote: Annotated[str | None, typer.Option("--spark-remote", help="sc://HOST:PORT; without it Sail, here.")] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Also tables for analysis, as Parquet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With compare: as JSON.")] = False,
) -> None:
    """Print how often each rule would speak in a population. Example: cds-service population export --as-of 2026-11-20"""
    from cds_service.terminal import population_runs as runs

    if str(folders[0]) == "compare" and len(folders) == 3:
        runs.compare_populations(folders[1], folders[2], as_json=as_json)
        return
    choices = runs.Choices(
        out, as_of, at, exported or (), sweep or (), processes, patient_ids, engine, spark_remote, parquet, client
    )
    runs.judge_population(folders, choices)
