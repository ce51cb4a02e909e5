"""Claims about quantities that training conserves or shrinks.

These are mean logits, sums of the last layer over classes, and magnitudes of logits.
"""

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
    losses_of,
    over_seeds,
    require_complete,
    unless_refuted,
    worst,
)
from kdlm.claims.pairs import GROUP
from kdlm.claims.statistics import simultaneous
from kdlm.study.margins import Margins
from kdlm.study.specs import format_number

__all__ = ["CLAIMS"]

_PLAIN = "CE and KD students, SGD without weight decay"
ARM = [*GROUP, "loss", "temperature", "means", "mean_gap"]


def _unmoved(table: pd.DataFrame, role: str) -> pd.DataFrame:
    """Return the rows of networks of one ``role``, without the controls and the ladder."""
    moved = (table["perturbation"] > 0) | (table["relative_perturbation"] > 0)
    return table[(table["role"] == role) & ~moved]


def _last_probe(evidence: Evidence, role: str) -> pd.DataFrame:
    """Return the probe's row in the last epoch of every network of one ``role`` that finished.

    Optimiser, weight decay and number of classes are added as columns, and ``scale``: the root mean
    square of c(x) before training, over the probe's samples and the seeds of an arm.
    """
    table = _unmoved(evidence.histories, role)
    table = table[(table["split"] == "probe") & (table["status"] != "diverged")]
    start = table[table["epoch"] == 0]
    start = start.assign(scale=np.square(start["mean_logit_rms"].astype(float)))
    scale = np.sqrt(start.groupby(ARM, dropna=False)["scale"].mean()).reset_index()
    rows = table[table["epoch"] > 0]
    last = rows[rows["epoch"] == rows.groupby("recipe")["epoch"].transform("max")]
    recipes = evidence.runs.groupby("recipe")[["optimizer", "weight_decay", "num_classes"]].first()
    return last.merge(recipes.reset_index(), on="recipe").merge(scale, on=ARM)


