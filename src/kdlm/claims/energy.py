"""Claims about the energy of the gap, the whole difference between LM and KD at T = ∞.

For one sample with the gap g = c^s − c^t, L_LM = L_centred + ½g² (claim ``energy-identity``), where
L_centred is KD at T = ∞. Table `histories` has the share ½E[g²] / L_LM of every student, at every
epoch. It is also the share of the gap in the squared norm of LM's gradient on the logits. No
training has to be repeated to compare the two losses in this way, so chaos plays no part. Each
statement is about every student, and the student with the largest share decides.
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
    require_complete,
)
from kdlm.study import names
from kdlm.study.margins import Margins

__all__ = ["CLAIMS"]

_NETWORK = ["teacher", "teacher_seed", "architecture", "initialisation", "seed"]
"""Students that have these in common start from the same weights and learn from one teacher."""


def _students(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of students whose initial weights were not moved."""
    unmoved = (table["perturbation"] == 0) & (table["relative_perturbation"] == 0)
    return table[(table["role"] == "student") & unmoved]


def _equal_on_average(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of students of LM and of KD at T = ∞ that start with equal average means.

    The average of c^s over the training set then equals that of the trained teacher's c^t. Students
    with zero mean logits in every sample are left out; `_zero_in_every_sample` returns them.
    """
    return _of_both_losses(evidence, table)[lambda rows: rows["means"] == "trained-teacher"]


def _of_both_losses(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of students of LM and of KD at T = ∞, without CE and with mean gap 0."""
    rows = _students(table)
    infinite = (rows["loss"] == "kd") & np.isinf(rows["temperature"])
    return rows[
        ((rows["loss"] == "lm") | infinite)
        & (rows["mean_gap"] == 0)
        & (rows["initialisation"] != "he-centred")
        & ~rows["recipe"].isin(evidence.mixed)
    ]


def _zero_in_every_sample(evidence: Evidence, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of students whose mean logits, and their teacher's, are zero in each sample.

    Student and teacher were initialised by ``he-centred`` and trained by SGD, with any loss.
    """
    runs = evidence.runs
    sgd = runs.loc[runs["optimizer"] == "sgd", "recipe"].unique()
    teachers = runs[
        (runs["role"] == "teacher")
        & (runs["initialisation"] == "he-centred")
        & runs["recipe"].isin(sgd)
    ]
    of = teachers["architecture"] + "-" + teachers["initialisation"] + "-" + teachers["recipe"]
    rows = _students(table)
    return rows[
        (rows["initialisation"] == "he-centred")
        & rows["recipe"].isin(sgd)
        & rows["teacher"].isin(of)
        & (rows["mean_gap"] == 0)
    ]


def _start(histories: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the training set before training."""
    return histories[histories["split"] == "initial"]


def _end(histories: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the test set after the last epoch of each recipe."""
    last = histories.groupby("recipe")["epoch"].transform("max")
    return histories[(histories["split"] == "test") & (histories["epoch"] == last)]


def _throughout(histories: pd.DataFrame) -> pd.DataFrame:
    return histories


def _largest_share(
    choose: Callable[[Evidence, pd.DataFrame], pd.DataFrame],
    when: Callable[[pd.DataFrame], pd.DataFrame],
    contrast: Callable[[Evidence], str] | None = None,
) -> Callable[[Evidence], Finding]:
    """Return the function that finds the largest share of any student.

    A share above the margin refutes the claim, even if other students are lost. If there is none,
    the claim can be measured only if no student is lost.

    Args:
        choose: chooses the students' rows of a table, histories or runs.
        when: chooses the epochs and splits.
        contrast: writes a note about other students.

    """

    def measure(evidence: Evidence) -> Finding:
        finished = evidence.histories[evidence.histories["status"] == "finished"]
        rows = when(choose(evidence, finished))
        shares = rows["gap_share"]
        if not (shares > evidence.margins.energy).any():
            require_complete(choose(evidence, evidence.runs), "last_accuracy")
            if rows.empty:
                raise NotMeasured("no such students in this study")
            if shares.isna().any():
                raise NotMeasured("a student's share is not a number")
        note = contrast(evidence) if contrast else ""
        networks = len(rows[_NETWORK].drop_duplicates())
        return exactly(float(shares.max()), networks, _described(rows) + note)

    return measure


def _described(rows: pd.DataFrame) -> str:
    """Describe the students of ``rows``, the worst of them, and the worst by initialisation."""
    worst = rows.iloc[rows["gap_share"].argmax()]
    students = len(rows[[*_NETWORK, "recipe", "loss", "temperature", "means"]].drop_duplicates())
    teachers = len(rows[["teacher", "teacher_seed"]].drop_duplicates())
    by = rows.groupby(["initialisation", "loss"], sort=False)["gap_share"].max()
    largest = [f"{drawn}, {_label(loss)} {share:.1e}" for (drawn, loss), share in by.items()]
    return (
        f"{students} students of {teachers} teachers; worst: {worst['teacher']} to "
        f"{worst['architecture']}, {worst['recipe']}, seed {worst['seed']}, epoch {worst['epoch']}"
        f" (g: mean {worst['gap']:.1e}, rms {worst['gap_rms']:.1e}); largest by initialisation "
        f"and loss: {'; '.join(largest)}"
    )


def _label(loss: str) -> str:
    return names.LOSSES[loss].label


def _other_means(evidence: Evidence) -> str:
    """Return a note with the largest share at the start of students with other ``means``.

    Their gap of 0 refers to the mean of the untrained teacher, or no gap was imposed on them.
    """
    finished = evidence.histories[evidence.histories["status"] == "finished"]
    rows = _start(_of_both_losses(evidence, finished))
    others = rows[rows["means"] != "trained-teacher"].groupby("means", sort=False)["gap_share"]
    parts = [f"{means} means {share:.1e}" for means, share in others.max().items()]
    return f"; in contrast: {'; '.join(parts)}" if parts else ""


def _margin(margins: Margins) -> tuple[float, float]:
    return at_most(margins.energy)


CLAIMS = (
    Claim("energy-start", "as stated", "section 3",
          "equal average means at the start make LM the loss of KD at T = inf there",
          "share of LM's loss due to g = c^s - c^t, training set, worst student", _margin,
          _largest_share(_equal_on_average, _start, _other_means)),
    Claim("energy-solution", "as stated", "section 3",
          "equal average means at the start make LM the loss of KD at T = inf after training",
          "share of LM's loss due to g = c^s - c^t, test set, worst student of either", _margin,
          _largest_share(_equal_on_average, _end)),
    Claim("energy-centred", "corrected", "section 3",
          "zero means in every sample make LM the loss of KD at T = inf, all along SGD",
          "share of LM's loss due to g = c^s - c^t, any epoch and split, worst student", _margin,
          _largest_share(_zero_in_every_sample, _throughout)),
)  # fmt: skip
