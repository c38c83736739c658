"""Whom the rules may be for, told from one line of an export at a time: all others need no second look.

A line is read as the facts read it. What can say nothing of the scope of any rule, by its codes and its words, is left; what is
ours, cannot be read or is not understood makes its patient one to look at. Dates and states of things are not asked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from cds_service.cdshooks.request import HookRequest
from cds_service.fhir.bundles import type_meant
from cds_service.fhir.resources import (
    AnyResource,
    Condition,
    Encounter,
    MedicationRequest,
    MedicationStatement,
    Reference,
    Resource,
    local_reference,
)
from cds_service.fhir.understood import doubts_about
from cds_service.service import DecisionService

PATIENT, MEDICATION, ENCOUNTER = "Patient", "Medication", "Encounter"
_MOST_KEPT = 200_000
_SOMEBODY = "somebody"
_RELATIVE = "Patient/"
# What is measured of these is no patient's; a Group may hold the patient.
_NO_PATIENT = ("Device", "Location")
_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NAMED = re.compile(rb'"(?:(?:[^"\\]*/)?[Pp]atient/|urn:uuid:)([^"/?\s]{1,64})(?=["/?])')
_KIND = re.compile(rb'"resourceType"\s*:\s*"([A-Za-z]{0,64})"')
# Stands for a line that is broken: of its type and its patient, and about nobody knows what.
_BROKEN = b'{"resourceType":"%b","id":0,"subject":{"reference":"Patient/%b"}}'


class _Subject(msgspec.Struct, gc=False):
    reference: str | None = None


class _Header(msgspec.Struct, gc=False, rename="camel"):
    resource_type: str
    id: str = ""
    subject: _Subject | None = None
    patient: _Subject | None = None


class _Versioned(msgspec.Struct, gc=False, rename="camel"):
    resource_type: str
    id: str = ""
    meta: Any = None


class Header(NamedTuple):
    """What a line is and whose. `patient_id` is empty where that is not told; `is_broken`: its type is none of FHIR.

    `is_sure`: it is that patient's for sure, or for sure no patient's.
    """

    resource_type: str
    patient_id: str
    is_sure: bool = True
    is_broken: bool = False


class Version(NamedTuple):
    """Which resource a line is a version of, and what tells the newer one."""

    resource_type: str
    resource_id: str
    last_updated: str
    version_id: str


_header = msgspec.json.Decoder(_Header)
_version = msgspec.json.Decoder(_Versioned)
_resource = msgspec.json.Decoder(AnyResource)
_encode = msgspec.json.Encoder().encode


def header_of(data: bytes) -> Header | None:
    """What a line is and whose; None where it is no FHIR resource as JSON."""
    try:
        found = _header.decode(data)
    except _READ:
        return None
    kind = found.resource_type
    if kind == PATIENT:
        return Header(PATIENT, found.id)
    subject = found.subject or found.patient
    patient_id, is_sure = _patient_in(subject.reference or "") if subject else ("", False)
    meant = written_as(kind)
    return Header(kind if meant is None else meant, patient_id, is_sure, is_broken=meant is not None)


def owners_of(data: bytes) -> Sequence[str]:
    """Whose a line is: of one that cannot be read everybody whom it names."""
    header = header_of(data)
    if header is None:
        return list(dict.fromkeys(name.decode(errors="replace") for name in _NAMED.findall(data)))
    return [header.patient_id] if header.patient_id else []


def patient_of(data: bytes) -> str:
    """Whose a line is that stands in a lot, where each is somebody's."""
    return owners_of(data)[0]


def broken_line(kind: str, patient_id: str) -> bytes:
    return _BROKEN % (kind.encode(), patient_id.encode())


def kind_named(data: bytes) -> str:
    """The type that a line names which cannot be read."""
    told = _KIND.search(data)
    return told[1].decode() if told else ""


@lru_cache(maxsize=1024)
def is_about(kind: str) -> str:
    """The type that is read here and that another one of FHIR tells about, as a dispense of a drug; else empty."""
    meant = type_meant(kind) or ""
    return "" if meant == kind else meant


