"""Intervals and verdicts."""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["EQUIVALENCE_LEVEL", "confidence_interval", "verdict"]

# two one-sided tests at .05 conclude equivalence where this interval lies inside the margin
EQUIVALENCE_LEVEL = 0.90


def confidence_interval(
    values: npt.ArrayLike, level: float = EQUIVALENCE_LEVEL
) -> tuple[float, float]:
    """Student's confidence interval of the mean of independent ``values``.

    Fewer than two values bound nothing: (−∞, ∞).
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        return -math.inf, math.inf
    half = stats.t.ppf((1 + level) / 2, sample.size - 1) * stats.sem(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


def verdict(low: float, high: float, margin_low: float, margin_high: float) -> str:
    """``supported`` where [low, high] lies inside the margin, ``refuted`` where wholly outside.

    Anything else, an interval that is not a number included, is ``inconclusive``.
    """
    if margin_low <= low and high <= margin_high:
        return "supported"
    if high < margin_low or low > margin_high:
        return "refuted"
    return "inconclusive"
