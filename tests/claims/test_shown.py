"""Claims as a reader wants to see them: keys, units, words, and reasons."""

import dataclasses
import math
import re

import pandas as pd
import pytest

from kdlm.claims import CLAIMS, decide
from kdlm.claims.shown import READINGS, TOO_WIDE, ShownClaim, shown_claims
from kdlm.errors import InputError
from tests.claims.world import ALL, EVIDENCE, TABLES, without


def table(**columns: object) -> pd.DataFrame:
    """A table of one row: an undecided difference of accuracies, with some columns changed."""
    row: dict[str, object] = {
        "id": "equivalence-accuracy",
        "equation": "Figure 1",
        "statement": "KD is as accurate as LM",
        "form": "as stated",
        "statistic": "difference of test accuracies, KD less the other",
        "value": -0.018,
        "ci_low": -0.028,
        "ci_high": -0.007,
        "margin_low": -0.01,
        "margin_high": 0.01,
        "verdict": "inconclusive",
        "n": 5,
        "measured_on": "digits: worst of 1: KD; 5 seeds of one teacher",
    }
    return pd.DataFrame([row | columns])


def shown(**columns: object) -> ShownClaim:
    (one,) = shown_claims(table(**columns))
    return one


def test_every_row_has_its_own_key_in_the_order_of_the_table() -> None:
    rows = shown_claims(decide(EVIDENCE))
    assert [(row.id, row.form) for row in rows] == ALL
    assert len({row.key for row in rows}) == len(ALL)
    assert all(re.fullmatch(r"[a-z0-9.-]+", row.key) for row in rows)
    keys = {row.key for row in rows}
    assert {"eq7-printed", "equivalence-accuracy.corrected", "equivalence-logits.as-stated"} <= keys


def test_two_rows_of_one_key_are_refused() -> None:
    with pytest.raises(InputError, match="two rows of the same id and form"):
        shown_claims(pd.concat([table(), table()]))


def test_no_reading_is_left_over_from_a_statistic_that_was_renamed() -> None:
    assert set(READINGS) <= {claim.statistic for claim in CLAIMS}


def test_numbers_are_those_of_the_table() -> None:
    claims = decide(EVIDENCE)
    for row, one in zip(claims.to_dict("records"), shown_claims(claims), strict=True):
        numbers = (one.number, one.low, one.high, one.margin_low, one.margin_high)
        names = ("value", "ci_low", "ci_high", "margin_low", "margin_high")
        assert numbers == tuple(row[name] for name in names)
        assert (one.n, one.verdict, one.statement) == (row["n"], row["verdict"], row["statement"])


@pytest.mark.parametrize(
    ("value", "low", "high", "words", "interval"),
    [
        (-0.018, -0.028, -0.007, "1.8 points worse", "0.7 to 2.8 points worse"),
        (0.018, 0.007, 0.028, "1.8 points better", "0.7 to 2.8 points better"),
        (0.00667, -0.0295, 0.0428, "0.7 points better", "2.9 points worse to 4.3 better"),
        (0.0, 0.0, 0.0, "no difference", "the same in every seed"),
        (-6e-10, -3e-9, 2e-9, "less than 0.05 points", "less than 0.05 points either way"),
        (0.1, -math.inf, math.inf, "10.0 points better", "unbounded"),
    ],
)
def test_a_difference_of_accuracies_is_in_points_better_or_worse(
    value: float, low: float, high: float, words: str, interval: str
) -> None:
    one = shown(value=value, ci_low=low, ci_high=high)
    assert (one.value, one.interval) == (words, interval)
    assert (one.unit, one.margin) == ("points of accuracy", "at most 1 point either way")


def test_a_larger_calibration_error_is_worse() -> None:
    statistic = "difference of expected calibration errors, KD less the other"
    assert shown(statistic=statistic).value == "1.8 points better"
    assert shown(statistic=statistic, margin_low=-0.02, margin_high=0.02).margin.startswith(
        "at most 2 points"
    )


@pytest.mark.parametrize(
    ("statistic", "value", "margin", "words", "allowed"),
    [
        ("distance of the worst pair over that of two seeds", 0.7256, (-math.inf, 0.01),
         "73% of the distance between two seeds", "at most 1%"),
        ("distance of the worst pair over that of two seeds", 2.57, (-math.inf, 0.1),
         "2.6 times the distance between two seeds", "at most 10%"),
        ("distance of the worst pair over that of two seeds", 3.86e-14, (-math.inf, 0.01),
         "3.9e-14 of the distance between two seeds", "at most 1%"),
        ("share of LM's loss due to g = c^s - c^t, test set, worst student of either", 0.06998,
         (-math.inf, 1e-4), "7% of LM's loss", "at most 0.01%"),
        ("largest relative distance at the largest finite T", 1677.8, (-math.inf, 1e-3),
         "1,678 times the gradient", "at most 0.1%"),
        ("log-log slope beyond ten rms, of the source furthest from -1", -1.0027, (-1.1, -0.9),
         "T to the power -1.003", "-1.1 to -0.9"),
        ("largest two-sided p over protocols, chi-square with 4 degrees of freedom", 1.9e-5,
         (0.05, 1.0), "p = 1.9e-5", "at least 0.05"),
        ("a statistic of tomorrow", 0.25, (-math.inf, math.inf), "0.25", ""),
    ],
)  # fmt: skip
def test_other_numbers_have_their_units(
    statistic: str, value: float, margin: tuple[float, float], words: str, allowed: str
) -> None:
    low, high = margin
    one = shown(statistic=statistic, value=value, ci_low=value, ci_high=value, margin_low=low,
                margin_high=high)  # fmt: skip
    assert (one.value, one.interval, one.margin) == (words, "exact", allowed)


@pytest.mark.parametrize(
    ("columns", "reason", "measured_on"),
    [
        ({"verdict": "refuted"}, "", "worst of 1: KD; 5 seeds of one teacher"),
        ({"ci_high": 0.02}, TOO_WIDE, "worst of 1: KD; 5 seeds of one teacher"),
        # the interval decides, so what stands first is the reason
        ({"ci_low": -0.009, "measured_on": "digits: 3 seeds: fewer than five; KD"},
         "3 seeds: fewer than five", "KD"),
        ({"ci_low": -math.inf, "ci_high": math.inf, "measured_on": "digits: one seed; KD"},
         "one seed", "KD"),
        ({"value": None, "ci_low": None, "ci_high": None, "n": 0,
          "measured_on": "digits: not measured: it is lost; and 1 more"},
         "not measured: it is lost; and 1 more", ""),
    ],
)  # fmt: skip
def test_an_undecided_claim_says_why(
    columns: dict[str, object], reason: str, measured_on: str
) -> None:
    one = shown(**columns)
    assert (one.reason, one.measured_on, one.images) == (reason, measured_on, "digits")


def test_an_unmeasured_claim_has_no_numbers() -> None:
    for one in shown_claims(decide(without("identities", claim="b3")(EVIDENCE))):
        assert one.measured == (one.id != "b3")
        if one.id == "b3":
            assert (one.value, one.interval, one.n) == ("-", "-", 0)
            assert one.reason.startswith("not measured: ")


def test_no_table_at_all_is_shown_without_nan_or_infinity() -> None:
    nothing = {name: getattr(EVIDENCE, name).iloc[:0] for name in TABLES}
    for evidence in (EVIDENCE, dataclasses.replace(EVIDENCE, **nothing)):
        for one in shown_claims(decide(evidence)):
            assert not re.search(r"\b(nan|inf)\b", f"{one.value} {one.interval} {one.margin}")
            assert bool(one.reason) == (one.verdict == "inconclusive")
