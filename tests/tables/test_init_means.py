"""The summary of initialisation means, against textbook formulas."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdlm.tables.init_means import summarise


def test_the_summary_is_textbook_statistics() -> None:
    values = np.random.default_rng(0).normal(size=5)
    rows = pd.DataFrame(
        {
            "seed": range(5),
            "layer": "classifier",
            "depth": 18,
            "kind": "linear",
            "mean": values,
            "rms": [1.0, 2, 3, 4, 5],
            "predicted_sd": [2.0, 2, 2, 4, 4],
        }
    )
    summary = summarise(rows).set_index("layer").loc["classifier"]
    low, high = stats.t.interval(
        0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(5)
    )
    assert summary["seeds"] == 5
    assert summary["mean"] == pytest.approx(values.mean())
    assert summary["sd"] == pytest.approx(values.std(ddof=1))
    assert summary["standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    assert (summary["ci_low"], summary["ci_high"]) == pytest.approx((low, high))
    assert summary["rms"] == pytest.approx(math.sqrt(55 / 5))
    assert summary["predicted_sd"] == pytest.approx(math.sqrt((3 * 4 + 2 * 16) / 5))


def test_one_seed_bounds_nothing() -> None:
    row = {"seed": 0, "layer": "conv1", "depth": 0, "kind": "convolution", "mean": 0.5, "rms": 1.0}
    summary = summarise(pd.DataFrame([row | {"predicted_sd": None}])).iloc[0]
    assert summary["mean"] == 0.5
    assert math.isnan(summary["sd"])
    assert math.isnan(summary["ci_low"])
    assert math.isnan(summary["ci_high"])
    assert math.isnan(summary["predicted_sd"])
