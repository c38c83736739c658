"""The R4 (4.0.1) elements that the engine reads, and small questions about them. Everything else in a resource is skipped."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Union

import msgspec
from msgspec import Raw


class _Element(msgspec.Struct, gc=False, rename="camel"):
    pass


class Coding(_Element):
    system: str | None = None
    code: str | None = None
    display: str | None = None


class CodeableConcept(_Element):
    coding: list[Coding | None] | None = None
    text: str | None = None


class Reference(_Element):
    reference: str | None = None
    display: str | None = None


class Period(_Element):
    start: str | None = None
    end: str | None = None


class Quantity(_Element):
    value: Decimal | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class Range(_Element):
    low: Quantity | None = None
    high: Quantity | None = None


class ReferenceRange(_Element, omit_defaults=True):
    low: Quantity | None = None
    high: Quantity | None = None
    type: CodeableConcept | None = None
    applies_to: list[CodeableConcept | None] | None = None
    age: Range | None = None
    text: str | None = None
    modifier_extension: Raw = Raw()


class Measurement(_Element):
    """What an Observation, or a component of one, says: decoded only where the engine reads it."""

    value_quantity: Quantity | None = None
    interpretation: list[CodeableConcept | None] | None = None
    reference_range: list[ReferenceRange | None] | None = None


class Component(Measurement):
    """Of a value that is no Quantity it is known that there is one, as in an Observation."""

    value_codeable_concept: Raw = Raw()
    value_string: Raw = Raw()
    value_integer: Raw = Raw()
    value_boolean: Raw = Raw()
    value_range: Raw = Raw()
    value_ratio: Raw = Raw()
    value_sampled_data: Raw = Raw()
    value_time: Raw = Raw()
    value_date_time: Raw = Raw()
    value_period: Raw = Raw()
    code: CodeableConcept | None = None
    modifier_extension: Raw = Raw()


class Resource(msgspec.Struct, gc=False, rename="camel", kw_only=True, tag_field="resourceType"):
    """`modifier_extension` and `implicit_rules` may turn what a resource says into its contrary, so they are looked for."""

    id: str | None = None
    modifier_extension: Raw = Raw()
    implicit_rules: Raw = Raw()


class PatientLink(_Element):
    other: Reference | None = None
    type: str | None = None


class Patient(Resource, tag="Patient"):
    birth_date: str | None = None
    gender: str | None = None
    deceased_boolean: bool | None = None
    deceased_date_time: str | None = None
    link: list[PatientLink | None] | None = None


class Condition(Resource, tag="Condition"):
    subject: Reference | None = None
    clinical_status: CodeableConcept | None = None
    verification_status: CodeableConcept | None = None
    category: list[CodeableConcept | None] | None = None
    code: CodeableConcept | None = None
    body_site: list[CodeableConcept | None] | None = None
    encounter: Reference | None = None
    onset_date_time: str | None = None
    onset_period: Period | None = None
    abatement_date_time: str | None = None
    abatement_period: Period | None = None
    abatement_boolean: bool | None = None
    abatement_string: str | None = None
    abatement_age: Quantity | None = None
    abatement_range: Range | None = None
    recorded_date: str | None = None


class Observation(Resource, tag="Observation"):
    """Of thousands in a chart one or two of a kind are read, so what each says stays raw until then."""

    subject: Reference | None = None
    status: str | None = None
    code: CodeableConcept | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None
    effective_instant: str | None = None
    issued: str | None = None
    data_absent_reason: CodeableConcept | None = None
    value_quantity: Raw = Raw()
    value_codeable_concept: Raw = Raw()
    value_string: Raw = Raw()
    value_integer: Raw = Raw()
    value_boolean: Raw = Raw()
    value_range: Raw = Raw()
    value_ratio: Raw = Raw()
    value_sampled_data: Raw = Raw()
    value_time: Raw = Raw()
    value_date_time: Raw = Raw()
    value_period: Raw = Raw()
    interpretation: Raw = Raw()
    reference_range: Raw = Raw()
    component: Raw = Raw()
    has_member: Raw = Raw()


class Medication(Resource, tag="Medication"):
    code: CodeableConcept | None = None


class MedicationRequest(Resource, tag="MedicationRequest"):
    contained: Raw = Raw()
    subject: Reference | None = None
    status: str | None = None
    intent: str | None = None
    do_not_perform: bool | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    authored_on: str | None = None
    dispense_request: DispenseRequest | None = None
    dosage_instruction: list[Dosage | None] | None = None


class DraftOrder(Resource, tag="MedicationRequest"):
    """A MedicationRequest that is still being written. As little as is asked of it is read, so that little can break it."""

    contained: Raw = Raw()
    subject: Reference | None = None
    status: str | None = None
    do_not_perform: bool | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    reason_code: list[CodeableConcept | None] | CodeableConcept | None = None
    reason_reference: list[Reference | None] | Reference | None = None


class DispenseRequest(_Element):
    validity_period: Period | None = None


class TimingRepeat(_Element):
    bounds_period: Period | None = None


class Timing(_Element):
    repeat: TimingRepeat | None = None


class Dosage(_Element):
    timing: Timing | None = None
    modifier_extension: Raw = Raw()


class MedicationStatement(Resource, tag="MedicationStatement"):
    contained: Raw = Raw()
    subject: Reference | None = None
    status: str | None = None
    medication_codeable_concept: CodeableConcept | None = None
    medication_reference: Reference | None = None
    effective_date_time: str | None = None
    effective_period: Period | None = None
    date_asserted: str | None = None


class ServiceRequest(Resource, tag="ServiceRequest"):
    subject: Reference | None = None
    status: str | None = None
    intent: str | None = None
    do_not_perform: bool | None = None
    code: CodeableConcept | None = None
    authored_on: str | None = None
    occurrence_date_time: str | None = None


class Procedure(Resource, tag="Procedure"):
    subject: Reference | None = None
    status: str | None = None
    code: CodeableConcept | None = None
    performed_date_time: str | None = None
    performed_period: Period | None = None


class Immunization(Resource, tag="Immunization"):
    """FHIR names its subject `patient`, and what was given `vaccineCode`."""

    subject: Reference | None = msgspec.field(name="patient", default=None)
    status: str | None = None
    code: CodeableConcept | None = msgspec.field(name="vaccineCode", default=None)
    occurrence_date_time: str | None = None
    is_subpotent: bool | None = None


class Encounter(Resource, tag="Encounter"):
    subject: Reference | None = None
    status: str | None = None
    period: Period | None = None
    reason_code: list[CodeableConcept | None] | None = None


class QuestionnaireAnswer(_Element):
    """Of an answer of a type that nothing reads it is known that there is one."""

    value_boolean: bool | None = None
    value_integer: int | None = None
    value_string: str | None = None
    value_coding: Coding | None = None
    value_decimal: Raw = Raw()
    value_date: Raw = Raw()
    value_date_time: Raw = Raw()
    value_time: Raw = Raw()
    value_uri: Raw = Raw()
    value_attachment: Raw = Raw()
    value_quantity: Raw = Raw()
    value_reference: Raw = Raw()
    item: list[ResponseItem | None] | None = None
    modifier_extension: Raw = Raw()


class ResponseItem(_Element):
    link_id: str | None = None
    answer: list[QuestionnaireAnswer | None] | None = None
    item: list[ResponseItem | None] | None = None
    modifier_extension: Raw = Raw()


class QuestionnaireResponse(Resource, tag="QuestionnaireResponse"):
    subject: Reference | None = None
    questionnaire: str | None = None
    status: str | None = None
    authored: str | None = None
    item: list[ResponseItem | None] | None = None


class OutcomeIssue(_Element):
    severity: str | None = None
    code: str | None = None
    details: CodeableConcept | None = None


class OperationOutcome(Resource, tag="OperationOutcome"):
    issue: list[OutcomeIssue | None] | None = None


AnyResource = Union[
    Patient,
    Condition,
    Observation,
    Medication,
    MedicationRequest,
    MedicationStatement,
    ServiceRequest,
    Procedure,
    Immunization,
    Encounter,
    QuestionnaireResponse,
    OperationOutcome,
]


def codings(concept: CodeableConcept | None) -> list[Coding]:
    return [coding for coding in concept.coding or () if coding] if concept else []


def text_of(concept: CodeableConcept | None) -> str:
    """A concept as a person wrote it: its text, else the first display, else the first code."""
    if concept is None:
        return ""
    if concept.text and (text := concept.text.strip()):
        return text
    given = [*(coding.display for coding in codings(concept)), *(coding.code for coding in codings(concept))]
    return next((text.strip() for text in given if text and text.strip()), "")


def is_named(concept: CodeableConcept | None) -> bool:
    """Whether it says anything at all: a code, a display or a text."""
    if concept is None:
        return False
    return bool(concept.text) or any(coding and (coding.code or coding.display) for coding in concept.coding or ())


def normal_code(value: str | None) -> str:
    """A code such as a status, without the trailing spaces that real systems send."""
    return (value or "").strip().lower()


def has_code(concept: CodeableConcept | None, *codes: str) -> bool:
    for coding in (concept.coding or ()) if concept else ():
        if coding is not None and (coding.code in codes or normal_code(coding.code) in codes):
            return True
    return False


# SNOMED CT names its edition, and its version, behind its address.
_EDITION = re.compile(r"(?<=^http://snomed\.info/sct)/.*$")


def fold_url(url: str) -> str:
    """The address of a code system without version, edition, case and the rest in which public spellings differ."""
    folded = url.partition("|")[0].strip().rstrip("/").lower().replace("https://", "http://")
    return _EDITION.sub("", folded)


def local_code(system: str, code: str) -> tuple[str, str]:
    """A code of an EHR's own, whose case may matter, under one spelling of its system."""
    return fold_url(system), code.strip()


def local_reference(reference: str | None) -> str:
    """`Type/id` of a relative, absolute or versioned reference; a urn or `#id` is left as it is.

    >>> local_reference("https://ehr.example/fhir/Patient/1/_history/3")
    'Patient/1'
    """
    reference = (reference or "").strip()
    if reference.startswith(("#", "urn:")):
        return reference
    parts = reference.split("?")[0].rstrip("/").split("/")
    if "_history" in parts:
        parts = parts[: parts.index("_history")]
    return "/".join(parts[-2:])


def effective(observation: Observation) -> str:
    """When the specimen was taken, or failing that when the result was issued. A period that is open does not say when."""
    if observation.effective_date_time:
        return observation.effective_date_time.strip()
    period = observation.effective_period
    given = (
        observation.effective_instant,
        period and period.end,
        observation.issued,
        period and period.start,
    )
    return next((text.strip() for text in given if text and text.strip()), "")
