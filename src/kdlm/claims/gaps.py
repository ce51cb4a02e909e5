"""Claims about the gap g = c^s − c^t of mean logits, decided from table `histories`.

These claims use no distance between trained students, so they need no ladder.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from kdlm.claims.calibrated import OBJECTIVE, share_and_size
from kdlm.claims.evidence import (
    Claim,
    Evidence,
    Finding,
    NotMeasured,
    at_most,
    exactly,
    require_complete,
)
from kdlm.claims.pairs import GROUP, between, chosen_pairs, of_loss
from kdlm.study import names
from kdlm.study.margins import Margins
from kdlm.study.specs import format_number

__all__ = ["CLAIMS"]

NETWORK = [*GROUP, "seed"]
"""Keys that determine a student before training, except for the shift of its last bias."""


def _starts(evidence: Evidence, means: str) -> pd.DataFrame:
    """Return the row of each student over the training set, before its training.

    Students with perturbed weights, and those with zero mean logits in every sample, are left out.
    """
    table = evidence.histories
    chosen = (table["role"] == "student") & (table["split"] == "initial")
    chosen &= (table["perturbation"] == 0) & (table["relative_perturbation"] == 0)
    chosen &= (table["means"] == means) & (table["initialisation"] != "he-centred")
    return table[chosen].reset_index(drop=True)


def _gap_dose(evidence: Evidence) -> Finding:
    """Measure whether a mean gap ḡ imposed on LM adds ½ḡ² to its loss at the start, and no more.

    The loss of LM exceeds that of KD at T = ∞ by ½E[g²] = ½ḡ² + ½Var(g). The statistic is the
    largest deviation of ½E[g²] − ½ḡ² from its value at the smallest imposed gap, in ½E[g²]. The
    finding also notes the response: the distance to KD at T = ∞ after training, by gap.

    Raises:
        NotMeasured: no student has two gaps, or an energy is not a number.

    """
    rows = _starts(evidence, "trained-teacher")
    rows = rows[rows["loss"] == "lm"]
    rows = rows[rows.groupby(NETWORK)["mean_gap"].transform("nunique") > 1]
    if rows.empty:
        raise NotMeasured("no student of LM at two mean gaps")
    rows = rows.assign(
        size=rows["mean_gap"].abs(), rest=rows["gap_energy"] - rows["mean_gap"] ** 2 / 2
    )
    rows = rows.sort_values("size", kind="stable")
    least = rows.groupby(NETWORK)["rest"].transform("first")
    deviation = (rows["rest"] - least).abs() / rows["gap_energy"]
    if rows["gap_energy"].isna().any():
        raise NotMeasured("an energy of the gap is not a number")
    energies = rows.groupby("mean_gap")["gap_energy"].mean()
    note = ", ".join(f"{format_number(float(gap))} {mean:.3g}" for gap, mean in energies.items())
    at = rows.loc[deviation.idxmax()]
    return exactly(
        float(deviation.max()),
        rows.groupby(NETWORK).ngroups,
        f"mean energy at the start by gap: {note}{_response(evidence)}; worst: "
        f"{at['architecture']} of {at['teacher']}, {at['recipe']}, seed {at['seed']}, "
        f"gap {format_number(float(at['mean_gap']))}",
    )


def _response(evidence: Evidence) -> str:
    """Return a note with the distance of LM to KD at T = ∞ after training, by LM's mean gap.

    KD does not depend on its own gap, so its students at every gap count.
    """
    rows = between(chosen_pairs(evidence), "kd", "lm").dropna(subset="logits_share")
    chosen = np.isinf(of_loss(rows, "kd", "temperature"))
    chosen &= of_loss(rows, "lm", "means") == "trained-teacher"
    rows = rows[chosen & (rows["initialisation"] != "he-centred")]
    parts = [
        f"{format_number(float(gap))} "
        f"{share_and_size(at.loc[at['logits_share'].idxmax()], 'logits_share')}"
        for gap, at in rows.groupby(of_loss(rows, "lm", "mean_gap"))
    ]
    said = f"; worst distance to KD at T = inf after training by gap: {', '.join(parts)}"
    return said if parts else ""


def _natural_gap(evidence: Evidence) -> Finding:
    """Measure the mean gap |ḡ| at the start where nothing is imposed, over the training set.

    Its unit is the root mean square of z^s − z^t over samples and classes, so the square of the
    statistic is the share of LM's loss that is due to the mean gap. c^t is the trained teacher's;
    the finding also notes the gap to the teacher before its training. The largest gap decides.

    Raises:
        NotMeasured: there is no such student, or one is lost and none is beyond the margin.

    """
    # The initial weights do not depend on the loss, so one student of each network is kept.
    rows = _starts(evidence, "natural").drop_duplicates(NETWORK)
    # 0/0 if student and teacher have equal mean logits: the mean gap then has no share.
    share = rows["gap"].abs() / np.sqrt(2 * rows["gap_energy"] / rows["gap_share"])
    share = share.where(rows["gap_energy"] != 0, 0.0)
    if not (share > evidence.margins.natural_gap).any():
        runs = evidence.runs
        natural = (runs["role"] == "student") & (runs["means"] == "natural")
        require_complete(runs[natural], "last_accuracy")
    if rows.empty:
        raise NotMeasured("no student without an imposed gap")
    if share.isna().any():
        raise NotMeasured("a gap at the start is not a number")
    gaps, at = rows["gap"], rows.loc[share.idxmax()]
    return exactly(
        float(share.max()),
        len(rows),
        f"c^s - c^t of {len(rows)} students at the start: {gaps.mean():+.3g} logits on average "
        f"(from {gaps.min():+.3g} to {gaps.max():+.3g}); at most rms over samples "
        f"{rows['gap_rms'].max():.3g} and {rows['gap_share'].max():.2%} of LM's loss"
        f"{_before_training(rows, evidence)}; worst: {at['architecture']} of {at['teacher']}, "
        f"teacher seed {int(at['teacher_seed'])}, {at['initialisation']}, seed {at['seed']}",
    )


def _before_training(rows: pd.DataFrame, evidence: Evidence) -> str:
    """Return a note with the gap to the teachers before their training, the paper's own c^t."""
    table = evidence.histories
    teachers = table[(table["role"] == "teacher") & (table["split"] == "initial")]
    spelt = ["-".join(keys) for keys in teachers[GROUP[2:]].itertuples(index=False, name=None)]
    means = pd.Series(teachers["mean_logit"].to_numpy(), index=[spelt, teachers["seed"]])
    known = pd.MultiIndex.from_frame(rows[["teacher", "teacher_seed"]])
    gaps = rows["mean_logit"].to_numpy() - means.reindex(known).to_numpy()
    if np.isnan(gaps).all():
        return ""
    return (
        f"; c^s - c^t with the teacher's mean before its training: "
        f"from {np.nanmin(gaps):+.3g} to {np.nanmax(gaps):+.3g}"
    )


