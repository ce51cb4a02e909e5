"""What is missing or not a number supports and refutes nothing, and is said."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlm.claims import CLAIMS, decide
from kdlm.claims.evidence import Evidence, NotMeasured, require_complete
from tests.claims.world import (
    ALL,
    AS_STATED,
    COMPARED,
    CORRECTED,
    DISTRIBUTIONAL,
    EVIDENCE,
    INF,
    TABLES,
    changed,
    row,
    without,
)


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_table_leaves_its_claims_undecided(table: str) -> None:
    empty = getattr(EVIDENCE, table).iloc[:0]
    found = decide(dataclasses.replace(EVIDENCE, **{table: empty}))
    assert list(zip(found["id"], found["form"], strict=True)) == ALL
    needs = {
        "identities": ["eq1", "eq5", "b4-printed"],
        "gradient_limit": ["eq7-slope"],
        "runs": ["means-stay", "sums-stay", "l1-like"],
        "histories": ["means-stay", "sums-stay", "eq5", "eq6", "energy-start", "energy-centred"],
        "comparisons": ["gap-kd", "equal-means", "centred-classifier", "equivalence-weights"],
        "layer_means": ["prop1-linear", "prop1-conv", "table1", "table1-resnet44"],
        "init_means": [],
    }
    lost = found[found["id"].isin(needs[table])]
    assert set(lost["verdict"]) <= {"inconclusive"}
    assert lost["measured_on"].str.startswith("not measured: ").all()
    assert (lost["n"] == 0).all()


@pytest.mark.parametrize(
    ("lost", "claim", "form"),
    [
        (without("comparisons", loss_b="lm", loss_a="kd"), "equal-means", AS_STATED),
        (without("comparisons", loss_a="ce"), "gap-ce", AS_STATED),
        (without("comparisons", initialisation="he-centred"), "centred-classifier", CORRECTED),
        (without("comparisons", temperature_a=[4.0, 1e4]), "equivalence-logits", CORRECTED),
        (without("runs", loss="regularised-lm-corrected"), "l1-like", AS_STATED),
        (without("histories", recipe="conserving"), "sums-stay", CORRECTED),
        (without("layer_means", architecture="resnet44"), "table1", AS_STATED),
        (without("identities", claim="b3"), "b3", AS_STATED),
    ],
)
def test_a_missing_arm_is_said(lost: Callable[[Evidence], Evidence], claim: str, form: str) -> None:
    found = row(lost(EVIDENCE), claim, form)
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"].startswith("not measured: ")
    assert math.isnan(found["value"])


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(TABLES)), st.integers(0, 2**32))
def test_whatever_is_missing_every_claim_is_there(empty: set[str], seed: int) -> None:
    """Some tables empty, the others thinned at random by whole seeds, cases or arms."""
    generator = np.random.default_rng(seed)
    keys = {"comparisons": "loss_a", "histories": "loss", "runs": "recipe", "identities": "claim",
            "gradient_limit": "form", "layer_means": "architecture"}  # fmt: skip
    kept = {}
    for name in TABLES:
        frame = getattr(EVIDENCE, name)
        if name in keys:
            values = frame[keys[name]].unique()
            frame = frame[frame[keys[name]].isin(values[generator.random(len(values)) < 0.5])]
        kept[name] = frame.iloc[:0] if name in empty else frame
    found = decide(dataclasses.replace(EVIDENCE, **kept))
    assert list(zip(found["id"], found["form"], strict=True)) == ALL
    assert set(found["verdict"]) <= {"supported", "refuted", "inconclusive"}
    unmeasured = found["measured_on"].str.startswith("not measured: ")
    assert (found[unmeasured]["verdict"] == "inconclusive").all()


NUMBERS = {
    "identities": ["value"],
    "gradient_limit": ["relative_distance_max", "slope"],
    "histories": [
        "mean_logit_drift",
        "logit_gradient_sum",
        "classifier_weight_sum",
        "gap_share",
    ],
    "runs": ["logit_magnitude"],
    "comparisons": [
        "weights_share",
        "logits_share",
        "disagreement_share",
        "accuracy_difference",
        "calibration_difference",
    ],
    "layer_means": ["mean"],
}


@pytest.mark.parametrize("table", NUMBERS)
def test_what_is_not_a_number_supports_and_refutes_nothing(table: str) -> None:
    lost = getattr(EVIDENCE, table).assign(**dict.fromkeys(NUMBERS[table], math.nan))
    before, after = decide(EVIDENCE), decide(dataclasses.replace(EVIDENCE, **{table: lost}))
    assert list(zip(after["id"], after["form"], strict=True)) == ALL
    moved = after[(after["verdict"] != before["verdict"])]
    assert set(moved["verdict"]) == {"inconclusive"}
    assert moved["measured_on"].str.len().all()


@pytest.mark.parametrize(
    ("claim", "table", "column", "where"),
    [
        ("eq2", "identities", "value", {"claim": "eq2", "case": "student"}),
        ("eq7-corrected", "gradient_limit", "relative_distance_max",
         {"form": "corrected", "source": "kd", "temperature": 1e6}),
        ("eq6", "histories", "logit_gradient_sum", {"loss": "ce", "epoch": 1, "seed": 0}),
        ("sums-stay", "histories", "classifier_weight_sum",
         {"recipe": "conserving", "loss": "kd", "seed": 2}),
        ("prop1-linear", "layer_means", "mean",
         {"architecture": "resnet44", "kind": "linear", "seed": 3}),
    ],
)  # fmt: skip
def test_one_evaluation_that_failed_is_not_passed_over(
    claim: str, table: str, column: str, where: dict[str, Any]
) -> None:
    form = next(form for name, form in ALL if name == claim)
    found = row(changed(table, column, math.nan, **where)(EVIDENCE), claim, form)
    assert found["verdict"] == "inconclusive"
    assert "not a number" in found["measured_on"]


def test_a_study_of_one_seed_is_judged_without_error() -> None:
    table = EVIDENCE.comparisons
    alone = table[table["seed_a"] == 0].assign(weights_share=math.nan, logits_share=math.nan)
    kept = {
        name: frame[frame["seed"] == 0]
        for name in ("runs", "histories", "layer_means")
        for frame in [getattr(EVIDENCE, name)]
    }
    found = decide(dataclasses.replace(EVIDENCE, comparisons=alone, **kept))
    by_seed = found["id"].isin({claim for claim, _ in COMPARED} | {"l1-like", "prop1-linear"})
    assert set(found[by_seed]["verdict"]) == {"inconclusive"}
    assert found[by_seed]["measured_on"].str.contains("one seed").all()


def lost(
    table: str, columns: list[str], status: str = "missing", **where: Any
) -> Callable[[Evidence], Evidence]:
    """The evidence without numbers in the rows that match, as after a student is lost."""

    def change(evidence: Evidence) -> Evidence:
        for column in columns:
            evidence = changed(table, column, math.nan, **where)(evidence)
        reasoned = changed(table, "reason", "folder: it is lost", **where)(evidence)
        return changed(table, "status", status, **where)(reasoned)

    return change


DISTANCES = [
    "weights_share",
    "logits_share",
    "disagreement_share",
    "accuracy_difference",
    "calibration_difference",
]


OUTCOME = ["last_accuracy", "logit_magnitude", "num_classes"]


EXACT = [
    (claim.id, claim.form) for claim in CLAIMS if claim.id in set(EVIDENCE.identities["claim"])
]
"""The claims that are decided from table ``identities``."""


NETWORKLESS = [key for key in EXACT if key[0] not in ("eq5", "eq6")]
"""Those of them that are about all logits, and not about what was trained."""


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        # one pair of a seed: what would have counted it and is not refuted by the others
        (
            lost("comparisons", DISTANCES, loss_a="kd", temperature_a=INF, loss_b="lm", seed_a=2,
                 initialisation="he"),
            {key for key in DISTRIBUTIONAL if key[1] == AS_STATED},
        ),
        (
            lost("comparisons", DISTANCES, loss_a="ce", seed_a=0),
            {("gap-ce", AS_STATED)},
        ),
        # the distance between seeds is lost, so shares are, but the students are there
        (
            lost("comparisons", ["weights_share"], "finished", loss_a="kd", temperature_a=1e4,
                 loss_b="lm"),
            {("equivalence-weights", AS_STATED)},
        ),
        (
            lost("runs", OUTCOME, recipe="conserving", loss="kd", seed=1),
            # means-stay is refuted by the others
            {("sums-stay", CORRECTED), ("eq5", AS_STATED)},
        ),
        (
            lost("runs", OUTCOME, "diverged", recipe="conserving", loss="ce", seed=3),
            {("sums-stay", CORRECTED), ("eq6", AS_STATED)},
        ),
        (
            lost("runs", OUTCOME, loss="regularised-lm-printed", seed=1),
            {("l1-like", AS_STATED)},
        ),
        # the logits of the first student of a loss serve the equations, which can do without
        (lost("runs", OUTCOME, recipe="conserving", loss="lm", seed=0), set()),
    ],
)  # fmt: skip
def test_a_claim_that_would_have_counted_a_lost_student_is_not_decided(
    change: Callable[[Evidence], Evidence], touched: set[tuple[str, str]]
) -> None:
    before, after = decide(EVIDENCE), decide(change(EVIDENCE))
    for old, new in zip(before.to_dict("records"), after.to_dict("records"), strict=True):
        if (new["id"], new["form"]) in touched:
            assert new["verdict"] == "inconclusive"
            assert new["measured_on"] == "not measured: folder: it is lost"
            assert pd.isna(new["value"])
            assert old["verdict"] != "inconclusive"
        else:
            assert (old["verdict"], old["value"]) == (new["verdict"], new["value"]), new["id"]


def test_without_its_control_a_group_is_not_judged() -> None:
    change = lost("comparisons", DISTANCES, kind="floor", initialisation="he-centred", seed_a=3)
    found = row(change(EVIDENCE), "centred-classifier", CORRECTED)
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"].startswith("no ladder: folder: it is lost; ")
    assert row(change(EVIDENCE), "gap-kd", AS_STATED)["verdict"] == "supported"


def test_several_reasons_are_counted() -> None:
    rows = pd.DataFrame({"reason": ["a", "b", "b", None, "c"], "value": [math.nan] * 3 + [1, 2]})
    with pytest.raises(NotMeasured, match=r"^a; and 1 more$"):
        require_complete(rows, "value")
    assert require_complete(rows[rows["value"].notna()], "value")["value"].tolist() == [1, 2]


@pytest.mark.parametrize(("claim", "form"), NETWORKLESS)
def test_without_any_network_random_logits_decide_an_equation(claim: str, form: str) -> None:
    gone = without("identities", case="student")(
        lost("runs", ["last_accuracy"], role=["student", "teacher"])(EVIDENCE)
    )
    assert gone.runs["last_accuracy"].isna().all()
    limits = gone.gradient_limit[gone.gradient_limit["source"] == "random"]
    found = row(dataclasses.replace(gone, gradient_limit=limits), claim, form)
    assert found["verdict"] == row(EVIDENCE, claim, form)["verdict"]
    teachers = (EVIDENCE.runs["role"] == "teacher").sum()
    losses = EVIDENCE.runs.loc[EVIDENCE.runs["role"] == "student", "loss"].nunique()
    asked = teachers + losses
    assert f"{asked} of {asked} networks missing" in found["measured_on"]


def test_networks_that_are_there_are_not_called_missing() -> None:
    for claim, form in NETWORKLESS:
        assert "missing" not in row(EVIDENCE, claim, form)["measured_on"]


@pytest.mark.parametrize(("claim", "form"), EXACT)
def test_a_counterexample_is_final(claim: str, form: str) -> None:
    """An evaluation that failed leaves the claim open, unless another one refutes it."""
    failed = changed("identities", "value", math.nan, claim=claim, form=form, case="random")
    held = changed("identities", "value", 1.0 if claim == "eq3-scale" else 1e-15, claim=claim,
                   form=form, case="student")  # fmt: skip
    broken = changed("identities", "value", 1e9, claim=claim, form=form, case="student")
    near = changed("gradient_limit", "relative_distance_max", 1e-15)
    found = row(near(failed(held(EVIDENCE))), claim, form)
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"] == "not measured: not a number for random"
    found = row(near(failed(broken(EVIDENCE))), claim, form)
    assert (found["verdict"], found["value"]) == ("refuted", 1e9)
    assert "not measured: not a number for random" in found["measured_on"]


@pytest.mark.parametrize(
    ("claim", "column", "loss"),
    [
        ("eq5", "logit_gradient_sum", "kd"),
        ("eq6", "logit_gradient_sum", "ce"),
        ("sums-stay", "classifier_weight_sum", "kd"),
        ("means-stay", "mean_logit_drift", "kd"),
        ("means-stay-teacher", "mean_logit_drift", "ce"),
    ],
)
def test_what_one_network_refutes_no_lost_network_opens_again(
    claim: str, column: str, loss: str
) -> None:
    form = next(form for name, form in ALL if name == claim)
    where = {"split": "probe", "epoch": 2, "loss": loss, "recipe": ["conserving", "decayed"]}
    fine = changed("histories", column, 1e-12, split="probe")
    bad = changed("histories", column, 50.0, seed=0, **where)
    role = "teacher" if claim.endswith("teacher") else "student"
    gone = lost("runs", ["last_accuracy"], role=role, loss=loss, recipe=["conserving", "mixed"],
                seed=[0 if role == "teacher" else 1])  # fmt: skip
    assert row(fine(EVIDENCE), claim, form)["verdict"] == "supported"
    found = row(gone(fine(EVIDENCE)), claim, form)
    assert found["verdict"] == "inconclusive"
    assert found["measured_on"] == "not measured: folder: it is lost"
    found = row(gone(bad(fine(EVIDENCE))), claim, form)
    assert found["verdict"] == "refuted"
    assert found["measured_on"].endswith("not measured: folder: it is lost")
