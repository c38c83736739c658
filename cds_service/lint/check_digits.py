"""Check digits: the part of a code that tells a slip of the hand from a code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

# Verhoeff: the multiplication of the dihedral group D5, and the permutation that is applied once more each place.
_REFLECTED = 5
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _times(left: int, right: int) -> int:
    turned = (left + right) % 5 if left < _REFLECTED else (left - right) % 5
    return turned + (5 if (left < _REFLECTED) != (right < _REFLECTED) else 0)


_PRODUCT = {(left, right): _times(left, right) for left, right in product(range(10), repeat=2)}


def _permuted(digit: int, times: int) -> int:
    for _ in range(times % 8):
        digit = _PERMUTATION[digit]
    return digit


def verhoeff(code: str) -> bool:
    """SNOMED CT: the last digit guards the others.

    >>> verhoeff("449917004"), verhoeff("449917005")
    (True, False)
    """
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = _PRODUCT[check, _permuted(int(digit), place)]
    return check == 0


def mod10(code: str) -> bool:
    """LOINC: the digit behind the hyphen guards those before it.

    >>> mod10("2823-3"), mod10("2823-4")
    (True, False)
    """
    number, _, given = code.partition("-")
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))]
    return (10 - sum(value // 10 + value % 10 for value in doubled) % 10) % 10 == int(given)


def concept_id(code: str) -> bool:
    """SNOMED CT and dm+d: check digit, and a partition that says concept (00, or 10 in an extension), not description.

    >>> concept_id("449917004"), concept_id("2534409018")
    (True, False)
    """
    return verhoeff(code) and code[-3:-1] in _CONCEPTS and (code[-3] == "0" or len(code) >= _SHORTEST_EXTENSION)


_CONCEPTS = ("00", "10")
# An item, a namespace of seven digits, the partition and the check digit.
_SHORTEST_EXTENSION = 11

CHECKS: Mapping[str, Callable[[str], bool]] = {"concept-id": concept_id, "mod10": mod10}
