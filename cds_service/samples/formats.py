"""What somebody gave in place of FHIR R4 as JSON, told by its first characters or by members that only other versions have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from cds_service.errors import Problem

_AS_JSON = "ask the server for JSON: Accept: application/fhir+json, or _format=json"
_STARTS = (
    (rb"\x1f\x8b", "is compressed (gzip)", "unpack it first, as by gunzip"),
    (rb"PK\x03\x04", "is compressed (zip)", "unpack it first, and give the file that was in it"),
    (rb"\xff\xfe|\xfe\xff", "is text in UTF-16", "save it as UTF-8"),
    (
        rb"(?i)<!doctype html|<html",
        "is a page of HTML",
        "give the FHIR JSON; a server that wants a sign-in sends a page instead",
    ),
    (rb"(?s)<(\?.*?\?>\s*)?<?ClinicalDocument\b", "is a CDA document", "give a FHIR R4 Bundle as JSON"),
    (rb"<", "is XML", _AS_JSON),
    (rb"MSH\|", "is a message of HL7 version 2", "give a FHIR R4 Bundle as JSON"),
)


def doubt_about_text(data: bytes, name: str) -> Problem | None:
    """Why the content of a file is nothing that could be FHIR as JSON; None if it may be."""
    start = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]
    if not start:
        return Problem(name, "is empty", "give the record of one patient: a FHIR R4 Bundle, or a whole hook call, as JSON")
    for pattern, says, remedy in _STARTS:
        if re.match(pattern, start):
            return Problem(name, says, remedy)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(name, f"is not UTF-8 (byte {error.start + 1})", "save it as UTF-8")
    return None


def bundle_of_lines(text: str) -> dict[str, Any] | None:
    """NDJSON, one resource a line, as the Bundle of its resources; None if the text is something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    resources = [_resource(line) for line in lines] if len(lines) > 1 else [None]
    if not all(resources):
        return None
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}


def _resource(line: str) -> dict[str, Any] | None:
    try:
        loaded = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return loaded if isinstance(loaded, dict) and "resourceType" in loaded else None


class Written(NamedTuple):
    """A member that R4 does not have, or has in another shape."""

    resource_type: str
    member: str
    shape: type
    version: str


_OLD = "DSTU2 and STU3"
_ELSEWHERE = (
    Written("Condition", "clinicalStatus", str, _OLD),
    Written("Condition", "verificationStatus", str, _OLD),
    Written("AllergyIntolerance", "verificationStatus", str, "STU3"),
    Written("MedicationRequest", "context", dict, "STU3"),
    Written("MedicationStatement", "taken", str, "STU3"),
    Written("Observation", "context", dict, "STU3"),
    Written("Observation", "comment", str, "STU3"),
    Written("Procedure", "context", dict, "STU3"),
    Written("Patient", "careProvider", list, "DSTU2"),
    Written("Encounter", "class", str, "DSTU2"),
    Written("MedicationStatement", "wasNotTaken", bool, "DSTU2"),
    Written("Observation", "comments", str, "DSTU2"),
    Written("MedicationRequest", "medication", dict, "R5"),
    Written("MedicationStatement", "medication", dict, "R5"),
)
"""See the pages "Resource Changes" of the releases at hl7.org/fhir."""


def doubts_about_version(resources: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[Problem]:
    """Of resources by their places, the first that is written as each other version writes it, with how many there are."""
    found: dict[str, list[tuple[str, Written]]] = {}
    for place, resource in resources:
        for sign in _ELSEWHERE:
            if resource.get("resourceType") == sign.resource_type and isinstance(resource.get(sign.member), sign.shape):
                found.setdefault(sign.version, []).append((place, sign))
                break
    for version, signs in found.items():
        place, sign = signs[0]
        more = f", and {len(signs) - 1} more" if len(signs) > 1 else ""
        says = f"writes {sign.resource_type}.{sign.member} as FHIR {version} {'do' if ' ' in version else 'does'}{more}"
        yield Problem(place, says, "give FHIR R4: ask the server's R4 address, or convert the record")
