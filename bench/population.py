"""A population run beside a pass that only looks up whose each line is, over the same invented export, in turn."""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from bench.bodies import Json, body
from cds_service.knowledge.load import load_knowledge
from cds_service.population.exports import Chunk, chunks, lines, read_exports
from cds_service.population.run import Plan, run
from cds_service.population.screen import header_of
from cds_service.service import DecisionService
from cds_service.settings import read_settings

DAY = date(2026, 11, 20)
_SECTIONS = {"conditions": "Condition", "medicationRequests": "MedicationRequest", "electrolytes": "Observation"}
_EMPTY = ("MedicationStatement", "QuestionnaireResponse", "ServiceRequest", "Procedure", "Immunization")
_HELD = 100_000
_MARK = "00000000"
_BORN = b"1955-05-05"


def write_export(folder: Path, patients: int, one_of: int, seed: int = 20261120) -> int:
    """An export of so many patients, one of `one_of` with leg cramps: 19 resources and about 18 kB each. Gives its bytes.

    Lines of different patients stand in any order.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines_of = [_lines(cramps) for cramps in (True, False)]
    kinds = sorted({kind for kind, _ in lines_of[0]}.union(_EMPTY))
    with ExitStack() as stack:
        files = {kind: stack.enter_context((folder / f"{kind}.ndjson").open("wb")) for kind in kinds}
        held: list[tuple[str, bytes]] = []
        for number in range(patients):
            name = f"{number:08}".encode()
            born = f"{rng.randrange(1920, 2020)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}".encode()
            own = lines_of[number % one_of != 0]
            held += [(kind, text.replace(_MARK.encode(), name).replace(_BORN, born)) for kind, text in own]
            if len(held) >= _HELD or number == patients - 1:
                rng.shuffle(held)
                for kind, data in held:
                    files[kind].write(data)
                held = []
    return sum(path.stat().st_size for path in folder.iterdir())


def _lines(cramps: bool) -> list[tuple[str, bytes]]:
    prefetch = json.loads(body(4, 3, 10, 250, cramps=cramps))["prefetch"]
    resources = [entry["resource"] for key in _SECTIONS for entry in prefetch[key]["entry"]]
    return [_line(item) for item in (prefetch["patient"], _visit(), *resources)]


def _line(resource: Json) -> tuple[str, bytes]:
    text = json.dumps(resource | {"id": f"{resource['id']}-{_MARK}"}, separators=(",", ":"))
    text = re.sub(r"Patient/bench", f"Patient/bench-{_MARK}", text)
    return str(resource["resourceType"]), text.encode() + b"\n"


def _visit() -> Json:
    return {
        "resourceType": "Encounter",
        "id": "visit",
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": "Patient/bench"},
        "participant": [{"individual": {"reference": "Practitioner/invented"}}],
        "period": {"start": "2026-11-10T09:00:00-05:00", "end": "2026-11-10T09:20:00-05:00"},
        "reasonCode": [{"text": "Follow-up"}],
        "text": {"status": "generated", "div": f"<div>{'x' * 1500}</div>"},
    }


def _whose(chunk: Chunk) -> int:
    """The least that any run must do: whose each line is."""
    return len({header.patient_id for line in lines(chunk) if (header := header_of(line.data))})


def extract_only(folder: Path, processes: int) -> float:
    """Seconds for a pass that looks up the subject of every line, and nothing else."""
    began = time.perf_counter()
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        list(pool.map(_whose, chunks(read_exports([folder]).files)))
    return time.perf_counter() - began


def whole(folder: Path, processes: int, decision_service: DecisionService) -> float:
    """Seconds for a population run."""
    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        run(Plan([folder], DAY, Path(work), processes=processes), decision_service, lambda *told: None)
        return time.perf_counter() - began


def main() -> None:
    """`python -m bench.population [PATIENTS]`: both shares of patients with cramps, three times in turn, on two processes.

    `python -m bench.population write FOLDER PATIENTS ONE_OF` writes an export and stops.
    """
    if sys.argv[1:2] == ["write"]:
        written = write_export(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        print(f"wrote {written / 1e6:.0f} MB")
        return
    patients = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    settings = read_settings()
    decision_service = DecisionService(load_knowledge(settings.knowledge), settings)
    for share, number in ((50, patients), (3, patients // 2)):
        with tempfile.TemporaryDirectory() as made:
            size = write_export(Path(made), number, share)
            print(f"{number} patients, one of {share} with leg cramps, {size / number / 1000:.1f} kB each")
            for _ in range(3):
                least, own = extract_only(Path(made), 2), whole(Path(made), 2, decision_service)
                print(f"  subjects alone {number / least:8,.0f}/s   population {number / own:8,.0f}/s   {least / own:.3f}")
    own, most = (getrusage(who).ru_maxrss // 1024 for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
    print(f"memory at most: {own} MiB, and {most} MiB in each other process")


if __name__ == "__main__":
    main()
