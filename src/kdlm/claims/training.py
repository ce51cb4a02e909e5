"""Claims about training, decided from the tables `histories`, `runs` and `comparisons`.

Students are compared seed by seed. A distance between two students is given as a share of the
distance between two seeds of the same students. The control is a student whose initial weights are
one unit in the last place away; its distance is what rounding alone causes, and a distance no
larger than that means nothing.
"""

from collections.abc import Callable
from dataclasses import replace

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
from kdlm.claims.statistics import confidence_interval, verdict
from kdlm.study import names
from kdlm.study.margins import Margins
from kdlm.study.specs import format_number

__all__ = ["CLAIMS"]

GROUP = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]
SHARES = ["weights_share", "logits_share"]
LM_FAMILY = [name for name, facts in names.LOSSES.items() if facts.family == "logits matching"]


def _pairs(evidence: Evidence, kind: str = "objective") -> pd.DataFrame:
    """Return the pairs of one kind whose recipe adds no cross-entropy to the distillation loss."""
    mixed = evidence.runs.loc[evidence.runs["ce_weight"] > 0, "recipe"].unique()
    table = evidence.comparisons
    return table[(table["kind"] == kind) & ~table["recipe"].isin(mixed)]


def _same(rows: pd.DataFrame, *keys: str) -> pd.Series:
    """Return for each pair whether its two students have the same values of ``keys``."""
    alike = pd.Series(data=True, index=rows.index)
    for key in keys:
        alike &= rows[f"{key}_a"] == rows[f"{key}_b"]
    return alike


