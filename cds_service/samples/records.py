"""The record of one patient in a file or pasted: what is no such record is refused, and where each part of it was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cds_service.errors import Problem, RequestError
from cds_service.samples.formats import bundle_of_lines, doubt_about_text, doubts_about_version

_REMEDY = "give a Bundle that holds a Patient and what is on record, or a call with hook and context"


def read_record(data: bytes, name: str = "") -> dict[str, Any]:
    """A Bundle, a call or a resource as FHIR R4 JSON; NDJSON becomes a Bundle. `name`: of the file, if it is one.

    Raises RequestError (400) that says what it is instead, or the line and column of what is wrong.
    """
    if doubt := doubt_about_text(data, name or "text"):
        raise _refused(doubt)
    text = data.decode("utf-8-sig")
    try:
        loaded = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        loaded = bundle_of_lines(text)
        if loaded is None:
            place = f"{name} line {error.lineno}, column {error.colno}".strip()
            says = error.msg if text.lstrip()[0] in "{[" else f"is no JSON: {error.msg}"
            raise _refused(Problem(place, says, "mend the JSON there, or just before")) from None
    except _NoNumber as error:
        raise _refused(Problem(name or "text", str(error), "leave the member out where there is no number")) from None
    except ValueError:
        remedy = "give FHIR resources as they are"
        raise _refused(Problem(name or "text", "holds a number of thousands of digits", remedy)) from None
    except RecursionError:
        raise _refused(Problem(name or "text", "is nested too deeply", "give FHIR resources as they are")) from None
    if not isinstance(loaded, dict):
        raise _refused(Problem(name or "text", f"is no JSON object but {_kind(loaded)}", _REMEDY))
    problems = list(doubts_about_version(resources_in(loaded)))
    if problems:
        raise _refused(*problems)
    return loaded


class _NoNumber(ValueError):
    pass


def _refuse_constant(name: str) -> Any:
    raise _NoNumber(f"holds {name}, which is no JSON number")


def _kind(loaded: object) -> str:
    return f"a list of {len(loaded)}" if isinstance(loaded, list) else "a value alone"


def _refused(*problems: Problem) -> RequestError:
    return RequestError(400, "invalid-request", "invalid", problems)


def resources_in(loaded: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """By place the resources of a Bundle, or of the prefetch of a call; else what was given as one resource."""
    sections = loaded.get("prefetch") if "hook" in loaded else {"": loaded}
    for key, section in sections.items() if isinstance(sections, dict) else ():
        entries = section.get("entry") if isinstance(section, dict) else None
        if isinstance(section, dict) and not isinstance(entries, list):
            yield key or "resource", section
        for at, entry in enumerate(entries if isinstance(entries, list) else ()):
            resource = entry.get("resource") if isinstance(entry, dict) else None
            yield f"{key}.entry[{at}].resource".lstrip("."), resource if isinstance(resource, dict) else {}


def require_one_patient(loaded: Mapping[str, Any]) -> None:
    """Raises RequestError (400) with every problem of what is neither a call nor a Bundle of exactly one Patient."""
    problems = [] if is_call(loaded) else list(_problems_of_bundle(loaded))
    if problems:
        raise _refused(*problems)


def is_call(loaded: Mapping[str, Any]) -> bool:
    """A call says itself whose it is: what it holds of another patient is left out."""
    return "hook" in loaded and "context" in loaded


def _problems_of_bundle(bundle: Mapping[str, Any]) -> Iterator[Problem]:
    entries = bundle.get("entry")
    if bundle.get("resourceType") != "Bundle":
        kind = bundle.get("resourceType")
        yield Problem("resourceType", f"is {kind!r}, not Bundle"[:80] if kind else "is missing", _REMEDY)
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
