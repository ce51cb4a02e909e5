"""Every claim's verdict on the made-up study: right as the mathematics says, then flipped."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from kdlm.claims import decide
from kdlm.claims.evidence import Evidence
from kdlm.storage.parquet import read_table, write_table
from kdlm.study.margins import Margins
from kdlm.study.schemas import SCHEMAS
from tests.claims.world import (
    ALL,
    AS_STATED,
    CENTRED,
    CONSERVING,
    CORRECTED,
    EVIDENCE,
    INF,
    KD_CENTRED,
    KD_LM,
    PRINTED,
    REFUTED,
    both,
    changed,
    identity,
    row,
    scaled,
    shares,
    shifted,
)

# DESIGN: the study's claims, none of which may ever be dropped
IDS = {
    "eq1", "eq2", "eq3-scale", "eq4-zero-mean", "eq5", "eq6", "means-stay",
    "means-stay-teacher", "sums-stay",
    "eq7-printed", "eq7-corrected", "eq7-slope", "eq8-printed", "eq8-corrected", "eq8-trained",
    "l1-like", "prop1-linear", "prop1-conv", "table1", "table1-without-resnet44",
    "table1-resnet44", "a3", "b3",
    "b4-printed", "b4-corrected", "gap-kd", "gap-ce", "gap-lm", "gap-centred", "equal-means",
    "centred-classifier", "centred-classifier-adam", "natural-gap", "gap-dose",
    "equal-means-untrained", "eq8-untrained", "equivalence-weights", "equivalence-logits",
    "equivalence-predictions", "equivalence-accuracy", "equivalence-calibration",
    "energy-identity", "energy-start", "energy-solution", "energy-centred", "published-accuracy",
}  # fmt: skip


# each claim with data that turn its verdict round
FLIPS: dict[tuple[str, str], Callable[[Evidence], Evidence]] = {
    **{
        (name, form): identity(name, 1e-15 if (name, form) in PRINTED else 0.5)
        for name, form in [
            ("eq1", AS_STATED), ("eq2", AS_STATED), ("eq4-zero-mean", AS_STATED),
            ("eq8-corrected", CORRECTED), ("energy-identity", CORRECTED), ("a3", AS_STATED),
            ("b3", AS_STATED), ("b4-corrected", CORRECTED),
        ]
    },
    **{
        (name, "printed"): changed("identities", "value", 1e-15, claim=name)
        for name in ("eq8-printed", "b4-printed")
    },
    ("eq3-scale", AS_STATED): identity("eq3-scale", 1e3),
    ("eq5", AS_STATED): changed(
        "histories", "logit_gradient_sum", 0.1, loss="kd", recipe="adam", epoch=1, seed=2
    ),
    ("eq6", AS_STATED): changed(
        "histories", "logit_gradient_sum", 0.1, role="teacher", recipe="mixed", epoch=1
    ),
    ("eq7-printed", "printed"): both(
        changed("identities", "value", 1e-5, claim="eq7-printed"),
        changed("gradient_limit", "relative_distance_max", 1e-5, form="printed"),
    ),
    ("eq7-corrected", CORRECTED): changed(
        "gradient_limit", "relative_distance_max", 0.1, form="corrected", source="kd"
    ),
    ("eq7-slope", CORRECTED): changed("gradient_limit", "slope", -2.0, form="corrected"),
    ("means-stay", AS_STATED): changed(
        "histories", "mean_logit_drift", scaled(1e-2), split="probe", **CONSERVING
    ),
    ("means-stay-teacher", AS_STATED): changed(
        "histories", "mean_logit_drift", scaled(1e-2), split="probe", role="teacher"
    ),
    ("sums-stay", CORRECTED): changed(
        "histories", "classifier_weight_sum", 0.5, split="probe", epoch=2, seed=3, **CONSERVING
    ),
    ("eq8-trained", "printed"): shares(0.02, loss_b="regularised-lm-printed", mean_gap_b=5.0),
    ("eq8-trained", CORRECTED): shares(0.02, loss_b="regularised-lm-corrected", mean_gap_b=5.0),
    ("eq8-untrained", "printed"): shares(
        0.02, loss_b="regularised-lm-printed", means_b="untrained-teacher"
    ),
    ("eq8-untrained", CORRECTED): shares(
        0.02, loss_b="regularised-lm-corrected", means_b="untrained-teacher"
    ),
    ("l1-like", AS_STATED): changed(
        "runs", "logit_magnitude", scaled(0.7), loss="regularised-lm-corrected"
    ),
    ("prop1-linear", AS_STATED): changed(
        "layer_means", "mean", shifted(0.5), kind="linear", architecture="resnet32",
        batchnorm="train",
    ),
    ("prop1-conv", AS_STATED): changed(
        "layer_means", "mean", shifted(0.5), kind="convolution", architecture="resnet8",
        batchnorm="eval",
    ),
    ("table1", AS_STATED): changed("layer_means", "mean", scaled(1e-2), kind="linear"),
    ("energy-start", AS_STATED): changed(
        "histories", "gap_share", 1e-6, initialisation="he", split="initial"
    ),
    ("energy-solution", AS_STATED): changed(
        "histories", "gap_share", 1e-6, initialisation="he", split="test"
    ),
    # one epoch of one student is enough
    ("energy-centred", CORRECTED): changed(
        "histories", "gap_share", 0.01, initialisation="he-centred", loss="kd", epoch=1, seed=2
    ),
    ("table1-without-resnet44", AS_STATED): changed(
        "layer_means", "mean", scaled(1e-2), kind="linear", architecture="resnet8"
    ),
    ("table1-resnet44", AS_STATED): changed(
        "layer_means", "mean", scaled(1e-2), kind="linear", architecture="resnet44"
    ),
    # one temperature is enough
    ("gap-kd", AS_STATED): shares(0.5, loss_a="kd", loss_b="kd", temperature_a=4.0),
    ("gap-ce", AS_STATED): shares(0.5, loss_a="ce", loss_b="ce"),
    ("gap-lm", AS_STATED): shares(1e-3, loss_a="lm", loss_b="lm"),
    ("gap-centred", CORRECTED): shares(0.5, loss_a="centred-lm", loss_b="centred-lm"),
    ("equal-means", AS_STATED): shares(1e-3, **KD_LM),
    ("equal-means-untrained", AS_STATED): shares(1e-3, means_b="untrained-teacher", **KD_LM),
    ("gap-dose", CORRECTED): changed(
        "histories", "gap_energy", scaled(1.5), split="initial", mean_gap=5.0
    ),
    ("natural-gap", AS_STATED): changed("histories", "gap", 0.01, means="natural"),
    ("centred-classifier-adam", CORRECTED): changed(
        "histories", "mean_logit_rms", 1e-5, initialisation="he-centred", recipe="adam"
    ),
    # one pair of the ten is enough
    ("centred-classifier", CORRECTED): shares(
        0.5, group=CENTRED, loss_a="centred-lm", loss_b="regularised-lm-printed"
    ),
    ("equivalence-weights", AS_STATED): shares(1e-3, **KD_LM),
    ("equivalence-logits", AS_STATED): shares(1e-3, **KD_LM),
    ("equivalence-predictions", AS_STATED): changed(
        "comparisons", "disagreement_share", scaled(0.5), **KD_LM
    ),
    ("equivalence-accuracy", AS_STATED): changed(
        "comparisons", "accuracy_difference", scaled(0.01), **KD_LM
    ),
    ("equivalence-calibration", AS_STATED): changed(
        "comparisons", "calibration_difference", scaled(0.01), **KD_LM
    ),
    ("published-accuracy", AS_STATED): changed(
        "runs", "last_accuracy", lambda old: old - 0.03, recipe="published"
    ),
    ("equivalence-weights", CORRECTED): shares(0.5, **KD_CENTRED),
    ("equivalence-logits", CORRECTED): shares(0.5, **KD_CENTRED),
    # one of the two temperatures is enough
    ("equivalence-predictions", CORRECTED): changed(
        "comparisons", "disagreement_share", lambda old: old + 2, temperature_a=1e4, **KD_CENTRED
    ),
    ("equivalence-accuracy", CORRECTED): changed(
        "comparisons", "accuracy_difference", lambda old: old - 0.03, temperature_a=INF,
        **KD_CENTRED
    ),
    ("equivalence-calibration", CORRECTED): changed(
        "comparisons", "calibration_difference", lambda old: old - 0.03, **KD_CENTRED
    ),
}  # fmt: skip


def test_the_registry_holds_every_claim_once() -> None:
    assert {name for name, _ in ALL} >= IDS
    assert len(ALL) == len(set(ALL))
    for name in ("weights", "logits", "predictions", "accuracy", "calibration"):
        forms = {form for claim, form in ALL if claim == f"equivalence-{name}"}
        assert forms == {AS_STATED, CORRECTED}


@pytest.mark.parametrize(("claim", "form"), ALL)
def test_the_verdict_is_that_of_the_mathematics(claim: str, form: str) -> None:
    expected = "refuted" if (claim, form) in REFUTED else "supported"
    assert row(EVIDENCE, claim, form)["verdict"] == expected


def test_a_flip_is_known_for_every_claim() -> None:
    assert set(FLIPS) == set(ALL)


@pytest.mark.parametrize(("claim", "form"), FLIPS)
def test_other_data_turn_the_verdict_round(claim: str, form: str) -> None:
    expected = "supported" if (claim, form) in REFUTED else "refuted"
    assert row(FLIPS[claim, form](EVIDENCE), claim, form)["verdict"] == expected


@pytest.mark.parametrize("wide", [True, False])
def test_margins_decide(wide: bool) -> None:
    """The same data are inside margins wide enough, and in none of those that nothing meets."""
    values = {
        name: (-1e9, 1e9) if name == "slope" else 0.999 if name == "shrinkage" else 1e9
        for name in Margins.model_fields
    } | {"plausibility": 1e-9}
    if not wide:
        values = dict.fromkeys(values, 1e-30) | {"slope": (-1e-30, 0.0)}
        values |= {"scale": 1 + 1e-9, "plausibility": 1 - 1e-9}
    evidence = dataclasses.replace(EVIDENCE, margins=Margins(**values))
    verdicts = decide(evidence).set_index(["id", "form"])["verdict"]
    if wide:
        assert set(verdicts.drop(("l1-like", AS_STATED))) == {"supported"}
    else:
        # even where p = 1 alone is plausible, the correction for 24 looks leaves room
        assert "supported" not in set(verdicts.drop(("table1-resnet44", AS_STATED)))


def test_a_row_says_what_it_says(tmp_path: Path) -> None:
    table = decide(EVIDENCE)
    assert set(table.columns) == set(SCHEMAS["claims"])
    assert (table["measured_on"].str.len() > 0).all()
    assert (table["n"] > 0).all()
    assert (table["ci_low"] <= table["value"]).all()
    assert (table["value"] <= table["ci_high"]).all()
    write_table("claims", table, tmp_path / "claims.parquet")
    assert len(read_table(tmp_path / "claims.parquet", "claims")) == len(ALL)
