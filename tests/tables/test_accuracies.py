"""Accuracies of the paired arm: the same teacher, the same seeds, nothing moved."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdlm.tables.accuracies import LEVEL, Accuracy, accuracies

STUDENT = {
    "role": "student", "status": "finished", "teacher": "t", "teacher_seed": 0,
    "architecture": "resnet8", "initialisation": "he", "recipe": "student", "loss": "kd",
    "temperature": math.inf, "means": "trained-teacher", "mean_gap": 0.0, "perturbation": 0,
    "relative_perturbation": 0.0, "seed": 0, "last_accuracy": 0.9,
}  # fmt: skip
ARMS = [("ce", 1.0), ("kd", 1.0), ("kd", 4.0), ("kd", math.inf), ("lm", math.inf),
        ("centred-lm", math.inf)]  # fmt: skip


def students(seeds: int = 5, **keys: Any) -> pd.DataFrame:
    """Students of every loss, whose accuracy tells the loss and the seed."""
    return pd.DataFrame(
        [
            STUDENT
            | {"loss": loss, "temperature": t, "seed": seed}
            | {"last_accuracy": 0.8 + 0.01 * place + 0.002 * seed}
            | keys
            for place, (loss, t) in enumerate(ARMS)
            for seed in range(seeds)
        ]
    )


def test_the_losses_with_their_interval_over_seeds() -> None:
    found = accuracies(students())
    assert [one.label for one in found] == [
        "CE, without a teacher", "KD at its best T = 4", "LM", "KD at T = inf", "centred LM",
    ]  # fmt: skip
    assert all(one.n == 5 for one in found)
    values = 0.84 + 0.002 * np.arange(5)
    low, high = stats.t.interval(LEVEL, 4, values.mean(), stats.sem(values))
    assert (found[2].mean, found[2].low, found[2].high) == pytest.approx((0.844, low, high))


@pytest.mark.parametrize(
    "other",
    [
        {"perturbation": 1}, {"relative_perturbation": 1e-6}, {"mean_gap": 5.0},
        {"means": "natural"}, {"recipe": "adam"}, {"teacher_seed": 1}, {"status": "missing"},
        {"initialisation": "he-centred"}, {"role": "teacher"},
    ],
)  # fmt: skip
def test_no_other_arm_enters_the_mean(other: dict[str, Any]) -> None:
    strangers = students(seeds=3, last_accuracy=0.1, **other)
    assert accuracies(pd.concat([strangers, students()])) == accuracies(students())


def test_a_loss_without_every_seed_is_left_out() -> None:
    rows = students()
    lost = (rows["loss"] == "kd") & (rows["temperature"] == 4) & (rows["seed"] == 3)
    found = accuracies(rows[~lost])
    assert found[1].label == "KD at its best T = 1"
    assert not accuracies(rows[rows["loss"] != "lm"])
    assert not accuracies(rows.iloc[:0])


def test_one_seed_bounds_nothing() -> None:
    one = accuracies(students(seeds=1))[0]
    assert (one.low, one.high, one.n) == (-math.inf, math.inf, 1)
    assert one.words() == "CE, without a teacher: 80.0%"
    assert Accuracy("LM", 0.9, 0.8, 1.0, 2).words() == "LM: 90.0% (90% interval 80.0% to 100.0%)"
