"""Where the parts of a small drawing stand: an interval against its margin, and accuracies.

The page's template makes SVG of them. Lengths are in units of the drawing's width, `WIDTH`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kdlm.claims.shown import ShownClaim
from kdlm.tables.accuracies import Accuracy

__all__ = ["WIDTH", "AccuracyDrawing", "IntervalDrawing", "draw_accuracies", "draw_interval"]

WIDTH = 200.0
_ROOM = 8.0
"""Least distance of a point from either end of the drawing."""
_APART = 20.0
"""Ratio of the largest to the smallest number from which on the axis is logarithmic."""

Place = Callable[[float], float]


@dataclass(frozen=True)
class IntervalDrawing:
    """A claim's value and interval, and its margin, as places from 0 to `WIDTH`."""

    point: float
    low: float
    high: float
    margin_low: float
    margin_high: float
    zero: float | None
    """The place of 0; None on a logarithmic axis, and where 0 is outside."""
    logarithmic: bool


def draw_interval(claim: ShownClaim) -> IntervalDrawing | None:
    """Return the drawing of a claim's interval against its margin; None if it has no value.

    The axis is logarithmic where all numbers are positive and far apart, since values and margins
    can differ by ten orders of magnitude. An end at infinity is drawn at the end of the drawing.
    """
    if not math.isfinite(claim.number):
        return None
    ends = (claim.low, claim.high, claim.margin_low, claim.margin_high)
    numbers = [claim.number, *(end for end in ends if math.isfinite(end))]
    logarithmic = min(numbers) > 0 and max(numbers) > _APART * min(numbers)
    if not logarithmic:
        numbers.append(0.0)
    place = _placed(numbers, logarithmic=logarithmic)
    low, high, margin_low, margin_high = (place(end) for end in ends)
    return IntervalDrawing(
        point=place(claim.number),
        low=low,
        high=high,
        margin_low=margin_low,
        margin_high=margin_high,
        zero=None if logarithmic else place(0.0),
        logarithmic=logarithmic,
    )


def _placed(numbers: Iterable[float], *, logarithmic: bool) -> Place:
    """Return the function that gives a number's place on an axis that shows all ``numbers``."""
    scaled = [math.log10(number) if logarithmic else number for number in numbers]
    first, last = min(scaled), max(scaled)
    if first == last:
        first, last = first - 1, last + 1

    def place(number: float) -> float:
        if math.isnan(number) or number == -math.inf:
            return 0.0
        if number == math.inf:
            return WIDTH
        scaled = math.log10(number) if logarithmic else number
        return _ROOM + (WIDTH - 2 * _ROOM) * (scaled - first) / (last - first)

    return place


@dataclass(frozen=True)
class AccuracyDrawing:
    """Accuracies on one axis: the places of each mean and of its interval's ends, and ticks."""

    rows: tuple[tuple[Accuracy, float, float, float], ...]
    """Each accuracy with the places of its mean, of the lower and of the upper end."""
    ticks: tuple[tuple[float, str], ...]
    """Places and labels of the axis, in percent."""


def draw_accuracies(accuracies: Sequence[Accuracy]) -> AccuracyDrawing | None:
    """Return the drawing of several accuracies on a common axis; None if there are none."""
    ends = [
        end for one in accuracies for end in (one.mean, one.low, one.high) if math.isfinite(end)
    ]
    if not ends:
        return None
    place = _placed(ends, logarithmic=False)
    rows = tuple((one, place(one.mean), place(one.low), place(one.high)) for one in accuracies)
    step = _step(100 * (max(ends) - min(ends)))
    first = math.ceil(100 * min(ends) / step)
    ticks = [
        number * step for number in range(first, first + 12) if number * step <= 100 * max(ends)
    ]
    return AccuracyDrawing(rows, tuple((place(tick / 100), f"{tick:.6g} %") for tick in ticks))


def _step(span: float) -> float:
    """Return the distance of ticks, 1, 2 or 5 times a power of ten: three to six in ``span``.

    >>> _step(9.2), _step(0.05), _step(0)
    (2.0, 0.01, 1.0)
    """
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 3))
    return next(
        (number * power for number in (1.0, 2.0, 5.0) if span / (number * power) <= 6), 10 * power
    )
