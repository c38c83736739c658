"""What is broken in an export is told with its file and line, and nothing of it passes for an absence."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from cds_service.population.report import report
from cds_service.population.run import Plan
from cds_service.population.totals import UNREAD
from tests.support.cast import conductor_of
from tests.support.exports import BLOOD, CRAMPS, DAY, PATIENT, TYPES, Json, prescription, rows_of, run_over, text_of

OTHER: Json = {"resourceType": "Patient", "id": "bert-sample", "birthDate": "1948-05-06", "gender": "male"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "export"
    found.mkdir()
    (found / "Patient.ndjson").write_text(text_of(PATIENT, OTHER))
    (found / "Condition.ndjson").write_text(text_of(CRAMPS))
    (found / "Observation.ndjson").write_text(text_of(BLOOD))
    return found


def test_lines_that_are_nobodys_are_counted_and_told_with_file_and_line(folder: Path, tmp_path: Path) -> None:
    good = (folder / "Observation.ndjson").read_text()
    (folder / "Observation.ndjson").write_text(good + '\n{"resourceType":\n[1,2]\n' + good.replace("o1", "o2") + "half a li")
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    found = report(done, Plan([folder], DAY, tmp_path, keep_ids=True), conductor_of("us"))
    assert [(item["file"], item["line"]) for item in found["bad_lines"]] == [
        ("export/Observation.ndjson", line) for line in (3, 4, 6)
    ]
    assert found["lines"]["that cannot be read"] == 3
    assert done.tally.lines["Observation"] == 2
    assert "low-potassium" in rows_of(done)["anna-sample"].fires


def test_a_line_that_is_broken_behind_its_subject_leaves_its_patient_in_doubt_and_no_other(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("anna-sample", "bert-sample"):
        line = json.dumps(BLOOD | {"subject": {"reference": f"Patient/{name}"}})
        many = [BLOOD | {"id": f"b{at}", "subject": {"reference": "Patient/cleo-sample"}} for at in range(1200)]
        (folder / "Observation.ndjson").write_text(text_of(*many) + line[:-20] + "\n")
        done = run_over([folder], conductor_of("us"), tmp_path / f"work-{name}", exported=TYPES)
        rows = rows_of(done)
        assert done.tally.lines["that cannot be read in full"] == 1
        told = rows["anna-sample"].unknown if name == "anna-sample" else rows["anna-sample"].fires
        assert "electrolytes" in told
        assert "bert-sample" not in rows


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("Condition", "self-care"),
        ("MedicationRequest", "quinine-harm"),
        ("Encounter", "self-care"),
        ("QuestionnaireResponse", "self-care"),
    ],
)
def test_a_broken_line_of_what_tells_the_scope_leaves_the_scope_unknown(
    kind: str, rule: str, folder: Path, tmp_path: Path
) -> None:
    line = json.dumps({"resourceType": kind, "id": "x", "subject": {"reference": "Patient/bert-sample"}, "status": "finished"})
    with (folder / f"{kind}.ndjson").open("a") as opened:
        pressure = CRAMPS | {"id": "c2", "code": {"text": "Hypertension"}, "subject": {"reference": "Patient/bert-sample"}}
        opened.write((text_of(pressure) if kind == "Condition" else "") + line[:-5] + "\n")
    row = rows_of(run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES))["bert-sample"]
    assert rule in row.unknown
    assert not row.fires
    assert not row.cards


@pytest.mark.parametrize(("kind", "rule"), [("observation", "electrolytes"), ("Obsrvation", "electrolytes"), ("Basic", "")])
def test_a_type_that_fhir_does_not_know_leaves_its_patient_in_doubt(kind: str, rule: str, folder: Path, tmp_path: Path) -> None:
    (folder / "Observation.ndjson").write_text(text_of(BLOOD | {"resourceType": kind}))
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    row = rows_of(done)["anna-sample"]
    assert ("electrolytes" in row.unknown) is bool(rule)
    assert ("electrolytes" in row.fires) is not bool(rule)
    assert done.tally.lines["that cannot be read in full" if rule else "Basic"] == 1


def test_bundles_in_lines_are_told_and_not_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "all.ndjson").write_text(text_of({"resourceType": "Bundle", "entry": [{"resource": BLOOD}]}))
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    found = report(done, Plan([folder], DAY, tmp_path), conductor_of("us"))
    assert found["problems"] == ["Bundles are not opened, and 1 came: export their resources, one a line"]


def test_the_newest_version_of_an_id_wins_in_any_order_and_what_it_replaced_is_counted(folder: Path, tmp_path: Path) -> None:
    versions = [
        BLOOD | {"meta": {"lastUpdated": "2026-11-12T08:00:00+01:00", "versionId": "2"}},
        BLOOD | {"meta": {"lastUpdated": "2026-11-12T07:30:00Z", "versionId": "1"}, "valueQuantity": {"value": 4.2} | UNIT},
        BLOOD,
    ]
    for number in range(3):
        lines = text_of(*versions[number:], *versions[:number])
        (folder / "Observation.ndjson").write_text(lines)
        done = run_over([folder], conductor_of("us"), tmp_path / f"work-{number}", exported=TYPES)
        assert "low-potassium" not in rows_of(done)["anna-sample"].fires
        assert done.tally.lines["replaced by a newer version"] == 2


UNIT = {"unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}


QUININE = prescription("quinine sulfate 200 mg tablet", authoredOn="2026-11-01")


@pytest.mark.parametrize(
    ("line", "fires"),
    [
        (json.dumps(QUININE | {"subject": {"reference": "Patient/anna-sample "}}), True),
        (json.dumps(QUININE | {"subject": {"reference": "Patient/anna-sample?x=1"}}), True),
        (json.dumps(QUININE | {"subject": {"reference": "anna-sample"}}), True),
        (json.dumps(QUININE | {"subject": {"reference": "patient/anna-sample"}}), False),
        (json.dumps(QUININE | {"meta": {"versionId": 1, "lastUpdated": None}}), True),
        (json.dumps(QUININE | {"resourceType": "MedicationDispense", "status": "completed"}), False),
        (json.dumps(QUININE | {"resourceType": "MedicationOrder"}), False),
        (json.dumps(QUININE | {"resourceType": "medicationrequest"}), False),
        (json.dumps(QUININE, sort_keys=True)[:-2], False),
        (json.dumps(QUININE | {"subject": {"identifier": {"value": "1"}, "reference": "Patient/anna-sample"}})[:-9], False),
        (json.dumps(QUININE | {"subject": {"reference": "urn:uuid:anna-sample"}})[:-9], False),
        (json.dumps({"contained": [{"patient": {"reference": "Patient/cleo-sample"}}]} | QUININE)[:-9], False),
        (json.dumps(QUININE | {"id": "m0"}) + "\r" + json.dumps(QUININE) + "\r", False),
        (json.dumps(QUININE) + json.dumps(QUININE | {"id": "m2"}), False),
    ],
)
def test_a_drug_that_is_written_oddly_is_never_absent(line: str, fires: bool, folder: Path, tmp_path: Path) -> None:
    many = [QUININE | {"id": f"b{at}", "subject": {"reference": "Patient/cleo-sample"}} for at in range(1200)]
    (folder / "MedicationRequest.ndjson").write_text(text_of(*many) + line + "\n", newline="")
    row = rows_of(run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES))["anna-sample"]
    assert ("quinine-us" in row.fires) is fires
    assert ("quinine-us" in row.unknown) is not fires


def test_a_report_whose_results_did_not_come_leaves_open_what_was_measured(folder: Path, tmp_path: Path) -> None:
    report_of = {
        "resourceType": "DiagnosticReport",
        "id": "r",
        "status": "final",
        "result": [{"reference": "Observation/gone"}],
    }
    (folder / "DiagnosticReport.ndjson").write_text(text_of(report_of | {"subject": {"reference": "Patient/anna-sample"}}))
    (folder / "Observation.ndjson").write_text("")
    row = rows_of(run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES))["anna-sample"]
    assert "electrolytes" in row.unknown


def test_two_versions_of_which_nobody_knows_the_newer_decide_nothing(folder: Path, tmp_path: Path) -> None:
    other = BLOOD | {"valueQuantity": {"value": 4.4} | UNIT}
    for number, lines in enumerate(([BLOOD, other], [other, BLOOD])):
        (folder / "Observation.ndjson").write_text(text_of(*lines))
        row = rows_of(run_over([folder], conductor_of("us"), tmp_path / f"work-{number}", exported=TYPES))["anna-sample"]
        assert "low-potassium" in row.unknown


def test_one_line_of_a_type_in_a_file_of_another_does_not_stand_for_all(folder: Path, tmp_path: Path) -> None:
    (folder / "Observation.ndjson").unlink()
    (folder / "Condition.ndjson").write_text(text_of(CRAMPS, BLOOD | {"valueQuantity": {"value": 4.2} | UNIT}))
    row = rows_of(run_over([folder], conductor_of("us"), tmp_path / "work"))["anna-sample"]
    assert "known" not in {state for query, state in row.states.items() if query in ("electrolytes", "bloodTests")}


def test_lines_of_people_without_a_patient_are_counted_and_decide_nothing(folder: Path, tmp_path: Path) -> None:
    stranger = CRAMPS | {"id": "c9", "subject": {"reference": "Patient/cleo-sample"}}
    group = CRAMPS | {"id": "c8", "subject": {"reference": "Group/anna-sample"}}
    (folder / "Condition.ndjson").write_text(text_of(stranger, CRAMPS, group))
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert done.tally.people.total() == 2
    assert set(rows_of(done)) == {"anna-sample"}
    assert done.tally.decisions[UNREAD] == 1
    assert done.tally.lines["of nobody whose Patient is here"] == 1
    assert done.tally.lines["of no patient"] == 1


@pytest.mark.parametrize(
    ("subject", "is_lost"),
    [
        (None, True),
        ({"identifier": {"value": "7"}}, True),
        ({"display": "Anna Sample"}, True),
        ({"reference": "Group/g"}, True),
        ({"reference": "Patient?identifier=x|7"}, True),
        ({"reference": "PATIENT/Anna-Sample"}, True),
        ({"reference": "#contained"}, True),
        ({"reference": "Device/d"}, False),
        ({"reference": "Patient/cleo-sample"}, False),
    ],
)
def test_results_that_do_not_tell_whose_they_are_may_be_anybodys(
    subject: Json | None, is_lost: bool, folder: Path, tmp_path: Path
) -> None:
    lines = [BLOOD | {"id": f"o{at}", "subject": subject} for at in range(9)]
    (folder / "Observation.ndjson").write_text(text_of(*lines))
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    row = rows_of(done)["anna-sample"]
    assert ("electrolytes" in row.unknown) is is_lost
    assert ("electrolytes" in row.fires) is not is_lost
    assert any(text.startswith("Observation: what is not there may be missing") for text in done.problems) is is_lost


def test_one_line_of_a_hundred_megabytes_is_read_like_any_other(folder: Path, tmp_path: Path) -> None:
    data = json.dumps(BLOOD | {"text": {"div": "@"}}).encode().replace(b"@", b"x" * 100_000_000)
    (folder / "Observation.ndjson").write_bytes(data + b"\n" + json.dumps(BLOOD | {"id": "o2"}).encode())
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert done.tally.lines["Observation"] == 2
    assert "low-potassium" in rows_of(done)["anna-sample"].fires


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_told_or_leaves_in_doubt_what_it_made_unreadable(
    encoding: str, folder: Path, tmp_path: Path
) -> None:
    high = BLOOD | {"code": {"text": "Kalium, Plasma (Röhrchen)"}}
    (folder / "Observation.ndjson").write_bytes((json.dumps(high, ensure_ascii=False) + "\n").encode(encoding))
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    row = rows_of(done)["anna-sample"]
    assert "low-potassium" in row.unknown
    assert bool(done.problems) is (encoding == "utf-16")


def test_a_compressed_file_that_breaks_off_is_told_and_what_came_before_counts(folder: Path, tmp_path: Path) -> None:
    (folder / "Condition.ndjson").unlink()
    filler = [CRAMPS | {"id": f"f{number}", "note": [{"text": f"{number * 7919}"}]} for number in range(4000)]
    whole = gzip.compress(text_of(CRAMPS, *filler).encode())
    (folder / "Condition.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert done.problems[0] == "Condition.ndjson.gz: breaks off (EOFError)"
    assert "self-care" in rows_of(done)["anna-sample"].fires


def test_nothing_of_a_patient_stands_in_the_report(folder: Path, tmp_path: Path) -> None:
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    text = json.dumps(report(done, Plan([folder], DAY, tmp_path), conductor_of("us")))
    assert "sample" not in text
    assert "anna" not in text
