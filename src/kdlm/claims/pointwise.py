"""Claims about one student and another, decided from table `comparisons`.

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
    over_seeds,
    require_complete,
    worst,
)
from kdlm.claims.pairs import GROUP, LM_FAMILY, between, chosen_pairs, same
from kdlm.claims.statistics import confidence_interval, verdict
from kdlm.study.margins import Margins
from kdlm.study.specs import format_number

__all__ = ["CLAIMS"]

SHARES = ["weights_share", "logits_share"]


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
    controls = chosen_pairs(evidence, "floor").merge(measured[GROUP].drop_duplicates())
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
        runs, rows = evidence.runs, chosen_pairs(evidence)
        coupled = runs[(runs["optimizer"] == "adam") & (runs["weight_decay"] > 0)]["recipe"]
        rows = rows[~rows["recipe"].isin(coupled)]
        rows = rows[same(rows, "loss", "temperature") & (rows["loss_a"] == loss)]
        return _worst_group(rows, evidence, SHARES, at_most(evidence.margins.rounding))

    return measure


def _equal_means(evidence: Evidence) -> Finding:
    """Compare KD at T = ∞ with LM, where average means are equal at the start but not zero."""
    rows = between(chosen_pairs(evidence), "kd", "lm")
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
    runs, rows = evidence.runs, chosen_pairs(evidence)
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
        rows = between(chosen_pairs(evidence), "kd", f"regularised-lm-{form}")
        rows = rows[
            np.isinf(rows["temperature_a"])
            & same(rows, "mean_gap")
            & (rows["mean_gap_a"] != 0)
            & (rows["initialisation"] != "he-centred")
        ]
        return _worst_group(rows, evidence, ["logits_share"], at_most(evidence.margins.trained))

    return measure


def _against(evidence: Evidence, other: str) -> pd.DataFrame:
    """Return the pairs of KD, at any temperature, and ``other``, at gap 0 and without centring."""
    rows = between(chosen_pairs(evidence), "kd", other)
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
        rows = require_complete(rows, column)
        margin = margin_of(evidence.margins)
        temperature = finite["temperature_a"].max()
        at = rows[rows["temperature_a"] == temperature]
        finding = _worst_group(at, evidence, [column], margin)
        note = (
            f"T = {format_number(float(temperature))}; {_indistinguishable(rows, column, margin)}"
        )
        return replace(finding, measured_on=f"{note}; {finding.measured_on}")

    return measure


_MEASURES: dict[str, tuple[str, Callable[[Margins], tuple[float, float]]]] = {
    "weights": ("weights_share", lambda margins: at_most(margins.trained)),
    "logits": ("logits_share", lambda margins: at_most(margins.trained)),
}


def _share(key: str) -> Callable[[Margins], tuple[float, float]]:
    return lambda margins: at_most(getattr(margins, key))


_DISTANCE = "distance over that of two seeds"


_NAMES = {"lm": ("as stated", "LM"), "centred-lm": ("corrected", "centred LM")}


_WHAT = {
    "weights": ("has the weights of", _DISTANCE),
    "logits": ("has the centred test logits of", _DISTANCE),
}

CLAIMS = (
    Claim("eq8-trained", "printed", "(8)",
          "LM + (8) as printed, its means fixed at the start, trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("printed")),
    Claim("eq8-trained", "corrected", "(8)",
          "LM + (8) corrected, its means fixed at the start, trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("corrected")),
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
