"""Intervals against scipy's tests, verdicts against their definition."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kdlm.claims.evidence import Finding, exactly, worst
from kdlm.claims.statistics import (
    EQUIVALENCE_LEVEL,
    confidence_interval,
    simultaneous,
    verdict,
)

numbers = st.floats(-10, 10)
samples = st.tuples(st.integers(2, 12), st.floats(-2, 2), st.floats(0.1, 3), st.integers(0, 2**32))


def sample(
    size: int, mean: float, sd: float, seed: int
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.random.default_rng(seed).normal(mean, sd, size)


@given(samples, st.floats(0.5, 0.999))
def test_the_interval_is_that_of_the_t_test(
    drawn: tuple[int, float, float, int], level: float
) -> None:
    values = sample(*drawn)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    assert confidence_interval(values, level) == pytest.approx((expected.low, expected.high))


@given(samples, st.floats(-5, 5), st.floats(0.01, 5))
def test_the_interval_moves_and_stretches_with_the_values(
    drawn: tuple[int, float, float, int], shift: float, scale: float
) -> None:
    values = sample(*drawn)
    low, high = confidence_interval(values)
    moved = confidence_interval(shift + scale * values)
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), abs=1e-9)
    assert confidence_interval(-values) == pytest.approx((-high, -low))


@pytest.mark.parametrize("values", [[], [3.0]])
def test_fewer_than_two_values_bound_nothing(values: list[float]) -> None:
    assert confidence_interval(values) == (-math.inf, math.inf)


def test_equal_values_leave_no_doubt() -> None:
    assert confidence_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    trials, generator = 4000, np.random.default_rng(0)
    intervals = [confidence_interval(generator.normal(1.0, 2.0, 3)) for _ in range(trials)]
    covered = sum(low <= 1.0 <= high for low, high in intervals) / trials
    # four binomial standard errors
    assert covered == pytest.approx(EQUIVALENCE_LEVEL, abs=4 * math.sqrt(0.1 * 0.9 / trials))


@settings(max_examples=300)
@given(samples, st.floats(-3, 3), st.floats(0.01, 6))
def test_supported_is_the_two_one_sided_tests_at_05(
    drawn: tuple[int, float, float, int], low: float, width: float
) -> None:
    """Computed from the statistic's definition, which scipy's interval does not go through."""
    values, high = sample(*drawn), low + width
    error = values.std(ddof=1) / math.sqrt(len(values))
    freedom = len(values) - 1
    p_above_low = stats.t.sf((values.mean() - low) / error, freedom)
    p_below_high = stats.t.cdf((values.mean() - high) / error, freedom)
    found = verdict(*confidence_interval(values, EQUIVALENCE_LEVEL), low, high)
    assert (found == "supported") == (max(p_above_low, p_below_high) <= 0.05)
    # refuted is a one-sided test at .05 the other way
    assert (found == "refuted") == (min(1 - p_above_low, 1 - p_below_high) < 0.05)


@given(numbers, numbers, numbers, numbers)
def test_the_verdict_is_where_the_interval_lies(a: float, b: float, c: float, d: float) -> None:
    (low, high), (margin_low, margin_high) = sorted((a, b)), sorted((c, d))
    inside = margin_low <= low and high <= margin_high
    apart = max(low, margin_low) > min(high, margin_high)
    expected = "supported" if inside else "refuted" if apart else "inconclusive"
    assert verdict(low, high, margin_low, margin_high) == expected


@pytest.mark.parametrize(
    ("low", "high"), [(math.nan, 0.5), (0.5, math.nan), (math.nan, math.nan), (-math.inf, math.inf)]
)
def test_what_is_not_a_number_or_unbounded_decides_nothing(low: float, high: float) -> None:
    assert verdict(low, high, 0.0, 1.0) == "inconclusive"


def test_a_value_not_a_number_decides_nothing() -> None:
    assert verdict(*confidence_interval([0.1, math.nan, 0.1]), 0.0, 1.0) == "inconclusive"


def test_an_exact_value_on_the_margin_is_inside() -> None:
    assert verdict(1.0, 1.0, 0.0, 1.0) == "supported"
    assert verdict(1.0 + 1e-12, 1.0 + 1e-12, 0.0, 1.0) == "refuted"


@given(st.integers(2, 9), st.floats(-3, 3), st.floats(0, 2))
def test_fewer_than_five_units_refute_but_do_not_support(n: int, low: float, width: float) -> None:
    found = Finding(low + width / 2, low, low + width, n, "these")
    by_interval = verdict(low, low + width, -1.0, 1.0)
    too_few = n < 5 and by_interval == "supported"
    assert found.verdict(-1.0, 1.0) == ("inconclusive" if too_few else by_interval)
    assert found.reason(-1.0, 1.0).startswith(f"{n} seeds: fewer than five") == too_few
    # another reason is not hidden by this one
    doubtful = dataclasses.replace(found, doubt="a doubt")
    assert (doubtful.verdict(-1.0, 1.0), doubtful.reason(-1.0, 1.0)) == ("inconclusive", "a doubt")


@given(st.integers(1, 9), st.floats(-3, 3))
def test_a_worst_case_needs_no_five_units(n: int, value: float) -> None:
    expected = "supported" if -1 <= value <= 1 else "refuted"
    assert exactly(value, n, "all").verdict(-1.0, 1.0) == expected


def test_intervals_that_hold_together() -> None:
    """Of six true means all are covered in 90 % of studies or more."""
    trials, generator = 2000, np.random.default_rng(3)
    together = 0
    for _ in range(trials):
        intervals = [
            confidence_interval(values, simultaneous(6)) for values in generator.normal(size=(6, 5))
        ]
        together += all(low <= 0 <= high for low, high in intervals)
    # exactly (1 - 0.1/6)^6 for independent groups
    assert together / trials == pytest.approx(0.904, abs=4 * math.sqrt(0.09 / trials))


@given(st.lists(numbers, min_size=1, max_size=6), st.floats(0, 5))
def test_the_worst_of_several_is_the_furthest_from_zero_of_the_worst_verdict(
    values: list[float], margin: float
) -> None:
    """On either side: a margin may have two ends."""
    margins = -margin, margin
    found = worst([exactly(value, 3, "these") for value in values], margins)
    assert abs(found.value) == max(abs(value) for value in values)
    refuted = max(abs(value) for value in values) > margin
    assert found.verdict(*margins) == ("refuted" if refuted else "supported")
    assert [case.value for case in found.cases] == values
