"""Test accuracies of the losses that the study's question is about, in its paired arm."""

import math
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from kdlm.study.specs import format_number

__all__ = ["LEVEL", "Accuracy", "accuracies"]

LEVEL = 0.90
"""Level of the intervals: that of the claims' intervals."""

_GROUP = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]


@dataclass(frozen=True)
class Accuracy:
    """Test accuracy, a share from 0 to 1, of the students of one loss."""

    label: str
    mean: float
    low: float
    """Lower end of Student's interval of level `LEVEL` over seeds; −∞ with one seed."""
    high: float
    n: int
    """Number of seeds."""
    students: str = ""
    """The networks and the recipe, the same for every loss."""

    def words(self) -> str:
        """Return the accuracy in per cent.

        >>> Accuracy("LM", 0.9317, 0.9149, 0.9485, 5).words()
        'LM: 93.2% (90% interval 91.5% to 94.8%)'
        """
        if math.isinf(self.low):
            return f"{self.label}: {self.mean:.1%}"
        return f"{self.label}: {self.mean:.1%} (90% interval {self.low:.1%} to {self.high:.1%})"


def accuracies(runs: pd.DataFrame) -> list[Accuracy]:
    """Return the accuracies of CE, KD at its best T, LM, KD at T = ∞ and centred LM.

    The students compared have the same teacher, the same architecture, recipe and seeds, average
    mean logits made equal at the start, and weights that nothing moved. Of several such groups
    that with the most of these losses is taken, then with the most seeds, then the most
    temperatures. A loss that was not trained with every seed of the group is left out. The best
    finite temperature is that of the highest mean accuracy on these same test images, so its
    accuracy is a little too high.

    Args:
        runs: table ``runs``.

    Returns:
        The accuracies in that order; none if no student of LM and of KD at T = ∞ is finished.

    """
    rows = runs[(runs["role"] == "student") & (runs["status"] == "finished")]
    rows = rows[
        (rows["means"] == "trained-teacher")
        & (rows["mean_gap"] == 0)
        & (rows["perturbation"] == 0)
        & (rows["relative_perturbation"] == 0)
        & (rows["initialisation"] != "he-centred")
        & rows["last_accuracy"].notna()
    ]
    best: tuple[tuple[int, int, int], list[Accuracy]] | None = None
    for _, members in rows.groupby(_GROUP, sort=False):
        found, seeds, temperatures = _of_group(members)
        rank = (len(found), seeds, temperatures)
        if found and (best is None or rank > best[0]):
            best = rank, found
    return [] if best is None else best[1]


def _of_group(members: pd.DataFrame) -> tuple[list[Accuracy], int, int]:
    """Return the accuracies of one group, its number of seeds and of temperatures."""
    arms = {
        key: arm.drop_duplicates("seed").set_index("seed")["last_accuracy"]
        for key, arm in members.groupby(["loss", "temperature"])
    }
    asked = [("kd", math.inf), ("lm", math.inf)]
    if not all(key in arms for key in asked):
        return [], 0, 0
    seeds = arms["kd", math.inf].index.intersection(arms["lm", math.inf].index)
    whole = {key: arm[seeds] for key, arm in arms.items() if set(seeds) <= set(arm.index)}
    if not len(seeds):
        return [], 0, 0
    finite = [key for key in whole if key[0] == "kd" and math.isfinite(key[1])]
    chosen = [(("ce", 1.0), "CE, without a teacher")]
    if finite:
        hottest = max(finite, key=lambda key: (whole[key].mean(), -key[1]))
        chosen.append((hottest, f"KD at its best T = {format_number(hottest[1])}"))
    chosen += [
        (("lm", math.inf), "LM"),
        (("kd", math.inf), "KD at T = inf"),
        (("centred-lm", math.inf), "centred LM"),
    ]
    first = members.iloc[0]
    students = f"{first['architecture']} of {first['teacher']}, recipe {first['recipe']}"
    found = [
        Accuracy(label, *_interval(whole[key]), n=len(seeds), students=students)
        for key, label in chosen
        if key in whole
    ]
    return found, len(seeds), len(finite)


def _interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean of ``values`` and Student's interval of it."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half
