"""Claims of studies that are lopsided: unequal recipes, several pairs a seed, one bad sample."""

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kdlm.claims import CLAIMS, _row
from kdlm.claims.evidence import Evidence
from kdlm.study.config import Margins
from kdlm.study.schemas import SCHEMAS

INF = math.inf
MARGINS = Margins(
    identity=1e-9, limit=1e-3, slope=(-1.1, -0.9), scale=10, gradient_sum=1e-6, drift=0.05,
    classifier_sum=1e-4, trained=0.1, rounding=0.01, accuracy=0.01, shrinkage=0.95,
    initial_mean=0.3, layer_mean=0.05, plausibility=0.05,
)  # fmt: skip
GROUP = {
    "teacher": "resnet20-he-long",
    "teacher_seed": 0,
    "architecture": "resnet8",
    "initialisation": "he",
}
RECIPES: dict[str, dict[str, Any]] = {
    "short": {"epochs": 2, "optimizer": "sgd", "weight_decay": 0.0, "ce_weight": 0.0},
    "long": {"epochs": 5, "optimizer": "sgd", "weight_decay": 0.0, "ce_weight": 0.0},
}
CLASSES = 10


def evidence(**tables: pd.DataFrame) -> Evidence:
    """The tables that are given, the others empty."""
    names = [
        field.name
        for field in dataclasses.fields(Evidence)
        if field.name not in ("margins", "dataset")
    ]
    empty = {name: pd.DataFrame(columns=list(SCHEMAS[name])) for name in names}
    return Evidence(**(empty | tables), margins=MARGINS)


def judged(given: Evidence, claim: str, form: str = "as stated") -> dict[str, Any]:
    """A claim's row; numbers that are not measured are NaN."""
    (known,) = [one for one in CLAIMS if (one.id, one.form) == (claim, form)]
    numbers = dict.fromkeys(("value", "ci_low", "ci_high"), math.nan)
    return numbers | _row(known, given, MARGINS)


def network(recipe: str, loss: str, seed: int, role: str = "student") -> dict[str, Any]:
    return {
        "role": role, **GROUP, "recipe": recipe, "loss": loss,
        "temperature": 4.0 if loss == "kd" else INF, "means": "trained-teacher", "mean_gap": 0.0,
        "perturbation": 0, "relative_perturbation": 0.0, "seed": seed, "status": "finished",
    }  # fmt: skip


def histories(drift: dict[str, float], sums: dict[str, float]) -> pd.DataFrame:
    """Probe rows that grow from epoch to epoch up to these, by recipe; first means of rms 2."""
    rows = []
    for recipe, facts in RECIPES.items():
        for seed in range(3):
            for epoch in range(facts["epochs"] + 1):
                done = epoch / facts["epochs"]
                rows.append(
                    network(recipe, "kd", seed)
                    | {
                        "epoch": epoch,
                        "split": "probe",
                        "mean_logit_rms": 2.0 if epoch == 0 else 9.0,
                    }
                    | {"mean_logit_drift": 2 * done * drift[recipe] * (1 + 0.001 * seed)}
                    | {"classifier_weight_sum": done * sums[recipe]}
                    | {"classifier_weight_change": done, "classifier_bias_sum": 0.0}
                    | {"classifier_bias_change": done, "logit_gradient_sum": 1e-12 * (1 + epoch)}
                )
    return pd.DataFrame(rows)


def runs() -> pd.DataFrame:
    return pd.DataFrame(
        [
            network(recipe, "kd", seed)
            | facts
            | {"num_classes": CLASSES, "last_accuracy": 0.9, "reason": None}
            for recipe, facts in RECIPES.items()
            for seed in range(3)
        ]
    )


@pytest.mark.parametrize("bad", ["short", "long"])
def test_each_recipe_is_judged_at_its_own_last_epoch(bad: str) -> None:
    drift = dict.fromkeys(RECIPES, 0.01) | {bad: 0.5}
    given = evidence(runs=runs(), histories=histories(drift, dict.fromkeys(RECIPES, 0.0)))
    found = judged(given, "means-stay")
    # the drift at the end, wherever that is, over the rms at the start
    assert found["value"] == pytest.approx(0.5, rel=0.01)
    assert found["verdict"] == "refuted"
    good = histories(dict.fromkeys(RECIPES, 0.01), dict.fromkeys(RECIPES, 0.0))
    assert judged(evidence(runs=runs(), histories=good), "means-stay")["verdict"] == "supported"


@pytest.mark.parametrize("bad", ["short", "long"])
def test_sums_are_judged_at_each_recipe_s_own_last_epoch(bad: str) -> None:
    drift = dict.fromkeys(RECIPES, 0.01)
    sums = dict.fromkeys(RECIPES, 1e-08) | {bad: 1e-2}
    found = judged(
        evidence(runs=runs(), histories=histories(drift, sums)), "sums-stay", "corrected"
    )
    # |Σ_k ΔW_k| over √K ‖ΔW‖, the change being 1
    assert found["value"] == pytest.approx(1e-2 / math.sqrt(CLASSES))
    assert found["verdict"] == "refuted"
    assert found["n"] == 6


