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
            "sd_over_images": [1.0, 1, 1, 1, 3],
        }
    )
    summary = summarise(rows, 4).set_index("layer").loc["classifier"]
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
    assert summary["sd_over_images"] == pytest.approx(math.sqrt(13 / 5))
    assert summary["image_share"] == pytest.approx(13 / 5 / 4 / values.var(ddof=1))


@pytest.mark.parametrize(("between", "within"), [(1.0, 1.0), (1.0, 4.0), (0.0, 2.0)])
def test_the_variance_is_decomposed_into_seeds_and_images(between: float, within: float) -> None:
    """Means of 4 images foretell the sd of means of 16, drawn as seed plus image of a seed."""
    generator = np.random.default_rng(0)
    seeds = generator.normal(scale=between, size=(20_000, 1))
    every = seeds + generator.normal(scale=within, size=(20_000, 16))
    summaries = []
    for images in (4, 16):
        part = every[:, :images]
        rows = {"layer": "classifier", "depth": 0, "kind": "linear", "rms": 1.0,
                "predicted_sd": 1.0, "mean": part.mean(axis=1),
                "sd_over_images": part.std(axis=1, ddof=1)}  # fmt: skip
        summaries.append(summarise(pd.DataFrame(rows), images).iloc[0])
    few, more = summaries
    variance = between**2 + within**2 / 4
    assert few["image_share"] == pytest.approx(within**2 / 4 / variance, rel=0.05)
    foretold = few["sd"] * math.sqrt(1 - few["image_share"] * (1 - 4 / 16))
    assert foretold == pytest.approx(more["sd"], rel=0.03)


def test_means_that_do_not_vary_have_no_share_of_images() -> None:
    row = {"layer": "classifier", "depth": 0, "kind": "linear", "rms": 1.0, "mean": 0.0}
    rows = pd.DataFrame([row | {"predicted_sd": 0.0, "sd_over_images": 0.0}] * 3)
    assert math.isnan(summarise(rows, 4)["image_share"][0])


def test_each_layer_has_the_number_of_its_own_seeds() -> None:
    """Two of five seeds record the convolution, in two shards."""
    layers = [("conv1", 0, "convolution", range(2)), ("classifier", 1, "linear", range(5))]
    rows = pd.DataFrame(
        {"seed": seed, "layer": layer, "depth": depth, "kind": kind, "mean": float(seed**2),
         "rms": 1.0 + seed, "predicted_sd": 1.0 if kind == "linear" else None,
         "sd_over_images": 1.0}
        for layer, depth, kind, seeds in layers
        for seed in seeds
    )  # fmt: skip
    rows = rows.sort_values("seed", kind="stable", ignore_index=True)
    summary = summarise(rows, 4).set_index("layer")
    assert summary["seeds"].to_dict() == {"conv1": 2, "classifier": 5}
    assert summary["mean"].to_dict() == {"conv1": 0.5, "classifier": 6.0}
    assert summary.loc["conv1", "rms"] == pytest.approx(math.sqrt((1 + 4) / 2))
    assert summary.loc["classifier", "rms"] == pytest.approx(math.sqrt(55 / 5))
    for layer, values in (("conv1", [0, 1]), ("classifier", [0, 1, 4, 9, 16])):
        scale = np.std(values, ddof=1) / math.sqrt(len(values))
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scale)
        assert summary.loc[layer, "ci_low"] == pytest.approx(low)
        assert summary.loc[layer, "ci_high"] == pytest.approx(high)


def test_one_seed_bounds_nothing() -> None:
    row = {"seed": 0, "layer": "conv1", "depth": 0, "kind": "convolution", "mean": 0.5, "rms": 1.0,
           "sd_over_images": 1.0}  # fmt: skip
    summary = summarise(pd.DataFrame([row | {"predicted_sd": None}]), 4).iloc[0]
    assert summary["mean"] == 0.5
    assert math.isnan(summary["sd"])
    assert math.isnan(summary["ci_low"])
    assert math.isnan(summary["ci_high"])
    assert math.isnan(summary["predicted_sd"])
    assert math.isnan(summary["image_share"])
