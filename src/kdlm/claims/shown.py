"""The rows of table `claims` as a reader wants to see them: with units, and in words.

How a number is written follows from its claim's statistic, which `READINGS` knows by its text. A
statistic that is not there is written as a plain number, so a new claim needs no entry.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kdlm.claims import equations
from kdlm.claims.statistics import verdict
from kdlm.errors import InputError

__all__ = ["READINGS", "TOO_WIDE", "ShownClaim", "brief", "shown_claims"]

TOO_WIDE = "the interval lies partly inside and partly outside the margin"
"""The reason of a row that is inconclusive because of its interval."""


@dataclass(frozen=True)
class ShownClaim:
    """A row of table ``claims``, in words and in numbers.

    ``number``, ``low``, ``high`` and the margins are those of the table, unchanged: NaN where there
    is none, and infinite where the margin has no such end. ``unit`` is the unit in which ``value``,
    ``interval`` and ``margin`` are written; a point of accuracy is 0.01 of ``number``.
    """

    key: str
    """Unique: the id, with the form appended where an id stands for several rows."""
    id: str
    form: str
    statement: str
    statistic: str
    unit: str
    value: str
    interval: str
    margin: str
    number: float
    low: float
    high: float
    margin_low: float
    margin_high: float
    n: int
    verdict: str
    reason: str
    """Why the verdict is inconclusive; empty where it is not."""
    measured_on: str
    """What the statistic was measured on, without the dataset and the reason."""
    images: str
    """The dataset; empty for an equation, which holds for any logits."""

    @property
    def measured(self) -> bool:
        """Whether the row has a number."""
        return not math.isnan(self.number)


Words = tuple[str, str, str]
"""Value, interval and margin."""


@dataclass(frozen=True)
class _Reading:
    """How the numbers of a statistic are written."""

    unit: str
    write: Callable[[float, float, float, float, float], Words]
    """Takes the value, the ends of its interval and the ends of its margin."""


def brief(number: float) -> str:
    """Return a number to two or three digits, as a text without an exponent's leading zeros.

    >>> brief(0.0377), brief(1677.81), brief(3.86e-14), brief(1e-9), brief(0.0)
    ('0.038', '1,678', '3.9e-14', '1e-9', '0')
    """
    if number == 0:
        return "0"
    if abs(number) >= 1e6 or abs(number) < 1e-3:
        digits, _, exponent = f"{number:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(exponent)}"
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.2g}"


def _ends(low: float, high: float, write: Callable[[float], str], *, unit: str = "") -> str:
    """Return the two ends of a margin in words; an infinite end is no end."""
    if math.isnan(low) or math.isnan(high) or (math.isinf(low) and math.isinf(high)):
        return ""
    if math.isinf(low):
        return f"at most {write(high)}{unit}"
    if math.isinf(high):
        return f"at least {write(low)}{unit}"
    if low == -high:
        return f"at most {write(high)}{unit} either way"
    return f"{write(low)} to {write(high)}{unit}"


def _numbers(unit: str = "") -> _Reading:
    """Return the reading of plain numbers with ``unit`` behind them."""
    behind = f" {unit}" if unit else ""

    def words(value: float, low: float, high: float, least: float, most: float) -> Words:
        interval = "exact" if low == high else f"{brief(low)} to {brief(high)}{behind}"
        return f"{brief(value)}{behind}", interval, _ends(least, most, brief, unit=behind)

    return _Reading(unit, words)


def _powers() -> _Reading:
    """Return the reading of an exponent of the temperature."""

    def words(value: float, low: float, high: float, least: float, most: float) -> Words:
        interval = "exact" if low == high else f"{low:.3f} to {high:.3f}"
        return f"T to the power {value:.3f}", interval, _ends(least, most, "{:g}".format)

    return _Reading("power of T", words)


def _probabilities() -> _Reading:
    """Return the reading of a p-value."""

    def words(value: float, low: float, high: float, least: float, most: float) -> Words:
        interval = "exact" if low == high else f"{brief(low)} to {brief(high)}"
        return f"p = {brief(value)}", interval, _ends(least, math.inf if most == 1 else most, brief)

    return _Reading("p", words)


_LEAST_PERCENT = 9.9e-5
"""The smallest share that is written in per cent: 0.01 %, up to rounding."""


def _percent(share: float) -> str:
    """Return a share in per cent, as a multiple from 1 on, and a power of ten if it is tiny.

    >>> _percent(0.7256), _percent(1e-4), _percent(2.57), _percent(3.9e-14), _percent(1.0)
    ('73%', '0.01%', '2.6 times', '3.9e-14', '100%')
    """
    if abs(share) > 1:
        return f"{share:,.0f} times" if abs(share) >= 100 else f"{share:.2g} times"
    if share == 0 or abs(share) >= _LEAST_PERCENT:
        return f"{100 * share:.3g}%" if abs(share) > 0.995 else f"{100 * share:.2g}%"
    return brief(share)


def _shares(of: str, same: str = "exact") -> _Reading:
    """Return the reading of numbers that are shares of something, ``of``.

    Args:
        of: what they are shares of.
        same: what is said of an interval whose ends are equal.

    """

    def words(value: float, low: float, high: float, least: float, most: float) -> Words:
        written = _percent(value)
        ends = [_percent(low), _percent(high)]
        if all(end.endswith(" times") for end in ends):
            ends[0] = ends[0].removesuffix(" times")
        interval = same if low == high else " to ".join(ends)
        joined = f"{written} {of}" if written.endswith("times") else f"{written} of {of}"
        return joined, interval, _ends(least, most, _percent)

    return _Reading(of, words)


_IN_EACH = "the same in every seed"
"""Said of an interval over seeds in which every seed has the same value."""

_LEAST_POINTS = 0.05
"""A difference below this, in points, is written as less than it."""


def _points(unit: str, above: str, below: str) -> _Reading:
    """Return the reading of differences of shares, in points, with a word for each sign.

    Args:
        unit: name of the unit.
        above: the word for a difference above 0.
        below: the word for a difference below 0.

    """

    def size(points: float) -> str:
        return f"{abs(points):.1f} points"

    def one(points: float) -> str:
        if points == 0:
            return "no difference"
        if abs(points) < _LEAST_POINTS:
            return f"less than {_LEAST_POINTS} points"
        return f"{size(points)} {above if points > 0 else below}"

    def several(low: float, high: float) -> str:
        if math.isinf(low) or math.isinf(high):
            return "unbounded"
        if low == high:
            return _IN_EACH
        if max(abs(low), abs(high)) < _LEAST_POINTS:
            return f"less than {_LEAST_POINTS} points either way"
        if low < 0 < high:
            return f"{size(low)} {below} to {abs(high):.1f} {above}"
        near, far = sorted((low, high), key=abs)
        return f"{abs(near):.1f} to {size(far)} {above if far > 0 else below}"

    def margin(points: float) -> str:
        return f"{points:g} point{'' if points == 1 else 's'}"

    def words(value: float, low: float, high: float, least: float, most: float) -> Words:
        return (
            one(100 * value),
            several(100 * low, 100 * high),
            _ends(100 * least, 100 * most, margin),
        )

    return _Reading(unit, words)


_GRADIENT = _shares("the gradient")
_MEANS = _shares("their size at the start")
_P = _probabilities()
_SHARE_OF_LOSS = _shares("LM's loss")

READINGS: dict[str, _Reading] = {
    "largest difference": _numbers(),
    "worst relative violation": _shares("the exact value"),
    "largest over smallest gradient norm, T from 1 to 1024 rms": _numbers("times"),
    "largest |sum g| / sum |g|": _shares("the gradient's absolute sum"),
    "largest relative distance at the largest finite T": _GRADIENT,
    "log-log slope beyond ten rms, of the source furthest from -1": _powers(),
    "largest excess of the bound, nats": _numbers("nats"),
    "share of LM's loss due to g = c^s - c^t, training set, worst student": _SHARE_OF_LOSS,
    "share of LM's loss due to g = c^s - c^t, test set, worst student of either": _SHARE_OF_LOSS,
    "share of LM's loss due to g = c^s - c^t, any epoch and split, worst student": _SHARE_OF_LOSS,
    "rms over samples of c(x) - c(x) at start, over rms of the latter, worst network": _MEANS,
    "|sum_k dW_k| over sqrt(K) |dW|, worst of W and b": _shares("the change of the weights"),
    "mean |z| with the term over without, of the sign that shrinks less": _shares(
        "the logits' size without it"
    ),
    "distance of the worst pair over that of two seeds": _shares("the distance between two seeds"),
    "largest deviation, in half the mean of g^2": _shares("half the mean of g^2"),
    "largest |mean of c^s - c^t| in rms of z^s - z^t": _shares("the logits' rms difference"),
    "largest rms of c(x) in rms of the centred logits": _shares("the logits' rms"),
    "share of test images predicted otherwise, over that of two seeds of one loss": _shares(
        "the disagreement of two seeds", _IN_EACH
    ),
    "difference of test accuracies, KD less the other": _points(
        "points of accuracy", "better", "worse"
    ),
    "difference of test accuracies, measured less published": _points(
        "points of accuracy", "better", "worse"
    ),
    "difference of expected calibration errors, KD less the other": _points(
        "points of calibration error", "worse", "better"
    ),
    "mean over seeds in its predicted sd": _numbers("predicted sd"),
    "mean output over rms output": _numbers("times the rms"),
    "largest two-sided p over protocols, chi-square with 4 degrees of freedom": _P,
    "largest two-sided p over protocols, chi-square with 3 degrees of freedom": _P,
    "distance from zero in standard errors of 6000 seeds": _numbers("standard errors"),
}
"""How each statistic is written, by the text of column ``statistic``."""

_PLAIN = _numbers()


def shown_claims(claims: pd.DataFrame) -> list[ShownClaim]:
    """Return the rows of table ``claims``, in its order.

    A row that was not measured has ``-`` for its value and its interval.

    Raises:
        InputError: two rows have the same id and form.

    """
    several = set(claims.loc[claims["id"].duplicated(), "id"])
    shown = [_shown(row, several=row.id in several) for row in claims.itertuples()]
    if len({row.key for row in shown}) < len(shown):
        raise InputError("claims: two rows of the same id and form; run snakemake again")
    return shown


def _shown(row: Any, *, several: bool) -> ShownClaim:
    form, statistic = _text(row.form), _text(row.statistic)
    number, low, high, least, most = (
        math.nan if pd.isna(value) else float(value)
        for value in (row.value, row.ci_low, row.ci_high, row.margin_low, row.margin_high)
    )
    reading = READINGS.get(statistic, _PLAIN)
    value, interval, margin = reading.write(number, low, high, least, most)
    if math.isnan(number):
        value = interval = "-"
    images, told = _images(row)
    reason, told = _reason(row, told, (low, high, least, most))
    return ShownClaim(
        key=f"{row.id}.{form.replace(' ', '-')}" if several else _text(row.id),
        id=_text(row.id),
        form=form,
        statement=_text(row.statement),
        statistic=statistic,
        unit=reading.unit,
        value=value,
        interval=interval,
        margin=margin,
        number=number,
        low=low,
        high=high,
        margin_low=least,
        margin_high=most,
        n=0 if pd.isna(row.n) else int(row.n),
        verdict=_text(row.verdict),
        reason=reason,
        measured_on=told,
        images=images,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


_ANY_LOGITS = {claim.id for claim in equations.CLAIMS}
"""The claims about equations, whose rows name no dataset."""


def _images(row: Any) -> tuple[str, str]:
    """Return the dataset that column ``measured_on`` begins with, and the rest of the column."""
    told = _text(row.measured_on)
    if row.id in _ANY_LOGITS:
        return "", told
    # one word, as the names of datasets are: a note of other words can have a colon too
    found = re.match(r"([\w-]+): ", told)
    return (found[1], told[found.end() :]) if found else ("", told)


def _reason(row: Any, told: str, ends: tuple[float, float, float, float]) -> tuple[str, str]:
    """Return why the row is inconclusive, or '', and ``told`` without that reason.

    A reason other than the interval stands at the beginning of column ``measured_on``.
    """
    if row.verdict != "inconclusive":
        return "", told
    if math.isnan(ends[0]):
        return told, ""
    bounded = math.isfinite(ends[0]) and math.isfinite(ends[1])
    if bounded and verdict(*ends) == "inconclusive":
        return TOO_WIDE, told
    first, _, rest = told.partition("; ")
    return first, rest
