"""Confidence intervals, and verdicts that compare them with margins."""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = [
    "EQUIVALENCE_LEVEL",
    "FEWEST_UNITS",
    "VERDICTS",
    "confidence_interval",
    "simultaneous",
    "verdict",
]

VERDICTS = ("supported", "refuted", "inconclusive")

# Two one-sided tests at level 0.05 conclude equivalence exactly where the 90 % interval lies inside
# the margin.
EQUIVALENCE_LEVEL = 0.90

# With fewer units, an interval may lie inside the margin only because the estimated standard
# deviation is small by chance: that of three values is below a third of the true one in one study
# out of ten.
FEWEST_UNITS = 5


def simultaneous(groups: int, level: float = EQUIVALENCE_LEVEL) -> float:
    """Return the level of each of several intervals that hold together at ``level`` (Bonferroni).

    A statement about all of ``groups`` groups is decided by the worst of them. With intervals of
    level ``level``, a true statement about many groups would often be refuted by chance.

    >>> round(simultaneous(1), 3), round(simultaneous(4), 3)
    (0.9, 0.975)
    """
    return 1 - (1 - level) / groups


def confidence_interval(
    values: npt.ArrayLike, level: float = EQUIVALENCE_LEVEL
) -> tuple[float, float]:
    """Return Student's confidence interval of the mean of independent ``values``.

    The result is (−∞, ∞) for fewer than two values, which do not bound their mean.

    >>> low, high = confidence_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (0.314, 3.686)
    >>> confidence_interval([1.0])
    (-inf, inf)
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        return -math.inf, math.inf
    half = stats.t.ppf((1 + level) / 2, sample.size - 1) * stats.sem(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


def verdict(low: float, high: float, margin_low: float, margin_high: float) -> str:
    """Return the verdict on a claim whose statistic has the interval [low, high].

    The verdict is ``supported`` where the interval lies inside the margin, ``refuted`` where it
    lies wholly outside, and ``inconclusive`` otherwise, also where an end is NaN.

    >>> verdict(-0.1, 0.2, margin_low=-1, margin_high=1)
    'supported'
    >>> verdict(0.9, 1.1, margin_low=-1, margin_high=1)
    'inconclusive'
    >>> verdict(1.5, 1.7, margin_low=-1, margin_high=1)
    'refuted'
    """
    if margin_low <= low and high <= margin_high:
        return "supported"
    if high < margin_low or low > margin_high:
        return "refuted"
    return "inconclusive"
