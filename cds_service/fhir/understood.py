"""What FHIR itself says about whether a resource may be used: its status, its intent, its modifiers; and whether all came.

A status that FHIR R4 does not list is not read as another one, and a modifier that is not known may turn a resource into its
contrary. Such a resource is not used and not passed over: what it may be about is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from cds_service.fhir.resources import (
    CodeableConcept,
    Condition,
    Immunization,
    MedicationRequest,
    MedicationStatement,
    Observation,
    OperationOutcome,
    Procedure,
    QuestionnaireResponse,
    Resource,
    ServiceRequest,
    codings,
    normal_code,
    text_of,
)

# The values of R4, without `unknown`, which says nothing.
_STATUSES: Mapping[type[Resource], frozenset[str]] = {
    MedicationRequest: frozenset(("active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft")),
    MedicationStatement: frozenset(("active", "completed", "entered-in-error", "intended", "stopped", "on-hold", "not-taken")),
    Observation: frozenset(("registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error")),
    ServiceRequest: frozenset(("draft", "active", "on-hold", "revoked", "completed", "entered-in-error")),
    Procedure: frozenset(("preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", "entered-in-error")),
    Immunization: frozenset(("completed", "entered-in-error", "not-done")),
    QuestionnaireResponse: frozenset(("in-progress", "completed", "amended", "entered-in-error", "stopped")),
}
_INTENTS = frozenset(
    ("proposal", "plan", "order", "original-order", "reflex-order", "filler-order", "instance-order", "option")
)
_CLINICAL = frozenset(("active", "recurrence", "relapse", "inactive", "remission", "resolved"))
_VERIFICATION = frozenset(("unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error"))
# Of the codes of R4 some are kinds of others, which may stand beside them: a relapse is active.
_KINDS: Mapping[str, str] = {code: code for code in _CLINICAL | _VERIFICATION} | {
    "recurrence": "active",
    "relapse": "active",
    "remission": "inactive",
    "resolved": "inactive",
    "provisional": "unconfirmed",
    "differential": "unconfirmed",
}
_MODIFIED = "bears a modifier that is not known"
_NOTHING = (b"", b"null", b"[]", b'""')

_EPIC = re.compile(r"(?:urn:oid:)?1\.2\.840\.114350\.1\.13\.\d+\.\d+\.7\.2\.657369")
# Epic's codes of outcomes that take nothing away: no results; "may not contain the entire record"; a parameter ignored.
_EPIC_HARMLESS = frozenset(("4101", "4117", "4119", "4122", "59100", "59109"))
_TAKES_AWAY = frozenset(
    ("incomplete", "suppressed", "security", "forbidden", "throttled", "timeout", "too-costly", "transient")
)


@lru_cache
def doubts_about(kind: type[Resource]) -> Callable[[Any], str]:
    """What tells why a resource of this kind may not be used as it stands; empty where it may.

    It is asked of thousands of a kind, so what holds for the kind is looked up once.
    """
    known, further = _STATUSES.get(kind), _FURTHER.get(kind)

    def doubt_about(resource: Any) -> str:
        if (resource.modifier_extension or resource.implicit_rules) and _is_bound_by_rules(resource):
            return _MODIFIED
        if known is not None and resource.status not in known and normal_code(resource.status) not in known:
            return "has no status that can be read"
        return further(resource) if further else ""

    return doubt_about


def _is_bound_by_rules(resource: Any) -> bool:
    return is_modified(resource) or (bool(resource.implicit_rules) and bytes(resource.implicit_rules) not in _NOTHING)


def is_modified(element: Any) -> bool:
    """Whether a resource, or a part of one, bears a modifier: it may turn what it says into its contrary."""
    return bool(element.modifier_extension) and bytes(element.modifier_extension) not in _NOTHING


def _doubt_about_request(request: MedicationRequest) -> str:
    if any(item and is_modified(item) for item in request.dosage_instruction or ()):
        return _MODIFIED
    is_known = not request.intent or request.intent in _INTENTS or normal_code(request.intent) in _INTENTS
    return "" if is_known else "has no intent that can be read"


def _doubt_about_condition(condition: Condition) -> str:
    if not _is_known(condition.clinical_status, _CLINICAL):
        return "has no clinical status that can be read"
    return "" if _is_known(condition.verification_status, _VERIFICATION) else "has no verification status that can be read"


_FURTHER: Mapping[type[Resource], Callable[[Any], str]] = {
    MedicationRequest: _doubt_about_request,
    Condition: _doubt_about_condition,
}


def _is_known(concept: CodeableConcept | None, known: frozenset[str]) -> bool:
    """A status that says nothing is none: both are optional in R4."""
    return concept is None or status_of(concept) in known or not (concept.coding or concept.text)


def status_of(concept: CodeableConcept | None) -> str:
    """A status as its code, from its codes or failing these its words: `Entered in Error` is `entered-in-error`.

    Where these contradict one another it is all of them, which is no status: `active or resolved`.
    """
    if concept is None:
        return ""
    given = concept.coding
    if given and len(given) == 1 and given[0] and (only := given[0].code) in _KINDS:
        # As nearly all come: one code, with no words or its own.
        words = concept.text
        if not words or words == only or words.lower() == only:
            return only or ""
    codes = [code for coding in concept.coding or () if coding and (code := normal_code(coding.code)) in _KINDS]
    words = _as_code(concept.text) if concept.text else ""
    said = [*codes, words] if words in _KINDS else codes
    if not said:
        return _as_code(text_of(concept))
    return said[0] if len({_KINDS[code] for code in said}) == 1 else " or ".join(dict.fromkeys(said))


def _as_code(words: str) -> str:
    return re.sub(r"[\s_-]+", "-", normal_code(words))


def takes_away(outcomes: Iterable[OperationOutcome], *, alone: bool = False) -> bool:
    """Whether an OperationOutcome says that a search did not bring all that it should: any that is not known as harmless.

    `alone`: nothing came beside it. Beside an answer, a parameter that is not supported was ignored: more came, not less.
    """
    return any(not _is_harmless(issue, alone) for outcome in outcomes for issue in outcome.issue or [None])


def is_not_offered(outcomes: Iterable[OperationOutcome]) -> bool:
    """Whether OperationOutcomes say only that a server does not have what was asked for."""
    issues = [issue for outcome in outcomes for issue in outcome.issue or ()]
    return bool(issues) and all(issue is not None and issue.code in ("not-supported", "not-found") for issue in issues)


def _is_harmless(issue: Any, alone: bool) -> bool:
    if issue is None:
        return False
    if issue.severity == "warning" and issue.code == "not-supported" and not alone:
        return True
    details = codings(issue.details)
    if any(_EPIC.fullmatch((item.system or "").strip()) for item in details):
        return all(
            (item.code or "").strip() in _EPIC_HARMLESS for item in details if _EPIC.fullmatch((item.system or "").strip())
        )
    return issue.severity == "information" and issue.code not in _TAKES_AWAY