def test_the_bias_counts_as_the_weights_do() -> None:
    table = histories(dict.fromkeys(RECIPES, 0.01), dict.fromkeys(RECIPES, 0.0))
    table["classifier_bias_sum"] = 0.3 * table["classifier_bias_change"]
    found = judged(evidence(runs=runs(), histories=table), "sums-stay", "corrected")
    assert found["value"] == pytest.approx(0.3 / math.sqrt(CLASSES))


# equations


def limits(largest: dict[str, float], median: float = 1e-6) -> pd.DataFrame:
    """Sources with their largest distance at T = 1e6; at lower T all are far."""
    return pd.DataFrame(
        [
            {"source": source, "form": form, "temperature": t, "temperature_over_rms": t / 5,
             "relative_distance": median if t == 1e6 else 0.5,
             "relative_distance_max": value if t == 1e6 else 0.9, "slope": -1.0}
            for source, value in largest.items()
            for form in ("corrected", "printed")
            for t in (1e2, 1e6, INF)
        ]
    )  # fmt: skip


def identities(claim: str, values: dict[str, float], form: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"claim": claim, "form": form, "case": case, "statistic": "s", "value": value}
            for case, value in values.items()
        ]
    )


@pytest.mark.parametrize("where", ["table", "identity"])
def test_one_bad_sample_decides_the_limit_whatever_the_median(where: str) -> None:
    table = limits({"random": 1e-6, "students": 0.3 if where == "table" else 1e-6})
    cases = {"one": 1e-7, "two": 0.2 if where == "identity" else 1e-7}
    given = evidence(
        runs=runs(),
        gradient_limit=table,
        identities=identities("eq7-corrected", cases, "corrected"),
    )
    found = judged(given, "eq7-corrected", "corrected")
    assert found["value"] == (0.3 if where == "table" else 0.2)
    assert found["verdict"] == "refuted"
    assert ("students" if where == "table" else "two") in found["measured_on"]


def test_the_limit_is_looked_at_at_the_largest_finite_temperature_alone() -> None:
    table = limits({"random": 1e-6})
    table.loc[np.isinf(table["temperature"]), "relative_distance_max"] = 5.0
    given = evidence(
        runs=runs(),
        gradient_limit=table,
        identities=identities("eq7-corrected", {"one": 1e-7}, "corrected"),
    )
    found = judged(given, "eq7-corrected", "corrected")
    assert (found["value"], found["verdict"]) == (1e-6, "supported")


def test_the_worst_case_of_an_identity_decides_and_is_named() -> None:
    cases = {"good": 1e-15, "bad": 1e-3, "fair": 1e-12}
    given = evidence(runs=runs(), identities=identities("eq1", cases, "as stated"))
    found = judged(given, "eq1")
    assert (found["value"], found["verdict"]) == (1e-3, "refuted")
    assert found["measured_on"].endswith("worst: bad")
    assert found["n"] == 3


@pytest.mark.parametrize(("claim", "loss"), [("eq5", "kd"), ("eq6", "ce")])
def test_every_epoch_of_training_counts_for_a_zero_sum(claim: str, loss: str) -> None:
    table = histories(dict.fromkeys(RECIPES, 0.01), dict.fromkeys(RECIPES, 0.0)).assign(loss=loss)
    networks = runs().assign(loss=loss)
    stored = identities(claim, {"stored": 1e-15}, "as stated")
    fine = judged(evidence(runs=networks, histories=table, identities=stored), claim)
    assert fine["verdict"] == "supported"
    middle = table.index[(table["recipe"] == "long") & (table["epoch"] == 2)][0]
    table.loc[middle, "logit_gradient_sum"] = 0.02
    bad = judged(evidence(runs=networks, histories=table, identities=stored), claim)
    assert (bad["value"], bad["verdict"]) == (0.02, "refuted")
    # nor is the stored one hidden by training
    stored["value"] = 0.5
    assert (
        judged(evidence(runs=networks, histories=table, identities=stored), claim)["value"] == 0.5
    )


def test_the_slope_is_in_the_margin_with_all_its_sources() -> None:
    table = limits({"a": 1e-6, "b": 1e-6, "c": 1e-6})
    chosen = table["form"] == "corrected"
    table.loc[chosen, "slope"] = table.loc[chosen, "source"].map(
        {"a": -1.0, "b": -1.05, "c": -0.951}
    )
    table.loc[~chosen, "slope"] = 0.0
    found = judged(evidence(runs=runs(), gradient_limit=table), "eq7-slope", "corrected")
    assert (found["value"], found["ci_low"], found["ci_high"]) == (-1.05, -1.05, -1.05)
    assert found["verdict"] == "supported"
    assert "from -1.050 to -0.951; worst: b" in found["measured_on"]
    table.loc[chosen & (table["source"] == "c"), "slope"] = -0.5
    found = judged(evidence(runs=runs(), gradient_limit=table), "eq7-slope", "corrected")
    assert (found["value"], found["verdict"]) == (-0.5, "refuted")
    # nor does it matter in which order the forms are in the table
    turned = judged(evidence(runs=runs(), gradient_limit=table[::-1]), "eq7-slope", "corrected")
    assert (turned["value"], turned["n"]) == (-0.5, 3)
