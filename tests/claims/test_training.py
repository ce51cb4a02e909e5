"""Claims about trained students: controls, seeds, groups."""

import dataclasses

import pandas as pd
import pytest
from scipy import stats

from tests.claims.world import (
    AS_STATED,
    CORRECTED,
    EVIDENCE,
    MARGINS,
    SEEDS,
    row,
)


def test_the_equivalence_of_accuracies_is_the_two_one_sided_tests() -> None:
    table = EVIDENCE.comparisons
    at = table[(table["loss_a"] == "kd") & (table["temperature_a"] == 1e4)]
    for other, form in (("lm", AS_STATED), ("centred-lm", CORRECTED)):
        values = at[at["loss_b"] == other]["accuracy_difference"]
        p = max(
            stats.ttest_1samp(values, -MARGINS.accuracy, alternative="greater").pvalue,
            stats.ttest_1samp(values, MARGINS.accuracy, alternative="less").pvalue,
        )
        found = row(EVIDENCE, "equivalence-accuracy", form)
        assert (found["verdict"] == "supported") == (p <= 0.05)
        assert found["value"] == pytest.approx(values.mean())


def test_recipes_with_cross_entropy_say_nothing_of_distillation() -> None:
    assert (EVIDENCE.histories["logit_gradient_sum"] > 0.1).any()
    assert row(EVIDENCE, "eq5", AS_STATED)["value"] < 1e-12


def test_contrasts_stand_beside_what_stays() -> None:
    said = row(EVIDENCE, "sums-stay", CORRECTED)["measured_on"]
    for outside in ("LM", "weight decay", "Adam"):
        assert outside in said


def test_arms_are_not_counted_as_seeds() -> None:
    other = EVIDENCE.runs.assign(teacher="resnet44-he-long")
    more = pd.concat([EVIDENCE.runs, other], ignore_index=True)
    assert row(dataclasses.replace(EVIDENCE, runs=more), "l1-like", AS_STATED)["n"] == len(SEEDS)


def test_the_perturbed_control_is_not_another_seed() -> None:
    control = EVIDENCE.runs.assign(perturbation=1)
    more = pd.concat([EVIDENCE.runs, control], ignore_index=True)
    assert row(dataclasses.replace(EVIDENCE, runs=more), "l1-like", AS_STATED)["n"] == len(SEEDS)
