"""Results in the one unit that rules and ranges use, converted exactly, an analyte at a time.

A unit says nothing without its analyte: 4 mEq/L is 4 mmol/L of potassium but 2 mmol/L of calcium. The factors stand in
`logic/labs.json`; a unit that is not there is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

from cds_service.fhir.resources import Quantity
from cds_service.model import Interval

UCUM = "http://unitsofmeasure.org"
_EXACT = Context(prec=34)
_THREE = Context(prec=3)
_MOST_SEEN = 1000
_ABSURD = 20  # digits before the point: no result of a laboratory, and more than can be rounded


class Factor(NamedTuple):
    """What turns a unit into that of the analyte: `(x - less) * times / over`."""

    times: Decimal
    over: Decimal
    less: Decimal = Decimal(0)


ONE = Factor(Decimal(1), Decimal(1))

NO_VALUE = "no value"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a result cannot be read, in words for a clinician: `no unit`, `unit 'foo' unknown`."""

    reason: str


def read_factor(text: str) -> Factor:
    """A factor as it is written in `labs.json`: `"1"`, an exact quotient, or a scale with another zero.

    >>> read_factor("10/39.0983").over, read_factor("(x - 2.152)/0.09148").less
    (Decimal('39.0983'), Decimal('2.152'))
    """
    numerator, _, denominator = text.partition("/")
    less = Decimal(numerator[4:-1]) if numerator.startswith("(x -") else Decimal(0)
    return Factor(Decimal(1) if less else Decimal(numerator), Decimal(denominator or "1"), less)


def fold(unit: str) -> str:
    """A unit without what differs by habit only: case, spaces, the two characters for micro, UCUM's square brackets."""
    return "".join(unit.split()).lower().replace("\u00b5", "u").replace("\u03bc", "u")


class Factors:
    """The spellings of an analyte's unit, each with its factor; what a Quantity's unit means is looked up once."""

    def __init__(self, by_spelling: Mapping[str, str], decimals: int | None = None, units: Collection[str] = ()) -> None:
        """`units`: the spellings of all analytes, as they are folded."""
        self._units = units
        self._step = None if decimals is None else Decimal(1).scaleb(-decimals)
        self._factors = {fold(spelling): read_factor(factor) for spelling, factor in by_spelling.items()}
        self._seen: dict[tuple[str | None, str | None, str | None], Factor | Unusable] = {}

    def of(self, quantity: Quantity) -> Factor | Unusable:
        key = (quantity.system, quantity.code, quantity.unit)
        found = self._seen.get(key)
        if found is None:
            found = self._read(quantity)
            if len(self._seen) < _MOST_SEEN:
                self._seen[key] = found
        return found

    def _read(self, quantity: Quantity) -> Factor | Unusable:
        code, unit = fold(quantity.code or ""), fold(quantity.unit or "")
        if (quantity.system or "").strip().rstrip("/") not in ("", UCUM):
            # A unit coded in another system, SNOMED CT for example, is read by its text.
            code = ""
        named = [spelling for spelling in (code, unit) if spelling]
        if not named:
            return self._factors.get("") or Unusable("no unit")
        known = [self._factors[spelling] for spelling in named if spelling in self._factors]
        if not known or (code and code not in self._factors):
            return Unusable(f"unit {(quantity.code or quantity.unit or '')[:20]!r} unknown")
        is_of_another = bool(unit) and unit not in self._factors and unit in self._units
        if is_of_another or any(factor != known[0] for factor in known):
            return Unusable(f"unit code {quantity.code!r} and unit {quantity.unit!r} disagree")
        return known[0]

    def rounded(self, value: Decimal) -> Decimal:
        """A converted value with the decimals that laboratories report, so that a limit means the same in each unit."""
        if self._step is None or value.adjusted() > _ABSURD:
            return value
        return value.quantize(self._step, ROUND_HALF_UP)

    def named(self, spelling: str) -> Factor:
        """The factor of a spelling of ours. KeyError if there is none: `check` refuses such a file."""
        return self._factors[fold(spelling)]


def convert(quantity: Quantity | None, factors: Factors) -> Decimal | Interval | Unusable:
    """A Quantity in the unit of its analyte; an Interval where a comparator (`<3.0`) gives only a bound."""
    if quantity is None or quantity.value is None or not quantity.value.is_finite():
        return Unusable(NO_VALUE)
    factor = factors.of(quantity)
    if isinstance(factor, Unusable):
        return factor
    value = quantity.value
    if factor != ONE:
        value = factors.rounded(_EXACT.divide(_EXACT.multiply(value - factor.less, factor.times), factor.over))
    return _bounded(value, (quantity.comparator or "").strip()) if quantity.comparator else value


def _bounded(value: Decimal, comparator: str) -> Decimal | Interval | Unusable:
    match comparator:
        case "":
            return value
        case "<" | "<=":
            return Interval(None, value, high_open=comparator == "<")
        case ">" | ">=":
            return Interval(value, None, low_open=comparator == ">")
        case _:
            return Unusable(f"comparator {comparator[:5]!r} unknown")


def say(quantity: Quantity) -> str:
    """A result as it was recorded, with no more digits than a person reads: `3.1 mmol/L`, `<3.0 mEq/L`."""
    value = quantity.value
    if value is None or not value.is_finite():
        return NO_VALUE
    unit = say_unit(quantity.unit or quantity.code or "")
    shown = say_number(value)
    comparator = (quantity.comparator or "").strip()
    return f"{comparator}{shown}" + (f" {unit}" if unit and unit not in ("1", "{ratio}") else "")


def say_in(amount: Decimal, factor: Factor) -> str:
    """An amount as a number of another unit, to three digits: 2.05 mmol/L of calcium are `8.22` mg/dL.

    >>> say_in(Decimal("2.05"), read_factor("10/40.078"))
    '8.22'
    """
    value = _THREE.plus(_EXACT.divide(_EXACT.multiply(amount, factor.over), factor.times) + factor.less)
    return f"{value.normalize():f}"


def say_unit(unit: str) -> str:
    """UCUM writes a power of ten with an asterisk, which a card would take for markup: `10*9/L` is `10^9/L`."""
    return unit.replace("10*", "10^").replace("[", "").replace("]", "").strip()


def say_number(value: Decimal) -> str:
    """At most four significant digits, trailing zeros as recorded: `3.10`, `0.4937`, `140`."""
    if not value:
        return f"{value:f}" if abs(value.adjusted()) < _ABSURD else "0"
    if abs(value.adjusted()) > _ABSURD:
        return f"{value:.3E}"
    if len(value.as_tuple().digits) > _SHOWN_DIGITS:
        value = value.quantize(Decimal(1).scaleb(min(0, value.adjusted() - _SHOWN_DIGITS + 1)))
        value = value.normalize() if value != value.to_integral_value() else value.quantize(Decimal(1))
    return f"{value:f}"


_SHOWN_DIGITS = 4


def spanning(low: str, high: str, unit: str) -> str:
    """Two limits in words, of which one may be empty: `3.5 to 5.1 mmol/L`, `at least 133 pmol/L`."""
    if low and high:
        return f"{low} to {high}{unit}"
    return f"at least {low}{unit}" if low else f"at most {high}{unit}"
