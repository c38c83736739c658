"""What is given in place of FHIR R4 as JSON is named, with what to do about it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from cds_service.errors import RequestError
from cds_service.samples.records import read_record
from tests.support.people import bundle, concept, condition, observation, patient

LINES = [patient(), condition(concept(text="Leg cramps"))]


def told(data: bytes) -> str:
    with pytest.raises(RequestError) as refused:
        read_record(data, "ada.json")
    return "\n".join(map(str, refused.value.problems))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ada.json: is empty -> give the record of one patient: a FHIR R4 Bundle, or a whole hook call, as JSON"),
        (b" \n", "ada.json: is empty"),
        (b"<!DOCTYPE html><title>Sign in</title>", "ada.json: is a page of HTML -> give the FHIR JSON"),
        (b"\n <html lang='en'>", "ada.json: is a page of HTML"),
        (b'<?xml version="1.0"?>\n<Bundle xmlns="http://hl7.org/fhir">', "ada.json: is XML -> ask the server for JSON"),
        (b'\xef\xbb\xbf<Bundle xmlns="http://hl7.org/fhir">', "ada.json: is XML"),
        (b'<?xml version="1.0"?>\n<ClinicalDocument xmlns="urn:hl7-org:v3">', "ada.json: is a CDA document"),
        (b"MSH|^~\\&|LAB", "ada.json: is a message of HL7 version 2"),
        (gzip.compress(b"{}", mtime=0), "ada.json: is compressed (gzip) -> unpack it first"),
        ("{}".encode("utf-16"), "ada.json: is text in UTF-16 -> save it as UTF-8"),
        (b'{"resourceType": "Bundle", "id": "\xe9"}', "ada.json: is not UTF-8 (byte 35)"),
        (b"# A title", "ada.json line 1, column 1: is no JSON"),
        (b'{"resourceType": "Bundle",}', "ada.json line 1, column 27: "),
        (b"[1, 2]", "ada.json: is no JSON object but a list of 2"),
        (b'{"valueQuantity": {"value": NaN}}', "ada.json: holds NaN, which is no JSON number"),
        (b"[" * 100_000, "ada.json: is nested too deeply"),
        (b"1" * 10_000, "ada.json: holds a number of thousands of digits"),
    ],
)
def test_a_file_of_another_format_is_named_with_what_to_do(data: bytes, says: str) -> None:
    assert says in told(data)


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        (condition(concept(text="Gout"), clinicalStatus="active"), "Condition.clinicalStatus as FHIR DSTU2 and STU3 do"),
        (observation(3.1, comment="x"), "Observation.comment as FHIR STU3 does"),
        (observation(3.1, comments="x"), "Observation.comments as FHIR DSTU2 does"),
        ({"resourceType": "Encounter", "class": "ambulatory"}, "Encounter.class as FHIR DSTU2 does"),
        ({"resourceType": "MedicationStatement", "taken": "y"}, "MedicationStatement.taken as FHIR STU3 does"),
        ({"resourceType": "MedicationRequest", "medication": {"concept": {}}}, "MedicationRequest.medication as FHIR R5 does"),
    ],
)
def test_another_version_of_fhir_is_named(resource: dict[str, Any], says: str) -> None:
    for given, place in (
        (resource, "resource"),
        (bundle(patient(), resource), "entry[1].resource"),
        ({"hook": "patient-view", "prefetch": {"orders": bundle(resource)}}, "orders.entry[0].resource"),
    ):
        assert f"{place}: writes {says} -> give FHIR R4" in told(json.dumps(given).encode())


def test_each_version_is_told_once_with_how_many_there_are() -> None:
    old = condition(concept(text="Gout"), clinicalStatus="active")
    assert told(json.dumps(bundle(old, old, old)).encode()).startswith(
        "entry[0].resource: writes Condition.clinicalStatus as FHIR DSTU2 and STU3 do, and 2 more -> "
    )


def test_one_resource_a_line_is_read_as_their_bundle() -> None:
    text = "\n".join(map(json.dumps, LINES)) + "\n\n"
    assert [entry["resource"] for entry in read_record(text.encode())["entry"]] == LINES


def test_a_line_that_is_no_resource_makes_it_no_ndjson() -> None:
    text = "\n".join(map(json.dumps, [*LINES, {"note": "x"}]))
    assert "line 2, column 1: Extra data" in told(text.encode())


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read_record(b"\xef\xbb\xbf" + json.dumps(bundle(*LINES)).encode()) == bundle(*LINES)
