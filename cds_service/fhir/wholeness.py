"""Whether a Bundle holds all that was asked for, by what it says of itself, however that is spelt.

What cannot be read of it leaves open whether all came: then nothing that is missing in it is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

import msgspec
from msgspec import Raw

from cds_service.fhir.resources import OperationOutcome
from cds_service.fhir.understood import takes_away

_STRUCTURED = frozenset(("meta", "identifier", "link", "entry", "signature", "issues"))
# Of the security labels of HL7 v3: a part was left out because of how it was asked for, or for secrecy.
_TAGS_OF_LESS = frozenset(("SUBSETTED", "REDACTED"))
_UNREADABLE_TOTAL = -1
_names = msgspec.json.Decoder(dict[str, Raw])


def shortfall_of(bundle: Any, *, responses: Iterable[Any], unfilled: Iterable[Any], came: int) -> str:
    """Why a Bundle does not hold all, by `link`, `total` and `meta`; empty where it does.

    `responses`: what its entries say of their part of a batch; `unfilled`: the same of those without a resource, None of those
    that say nothing. `came`: the matches in it.
    """
    if has_next(bundle.link):
        return "has further pages, which did not come"
    unfilled = list(unfilled)
    if any(_has_failed(response) for response in chain(responses, unfilled) if response):
        return "holds an entry whose search failed"
    if not all(isinstance(response, dict) and response.get("status") for response in unfilled):
        return "holds an entry without a resource"
    total = total_of(bundle.total)
    if total == _UNREADABLE_TOTAL:
        return "has a total that cannot be read"
    if total is not None and total > came:
        return f"says that there are {total}, and {came} came"
    return "says that a part was left out" if says_less(bundle.meta) else ""


def has_next(links: Any) -> bool:
    """A `next` link says that the Bundle is one page of several; what cannot be read may be one."""
    return next_link(links) is not None


def next_link(links: Any) -> Mapping[str, Any] | None:
    """The link to the next page. One that cannot be read counts as one, without an address."""
    if not links:
        return None
    given: list[Any] = links if isinstance(links, list) else [links]
    for link in filter(None, given):
        if not isinstance(link, dict) or not isinstance(relation := link.get("relation"), str):
            return {}
        # IANA registers the relation as a word; some write its address.
        if relation.strip().lower().rpartition("/")[2].rpartition("#")[2] == "next":
            return link
    return None


def total_of(total: Any) -> int | None:
    """How many there are by the server's word; None where it says nothing, below 0 where it cannot be read."""
    if total is None or (type(total) is int and total >= 0):
        return total
    try:
        said = Decimal(str(total).strip())
        return int(said) if said == said.to_integral_value() and said >= 0 else _UNREADABLE_TOTAL
    except (InvalidOperation, OverflowError):
        return _UNREADABLE_TOTAL


def says_less(meta: Any) -> bool:
    """Whether the tags or security labels of a Bundle say that a part was left out."""
    for member in ("tag", "security"):
        given = meta.get(member) if isinstance(meta, dict) else None
        for label in given if isinstance(given, list) else [given]:
            code = label.get("code") if isinstance(label, dict) else None
            if isinstance(code, str) and code.strip().upper() in _TAGS_OF_LESS:
                return True
    return False


def has_foreign_members(data: Raw | bytes) -> bool:
    """Whether a Bundle has lists or objects that FHIR does not know there: its entries may stand in one."""
    return any(
        name not in _STRUCTURED and not name.startswith("_") and bytes(value)[:1] in (b"[", b"{")
        for name, value in _names.decode(data).items()
    )


def _has_failed(response: Any) -> bool:
    """Whether the answer to one request of a batch is not one of success, or an outcome beside it takes that back."""
    if not isinstance(response, dict):
        return True
    status, outcome = response.get("status"), response.get("outcome")
    if status and not str(status).strip().startswith("2"):
        return True
    try:
        return bool(outcome) and takes_away([msgspec.convert(outcome, OperationOutcome)])
    except msgspec.ValidationError:
        return True
