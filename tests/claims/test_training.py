"""Claims about trained students: controls, seeds, groups."""

import dataclasses

import pandas as pd
import pytest
from scipy import stats

from tests.claims.world import (
    AS_STATED,
    COMPARED,
    CORRECTED,
    EVIDENCE,
    KD_CENTRED,
    MARGINS,
    SEEDS,
    both,
    changed,
    row,
    shares,
    without,
)


@pytest.mark.parametrize(("claim", "form"), COMPARED)
def test_without_a_control_nothing_is_compared(claim: str, form: str) -> None:
    found = row(without("comparisons", kind="floor")(EVIDENCE), claim, form)
    assert found["verdict"] == "inconclusive"
    assert "control" in found["measured_on"]


@pytest.mark.parametrize(("claim", "form"), COMPARED)
def test_a_floor_too_high_drowns_every_comparison(claim: str, form: str) -> None:
    high = both(
        changed("comparisons", "weights_share", 0.31, kind="floor"),
        changed("comparisons", "logits_share", 0.31, kind="floor"),
    )
    found = row(high(EVIDENCE), claim, form)
    assert found["verdict"] == "inconclusive"
    assert "control" in found["measured_on"]


@pytest.mark.parametrize(("claim", "form"), COMPARED)
def test_one_seed_decides_no_comparison(claim: str, form: str) -> None:
    found = row(without("comparisons", seed_a=[1, 2, 3])(EVIDENCE), claim, form)
    assert found["verdict"] == "inconclusive"
    assert "one seed" in found["measured_on"]


def test_the_unit_is_the_seed() -> None:
    for claim, form in COMPARED:
        assert row(EVIDENCE, claim, form)["n"] == len(SEEDS)


def test_seeds_that_differ_widely_leave_it_open() -> None:
    scattered = changed(
        "comparisons", "logits_share",
        lambda old: [0.002, 0.3, 0.001, 0.004][: len(old)],
        loss_a="kd", loss_b="centred-lm", temperature_a=1e4, initialisation="he",
    )  # fmt: skip
    found = row(scattered(EVIDENCE), "equivalence-logits", CORRECTED)
    assert found["verdict"] == "inconclusive"
    assert found["ci_low"] < MARGINS.trained < found["ci_high"]


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


def test_the_temperature_from_which_on_students_are_the_same() -> None:
    said = row(EVIDENCE, "equivalence-logits", CORRECTED)["measured_on"]
    assert "T = 10000 (T/rms = 2e+03) on" in said
    assert "at no T" in row(EVIDENCE, "equivalence-logits", AS_STATED)["measured_on"]
    everywhere = shares(0.01, **KD_CENTRED)(EVIDENCE)
    said = row(everywhere, "equivalence-logits", CORRECTED)["measured_on"]
    assert "T = 4 (T/rms = 0.8) on" in said
    # the same at 4 and at inf, but not between: only from inf on
    gap = shares(0.5, temperature_a=1e4, **KD_CENTRED)(everywhere)
    assert "T = inf" in row(gap, "equivalence-logits", CORRECTED)["measured_on"]


def test_recipes_with_cross_entropy_say_nothing_of_distillation() -> None:
    """Neither of its gradient's sum nor of its students' distances."""
    assert (EVIDENCE.histories["logit_gradient_sum"] > 0.1).any()
    assert row(EVIDENCE, "eq5", AS_STATED)["value"] < 1e-12
    worse = EVIDENCE.comparisons.assign(recipe="mixed", logits_share=5.0)
    more = pd.concat([EVIDENCE.comparisons, worse], ignore_index=True)
    found = row(dataclasses.replace(EVIDENCE, comparisons=more), "gap-kd", AS_STATED)
    assert found["verdict"] == "supported"


def test_the_worst_teacher_decides_and_is_named() -> None:
    other = EVIDENCE.comparisons.assign(teacher="resnet44-he-long")
    apart = other["loss_a"].eq("kd") & other["loss_b"].eq("kd") & other["kind"].eq("objective")
    other.loc[apart, ["weights_share", "logits_share"]] = 0.5
    more = pd.concat([EVIDENCE.comparisons, other], ignore_index=True)
    found = row(dataclasses.replace(EVIDENCE, comparisons=more), "gap-kd", AS_STATED)
    assert found["verdict"] == "refuted"
    assert "resnet44-he-long" in found["measured_on"]


def test_contrasts_stand_beside_what_stays() -> None:
    said = row(EVIDENCE, "sums-stay", CORRECTED)["measured_on"]
    for outside in ("LM", "weight decay", "Adam"):
        assert outside in said


def test_an_undecided_group_is_not_hidden_by_a_larger_mean() -> None:
    """Two recipes, both within the margin by their means; of one the seeds scatter beyond it."""
    table = EVIDENCE.comparisons
    centred = (table["loss_a"] == "kd") & (table["loss_b"] == "centred-lm")
    near = table.copy()
    near.loc[centred, "logits_share"] = 0.06
    scattered = table.assign(recipe="conserving")
    scattered.loc[centred, "logits_share"] = table["seed_a"].map({0: 0.005, 1: 0.2}).fillna(0.005)
    more = pd.concat([near, scattered], ignore_index=True)
    found = row(dataclasses.replace(EVIDENCE, comparisons=more), "equivalence-logits", CORRECTED)
    assert found["verdict"] == "inconclusive"
    assert "conserving" in found["measured_on"]


def test_arms_are_not_counted_as_seeds() -> None:
    other = EVIDENCE.runs.assign(teacher="resnet44-he-long")
    more = pd.concat([EVIDENCE.runs, other], ignore_index=True)
    assert row(dataclasses.replace(EVIDENCE, runs=more), "l1-like", AS_STATED)["n"] == len(SEEDS)


def test_the_perturbed_control_is_not_another_seed() -> None:
    control = EVIDENCE.runs.assign(perturbation=1)
    more = pd.concat([EVIDENCE.runs, control], ignore_index=True)
    assert row(dataclasses.replace(EVIDENCE, runs=more), "l1-like", AS_STATED)["n"] == len(SEEDS)


def test_what_coupled_adam_sees_is_not_held_against_a_loss() -> None:
    table = EVIDENCE.comparisons
    more = pd.concat([table, table.assign(recipe="adam", logits_share=5.0)], ignore_index=True)
    decayed = EVIDENCE.runs.copy()
    decayed.loc[decayed["recipe"] == "adam", "weight_decay"] = 5e-4
    evidence = dataclasses.replace(EVIDENCE, comparisons=more, runs=decayed)
    assert row(evidence, "gap-kd", AS_STATED)["verdict"] == "supported"
    assert row(evidence, "centred-classifier", CORRECTED)["verdict"] == "supported"


def test_what_rounding_could_do_refutes_nothing_but_more_does() -> None:
    """A control above the margin, below the floor: kd is as far apart as it, lm far beyond."""
    noisy = both(
        changed("comparisons", "logits_share", 0.2, kind="floor"),
        shares(0.15, loss_a="kd", loss_b="kd", temperature_a=4.0),
    )(EVIDENCE)
    found = row(noisy, "gap-kd", AS_STATED)
    assert found["verdict"] == "inconclusive"
    assert "rounding" in found["measured_on"]
    assert row(noisy, "gap-lm", AS_STATED)["verdict"] == "refuted"
    assert row(noisy, "gap-ce", AS_STATED)["verdict"] == "supported"
