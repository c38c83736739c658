"""`facts` and `publish`: what is known of a patient, and all rules, for other programs than this."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cds_service.model import UNKNOWN, Fact, Interval, Seen
from cds_service.settings import read_settings
from cds_service.terminal.output import show_json, show_text
from cds_service.terminal.patient_files import Asking, ask, read_patient_file


def facts(
    patient: Annotated[Path, typer.Argument(help="A patient file, as run takes it; - reads standard input.")],
    as_of: Annotated[str | None, typer.Option("--as-of", help="Judge at this date, as run does.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for other programs.")] = False,
) -> None:
    """Print each fact of one patient, and which are not known. Example: cds-service facts my-patient.json --json"""
    found = facts_of(ask(read_patient_file(patient), Asking(as_of)).decision.facts)
    if as_json:
        show_json(found)
    for line in () if as_json else [f"{name}: {answer}" for part in found.values() for name, answer in part.items()]:
        show_text(line)


def facts_of(asked: Mapping[str, Fact]) -> dict[str, dict[str, Any]]:
    """`facts`: those known exactly, as any JSON Logic engine takes them. `unknown`: the others, each with the reason."""
    unknown = {name: str(fact.state) for name, fact in asked.items() if fact.value is UNKNOWN}
    unknown |= {name: "not known exactly" for name, fact in asked.items() if isinstance(fact.value, (Interval, Seen))}
    return {"facts": {name: fact.value for name, fact in asked.items() if name not in unknown}, "unknown": unknown}


def publish(folder: Annotated[Path, typer.Argument(file_okay=False, help="Where to write; made if missing.")]) -> None:
    """Write the knowledge as a package of FHIR R4 resources. Example: cds-service publish var/package"""
    from cds_service.lint.run import load_checked
    from cds_service.publish.package import write_package

    written = write_package(load_checked(read_settings().knowledge), folder)
    typer.echo(f"wrote {written} resources and the rules to {folder}")
