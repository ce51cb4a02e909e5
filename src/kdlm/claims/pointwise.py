"""Claims that two students are the same to rounding, decided from table `comparisons`.

These are exact statements about each pair of students, so the worst pair decides and there is no
interval. `kdlm.claims.calibrated` decides whether a pair can be judged, and states how large its
distance is.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from kdlm.claims.calibrated import share_and_size, worst_pair
from kdlm.claims.evidence import Claim, Evidence, Finding, NotMeasured, at_most
from kdlm.claims.pairs import LM_FAMILY, between, chosen_pairs, of_loss, same
from kdlm.study.margins import Margins
from kdlm.study.specs import format_number

__all__ = ["CLAIMS"]

LOGITS = ["logits_share"]
SHARES = ["weights_share", "logits_share"]


def _gap(loss: str) -> Callable[[Evidence], Finding]:
    """Return the function that compares students of ``loss`` that differ in the mean gap alone.

    Students whose gap refers to other means differ only in the shift of the last bias too, so they
    count. Pairs at every temperature count. Recipes that use Adam with weight decay in the gradient
    are left out: the mean of W and b over the classes then enters Adam's step sizes, so the gap has
    an effect whatever the loss is.
    """

    def measure(evidence: Evidence) -> Finding:
        runs, rows = evidence.runs, chosen_pairs(evidence)
        coupled = runs[(runs["optimizer"] == "adam") & (runs["weight_decay"] > 0)]["recipe"]
        rows = rows[~rows["recipe"].isin(coupled)]
        rows = rows[same(rows, "loss", "temperature") & (rows["loss_a"] == loss)]
        return worst_pair(rows, evidence, SHARES, evidence.margins.rounding)

    return measure


def _kd_against(evidence: Evidence, other: str) -> pd.DataFrame:
    """Return the pairs of KD at T = ∞ and ``other`` with equal mean gaps, but not he-centred."""
    rows = between(chosen_pairs(evidence), "kd", other)
    infinite = np.isinf(of_loss(rows, "kd", "temperature"))
    return rows[infinite & same(rows, "mean_gap") & (rows["initialisation"] != "he-centred")]


def _equal_means(means: str) -> Callable[[Evidence], Finding]:
    """Return the function that compares KD at T = ∞ with LM of equal average means at the start.

    ``means`` names the teacher's mean from which the student of LM starts. KD is not affected.
    """

    def measure(evidence: Evidence) -> Finding:
        rows = _kd_against(evidence, "lm")
        rows = rows[(rows["mean_gap_a"] == 0) & (of_loss(rows, "lm", "means") == means)]
        return worst_pair(rows, evidence, LOGITS, evidence.margins.rounding)

    return measure


def _centred_classifier(evidence: Evidence) -> Finding:
    """Compare all losses of the logits-matching family and KD at T = ∞, with ``he-centred``.

    Under that initialisation the mean logit of every sample is zero. Only recipes with SGD count,
    since only under SGD do gradients of zero sum keep the means at zero.
    """
    runs, rows = evidence.runs, chosen_pairs(evidence)
    rows = rows[~rows["recipe"].isin(runs[runs["optimizer"] != "sgd"]["recipe"])]
    family = rows["initialisation"] == "he-centred"
    for side in ("a", "b"):
        infinite = (rows[f"loss_{side}"] == "kd") & np.isinf(rows[f"temperature_{side}"])
        family &= rows[f"loss_{side}"].isin(LM_FAMILY) | infinite
        family &= (rows[f"mean_gap_{side}"] == 0) & (rows[f"means_{side}"] == "trained-teacher")
    return worst_pair(rows[family], evidence, SHARES, evidence.margins.rounding)


def _regularised(form: str, means: list[str]) -> Callable[[Evidence], Finding]:
    """Return the function that compares students of a form of eq. (8) with KD at T = ∞.

    The means in (8) are constants fixed before training; ``means`` lists the kinds of c^t that
    count. Pairs without a mean gap do not count, because the term of (8) then vanishes.
    """

    def measure(evidence: Evidence) -> Finding:
        loss = f"regularised-lm-{form}"
        rows = _kd_against(evidence, loss)
        own = of_loss(rows, loss, "means")
        rows = rows[own.isin(means) & ((rows["mean_gap_a"] != 0) | (own == "natural"))]
        return worst_pair(rows, evidence, LOGITS, evidence.margins.trained)

    return measure


def _equivalence(other: str, column: str) -> Callable[[Evidence], Finding]:
    """Return the function that compares KD at the largest finite T with ``other``, at gap 0.

    Its finding also notes the worst share at every temperature, with its size, and the smallest T
    from which on the two losses agree.
    """

    def measure(evidence: Evidence) -> Finding:
        rows = between(chosen_pairs(evidence), "kd", other)
        plain = rows["initialisation"] != "he-centred"
        for side in ("a", "b"):
            plain &= (rows[f"mean_gap_{side}"] == 0) & (rows[f"means_{side}"] == "trained-teacher")
        rows = rows[plain].assign(temperature=of_loss(rows, "kd", "temperature"))
        finite = rows[np.isfinite(rows["temperature"])]
        if finite.empty:
            raise NotMeasured(f"no KD at a finite temperature beside {other}")
        limit, highest = evidence.margins.trained, finite["temperature"].max()
        found = worst_pair(rows[rows["temperature"] == highest], evidence, [column], limit)
        note = f"T = {format_number(highest)}; {_by_temperature(rows, column, limit)}"
        return replace(found, measured_on=f"{note}; {found.measured_on}")

    return measure


def _by_temperature(rows: pd.DataFrame, column: str, limit: float) -> str:
    """Return a note with the worst share at each T, and the T from which on the losses agree.

    They agree at T if every pair is within the margin and none is saturated.
    """
    since, parts = "the same at no T", []
    agreed = True
    known = rows[rows[column].notna()]
    for temperature, at in sorted(known.groupby("temperature"), reverse=True):
        spelt = format_number(float(temperature))
        saturated = np.isinf(at[column.replace("share", "jitter")])
        agreed = agreed and bool(((at[column] <= limit) & ~saturated).all())
        if agreed:
            ratio = at["temperature_over_rms"].mean()
            since = f"the same from T = {spelt} (T/rms = {ratio:.3g}) on"
        parts.append(f"{spelt} {share_and_size(at.loc[at[column].idxmax()], column)}")
    return f"{since}; worst by T: {', '.join(reversed(parts))}"


def _share(key: str) -> Callable[[Margins], tuple[float, float]]:
    return lambda margins: at_most(getattr(margins, key))


_DISTANCE = "distance of the worst pair over that of two seeds"

# The kinds of c^t: the trained teacher's mean, or, as in the paper's text, the untrained one's.
_TRAINED, _UNTRAINED = ["trained-teacher", "natural"], ["untrained-teacher"]

CLAIMS = (
    Claim("eq8-trained", "printed", "(8)",
          "LM + (8) as printed, its constants the student's initial mean and the trained "
          "teacher's, trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("printed", _TRAINED)),
    Claim("eq8-trained", "corrected", "(8)",
          "LM + (8) corrected, its constants the student's initial mean and the trained "
          "teacher's, trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("corrected", _TRAINED)),
    Claim("eq8-untrained", "printed", "(8)",
          "LM + (8) as printed, its constants both networks' means before training (the paper's "
          "text), trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("printed", _UNTRAINED)),
    Claim("eq8-untrained", "corrected", "(8)",
          "LM + (8) corrected, its constants both networks' means before training (the paper's "
          "text), trains the student of KD at T = inf",
          _DISTANCE, _share("trained"), _regularised("corrected", _UNTRAINED)),
    Claim("gap-kd", "as stated", "(7)", "KD does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("kd")),
    Claim("gap-ce", "as stated", "(6)", "CE does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("ce")),
    Claim("gap-lm", "as stated", "(2)", "LM does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("lm")),
    Claim("gap-centred", "corrected", "(7)", "centred LM does not see the mean gap", _DISTANCE,
          _share("rounding"), _gap("centred-lm")),
    Claim("equal-means", "as stated", "section 3",
          "average means equal at the start, the trained teacher's and the student's, make KD at "
          "T = inf train the student of LM",
          _DISTANCE, _share("rounding"), _equal_means("trained-teacher")),
    Claim("equal-means-untrained", "as stated", "section 3",
          "average means equal at the start, both before training (the paper's text), make KD at "
          "T = inf train the student of LM",
          _DISTANCE, _share("rounding"), _equal_means("untrained-teacher")),
    Claim("centred-classifier", "corrected", "section 3",
          "zero means sample by sample make LM, centred LM, KD at T = inf and (8) one",
          _DISTANCE, _share("rounding"), _centred_classifier),
    *(
        Claim(f"equivalence-{what}", form, "Figure 1", f"KD at high T has the {said} of {label}",
              _DISTANCE, _share("trained"), _equivalence(other, f"{what}_share"))
        for what, said in (("weights", "weights"), ("logits", "centred test logits"))
        for other, form, label in (("lm", "as stated", "LM"),
                                   ("centred-lm", "corrected", "centred LM"))
    ),
)  # fmt: skip
