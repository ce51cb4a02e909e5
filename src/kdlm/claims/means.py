"""Claims about what training keeps: logit means, sums over classes, magnitudes of logits."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from kdlm.claims.evidence import (
    Claim,
    Evidence,
    Finding,
    NotMeasured,
    at_most,
    exactly,
    over_seeds,
    require_complete,
    worst,
)
from kdlm.claims.pairs import GROUP
from kdlm.study.margins import Margins

__all__ = ["CLAIMS"]


def _final_probe(evidence: Evidence) -> pd.DataFrame:
    """Return the probe's row in the last epoch of every unperturbed student.

    Optimiser, weight decay and number of classes of the student's recipe are added as columns.
    """
    table = evidence.histories
    rows = table[(table["split"] == "probe") & (table["role"] == "student")]
    rows = rows[(rows["perturbation"] == 0) & (rows["status"] != "diverged")]
    last = rows[rows["epoch"] == rows.groupby("recipe")["epoch"].transform("max")]
    recipes = evidence.runs.groupby("recipe")[["optimizer", "weight_decay", "num_classes"]].first()
    return last.merge(recipes, left_on="recipe", right_index=True)


def _drift(rows: pd.DataFrame) -> pd.Series:
    return rows["mean_logit_drift"] / rows["logit_rms"]


def _class_sums(rows: pd.DataFrame) -> pd.Series:
    """Return the larger of ‖Σ_k ΔW_k‖/(√K ‖ΔW‖) and the same ratio of b; each is 1 at most."""
    root = np.sqrt(rows["num_classes"])
    weight = rows["classifier_weight_sum"] / (root * rows["classifier_weight_change"])
    bias = rows["classifier_bias_sum"] / (root * rows["classifier_bias_change"])
    return np.maximum(weight, bias)


def _contrast(rows: pd.DataFrame, statistic: Callable[[pd.DataFrame], pd.Series]) -> str:
    """Return a note with the statistic's mean where the claim does not apply.

    These are students of LM, students trained with weight decay, and students trained with Adam.
    """
    others = {
        "LM": (rows["loss"] == "lm") & (rows["weight_decay"] == 0) & (rows["optimizer"] == "sgd"),
        "weight decay": rows["loss"].isin(["ce", "kd"])
        & (rows["weight_decay"] > 0)
        & (rows["optimizer"] == "sgd"),
        "Adam": rows["loss"].isin(["ce", "kd"]) & (rows["optimizer"] != "sgd"),
    }
    parts = [
        f"{name} {statistic(rows[chosen]).mean():.1e}"
        for name, chosen in others.items()
        if chosen.any()
    ]
    return f"; in contrast: {', '.join(parts)}" if parts else ""


def _conserving(rows: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    """Return the rows of CE and KD students trained by SGD without weight decay.

    It is the case in which the paper's statement has the best chance to hold.

    Raises:
        NotMeasured: there is no such student, or one of them diverged or is missing.

    """

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        plain = (table["optimizer"] == "sgd") & (table["weight_decay"] == 0)
        return table[table["loss"].isin(["ce", "kd"]) & plain]

    runs = evidence.runs
    require_complete(
        chosen(runs[(runs["role"] == "student") & (runs["perturbation"] == 0)]), "last_accuracy"
    )
    kept = chosen(rows)
    if kept.empty:
        raise NotMeasured("no CE or KD student under SGD without weight decay")
    return kept


def _means_stay(evidence: Evidence) -> Finding:
    rows = _final_probe(evidence)
    kept = _conserving(rows, evidence)
    contrast = _contrast(rows, _drift)
    findings = [
        over_seeds(_drift(arm), f"{loss} students, SGD without weight decay{contrast}")
        for (*_, loss), arm in kept.groupby([*GROUP, "temperature", "mean_gap", "loss"])
    ]
    return worst(findings, at_most(evidence.margins.drift))


def _sums_stay(evidence: Evidence) -> Finding:
    rows = _final_probe(evidence)
    kept = _conserving(rows, evidence)
    note = f"{len(kept)} students, SGD without weight decay{_contrast(rows, _class_sums)}"
    if _class_sums(kept).isna().any():
        raise NotMeasured("a sum over classes is not a number")
    return exactly(float(_class_sums(kept).max()), len(kept), note)


def _l1_like(evidence: Evidence) -> Finding:
    """Measure whether the linear term of eq. (8) shrinks the centred logits as an l1 penalty does.

    The statistic is the magnitude of the centred logits with the term over that without it. An l1
    penalty shrinks logits whatever their mean, while a linear term can only move the mean. For the
    statement to hold, the term would have to shrink logits with either sign, so the sign that
    shrinks them less decides.
    """
    runs = evidence.runs
    chosen = (runs["role"] == "student") & (runs["mean_gap"] != 0) & (runs["perturbation"] == 0)
    signs = ["regularised-lm-printed", "regularised-lm-corrected"]
    chosen &= (runs["ce_weight"] == 0) & runs["loss"].isin(["lm", *signs])
    magnitudes = require_complete(runs[chosen], "logit_magnitude").pivot_table(
        index=[*GROUP, "mean_gap", "seed"], columns="loss", values="logit_magnitude"
    )
    if not {"lm", *signs} <= set(magnitudes.columns):
        raise NotMeasured("no students of both forms of (8) and of LM at a mean gap other than 0")
    ratios = magnitudes[signs].div(magnitudes["lm"], axis=0).dropna()
    findings = []
    for _, arm in ratios.groupby([*GROUP, "mean_gap"]):
        printed, corrected = arm.mean()
        note = f"ratios by sign (printed, corrected): {printed:.3f}, {corrected:.3f}"
        findings.append(over_seeds(arm[arm.mean().idxmax()], note))
    if not findings:
        raise NotMeasured("no seed with students of both forms of (8) and of LM")
    return worst(findings, at_most(evidence.margins.shrinkage))


def _share(key: str) -> Callable[[Margins], tuple[float, float]]:
    return lambda margins: at_most(getattr(margins, key))


CLAIMS = (
    Claim("means-stay", "as stated", "section 3",
          "logit means keep their initial values during training",
          "rms drift of the mean logit over the rms of centred logits", _share("drift"),
          _means_stay),
    Claim("sums-stay", "corrected", "section 3",
          "the last layer's sums over classes keep their initial values, without weight decay",
          "|sum_k dW_k| over sqrt(K) |dW|, worst of W and b", _share("classifier_sum"),
          _sums_stay),
    Claim("l1-like", "as stated", "(8)", "the term of (8) shrinks logits as an l1 penalty does",
          "magnitude of centred logits with it over without", _share("shrinkage"), _l1_like),
)  # fmt: skip
