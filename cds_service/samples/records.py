"""The record of one patient in a file or pasted: what is no such record is refused, and where each part of it was sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cds_service.errors import Problem, RequestError

_REMEDY = "give a Bundle that holds a Patient and what is on record, or a call with hook and context"


def require_one_patient(loaded: Mapping[str, Any]) -> None:
    """Raises RequestError (400) with every problem of what is neither a call nor a Bundle of exactly one Patient."""
    problems = [] if is_call(loaded) else list(_problems_of_bundle(loaded))
    if problems:
        raise RequestError(400, "invalid-request", "invalid", problems)


def is_call(loaded: Mapping[str, Any]) -> bool:
    """A call says itself whose it is: what it holds of another patient is left out."""
    return "hook" in loaded and "context" in loaded


def _problems_of_bundle(bundle: Mapping[str, Any]) -> Iterator[Problem]:
    entries = bundle.get("entry")
    if bundle.get("resourceType") != "Bundle":
        yield Problem("resourceType", "is not Bundle", _REMEDY)
        return
    if not isinstance(entries, list):
        yield Problem("entry", "is no list", _REMEDY)
        return
    resources = [entry.get("resource") if isinstance(entry, dict) else None for entry in entries]
    for at, resource in enumerate(resources):
        if not isinstance(resource, dict):
            yield Problem(f"entry[{at}].resource", "is no resource", "give each entry a resource, or take it out")
    patients = [item for item in resources if isinstance(item, dict) and item.get("resourceType") == "Patient"]
    if len(patients) != 1:
        yield Problem("entry", f"holds {len(patients) or 'no'} Patient{'s' if patients else ''}", "give exactly one")
    elif not isinstance(patients[0].get("id"), str):
        yield Problem("Patient.id", "is missing", "give the Patient an id, to which the others refer")


def places_in(loaded: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, str]:
    """The path in a Bundle of what stands at a path in the request that was made of it; a call is its own request."""
    if is_call(loaded):
        return {}
    number = {id(entry["resource"]): at for at, entry in enumerate(loaded["entry"])}
    sections = {f"prefetch.{key}": section for key, section in sent["prefetch"].items()}
    sections["context.draftOrders"] = sent["context"].get("draftOrders")
    found = {}
    for place, section in sections.items():
        at = number.get(id(section))
        found[place] = "entry" if at is None else f"entry[{at}].resource"
        for at, entry in enumerate((section or {}).get("entry") or ()):
            if (there := number.get(id(entry.get("resource")))) is not None:
                found[f"{place}.entry[{at}]"] = f"entry[{there}]"
                found[f"{place}.entry[{at}].resource"] = f"entry[{there}].resource"
    return found