def _of_no_centred(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of networks that are not ``he-centred``.

    Mean logits of ``he-centred`` networks are 0 before training, so they are no unit for a drift.
    """
    return rows[rows["initialisation"] != "he-centred"]


def _drift(rows: pd.DataFrame) -> pd.Series:
    """Return the rms drift of the means c(x) of each network, over their rms before training."""
    drift: pd.Series = rows["mean_logit_drift"] / rows["scale"]
    return drift


def _class_sums(rows: pd.DataFrame) -> pd.Series:
    """Return the larger of ‖Σ_k ΔW_k‖/(√K ‖ΔW‖) and the same ratio of b; each is 1 at most."""
    root = np.sqrt(rows["num_classes"])
    weight = rows["classifier_weight_sum"] / (root * rows["classifier_weight_change"])
    bias = rows["classifier_bias_sum"] / (root * rows["classifier_bias_change"])
    return np.maximum(weight, bias)


def _contrast(rows: pd.DataFrame, statistic: Callable[[pd.DataFrame], pd.Series]) -> str:
    """Return a note with the largest statistic where the claim does not apply.

    These are students of LM, students trained with weight decay, and students trained with Adam.
    """
    others = {
        "LM": (rows["loss"] == "lm") & (rows["weight_decay"] == 0) & (rows["optimizer"] == "sgd"),
        "weight decay": rows["loss"].isin(["ce", "kd"])
        & (rows["weight_decay"] > 0)
        & (rows["optimizer"] == "sgd"),
        "Adam": rows["loss"].isin(["ce", "kd"]) & (rows["optimizer"] != "sgd"),
    }
    values = statistic(rows)
    parts = [
        f"{name} {values[chosen].max():.1e}"
        for name, chosen in others.items()
        if values[chosen].notna().any()
    ]
    return f"; in contrast: {', '.join(parts)}" if parts else ""


def _conserving(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of CE and KD students trained by SGD without weight decay.

    The paper's statement is most likely to hold for these students.
    """
    plain = (table["optimizer"] == "sgd") & (table["weight_decay"] == 0)
    return table[table["loss"].isin(["ce", "kd"]) & plain]


def _largest(
    rows: pd.DataFrame,
    values: pd.Series,
    margin: tuple[float, float],
    lost: list[str],
    networks: str,
    contrast: str = "",
) -> Finding:
    """Return the finding that no network's value is above the margin; the largest decides.

    Args:
        rows: a row for each network.
        values: the statistic of each network.
        margin: the ends of the claim's margin.
        lost: the reasons why further networks were not measured.
        networks: the networks in words.
        contrast: a note on other networks.

    Raises:
        NotMeasured: there is no number, or networks are lost and the others refute nothing.

    """
    known = values.dropna()
    if known.empty:
        raise NotMeasured(lost[0] if lost else "not a number for any of these networks")
    row = rows.loc[known.idxmax()]
    learnt = "" if row["role"] == "teacher" else f"{row['loss']}, "
    if row["loss"] == "kd":
        learnt += f"T = {format_number(row['temperature'])}, "
    worst_one = (
        f"worst: {learnt}{row['architecture']} {row['recipe']}, seed {row['seed']}, whose c(x) of "
        f"rms {row['scale']:.2g} moved by {row['mean_logit_drift']:.2g}"
    )
    missed = [f"not a number for {int(values.isna().sum())} networks"] if values.hasnans else []
    note = f"{len(known)} {networks}; {worst_one}{contrast}"
    finding = exactly(float(known.max()), len(known), note)
    return unless_refuted(finding, margin, [*lost, *missed])


def _means_stay(evidence: Evidence) -> Finding:
    every = _last_probe(evidence, "student")
    rows, runs = _of_no_centred(_conserving(every)), _conserving(_unmoved(evidence.runs, "student"))
    lost = losses_of(_of_no_centred(runs), "last_accuracy")
    if rows.empty:
        raise NotMeasured(lost[0] if lost else "no CE or KD student under SGD without weight decay")
    contrast = _contrast(_of_no_centred(every), _drift)
    margin = at_most(evidence.margins.drift)
    return _largest(rows, _drift(rows), margin, lost, _PLAIN, contrast)


def _teachers_means_stay(evidence: Evidence) -> Finding:
    """Measure the drift of the teachers' means, whatever their recipe.

    The paper reads c^t in eq. (8) off the teacher's initialisation.
    """
    rows = _of_no_centred(_last_probe(evidence, "teacher"))
    lost = losses_of(_of_no_centred(_unmoved(evidence.runs, "teacher")), "last_accuracy")
    if rows.empty:
        raise NotMeasured(lost[0] if lost else "no teacher was trained here from random weights")
    return _largest(rows, _drift(rows), at_most(evidence.margins.drift), lost, "teacher(s)")


def _sums_stay(evidence: Evidence) -> Finding:
    every = _last_probe(evidence, "student")
    rows, runs = _conserving(every), _conserving(_unmoved(evidence.runs, "student"))
    lost = losses_of(runs, "last_accuracy")
    if rows.empty:
        raise NotMeasured(lost[0] if lost else "no CE or KD student under SGD without weight decay")
    contrast = _contrast(every, _class_sums)
    margin = at_most(evidence.margins.classifier_sum)
    return _largest(rows, _class_sums(rows), margin, lost, _PLAIN, contrast)


_SIGNS = {"regularised-lm-printed": "printed", "regularised-lm-corrected": "corrected"}


def _l1_like(evidence: Evidence) -> Finding:
    """Measure whether the linear term of eq. (8) shrinks logits as an l1 penalty does.

    The statistic is the mean of |z| of a student trained with the term over that of the student of
    LM with the same seed. An l1 penalty shrinks logits whatever their mean, so the term would have
    to do so with either sign: each sign of each arm is a group, and the worst group decides. For
    contrast the note has the same ratio of LM with a real l1 penalty, loss ``l1-lm``.

    Arms with a mean gap of 0 are left out, because there the term is 0.
    """
    runs = _unmoved(evidence.runs, "student")
    runs = runs[(runs["mean_gap"] != 0) & (runs["ce_weight"] == 0)]
    arm = [*GROUP, "means", "mean_gap"]
    chosen = require_complete(runs[runs["loss"].isin(["lm", *_SIGNS])], "logit_magnitude")
    shrunk = runs[runs["loss"] == "l1-lm"].dropna(subset="logit_magnitude")
    magnitudes = pd.concat([chosen, shrunk]).pivot_table(
        index=[*arm, "seed"], columns="loss", values="logit_magnitude"
    )
    if not {"lm", *_SIGNS} <= set(magnitudes.columns):
        raise NotMeasured("no students of both forms of (8) and of LM at a mean gap other than 0")
    ratios = magnitudes.drop(columns="lm").div(magnitudes["lm"], axis=0)
    ratios = ratios.dropna(subset=list(_SIGNS))
    if ratios.empty:
        raise NotMeasured("no seed with students of both forms of (8) and of LM")
    arms = list(ratios.groupby(arm))
    level = simultaneous(len(_SIGNS) * len(arms))
    findings = []
    for keys, values in arms:
        means = values.mean()
        parts = [f"{form} {means[loss]:.3f}" for loss, form in _SIGNS.items()]
        if "l1-lm" in means and pd.notna(means["l1-lm"]):
            parts.append(f"in contrast LM + l1 {means['l1-lm']:.3f}")
        note = (
            f"{keys[2]} {keys[4]}, mean gap {keys[-1]:g}, c^t of the {keys[-2]}: {', '.join(parts)}"
        )
        findings += [over_seeds(values[loss], note, level) for loss in _SIGNS]
    return worst(findings, at_most(evidence.margins.shrinkage))


def _share(key: str) -> Callable[[Margins], tuple[float, float]]:
    return lambda margins: at_most(getattr(margins, key))


_OF_ITSELF = "rms over samples of c(x) - c(x) at start, over rms of the latter, worst network"

CLAIMS = (
    Claim("means-stay", "as stated", "section 3",
          "a student's logit means keep their initial values during training", _OF_ITSELF,
          _share("drift"), _means_stay),
    Claim("means-stay-teacher", "as stated", "section 3",
          "so do the teacher's, so c^t can be read off its initialisation", _OF_ITSELF,
          _share("drift"), _teachers_means_stay),
    Claim("sums-stay", "corrected", "section 3",
          "the last layer's sums over classes keep their initial values, without weight decay",
          "|sum_k dW_k| over sqrt(K) |dW|, worst of W and b", _share("classifier_sum"),
          _sums_stay),
    Claim("l1-like", "as stated", "(8)", "the term of (8) shrinks logits as an l1 penalty does",
          "mean |z| with the term over without, of the sign that shrinks less",
          _share("shrinkage"), _l1_like),
)  # fmt: skip
