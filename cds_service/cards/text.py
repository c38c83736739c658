"""Card texts filled from facts: `{potassium.value}` becomes `3.1 mmol/L`.

Widths are bounded, so that the length of a summary can be proved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache

from cds_service.fhir.dates import read_span, say_date
from cds_service.model import Evidence, Fact

PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)(?:\.([a-z]+))?\}")
ORDERS = "orders"
MOST_NAMED = 3
_YEARS_TOLD_IN_FULL = 1

# The most characters that each part may take. `check` adds them up for the longest possible summary.
WIDTHS: Mapping[str, int] = {
    "name": 40,
    "value": 20,
    "date": 11,
    "taken": 60,
    "range": 180,
    "note": 120,
    "names": 160,
    "short": 52,
    "orders": 100,
}

_UNSAFE = re.compile(r"<(?=[a-zA-Z/!?])|[`*_|\\#~\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e]+")
_ODD = re.compile(rf"{_UNSAFE.pattern}|[\[\]]|://|\s\s|[^\S ]")
# SNOMED CT ends a fully specified name with the kind of concept, which says nothing to a reader.
_SEMANTIC_TAG = re.compile(
    r" \((?:disorder|finding|situation|event|procedure|substance|product|medicinal product|observable entity)\)$"
)
_SPACES = re.compile(r"\s+")


def fill(text: str, facts: Mapping[str, Fact], as_of: date, orders: Sequence[str] = ()) -> str:
    """A text with its placeholders filled. KeyError if it names a fact that does not exist: `check` refuses such a text."""
    if "{" not in text:
        return text
    opening, placeholders = _pieces(text)
    shown = [opening]
    for name, member, after in placeholders:
        if member is None:
            part, width = listed(orders, len(orders)), WIDTHS[ORDERS]
        else:
            part, width = PARTS[member](facts[name].evidence, as_of), WIDTHS[member]
        # A part that is empty takes the comma before it away.
        shown[-1] = shown[-1] if part else shown[-1].removesuffix(", ")
        shown += (clip(part, width), after)
    filled = "".join(shown)
    # Parts and texts hold single spaces; two meet only where a part was empty.
    return (_SPACES.sub(" ", filled) if "  " in filled else filled).strip()


@lru_cache(maxsize=4096)
def _pieces(text: str) -> tuple[str, tuple[tuple[str, str | None, str], ...]]:
    """A text of ours taken apart once: what stands before the first placeholder, then each with what follows it."""
    opening, *rest = PLACEHOLDER.split(text)
    return opening, tuple(zip(rest[::3], rest[1::3], rest[2::3], strict=True))


def longest(text: str) -> int:
    """The most characters that a text can have once it is filled."""
    widths = [WIDTHS[member or ORDERS] for _, member in PLACEHOLDER.findall(text)]
    return len(PLACEHOLDER.sub("", text)) + sum(widths)


def plain(text: str) -> str:
    """Text from the record without what Markdown or HTML would act on: it is shown, never obeyed."""
    text = _SEMANTIC_TAG.sub("", text) if text.endswith(")") else text
    if not _ODD.search(text):
        return text.strip()
    text = text.replace("[", "(").replace("]", ")").replace("://", " ")
    return _SPACES.sub(" ", _UNSAFE.sub(" ", text)).strip()


def clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "\u2026"


def listed(items: Sequence[str], most: int = MOST_NAMED, more: str = "and {count} more") -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c and 2 more`."""
    if len(items) > most:
        return f"{', '.join(items[:most])} {more.format(count=len(items) - most)}"
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def fit(template: str, items: Sequence[str], joiner: str, more: str, limit: int) -> str:
    """As many items as fit a template's `{headlines}` within `limit`, the others counted: `…, TSH 9.1 and 2 more`."""
    for shown in range(len(items), 0, -1):
        rest = len(items) - shown
        text = joiner.join(items[:shown]) + (" " + more.format(count=rest) if rest else "")
        summary = template.replace("{headlines}", text)
        if len(summary) <= limit:
            return summary
    raise ValueError("a headline is too long for its summary")  # `check` proves that it cannot be


def _name(evidence: Sequence[Evidence], as_of: date) -> str:
    return plain(evidence[0].name) if evidence else ""


def _value(evidence: Sequence[Evidence], as_of: date) -> str:
    return plain(evidence[0].value) if evidence else ""


def _date(evidence: Sequence[Evidence], as_of: date) -> str:
    return say_date(evidence[0].date, as_of) if evidence else "undated"


def _taken(evidence: Sequence[Evidence], as_of: date) -> str:
    """When, and how it was recorded where its value was converted: `3 Nov, recorded as 7.5 g/dL`."""
    recorded = plain(evidence[0].recorded) if evidence else ""
    return ", ".join(filter(None, (_date(evidence, as_of), recorded)))


def _range(evidence: Sequence[Evidence], as_of: date) -> str:
    """Whose range, and which: `laboratory's range 3.5 to 5.1 mmol/L`."""
    return plain(f"{evidence[0].note} {evidence[0].range}") if evidence else ""


def _note(evidence: Sequence[Evidence], as_of: date) -> str:
    return plain(evidence[0].note) if evidence else ""


def _names(evidence: Sequence[Evidence], as_of: date) -> str:
    """Each entry as recorded. What is there several times, as repeat prescriptions are, is told once with its first date."""
    once: dict[tuple[str, str], Evidence] = {}
    for item in evidence:
        key = (item.name.casefold(), item.note)
        if key not in once or (item.date and item.date < once[key].date) or not once[key].date:
            once[key] = item
    shown = [_named(item, as_of) for item in list(once.values())[:MOST_NAMED]]
    return listed([*shown, *("" for _ in range(len(once) - MOST_NAMED))])


def _named(item: Evidence, as_of: date) -> str:
    """One entry as recorded, with what dates and qualifies it: `Furosemide 40 mg tablet (since 3 Mar 2024, on hold)`."""
    since = [f"since {_long_ago(item.date, as_of)}"] if item.date else []
    text = ", ".join([*since, *([plain(item.note)] if item.note else [])])
    return clip(plain(item.name), 60) + (f" ({text})" if text else "")


def _long_ago(text: str, as_of: date) -> str:
    """A date, of which after some years the year says enough: `3 Mar 2025`, but `2019`."""
    span = read_span(text)
    return str(span.first.year) if span and as_of.year - span.first.year > _YEARS_TOLD_IN_FULL else say_date(text, as_of)


def _short(evidence: Sequence[Evidence], as_of: date) -> str:
    names = dict.fromkeys(item.short or item.name for item in evidence)
    return listed(list(dict.fromkeys(clip(plain(name), 20) for name in names)), 2, "and {count} more")


PARTS: Mapping[str, Callable[[Sequence[Evidence], date], str]] = {
    "name": _name,
    "value": _value,
    "date": _date,
    "taken": _taken,
    "range": _range,
    "note": _note,
    "names": _names,
    "short": _short,
}
