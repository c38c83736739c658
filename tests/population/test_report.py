"""What a report tells, and what it hides: nobody of a small number can be worked out."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.errors import SettingsError
from cds_service.population.compare import compare, read_run
from cds_service.population.report import interval, page, parts, report, shown
from cds_service.population.run import Plan, Run
from cds_service.settings import Settings
from cds_service.terminal import population_runs as terminal
from tests.conftest import ROOT
from tests.support.cast import conductor_of
from tests.support.exports import BLOOD, CRAMPS, DAY, PATIENT, TYPES, Json, bundles, resources, run_over, write_export


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 30), max_size=8))
def test_no_part_from_one_to_four_is_told_or_left_as_the_only_unknown_of_a_whole(counts: dict[str, int]) -> None:
    told = parts(counts)
    hidden = [key for key, number in told.items() if number is None]
    assert all(number is None or number == counts[key] for key, number in told.items())
    assert all(counts[key] == 0 or counts[key] >= 5 for key in told.keys() - hidden)
    assert len(hidden) != 1 or not any(counts[key] for key in counts.keys() - hidden)


@pytest.mark.parametrize(
    ("number", "whole", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_that_of_wilson(number: int, whole: int, low: float, high: float) -> None:
    assert interval(number, whole) == pytest.approx((low, high), abs=0.00005)


def crowd(*numbers: tuple[int, str, str]) -> list[Json]:
    """So many people born in a year, of a sex, with cramps and a low potassium."""
    found = []
    for number, born, sex in numbers:
        for at in range(number):
            name = f"{sex}-{born}-{at}"
            of = {"subject": {"reference": f"Patient/{name}"}}
            found += [
                PATIENT | {"id": name, "birthDate": f"{born}-04-04", "gender": sex},
                CRAMPS | of | {"id": f"c-{name}"},
                BLOOD | of | {"id": f"o-{name}"},
            ]
    return found


@pytest.fixture(scope="module")
def run_of_a_crowd(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("crowd")
    people = crowd((9, "1950", "female"), (3, "1970", "female"), (8, "1980", "male"), (40, "2015", "male"))
    return run_over([write_export(folder / "export", people)], conductor_of("us"), folder / "work", exported=TYPES)


@pytest.fixture
def told(run_of_a_crowd: Run, tmp_path: Path) -> Json:
    return report(run_of_a_crowd, Plan([tmp_path], DAY, tmp_path), conductor_of("us"))


def test_a_rule_is_counted_by_age_and_sex_with_small_numbers_hidden(told: Json) -> None:
    rule = next(item for item in told["rules"] if item["id"] == "low-potassium")
    assert (told["patients"], rule["fires"], rule["out_of_scope"]) == (60, 20, 40)
    assert rule["rate"] == pytest.approx(1 / 3)
    assert rule["age"] == {"40-49": None, "50-59": None, "70-79": 9}
    assert rule["sex"] == {"female": 12, "male": 8}
    assert told["people"]["age"] == {"0-17": 40, "40-49": None, "50-59": None, "70-79": 9}
    assert {"rule": "kidney-function", "with": "low-potassium", "number": 20} in told["together"]


def test_no_difference_of_two_numbers_tells_of_few_people(tmp_path: Path) -> None:
    """Of 23 with low potassium 20 are old enough for another rule: the pair would tell of the three who are not."""
    people = crowd((20, "1950", "female"), (3, "1970", "female"))
    done = run_over([write_export(tmp_path / "export", people)], conductor_of("us"), tmp_path / "work", exported=TYPES)
    found = report(done, Plan([tmp_path], DAY, tmp_path), conductor_of("us"))
    fires = {item["id"]: item["fires"] for item in found["rules"]}
    assert (fires["low-potassium"], fires["abi"]) == (23, None)
    apart = [fires[rule] - item["number"] for item in found["together"] for rule in (item["rule"], item["with"])]
    assert all(number == 0 or number >= 5 for number in apart)
    assert not any({item["rule"], item["with"]} == {"abi", "low-potassium"} for item in found["together"])
    assert any({item["rule"], item["with"]} == {"kidney-function", "low-potassium"} for item in found["together"])


def test_the_page_holds_the_numbers_and_asks_for_nothing_else(told: Json) -> None:
    text = page(told, conductor_of("us").knowledge)
    assert "60 patients" in text
    assert "under 5" in text
    assert 'src="' not in text
    assert "<script" not in text
    assert "http" not in text.replace("http://loinc.org", "")


def test_everything_of_a_tally_survives_being_written(run_of_a_crowd: Run) -> None:
    tally = run_of_a_crowd.tally
    assert type(tally).from_json(json.loads(json.dumps(tally.as_json()))) == tally


def test_few_people_who_are_looked_at_leave_no_list_of_codes_or_pairs(tmp_path: Path) -> None:
    code = {"coding": [{"system": "urn:oid:1.2.3", "code": "rare-code"}]}
    people = [
        *crowd((4, "1950", "female")),
        CRAMPS | {"id": "x", "code": code, "subject": {"reference": "Patient/female-1950-1"}},
    ]
    folder = write_export(tmp_path / "export", people)
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert done.tally.codes == Counter({("Condition", "urn:oid:1.2.3", "rare-code"): 1})
    found = report(done, Plan([folder], DAY, tmp_path), conductor_of("us"))
    assert (found["codes"], found["together"]) == ([], [])


def test_codes_and_units_that_nobody_knows_are_listed_once_five_have_them(tmp_path: Path) -> None:
    people = crowd((5, "1950", "female"))
    odd = {"value": 3.0, "unit": "bushels", "system": "http://unitsofmeasure.org", "code": "bushels"}
    of = [{"subject": {"reference": f"Patient/female-1950-{at}"}} for at in range(5)]
    people += [BLOOD | {"id": f"u{at}", "valueQuantity": odd} | own for at, own in enumerate(of)]
    code = {"coding": [{"system": "urn:oid:1.2.3", "code": "common-code"}]}
    people += [CRAMPS | {"id": f"x{at}", "code": code} | own for at, own in enumerate(of)]
    done = run_over([write_export(tmp_path / "export", people)], conductor_of("us"), tmp_path / "work", exported=TYPES)
    found = report(done, Plan([tmp_path], DAY, tmp_path), conductor_of("us"))
    assert found["units"] == {"bushels": 5}
    assert found["codes"] == [{"type": "Condition", "system": "urn:oid:1.2.3", "code": "common-code", "number": 5}]
    assert "bushels 5" in page(found, conductor_of("us").knowledge)


def test_the_least_number_that_is_told_is_five() -> None:
    assert [shown(number) for number in (0, 1, 4, 5)] == [0, None, None, 5]


def run_command(tmp_path: Path, name: str, *, monkeypatch: pytest.MonkeyPatch, knowledge: Path = ROOT, **given: object) -> Path:
    monkeypatch.setenv("CDS_KNOWLEDGE", str(knowledge))
    monkeypatch.setenv("CDS_PATIENT_KEY", "k" * 32)
    choices = terminal.Choices(tmp_path / name, "2026-11-20", "day", TYPES, (), 1, False, "local", None, False, "")
    export = tmp_path if tmp_path.name == "export" else tmp_path / "export"
    terminal.judge_population([export], choices._replace(**given))  # type: ignore[arg-type]
    return tmp_path / name


def test_a_limit_that_is_moved_tells_whom_it_would_concern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = crowd((6, "1950", "female"), (7, "1951", "male"))
    people = [
        item | {"valueQuantity": BLOOD["valueQuantity"] | {"value": 3.4}} if "o-female" in item["id"] else item
        for item in people
    ]
    write_export(tmp_path / "export", people)
    out = run_command(tmp_path, "out", monkeypatch=monkeypatch, sweeps=["potassium.low=3.2:3.6:0.2"])
    found = json.loads((out / "report.json").read_text())
    moved = [(item["to"], item["fires"], item["change"]) for item in found["swept"] if item["rule"] == "low-potassium"]
    assert moved == [("3.2", 7, -6), ("3.4", 7, -6)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "loacl"}, "use local or spark"),
        ({"engine": "spark", "remote": "junk"}, "write sc://HOST:PORT"),
        ({"at": "noon"}, "use day or encounters"),
        ({"exported": ("Conditions",)}, "is not read here"),
        ({"as_of": "yesterday"}, "is no date"),
    ],
)
def test_a_mistake_in_an_option_is_told(
    options: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path / "export", crowd((1, "1950", "female")))
    with pytest.raises(SettingsError, match=says):
        run_command(tmp_path, "out", monkeypatch=monkeypatch, **options)


@pytest.mark.parametrize(
    "sweep",
    [
        "potassium.low=0:Infinity:1",
        "potassium.low=3:4:1E-999999999",
        "potassium.low",
        "potassium.low=3:2:0.1",
        "potassium.low=1:9:0.0001",
        "kalium.low=3:4:1",
    ],
)
def test_a_sweep_that_names_no_limit_is_refused(sweep: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--sweep"):
        list(terminal._swept([sweep], Settings(), tmp_path))


def test_two_versions_of_the_knowledge_are_compared_by_who_gains_and_loses(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path / "export", resources(bundles("us").values()))
    labs = json.loads((tree / "logic/labs.json").read_text())
    labs["potassium"]["ranges"]["us"]["low"] = "2.0"
    (tree / "logic/labs.json").write_text(json.dumps(labs))
    folders = [
        run_command(tmp_path, name, knowledge=root, monkeypatch=monkeypatch) for name, root in (("a", ROOT), ("b", tree))
    ]
    found = compare(*map(read_run, folders))
    lost = {name for item in found["who"] for name in item["lost"]}
    assert "low-potassium" in lost
    gained = {name for item in found["who"] for name in item["gained"]}
    # Of one of the cast a preliminary result is no longer low, so the final one before it, which is high, stands again.
    assert gained == {"high-potassium"}
    assert compare(*(read_run(folders[0]) for _ in "ab")) == {"patients": 0, "rules": [], "cards": [], "who": []}


def test_runs_of_other_people_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(tmp_path / "export", crowd((6, "1950", "female")))
    first = run_command(tmp_path, "a", monkeypatch=monkeypatch)
    second = run_command(tmp_path, "b", monkeypatch=monkeypatch, keep_ids=True)
    with pytest.raises(SettingsError, match="do not name the same people"):
        compare(read_run(first), read_run(second))
    with pytest.raises(SettingsError, match="holds no run"):
        read_run(tmp_path / "export")


def test_tables_for_analysis_hold_each_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as tables

    write_export(tmp_path / "export", crowd((2, "1950", "female")))
    out = run_command(tmp_path, "out", monkeypatch=monkeypatch, parquet=True) / "parquet"
    findings = tables.read_table(out / "findings.parquet").to_pylist()
    assert len({row["patient"] for row in findings if row["rule"] == "low-potassium" and row["outcome"] == "fires"}) == 2
    assert {path.stem for path in out.iterdir()} == {"findings", "cards", "facts", "states"}
    assert "female" not in str(findings)


def test_a_report_is_not_written_into_what_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_export(tmp_path / "export", crowd((1, "1950", "female")))
    with pytest.raises(SettingsError, match="lie in one another"):
        run_command(tmp_path / "export", "report", monkeypatch=monkeypatch)
    (tmp_path / "mine/work").mkdir(parents=True)
    (tmp_path / "mine/work/thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match=r"holds thesis\.txt, which no run has written"):
        run_command(tmp_path, "mine", monkeypatch=monkeypatch)
    (tmp_path / "around").mkdir()
    shutil.copytree(tmp_path / "export", tmp_path / "around/work/export")
    choices = terminal.Choices(tmp_path / "around", None, "day", TYPES, (), 1, False, "local", None, False, "")
    with pytest.raises(SettingsError, match="lie in one another"):
        terminal.judge_population([tmp_path / "around/work/export"], choices)
    assert (tmp_path / "around/work/export/Patient.ndjson").is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        run_command(tmp_path, "file", monkeypatch=monkeypatch)
