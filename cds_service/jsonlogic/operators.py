"""What the operators mean on known values, as jsonlogic.com has it; an Interval, and what was Seen, often decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from cds_service.model import UNKNOWN, Interval, Seen

_NO_POINTS = (Interval, Seen)


def truthy(value: Any) -> bool:
    """As jsonlogic.com has it: 0, "", [] and null are false, "0" is true. An Interval, or what was Seen, is always true."""
    return bool(value) if not isinstance(value, _NO_POINTS) else True


def _number(value: Any) -> Decimal | int | None:
    """What JavaScript's Number() makes of it; None where it makes NaN."""
    if value is None:
        return 0
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str):
        try:
            return Decimal(value.strip() or "0")
        except ArithmeticError:
            return None
    return None


def equal(left: Any, right: Any) -> Any:
    """Loose equality. With an Interval only where it leaves no doubt."""
    if isinstance(left, _NO_POINTS) or isinstance(right, _NO_POINTS):
        return _seen(_interval_equal, left, right)
    if type(left) is type(right):
        return left == right
    if left is None or right is None:
        return False
    first, second = _number(left), _number(right)
    return first is not None and first == second


def less(left: Any, right: Any) -> Any:
    if isinstance(left, _NO_POINTS) or isinstance(right, _NO_POINTS):
        return _seen(_interval_less, left, right)
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    first, second = _number(left), _number(right)
    return first is not None and second is not None and first < second


def at_most(left: Any, right: Any) -> Any:
    if isinstance(left, _NO_POINTS) or isinstance(right, _NO_POINTS):
        return _seen(_interval_at_most, left, right)
    if isinstance(left, str) and isinstance(right, str):
        return left <= right
    first, second = _number(left), _number(right)
    return first is not None and second is not None and first <= second


def _seen(compare: Callable[[Interval, Interval], Any], left: Any, right: Any) -> Any:
    """A comparison of Intervals; of what was seen it is true where one of the amounts makes it so, and never false."""
    if not isinstance(left, Seen) and not isinstance(right, Seen):
        return compare(_bounds(left), _bounds(right))
    first, second = (item.amounts if isinstance(item, Seen) else (item,) for item in (left, right))
    answers = [compare(_bounds(one), _bounds(other)) for one in first for other in second]
    return True if any(answer is True for answer in answers) else UNKNOWN


def _bounds(value: Any) -> Interval:
    if isinstance(value, Interval):
        return value
    number = _number(value)
    bound = Decimal(number) if number is not None else None
    return Interval(bound, bound)


def _interval_less(left: Interval, right: Interval) -> Any:
    """True if all of `left` lies below all of `right`, False if none of it can, else unknown."""
    if left.high is not None and right.low is not None:
        touching = left.high == right.low and (left.high_open or right.low_open)
        if left.high < right.low or touching:
            return True
    if left.low is not None and right.high is not None and left.low >= right.high:
        return False
    return UNKNOWN


def _interval_at_most(left: Interval, right: Interval) -> Any:
    return negated(_interval_less(right, left))


def _interval_equal(first: Interval, second: Interval) -> Any:
    if _interval_less(first, second) is True or _interval_less(second, first) is True:
        return False
    same = first.low == first.high == second.low == second.high
    return True if same and first.low is not None else UNKNOWN


def negated(value: Any) -> Any:
    return UNKNOWN if value is UNKNOWN else not value


def between(compare: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """`<` and `<=` take a third operand: `1 < x < 5`."""

    def work(first: Any, second: Any, *third: Any) -> Any:
        sides = [compare(first, second), *(compare(second, last) for last in third)]
        if False in sides:
            return False
        return UNKNOWN if UNKNOWN in sides else True

    return work


def among(item: Any, where: Any) -> Any:
    if isinstance(where, str):
        return isinstance(item, str) and item in where
    return any((type(item) is type(other) and item == other) or _same_number(item, other) for other in where or ())


def _same_number(left: Any, right: Any) -> bool:
    numbers = (int, Decimal)
    both = isinstance(left, numbers) and isinstance(right, numbers)
    return both and not isinstance(left, bool) and not isinstance(right, bool) and left == right


def arithmetic(work: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """Numbers only. What is none, an Interval or a division by zero stays unknown: there is nothing to decide on."""

    def on_numbers(*given: Any) -> Any:
        numbers = [None if isinstance(item, _NO_POINTS) else _number(item) for item in given]
        if any(number is None for number in numbers):
            return UNKNOWN
        try:
            return work(numbers)
        except ArithmeticError:
            return UNKNOWN

    return on_numbers


def product(numbers: list[Any]) -> Any:
    result: Any = 1
    for number in numbers:
        result *= number
    return result
