"""How a run goes: in any number of processes, on Spark, stopped and gone on with, and at each visit without the future."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from cds_service.population.local import Clock
from cds_service.population.run import Plan, Run, run
from cds_service.population.spark import without_secrets
from cds_service.settings import Settings
from tests.conftest import ROOT
from tests.support.cast import conductor_of
from tests.support.documents import run as run_command
from tests.support.exports import (
    BLOOD,
    CRAMPS,
    DAY,
    PATIENT,
    TYPES,
    Json,
    bundles,
    prescription,
    resources,
    run_over,
    write_export,
)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_export(tmp_path_factory.mktemp("cast") / "export", resources(bundles("us").values()))
    with (folder / "Observation.ndjson").open("a") as opened:
        opened.write('not JSON\n{"resourceType": "Observation", "subject": {"reference": "Patient/\n')
    return folder


def settled(done: Run) -> tuple[Any, Any, Any, Any]:
    return done.tally, sorted(done.rows()), sorted(done.problems), sorted(done.bad)


@pytest.fixture(scope="module")
def alone(export: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any, Any]:
    return settled(run_over([export], conductor_of("us"), tmp_path_factory.mktemp("alone"), processes=1))


def test_two_processes_find_what_one_does(export: Path, alone: object, tmp_path: Path) -> None:
    assert settled(run_over([export], conductor_of("us"), tmp_path, processes=2)) == alone


def test_spark_finds_what_one_process_does(export: Path, tmp_path: Path) -> None:
    """By the command, as PySpark cannot be loaded in a process without a main module, such as those of these tests."""
    for engine in ("local", "spark"):
        kinds = " ".join(f"--exported {kind}" for kind in TYPES)
        asked = f"{export} --as-of {DAY} --patient-ids {kinds} --sweep potassium.low=4.5:4.5:0.1"
        asked += f" --engine {engine} --out {tmp_path / engine}"
        run_command(ROOT, f".venv/bin/cds-service population {asked}")
    local, spark = (tmp_path / engine for engine in ("local", "spark"))
    reports = [json.loads((folder / "report.json").read_text()) for folder in (local, spark)]
    assert reports[0] == reports[1]
    assert reports[0]["patients"] > 20
    assert reports[0]["swept"]
    rows = [sorted((folder / "decisions.ndjson").read_text().splitlines()) for folder in (local, spark)]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 20


def test_workers_of_a_cluster_are_sent_no_secret() -> None:
    settings = Settings(database_url="postgresql+asyncpg://user:hunter2@host/cds", patient_key="k" * 32, jurisdiction="uk")  # type: ignore[arg-type]
    sent = without_secrets(settings)
    assert b"hunter2" not in pickle.dumps(sent)
    assert b"kkkk" not in pickle.dumps(sent)
    assert sent.jurisdiction == "uk"


def test_whoever_is_passed_by_is_counted_whatever_a_patient_tells(tmp_path: Path) -> None:
    """With a date of death or a link to another record a Patient is decided alone, all others with those who are alike."""
    told: list[Json] = [{}, {}, {"deceasedDateTime": "2020-01-01"}, {"link": [{"type": "seealso"}]}, {"deceasedBoolean": True}]
    people = [PATIENT | {"id": f"p{at}"} | more for at, more in enumerate(told)]
    done = run_over([write_export(tmp_path / "export", people)], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert (done.tally.decisions, done.tally.cards) == ({"all": 5}, {0: 5})
    assert done.tally.outcomes["self-care", "out-of-scope"] == 5


def test_a_run_that_was_stopped_goes_on_with_the_lots_that_are_left(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan([export], DAY, tmp_path / "work", keep_ids=True, processes=1)
    service = conductor_of("us")
    runs: list[list[tuple[str, float]]] = []

    def told_until(lots: int) -> Any:
        runs.append([])

        def told(step: str, share: float, patients: int) -> None:
            runs[-1].append((step, share))
            if len([share for name, share in runs[-1] if name == "deciding" and share]) > lots:
                raise KeyboardInterrupt

        return told

    monkeypatch.setattr("cds_service.population.run.lots_of", lambda files, processes: 6)
    with pytest.raises(KeyboardInterrupt):
        run(plan, service, told_until(2))
    kept = {path: path.stat().st_mtime_ns for path in (plan.work / "done").glob("*.json")}
    done = run(plan, service, told_until(99))
    assert len(kept) == 3
    assert {step for step, _ in runs[1]} == {"deciding"}
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())
    fresh = run_over([export], service, tmp_path / "fresh")
    assert settled(done) == settled(fresh)


def test_what_was_done_for_another_day_is_not_gone_on_with(export: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    for day in (DAY, date(2026, 11, 21)):
        plan = Plan([export], day, tmp_path, keep_ids=True)
        run(plan, conductor_of("us"), lambda step, share, patients: steps.append(step))
    assert steps.count("screening") >= 4


def visit(name: str, day: str, clinician: str = "nora-sample", reason: str = "Follow-up") -> Json:
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "finished",
        "subject": {"reference": "Patient/anna-sample"},
        "participant": [{"individual": {"reference": f"Practitioner/{clinician}"}}],
        "period": {"start": f"{day}T09:00:00Z"},
        "reasonCode": [{"text": reason}],
    }


VISITS = [visit("v1", "2025-06-01"), visit("v2", "2026-02-01"), visit("v3", "2026-11-15"), visit("v4", "2027-01-01")]
DRUG = prescription("furosemide 40 mg", authoredOn="2026-02-02")


def at_visits(lines: Sequence[Json], tmp_path: Path) -> dict[str, set[str]]:
    folder = write_export(tmp_path / "export", lines)
    done = run_over([folder], conductor_of("us"), tmp_path / "work", at="encounters", exported=TYPES)
    return {row.day: set(row.fires) for row in done.rows()}


def test_each_visit_knows_what_was_recorded_by_then_and_nothing_of_the_future(tmp_path: Path) -> None:
    """The cramps are of 2026-01-05, the drug of 2026-02-02, the low potassium of 2026-11-10; no visit of 2027 is judged yet."""
    found = at_visits([PATIENT, CRAMPS, DRUG, BLOOD, *VISITS], tmp_path)
    assert set(found) == {"2026-02-01", "2026-11-15"}
    told = ["self-care", "diuretic", "low-potassium"]
    assert [name in found["2026-02-01"] for name in told] == [True, False, False]
    assert [name in found["2026-11-15"] for name in told] == [True, True, True]


def test_cramps_that_began_long_ago_and_were_written_down_later_were_not_known_before(tmp_path: Path) -> None:
    late = CRAMPS | {"onsetDateTime": "2010-01-01", "recordedDate": "2026-06-01"}
    assert set(at_visits([PATIENT, late, *VISITS], tmp_path)) == {"2026-11-15"}


def test_what_does_not_say_when_it_was_recorded_is_neither_there_nor_absent(tmp_path: Path) -> None:
    timeless = {key: value for key, value in BLOOD.items() if key != "effectiveDateTime"}
    found = at_visits([PATIENT, CRAMPS, timeless, *VISITS], tmp_path)
    assert not {"low-potassium", "electrolytes"} & found["2026-11-15"]
    assert "electrolytes" in at_visits([PATIENT, CRAMPS, *VISITS], tmp_path / "without")["2026-11-15"]


def test_a_death_after_the_visit_had_not_happened(tmp_path: Path) -> None:
    assert set(at_visits([PATIENT | {"deceasedDateTime": "2026-11-18"}, CRAMPS, *VISITS], tmp_path)) == {
        "2026-02-01",
        "2026-11-15",
    }


def test_cards_are_counted_by_the_day_of_each_clinician(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", [PATIENT, CRAMPS, *VISITS, visit("v5", "2026-11-15", "otto-sample")])
    done = run_over([folder], conductor_of("us"), tmp_path / "work", at="encounters", exported=TYPES)
    assert {key: bool(cards) for key, cards in done.tally.clinician_days.items()} == {
        ("Practitioner/nora-sample", "2025-06-01"): False,
        ("Practitioner/nora-sample", "2026-02-01"): True,
        ("Practitioner/nora-sample", "2026-11-15"): True,
        ("Practitioner/otto-sample", "2026-11-15"): True,
    }


def test_the_clock_tells_share_pace_and_time_left() -> None:
    now = iter([100.0, 110.0, 110.5, 120.0])
    said: list[str] = []
    clock = Clock(said.append, lambda: next(now))
    for share, patients in ((0.0, 0), (0.25, 5000), (0.3, 5500), (1.0, 20000)):
        clock("deciding", share, patients)
    assert said == ["deciding 0%", "deciding 25%, 500 patients a second, 30 s left", "deciding 100%, 1,000 patients a second"]


def test_medications_are_found_where_a_list_only_names_them(tmp_path: Path) -> None:
    named = {key: value for key, value in DRUG.items() if key != "medicationCodeableConcept"}
    quinine = {"resourceType": "Medication", "id": "q1", "code": {"text": "quinine sulfate 300 mg"}}
    old = quinine | {"code": {"text": "paracetamol"}, "meta": {"lastUpdated": "2001-01-01T00:00:00Z"}}
    newer = quinine | {"meta": {"lastUpdated": "2026-01-01T00:00:00Z"}}
    for number, lines in enumerate(([newer, old], [old, newer])):
        request = named | {"medicationReference": {"reference": "Medication/q1"}}
        folder = write_export(tmp_path / f"export-{number}", [PATIENT, request, *lines])
        (row,) = run_over([folder], conductor_of("us"), tmp_path / f"work-{number}", exported=TYPES).rows()
        assert any("quinine" in name for name in row.fires)
        assert json.dumps(row.facts).count("paracetamol") == 0


def test_a_run_goes_on_only_with_the_same_processes_and_the_same_key(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = conductor_of("us")
    expected = settled(run_over([export], service, tmp_path / "fresh"))

    def stop(step: str, share: float, patients: int) -> None:
        if step == "deciding" and share:
            raise KeyboardInterrupt

    for changed in ({"processes": 1}, {"patient_key": b"another key"}):
        plan = Plan([export], DAY, tmp_path / "work", keep_ids=True, processes=2, patient_key=b"a key")
        with pytest.raises(KeyboardInterrupt):
            run(plan, service, stop)
        done = run(dataclasses.replace(plan, **changed), service, lambda *told: None)
        assert settled(done) == expected


@pytest.mark.parametrize(
    ("day", "fires"),
    [("2026-11-14", True), ("2026-11", False), ("2026", False), ("2026-11-16", False)],
)
def test_what_was_recorded_in_the_month_of_the_visit_may_be_of_later(day: str, fires: bool, tmp_path: Path) -> None:
    found = at_visits([PATIENT, CRAMPS, DRUG | {"authoredOn": day}, *VISITS], tmp_path)
    assert ("diuretic" in found["2026-11-15"]) is fires


def test_a_visit_that_did_not_take_place_is_none(tmp_path: Path) -> None:
    visits = [item | {"status": status} for item, status in zip(VISITS, ("finished", "cancelled", "planned"), strict=False)]
    assert set(at_visits([PATIENT, CRAMPS, *visits], tmp_path)) == set()


def test_what_cannot_be_read_is_not_absent_at_a_visit(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", [PATIENT, CRAMPS, DRUG, *VISITS])
    data = (folder / "MedicationRequest.ndjson").read_bytes().replace(b"furosemide 40 mg", "B\xe9la".encode("latin-1"))
    (folder / "MedicationRequest.ndjson").write_bytes(data)
    done = run_over([folder], conductor_of("us"), tmp_path / "work", at="encounters", exported=TYPES)
    row = next(row for row in done.rows() if row.day == "2026-11-15")
    assert row.states["medicationRequests"] == "incomplete"


def test_the_dead_were_alive_at_their_visits(tmp_path: Path) -> None:
    assert set(at_visits([PATIENT | {"deceasedBoolean": True}, CRAMPS, *VISITS], tmp_path)) == {"2026-02-01", "2026-11-15"}