def _centred_adam(evidence: Evidence) -> Finding:
    """Measure how far the mean logit of a sample moves from zero under Adam, with ``he-centred``.

    The statistic is the largest root mean square over samples of c(x), in root mean squares of the
    centred logits, over all students, epochs and splits. Students whose mean logits are not zero at
    the start, because their teacher's mean was imposed on them, do not count.

    Raises:
        NotMeasured: there is no such student, or one of them is lost and none is beyond the margin.

    """

    def chosen(table: pd.DataFrame) -> pd.DataFrame:
        recipes = evidence.runs.loc[evidence.runs["optimizer"].isin(["adam", "adamw"]), "recipe"]
        student = (table["role"] == "student") & (table["initialisation"] == "he-centred")
        return table[student & table["recipe"].isin(recipes)]

    limit = evidence.margins.rounding
    keys = [*GROUP, *OBJECTIVE, "perturbation", "relative_perturbation", "seed"]
    rows = chosen(evidence.histories)
    rows = rows.assign(share=rows["mean_logit_rms"] / rows["logit_rms"])
    start = rows["share"].where(rows["epoch"] == 0)
    centred = start.groupby([rows[key] for key in keys]).transform("max") <= limit
    rows = rows[centred]
    if rows.empty or rows["share"].isna().all() or rows["share"].max() <= limit:
        require_complete(chosen(evidence.runs), "last_accuracy")
    if rows.empty:
        raise NotMeasured("no student with zero means sample by sample is trained by Adam")
    if rows["share"].isna().any():
        raise NotMeasured("a mean logit is not a number")
    at = rows.loc[rows["share"].idxmax()]
    return exactly(
        float(at["share"]),
        rows.groupby(NETWORK).ngroups,
        f"worst of {len(rows)} epochs and splits: {names.LOSSES[at['loss']].label}, "
        f"{at['architecture']}, {at['recipe']}, seed {at['seed']}, epoch {at['epoch']}, "
        f"{at['split']}",
    )


def _at_most(key: str) -> Callable[[Margins], tuple[float, float]]:
    return lambda margins: at_most(getattr(margins, key))


CLAIMS = (
    Claim("gap-dose", "corrected", "(2)",
          "a mean gap imposed on LM adds half its square to the loss at the start, and no more",
          "largest deviation, in half the mean of g^2", _at_most("rounding"), _gap_dose),
    Claim("natural-gap", "as stated", "section 3",
          "equal means at the start are easily satisfied: they need not be imposed",
          "largest |mean of c^s - c^t| in rms of z^s - z^t", _at_most("natural_gap"), _natural_gap),
    Claim("centred-classifier-adam", "corrected", "section 3",
          "zero means sample by sample stay zero under Adam, as they do under SGD",
          "largest rms of c(x) in rms of the centred logits", _at_most("rounding"), _centred_adam),
)  # fmt: skip
