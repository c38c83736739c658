"""The nouns that the stages hand to one another: values, facts, findings.

A value that is not known is `UNKNOWN`, never None, False or 0, so that an absence cannot pass for an answer.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, Union

import msgspec


class Unknown(enum.Enum):
    """The third truth value. Its own type, so that `mypy` sees every place where it may occur."""

    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        raise TypeError("UNKNOWN is neither true nor false: compare with `is UNKNOWN`")

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class CodeMap:
    """What a site says of the codes of one EHR. A code of its own is (system, code), one of ours `system|code`.

    `codes`: its own that count as ours. `others`: its own that are nothing of ours. `orders`: by our name of a test the FHIR
    Coding under which it is ordered there.
    """

    codes: Mapping[tuple[str, str], tuple[str, ...]]
    others: frozenset[tuple[str, str]]
    orders: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A number known only to lie between two bounds, such as a result of `<3.0` or an age from a birth year.

    `Interval(None, Decimal("3.0"), high_open=True)` is `<3.0`. A comparison with it is decided only where
    the whole interval lies on one side.
    """

    low: Decimal | None
    high: Decimal | None
    low_open: bool = False
    high_open: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """Numbers that were seen where a newer one may not have been understood: what they show stands, and they deny nothing.

    A comparison with it is true where it is true of one of the amounts, else unknown.
    """

    amounts: tuple[Decimal | Interval, ...]


Number = int | Decimal
Known = Union[bool, int, Decimal, str, Interval, Seen, tuple["Known", ...]]
Value = Union[Known, Unknown]

ValueType = Literal["boolean", "number", "string", "list"]


@dataclass(frozen=True, slots=True)
class FactType:
    """What a fact may answer: its JSON Logic type and, for a string, the only words that it can be."""

    name: ValueType
    values: tuple[str, ...] = ()


FactTypes = Mapping[str, FactType]


class State(enum.StrEnum):
    """How far a fact is known. Only KNOWN and ABSENT let a rule decide."""

    KNOWN = "known"
    ABSENT = "looked and found none"
    NOT_SUPPLIED = "not supplied"
    NONE_SUPPLIED = "none supplied"
    FAILED = "could not be fetched"
    INCOMPLETE = "incomplete"
    UNUSABLE = "could not be read"
    NOT_UNDERSTOOD = "not understood"


class Evidence(msgspec.Struct, frozen=True):
    """One resource that a fact rests on, already in words. `recorded`: how the record has a value that was converted.

    Example: `Evidence("Observation/k1", "Potassium", value="3.1 mmol/L", date="2025-11-12", range="3.5 to 5.0")`.
    """

    reference: str
    name: str
    short: str = ""
    value: str = ""
    date: str = ""
    range: str = ""
    note: str = ""
    recorded: str = ""


EvidenceSource = Union[tuple[Evidence, ...], Callable[[], Iterable[Evidence]]]


class Fact(msgspec.Struct, eq=False):
    """One named, typed answer about the patient, with what it rests on and, if unknown, why.

    `evidence_source` may be a way to put it into words: most facts decide a rule that stays silent, and nobody asks for theirs.
    """

    name: str
    value: Value
    state: State = State.KNOWN
    evidence_source: EvidenceSource = ()
    reason: str = ""

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Newest first, each resource once, in an order that does not depend on the order of arrival."""
        if not isinstance(self.evidence_source, tuple):
            told = self.evidence_source()
            # What comes as a tuple is in order already: many facts share it.
            self.evidence_source = told if isinstance(told, tuple) else ordered(told)
        return self.evidence_source


def ordered(evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    once = {(item.reference, item.name): item for item in evidence}
    if len(once) <= 1:
        return tuple(once.values())
    return tuple(sorted(once.values(), key=lambda item: (item.date or "", item.reference), reverse=True))


Facts = Mapping[str, Fact]


class Outcome(enum.StrEnum):
    FIRES = "fires"
    SILENT = "silent"
    UNKNOWN = "unknown"
    OUT_OF_SCOPE = "out-of-scope"


class Finding(msgspec.Struct, frozen=True):
    """One rule's outcome and the names of the facts that settled it, in the order of the rule."""

    rule_id: str
    outcome: Outcome
    because: tuple[str, ...] = ()


class LineState(enum.StrEnum):
    """Whether a line of a card stands, else the first reason why it does not."""

    STANDS = "stands"
    NOT_MET = "its condition is not met"
    UNKNOWN = "its condition is not known"
    ELSEWHERE = "it is for another jurisdiction"
    BESIDE_CRITICAL = "it is left out beside a critical card"
    BESIDE_WARNING = "it is left out beside a warning"


class Offered(msgspec.Struct, frozen=True):
    """One test that a rule asks for. `on_order`: True where it is pending already, UNKNOWN where nobody could look.

    `recommended`: the record gives a reason for this test. `panel`: the order by which it is asked for together with others, if
    any; `with_recommended`: there is a reason for one of these. `priority`: of the request, as FHIR has it; empty where it is
    routine.
    """

    order: str
    on_order: Value
    recommended: bool = False
    panel: str = ""
    priority: str = ""
    with_recommended: bool = False


class RuleAdvice(msgspec.Struct, frozen=True):
    """What one rule that fires has to say: a state for each line of its card, and the tests that it asks for.

    `speaks` is False where another rule says it already, or where it was overridden or shown lately for this patient.
    """

    rule_id: str
    lines: tuple[LineState, ...]
    offers: tuple[Offered, ...]
    speaks: bool = True


class Advice(msgspec.Struct, frozen=True):
    """What all rules that fire have to say, most important first, and the facts that are still asked for and unreadable."""

    rules: tuple[RuleAdvice, ...] = ()
    unreadable: tuple[str, ...] = ()