def _between(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Return the pairs of a student of loss ``one`` and a student of loss ``other``."""
    return rows[
        ((rows["loss_a"] == one) & (rows["loss_b"] == other))
        | ((rows["loss_a"] == other) & (rows["loss_b"] == one))
    ]


def _worst_group(
    rows: pd.DataFrame,
    evidence: Evidence,
    columns: list[str],
    margin: tuple[float, float],
    control: list[str] | None = None,
) -> Finding:
    """Measure the largest of ``columns`` by seed, in each group of students; return the worst.

    A group has one teacher, architecture, initialisation and recipe. Its finding is in doubt, and
    so inconclusive, in three cases: there is no control; the control's distance is above the margin
    ``floor``; or the students are further apart than the margin allows, but no further than the
    control, so that rounding alone could be the cause. The control's distance is that in the
    columns ``control``, or else in ``columns``.

    Raises:
        NotMeasured: there is no pair, a number of one is lost, or there is one seed only.

    """
    if rows.empty:
        raise NotMeasured("no such pair of students in this study")
    measured = require_complete(rows, *columns)
    measured = measured.assign(most=rows[columns].max(axis=1, skipna=False)).dropna(subset="most")
    if measured.empty:
        raise NotMeasured("one seed only, so no distance between seeds to compare with")
    controls = _pairs(evidence, "floor").merge(measured[GROUP].drop_duplicates())
    controls = require_complete(controls, *(control or columns))
    controls = controls.assign(most=controls[control or columns].max(axis=1)).groupby(GROUP)["most"]
    means, largest = controls.mean(), controls.max()
    limit, findings = evidence.margins.floor, []
    for group, members in measured.groupby(GROUP):
        floor = means.get(group, np.nan)
        where = f"{group[0]} to {group[2]}, {group[3]}, {group[4]}; control {floor:.1e}"
        found = over_seeds(members.groupby("seed_a")["most"].max(), where)
        if np.isnan(floor):
            doubt = "no control in this arm"
        elif floor > limit:
            doubt = f"the control is beyond {limit:g} of the distance between seeds"
        elif not control and margin[1] < found.low <= largest[group]:
            doubt = "no further apart than the control: rounding alone could do this"
        else:
            doubt = ""
        found = replace(found, doubt=found.doubt or doubt)
        findings.append(found)
    found = worst(findings, margin)
    lost = len(rows) - len(measured)
    note = f"; {lost} pairs without a distance between seeds left out" if lost else ""
    return replace(found, measured_on=found.measured_on + note)


def _gap(loss: str) -> Callable[[Evidence], Finding]:
    """Return the function that compares students of ``loss`` that differ in the mean gap alone.

    Pairs at every temperature count. Recipes that use Adam with weight decay in the gradient are
    left out: the mean of W and b over the classes then enters Adam's step sizes, so the gap has an
    effect whatever the loss is.
    """

    def measure(evidence: Evidence) -> Finding:
        runs, rows = evidence.runs, _pairs(evidence)
        coupled = runs[(runs["optimizer"] == "adam") & (runs["weight_decay"] > 0)]["recipe"]
        rows = rows[~rows["recipe"].isin(coupled)]
        rows = rows[_same(rows, "loss", "temperature") & (rows["loss_a"] == loss)]
        return _worst_group(rows, evidence, SHARES, at_most(evidence.margins.rounding))

    return measure


def _equal_means(evidence: Evidence) -> Finding:
    """Compare KD at T = ∞ with LM, where average means are equal at the start but not zero."""
    rows = _between(_pairs(evidence), "kd", "lm")
    rows = rows[
        np.isinf(rows["temperature_a"])
        & (rows["mean_gap_a"] == 0)
        & (rows["mean_gap_b"] == 0)
        & (rows["initialisation"] != "he-centred")
    ]
    return _worst_group(rows, evidence, ["logits_share"], at_most(evidence.margins.rounding))


def _centred_classifier(evidence: Evidence) -> Finding:
    """Compare all losses of the logits-matching family and KD at T = ∞, with ``he-centred``.

    Under that initialisation the mean logit of every sample is zero. Only recipes with SGD count,
    since only under SGD do gradients of zero sum keep the means at zero.
    """
    runs, rows = evidence.runs, _pairs(evidence)
    rows = rows[~rows["recipe"].isin(runs[runs["optimizer"] != "sgd"]["recipe"])]
    family = pd.Series(data=True, index=rows.index)
    for side in ("a", "b"):
        infinite = (rows[f"loss_{side}"] == "kd") & np.isinf(rows[f"temperature_{side}"])
        family &= rows[f"loss_{side}"].isin(LM_FAMILY) | infinite
        family &= rows[f"mean_gap_{side}"] == 0
    rows = rows[family & (rows["initialisation"] == "he-centred")]
    return _worst_group(rows, evidence, SHARES, at_most(evidence.margins.rounding))


def _regularised(form: str) -> Callable[[Evidence], Finding]:
    """Return the function that compares students of a form of eq. (8) with KD at T = ∞.

    The means in (8) are constants fixed before training; only pairs with a gap other than 0 count,
    because at gap 0 the term of (8) vanishes.
    """

    def measure(evidence: Evidence) -> Finding:
        rows = _between(_pairs(evidence), "kd", f"regularised-lm-{form}")
        rows = rows[
            np.isinf(rows["temperature_a"])
            & _same(rows, "mean_gap")
            & (rows["mean_gap_a"] != 0)
            & (rows["initialisation"] != "he-centred")
        ]
        return _worst_group(rows, evidence, ["logits_share"], at_most(evidence.margins.trained))

    return measure


def _against(evidence: Evidence, other: str) -> pd.DataFrame:
    """Return the pairs of KD, at any temperature, and ``other``, at gap 0 and without centring."""
    rows = _between(_pairs(evidence), "kd", other)
    return rows[
        (rows["mean_gap_a"] == 0)
        & (rows["mean_gap_b"] == 0)
        & (rows["initialisation"] != "he-centred")
    ]


def _indistinguishable(rows: pd.DataFrame, column: str, margin: tuple[float, float]) -> str:
    """Return a note that says from which temperature on every verdict is ``supported``."""
    found = ""
    for temperature, at in sorted(rows.groupby("temperature_a"), reverse=True):
        if verdict(*confidence_interval(at[column]), *margin) != "supported":
            break
        ratio = at["temperature_over_rms"].mean()
        found = f"the same from T = {format_number(float(temperature))} (T/rms = {ratio:.3g}) on"
    return found or "the same at no T"


def _equivalence(other: str, measure_name: str) -> Callable[[Evidence], Finding]:
    """Return the function that compares KD at the largest finite T with ``other``.

    Its finding also notes from which T on the two agree.
    """

    def measure(evidence: Evidence) -> Finding:
        rows = _against(evidence, other)
        finite = rows[np.isfinite(rows["temperature_a"])]
        if finite.empty:
            raise NotMeasured(f"no KD at a finite temperature beside {other}")
        column, margin_of = _MEASURES[measure_name]
        rows = require_complete(rows.assign(disagreement=1 - rows["agreement"]), column)
        margin = margin_of(evidence.margins)
        temperature = finite["temperature_a"].max()
        at = rows[rows["temperature_a"] == temperature]
        # Disagreement and difference in accuracy are not given as shares of a distance between
        # seeds, so the control of the logits stands in for theirs.
        control = None if column in SHARES else ["logits_share"]
        finding = _worst_group(at, evidence, [column], margin, control)
        note = (
            f"T = {format_number(float(temperature))}; {_indistinguishable(rows, column, margin)}"
        )
        return replace(finding, measured_on=f"{note}; {finding.measured_on}")

    return measure


_MEASURES: dict[str, tuple[str, Callable[[Margins], tuple[float, float]]]] = {
    "weights": ("weights_share", lambda margins: at_most(margins.trained)),
    "logits": ("logits_share", lambda margins: at_most(margins.trained)),
    "predictions": ("disagreement", lambda margins: at_most(margins.agreement)),
    "accuracy": ("accuracy_difference", lambda margins: (-margins.accuracy, margins.accuracy)),
}


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


_DISTANCE = "distance over that of two seeds"
_NAMES = {"lm": ("as stated", "LM"), "centred-lm": ("corrected", "centred LM")}
_WHAT = {
    "weights": ("has the weights of", _DISTANCE),
    "logits": ("has the centred test logits of", _DISTANCE),
    "predictions": ("predicts as", "share of test images predicted otherwise"),
    "accuracy": ("is as accurate as", "difference of test accuracies"),
}

CLAIMS = (
    Claim("means-stay", "as stated", "section 3",
          "logit means keep their initial values during training",
          "rms drift of the mean logit over the rms of centred logits", _share("drift"),
          _means_stay),
    Claim("sums-stay", "corrected", "section 3",
          "the last layer's sums over classes keep their initial values, without weight decay",
          "|sum_k dW_k| over sqrt(K) |dW|, worst of W and b", _share("classifier_sum"),
          _sums_stay),
    Claim("eq8-trained", "printed", "(8)",
          "LM + (8) as printed, its means fixed at the start, trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("printed")),
    Claim("eq8-trained", "corrected", "(8)",
          "LM + (8) corrected, its means fixed at the start, trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("corrected")),
    Claim("l1-like", "as stated", "(8)", "the term of (8) shrinks logits as an l1 penalty does",
          "magnitude of centred logits with it over without", _share("shrinkage"), _l1_like),
    Claim("gap-kd", "as stated", "(7)", "KD does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("kd")),
    Claim("gap-ce", "as stated", "(6)", "CE does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("ce")),
    Claim("gap-lm", "as stated", "(2)", "LM does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("lm")),
    Claim("gap-centred", "corrected", "(7)", "centred LM does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("centred-lm")),
    Claim("equal-means", "as stated", "section 3",
          "equal average means at the start make KD at T = inf train the student of LM",
          _DISTANCE, _share("rounding"), _equal_means),
    Claim("centred-classifier", "corrected", "section 3",
          "zero means sample by sample make LM, centred LM, KD at T = inf and (8) one",
          _DISTANCE, _share("rounding"), _centred_classifier),
    *(
        Claim(f"equivalence-{name}", form, "Figure 1", f"KD at high T {_WHAT[name][0]} {label}",
              _WHAT[name][1], _MEASURES[name][1], _equivalence(other, name))
        for name in _MEASURES
        for other, (form, label) in _NAMES.items()
    ),
)  # fmt: skip