@lru_cache(maxsize=1024)
def written_as(kind: str) -> str | None:
    """Of a type that is none of FHIR the one that it may be, or nothing if that may be any; None where it is one of FHIR."""
    meant = type_meant(kind)
    if not meant:
        return meant
    return meant if meant != kind and meant.casefold() == kind.strip().casefold() else None


def _patient_in(reference: str) -> tuple[str, bool]:
    """The id of the patient to whom a reference leads, empty where it leads to none; and whether that is for sure."""
    if reference.startswith(_RELATIVE) and "/" not in (name := reference[len(_RELATIVE) :]) and "?" not in name:
        return name.strip(), True
    if reference.startswith("urn:uuid:"):
        return reference.removeprefix("urn:uuid:").strip(), True
    kind, slash, name = local_reference(reference).partition("/")
    if not slash:
        is_id = bool(kind) and "?" not in reference and not kind.startswith(("#", "urn:"))
        return (kind, True) if is_id else ("", False)
    if kind in _NO_PATIENT:
        return "", True
    return (name, kind == PATIENT) if kind.casefold() == PATIENT.casefold() else ("", False)


def version_of(data: bytes) -> Version | None:
    try:
        found = _version.decode(data)
    except _READ:
        return None
    meta = found.meta if isinstance(found.meta, dict) else {}
    return Version(found.resource_type, found.id, str(meta.get("lastUpdated") or ""), str(meta.get("versionId") or ""))


class Screen:
    """Asked of each line of the types that tell whom the rules are for. `medication` gives that of a Medication by its id."""

    def __init__(
        self, decision_service: DecisionService, service_id: str, medication: Callable[[str], bytes | None] = lambda name: None
    ) -> None:
        self._decides, self._service_id, self._medication = decision_service, service_id, medication
        self._keys = {
            query.resource_type: key
            for key, query in reversed(decision_service.queries[service_id].items())
            if not query.from_context
        }
        self.types = decision_service.scope_types(service_id) - {PATIENT}
        self._kept: dict[Any, bool] = {}

    def bears(self, data: bytes) -> bool:
        """Whether a line may tell that the rules are for its patient."""
        try:
            resource = _resource.decode(data)
        except _READ:
            return True
        kind: type[Resource] = type(resource)
        if doubts_about(kind)(resource):
            return True
        beside, key = self._told_by(resource)
        if key is None:
            return True
        bears = self._kept.get(key)
        if bears is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            bears = self._kept[key] = self._asked(data, resource, beside)
        return bears

    def _told_by(self, resource: Any) -> tuple[bytes | None, Any]:
        """All of a resource that can tell what it is about, to be asked once; None where each is asked anew."""
        if isinstance(resource, Condition):
            return None, (Condition, _encode((resource.code, resource.body_site)))
        if isinstance(resource, Encounter):
            return None, (Encounter, _encode(resource.reason_code))
        if isinstance(resource, (MedicationRequest, MedicationStatement)):
            beside = self._beside(resource.medication_reference)
            told = (resource.medication_codeable_concept, resource.medication_reference)
            return beside, (MedicationRequest, beside or b"", bytes(resource.contained), _encode(told))
        return None, None

    def _beside(self, reference: Reference | None) -> bytes | None:
        kind, _, name = local_reference(reference.reference if reference else None).partition("/")
        return self._medication(name) if kind == MEDICATION else None

    def _asked(self, data: bytes, resource: Any, beside: bytes | None) -> bool:
        """The question put to a chart that holds nothing else."""
        kind = type(resource).__name__
        found = bundle_of([data, *([beside] if beside else [])])
        owners = owners_of(data)
        request = HookRequest(
            hook="",
            hook_instance="",
            patient_id=owners[0] if owners else _SOMEBODY,
            encounter_id=resource.id if kind == ENCOUNTER else None,
            prefetch={self._keys[kind]: msgspec.Raw(found)},
        )
        return self._decides.bears_on_scope(self._service_id, request, date.max)


def bundle_of(resources: list[bytes], missing: bool = False) -> bytes:
    """Lines as the answer to one search. `missing`: not all that is on record was exported."""
    head = b'{"resourceType":"Bundle","type":"searchset",'
    total = b'"total":%d,' % (len(resources) + 1) if missing else b""
    entries = b",".join(b'{"resource":%b}' % data for data in resources)
    return b'%b%b"entry":[%b]}' % (head, total, entries)
