"""The orders of a hook's context, as unfinished as they come: of each as little is read as is asked of it.

A draft that cannot be read is kept aside as `Unreadable`, so that it is neither an absence nor a reason to speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from cds_service.fhir.bundles import Entry, RawResource, decode, raw_entries, type_meant
from cds_service.fhir.resources import DraftOrder, Medication, local_reference
from cds_service.fhir.sections import Section, Unreadable, sort_out

PLACE = "context.draftOrders"
_ORDER, _MEDICATION = "MedicationRequest", "Medication"


class _Named(msgspec.Struct):
    id: Any = None


_order = msgspec.json.Decoder(DraftOrder)
_medication = msgspec.json.Decoder(Medication)
_named = msgspec.json.Decoder(_Named)


def read_drafts(bundle: Raw | bytes, selections: Sequence[str] | None) -> Section:
    """The drafts in question with the Medications beside them: those of `selections`, or all where it is None.

    Orders of other types are left out. A selection that names none of the entries leaves open what was selected.
    """
    entries, damaged = raw_entries(bundle, PLACE)
    names = [_names(raw) for raw in entries]
    wanted = {local_reference(item) for item in selections or ()}
    resources: list[tuple[str | None, DraftOrder | Medication]] = []
    came: dict[int, Entry] = {}
    for raw, own in zip(entries, names, strict=True):
        if raw.resource_type == _MEDICATION:
            read: DraftOrder | Medication | Unreadable | None = decode(raw, _medication)
        else:
            read = _read_order(raw) if selections is None or not own or own & wanted else None
        if isinstance(read, Unreadable):
            damaged.append(read)
        elif read is not None:
            resources.append((raw.full_url, read))
            came[raw.number] = Entry(resource=read)  # type: ignore[arg-type]  # only looked for
    known = set().union(*names)
    damaged += [_nowhere(at, item) for at, item in enumerate(selections or ()) if not _is_found(local_reference(item), known)]
    numbers = range(max(came, default=-1) + 1)
    return sort_out(resources, damaged, PLACE)._replace(entries=[came.get(number) for number in numbers])


def _names(raw: RawResource) -> set[str]:
    """What a selection may call an entry: `Type/id`, the bare id, its address."""
    name = getattr(decode(raw, _named), "id", None)
    urls = {local_reference(raw.full_url)} if raw.full_url else set()
    return urls | ({name, f"{raw.resource_type}/{name}"} if isinstance(name, str) and name else set())


def _read_order(raw: RawResource) -> DraftOrder | Unreadable | None:
    if not raw.resource_type:
        return Unreadable("", "", (), raw.place, "says no resourceType")
    if type_meant(raw.resource_type) != _ORDER:
        return None
    # One that is spelt otherwise, or of an older version, is an order of a drug all the same, which cannot be read.
    return decode(raw._replace(resource_type=_ORDER), _order)


def _is_found(selection: str, known: set[str]) -> bool:
    """An order of another type is not looked for: it is nothing that is read here."""
    kind, slash, _ = selection.partition("/")
    return selection in known or bool(slash and type_meant(kind) != _ORDER)


def _nowhere(at: int, selection: str) -> Unreadable:
    return Unreadable(_ORDER, "", (), f"context.selections[{at}]", f"{selection[:60]!r} is none of the drafts")
