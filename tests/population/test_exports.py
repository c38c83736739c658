"""What lies in a folder and what may be told from it: a file that is not there was not looked for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.errors import SettingsError
from cds_service.model import State
from cds_service.population.exports import read_exports
from cds_service.population.run import service_of
from cds_service.population.totals import REFUSED, Totals
from cds_service.samples.people import to_hook_request
from cds_service.settings import Settings
from tests.support.cast import conductor_of
from tests.support.exports import (
    BLOOD,
    CRAMPS,
    DAY,
    PATIENT,
    TYPES,
    bundles,
    resources,
    rows_of,
    run_over,
    text_of,
    told,
    told_of,
    write_export,
)

KNOWN = frozenset(TYPES)


@pytest.mark.parametrize("missing", [kind for kind in TYPES if kind not in ("Patient", "Medication")])
def test_a_type_without_a_file_is_decided_as_a_query_that_was_not_supplied(missing: str, tmp_path: Path) -> None:
    everybody, service = bundles("us"), conductor_of("us")
    folder = write_export(tmp_path / "export", resources(everybody.values()))
    (folder / f"{missing}.ndjson").unlink()
    done = run_over([folder], service, tmp_path / "work")
    rows = rows_of(done)
    if missing == "Condition":
        assert done.tally.decisions == {REFUSED: len(everybody), "looked at": done.tally.decisions["looked at"]}
        return
    queries = service.knowledge.queries
    for bundle in list(everybody.values())[::4]:
        body = to_hook_request(bundle, dict(queries), "patient-view", None)
        body["prefetch"] = {
            key: value for key, value in body["prefetch"].items() if key not in queries or queries[key].resource_type != missing
        }
        if missing == "Encounter":
            body["context"] |= {"encounterId": "not-exported"}
        request = read_request(json.dumps(body).encode(), "patient-view")
        decision = service.answer(service.knowledge.service_on("patient-view"), request, DAY, in_brief=True)
        row = rows.get(body["context"]["patientId"])
        # Of people with nothing of ours on record no row is kept, though nobody knows what was not exported.
        assert told(row) == told_of(decision) or (missing == "Encounter" and row is None and not decision.cards)


def manifest(folder: Path, query: str = "", **members: object) -> None:
    output = [
        {"type": path.name.split(".")[0], "url": f"https://ehr.example/files/{path.name}"} for path in folder.glob("*.ndjson")
    ]
    address = f"https://ehr.example/fhir/Group/invented/$export{query}"
    (folder / "manifest.json").write_text(json.dumps({"request": address, "output": output} | members))


@pytest.mark.parametrize(
    ("query", "asked", "partial"),
    [
        ("", {"Patient"}, set()),
        ("?_type=Patient,Condition,Observation", {"Patient", "Condition", "Observation"}, set()),
        ("?_type=Patient,Condition&_typeFilter=Condition%3Fcode%3Dx", {"Patient", "Condition"}, {"Condition"}),
        ("?_type=Patient,Condition&_since=2026-01-01T00:00:00Z", {"Patient", "Condition"}, KNOWN),
    ],
)
def test_the_request_of_an_export_tells_what_was_looked_for(
    query: str, asked: set[str], partial: set[str], tmp_path: Path
) -> None:
    (tmp_path / "Patient.ndjson").write_text(json.dumps(PATIENT))
    manifest(tmp_path, query)
    found = read_exports([tmp_path], (), KNOWN)
    assert (found.looked_for, found.partial) == (asked, partial)


def test_files_that_a_manifest_names_and_that_are_not_there_are_told_and_their_type_is_partial(tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_text(json.dumps(PATIENT))
    (tmp_path / "errors.ndjson").write_text('{"resourceType":"OperationOutcome"}')
    manifest(
        tmp_path, "?_type=Patient,Condition", error=[{"type": "OperationOutcome", "url": "https://x.example/errors.ndjson"}]
    )
    loaded = json.loads((tmp_path / "manifest.json").read_text())
    loaded["output"].append({"type": "Condition", "url": "https://ehr.example/files/part-2.ndjson"})
    (tmp_path / "manifest.json").write_text(json.dumps(loaded))
    found = read_exports([tmp_path], (), KNOWN)
    assert [file.path.name for file in found.files] == ["Patient.ndjson"]
    assert found.partial == KNOWN
    assert [text.partition(": ")[2] for text in found.problems] == [
        "the manifest names part-2.ndjson, which is not there",
        "the server reported errors in errors.ndjson",
    ]


def test_a_folder_without_lines_and_an_export_without_patients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no \*\.ndjson"):
        read_exports([tmp_path], (), KNOWN)
    (tmp_path / "Condition.ndjson").write_text(json.dumps(CRAMPS))
    with pytest.raises(SettingsError, match="export Patient too"):
        run_over([tmp_path], conductor_of("us"), tmp_path / "work")


def plain(folder: Path) -> None:
    (folder / "Patient.ndjson").write_text(text_of(PATIENT))
    (folder / "Condition.ndjson").write_text(text_of(CRAMPS))


def compressed(folder: Path) -> None:
    (folder / "Patient.000.ndjson.gz").write_bytes(gzip.compress(text_of(PATIENT).encode()))
    (folder / "Condition.000.ndjson.gz").write_bytes(gzip.compress(text_of(CRAMPS).encode()))


def marked_and_blank(folder: Path) -> None:
    (folder / "1.Patient.ndjson").write_bytes(b"\xef\xbb\xbf" + text_of(PATIENT).replace("\n", "\r\n").encode())
    (folder / "2.Condition.ndjson").write_text("\n\n" + text_of(CRAMPS) + "\n \n")


def in_groups(folder: Path) -> None:
    """The patient in both of two groups, older in one of them."""
    for name, condition in (("a", CRAMPS), ("b", CRAMPS | {"code": {"text": "Hypertension"}, "meta": OLD})):
        (folder / name).mkdir()
        (folder / name / "Patient.ndjson").write_text(text_of(PATIENT))
        newer = condition if "meta" in condition else condition | {"meta": {"lastUpdated": "2026-03-01T10:00:00+02:00"}}
        (folder / name / "Condition.ndjson").write_text(text_of(newer))


OLD = {"lastUpdated": "2026-03-01T07:59:59Z", "versionId": "9"}


def named_by_nothing(folder: Path) -> None:
    (folder / "part-1.ndjson").write_text(text_of(PATIENT))
    (folder / "part-2.ndjson").write_text(text_of(CRAMPS))


def all_in_one(folder: Path) -> None:
    """Not as Bulk Data has it: the first line does not tell what the others are."""
    (folder / "everything.ndjson").write_text(text_of(PATIENT, CRAMPS, {"resourceType": "AllergyIntolerance", "id": "a"}))


def behind_another_name(folder: Path) -> None:
    (folder / "Patient.ndjson").write_text(text_of(PATIENT))
    (folder / "Observation.ndjson").write_text(text_of(CRAMPS))


def by_addresses(folder: Path) -> None:
    (folder / "Patient.ndjson").write_text(text_of(PATIENT))
    subject = {"reference": "https://ehr.example/fhir/Patient/anna-sample/_history/4"}
    (folder / "Condition.ndjson").write_text(text_of(CRAMPS | {"subject": subject}))


@pytest.mark.parametrize(
    "laid",
    [plain, compressed, marked_and_blank, in_groups, named_by_nothing, all_in_one, behind_another_name, by_addresses],
    ids=lambda laid: str(laid.__name__),
)
def test_the_same_two_resources_are_found_however_they_lie(laid: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    laid(folder)
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    row = rows_of(done)["anna-sample"]
    assert "self-care" in row.fires
    assert done.tally.people.total() == 1
    assert not done.bad


def test_every_type_that_was_not_exported_stands_in_the_tally(tmp_path: Path) -> None:
    plain(tmp_path)
    tally: Totals = run_over([tmp_path], conductor_of("us"), tmp_path / "work").tally
    unanswered = {query for query, _ in tally.states}
    queries = conductor_of("us").queries["leg-cramps-patient-view"]
    assert unanswered == {
        key for key, query in queries.items() if query.resource_type not in ("Patient", "Condition") and not query.adds_to
    } - {key for key, query in queries.items() if query.from_context}
    assert {state for _, state in tally.states} == {State.NOT_SUPPLIED.value}


def test_the_codes_of_an_ehr_mean_what_the_map_of_its_client_says(tmp_path: Path) -> None:
    iss = "https://ehr.hospital.example/cds-hooks"
    (tmp_path / "codes.toml").write_text('[[code]]\nsystem = "urn:oid:1.2.3"\ncode = "KALI"\nmeans = "loinc|2823-3"\n')
    (tmp_path / "clients.toml").write_text(
        f'[[client]]\niss = "{iss}"\njku = "https://ehr.hospital.example/jwks.json"\n'
        'audiences = ["https://cds.hospital.example/cds-services"]\ncode_map = "codes.toml"\n'
    )
    own = BLOOD | {"code": {"coding": [{"system": "urn:oid:1.2.3", "code": "KALI"}]}}
    folder = write_export(tmp_path / "export", [PATIENT, CRAMPS, own])
    settings = Settings(clients=tmp_path / "clients.toml")
    for client in ("", iss):
        done = run_over([folder], service_of(settings, client), tmp_path / "work", client=client)
        assert ("low-potassium" in rows_of(done)["anna-sample"].fires) is bool(client)
    with pytest.raises(SettingsError, match=r"'nobody' is not configured -> use the iss of a client: https://ehr"):
        service_of(settings, "nobody")


def test_what_one_group_was_not_asked_for_is_not_absent_in_its_patients(tmp_path: Path) -> None:
    """Exports of groups are given together: the second one has no file of results."""
    other = {"subject": {"reference": "Patient/bert-sample"}}
    write_export(tmp_path / "a", [PATIENT, CRAMPS])
    (tmp_path / "b").mkdir()
    (tmp_path / "b/Patient.ndjson").write_text(text_of(PATIENT | {"id": "bert-sample"}))
    (tmp_path / "b/Condition.ndjson").write_text(text_of(CRAMPS | other))
    done = run_over([tmp_path / "a", tmp_path / "b"], conductor_of("us"), tmp_path / "work")
    row = rows_of(done)["bert-sample"]
    assert "electrolytes" in row.unknown
    assert "Observation" in done.exports.partial


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("MedicationRequest.ndjson", gzip.compress(b"{}")),
        ("MedicationRequest.ndjson", b"<!doctype html><title>Sign in</title>"),
        ("MedicationRequest.ndjson", json.dumps({"resourceType": "MedicationRequest", "id": "m"}, indent=2).encode()),
        ("MedicationRequest.ndjson.gz", b""),
        ("MedicationRequest.ndjson.gz", b"no gzip"),
        ("MedicationRequest-2.ndjson.zip", b"PK"),
        ("part-1.ndjson", json.dumps({"resourceType": "MedicationRequest"}).encode("utf-16")),
        ("part-1.ndjson", b"nothing of this is JSON\nnor this\n"),
    ],
    ids=["gzip", "html", "over several lines", "empty gzip", "no gzip", "zip", "utf-16", "text"],
)
def test_a_file_that_cannot_be_read_leaves_its_type_unknown(name: str, data: bytes, tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", [PATIENT, CRAMPS])
    (folder / "MedicationRequest.ndjson").unlink()
    (folder / name).write_bytes(data)
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert rows_of(done)["anna-sample"].states["medicationRequests"] == State.INCOMPLETE
    assert done.problems or done.bad or done.tally.lines["that cannot be read"]


@pytest.mark.parametrize(
    "manifest",
    [
        "[" * 100_000,
        '{"request": "http://[bad", "output": [{"url": "http://[bad", "type": "Patient"}, {"url": null}, 5, {}]}',
        '{"output": null, "error": {"a": 1}, "request": ["x"]}',
        '[{"output": []}]',
    ],
)
def test_a_manifest_of_any_shape_stops_nothing(manifest: str, tmp_path: Path) -> None:
    plain(tmp_path)
    (tmp_path / "manifest.json").write_text(manifest)
    assert (
        "self-care"
        in rows_of(run_over([tmp_path], conductor_of("us"), tmp_path.parent / f"{tmp_path.name}-work"))["anna-sample"].fires
    )


def test_filters_of_several_types_may_stand_in_one_parameter(tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_text(json.dumps(PATIENT))
    manifest(tmp_path, "?_type=Patient,Condition&_typeFilter=Condition%3Fcategory%3Dx,MedicationRequest%3Fstatus%3Dstopped")
    assert read_exports([tmp_path], (), KNOWN).partial == {"Condition", "MedicationRequest"}


def test_a_link_to_a_folder_is_told_and_what_may_lie_there_is_unknown(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", [PATIENT, CRAMPS])
    write_export(tmp_path / "elsewhere", [BLOOD])
    (folder / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    done = run_over([folder], conductor_of("us"), tmp_path / "work", exported=TYPES)
    assert done.problems == ["more: is a link to a folder, which is not followed"]
    assert "electrolytes" in rows_of(done)["anna-sample"].unknown
