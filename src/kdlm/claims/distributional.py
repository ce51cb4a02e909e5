"""Claims about the distribution over seeds: do two losses train equally good students?

These claims do not ask whether two losses train the same student, which
`kdlm.claims.pointwise` does. They compare what a user of the students sees: accuracy, calibration,
and how many images are predicted otherwise. Rounding errors that training amplifies are then one
more source of variance, which the interval over seeds contains. These claims therefore need no
control, and they can be measured at any precision and size of a study.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

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
from kdlm.claims.pairs import between, chosen_pairs
from kdlm.claims.statistics import FEWEST_UNITS, simultaneous
from kdlm.study.margins import Margins
from kdlm.study.specs import format_number

__all__ = ["CLAIMS"]

GROUP = ["teacher", "architecture", "initialisation", "recipe"]
"""Students of one group differ only in their seed, their teacher's seed and the loss."""


@dataclass(frozen=True)
class _Measure:
    """A column of table ``comparisons`` that says how two students differ, and its margin."""

    column: str
    says: str
    """The claim about KD, as the end of a sentence; ``{}`` stands for the other loss."""
    statistic: str
    margin: Callable[[Margins], tuple[float, float]]


_MEASURES = {
    "predictions": _Measure(
        "disagreement_share",
        "predicts as {}: no further apart than two seeds",
        "share of test images predicted otherwise, over that of two seeds of one loss",
        lambda margins: at_most(margins.seed_disagreement),
    ),
    "accuracy": _Measure(
        "accuracy_difference",
        "is as accurate as {}",
        "difference of test accuracies, KD less the other",
        lambda margins: (-margins.accuracy, margins.accuracy),
    ),
    "calibration": _Measure(
        "calibration_difference",
        "is as well calibrated as {}",
        "difference of expected calibration errors, KD less the other",
        lambda margins: (-margins.calibration, margins.calibration),
    ),
}

_OTHERS = {"lm": ("as stated", "LM"), "centred-lm": ("corrected", "centred LM")}
"""The losses that KD is compared with: the form of the claim, and how its statement names them."""


def _against(evidence: Evidence, other: str) -> pd.DataFrame:
    """Return the pairs of KD, at its largest finite temperature and at infinity, and ``other``.

    Both students start with the trained teacher's mean logit, and neither is ``he-centred``.

    Raises:
        NotMeasured: there is no such pair.

    """
    rows = between(chosen_pairs(evidence), "kd", other)
    chosen = rows["initialisation"] != "he-centred"
    for side in ("a", "b"):
        chosen &= rows[f"means_{side}"] == "trained-teacher"
        chosen &= rows[f"mean_gap_{side}"] == 0
    rows = rows[chosen]
    if rows.empty:
        raise NotMeasured(f"no students of KD and {other} with equal means at the start")
    temperatures = rows["temperature_a"]
    largest = temperatures[np.isfinite(temperatures)].max()
    return rows[temperatures.isin([largest, np.inf])]


def _units(pairs: pd.DataFrame, column: str) -> tuple[pd.Series, str]:
    """Return the values of ``column`` by independent unit, and the units in words.

    Students of one teacher share its errors. Where there are several seeds of the teacher, the unit
    is therefore the teacher, with the mean over its students as value; else it is the student.
    """
    if pairs["teacher_seed"].nunique() > 1:
        of_teachers = pairs.groupby("teacher_seed")[column].mean()
        return of_teachers, f"{len(of_teachers)} teacher seeds, {len(pairs)} pairs of students"
    return pairs.set_index("seed_a")[column], f"{len(pairs)} seeds of one teacher"


def _equivalence(other: str, measure: _Measure) -> Callable[[Evidence], Finding]:
    """Return the function that finds the worst mean difference between KD and ``other``.

    A case is a group of students with one of the two temperatures. A case of fewer than five units,
    which cannot support the claim, is left out if another case has five or more.
    """

    def find(evidence: Evidence) -> Finding:
        rows = require_complete(_against(evidence, other), measure.column)
        pairs = rows.dropna(subset=measure.column)
        if pairs.empty:
            raise NotMeasured("one seed only, so no two seeds to compare with")
        every = [
            (key, members, *_units(members, measure.column))
            for key, members in pairs.groupby(["temperature_a", *GROUP], sort=False)
        ]
        groups = [group for group in every if len(group[2]) >= FEWEST_UNITS] or every
        findings = []
        for (temperature, *group), members, values, units in groups:
            teacher, architecture, initialisation, recipe = group
            where = (
                f"KD at T = {format_number(temperature)}, {teacher} to {architecture}, "
                f"{initialisation}, {recipe}; {units}"
            )
            if measure.column == "accuracy_difference":
                where += f"; {_image_error(members)}"
            findings.append(over_seeds(values, where, simultaneous(len(groups))))
        found = worst(findings, measure.margin(evidence.margins))
        lost = len(rows) - len(pairs)
        note = f"; {lost} pairs without a second seed left out" if lost else ""
        if few := len(every) - len(groups):
            note += f"; {few} groups of fewer than {FEWEST_UNITS} units left out"
        return replace(found, measured_on=f"worst of {len(groups)}: {found.measured_on}{note}")

    return find


def _image_error(pairs: pd.DataFrame) -> str:
    """Return a note with the standard error that the choice of test images gives a difference.

    The interval over seeds does not contain it, because all seeds share the images. The mean over
    pairs bounds the error of their mean difference from above.
    """
    error = pairs["accuracy_image_error"].mean()
    return f"standard error from the test images alone at most {error:.2g}"


CLAIMS = tuple(
    Claim(
        f"equivalence-{name}",
        form,
        "Figure 1",
        f"on this test set, KD at high T and at inf {measure.says.format(label)}",
        measure.statistic,
        measure.margin,
        _equivalence(other, measure),
    )
    for name, measure in _MEASURES.items()
    for other, (form, label) in _OTHERS.items()
)
