"""The ladder: how far a student moves if its initial weights get a relative jitter.

Training is chaotic, so the distance between two trained students says little by itself: beyond a
tiny difference it has nothing to do with the size of that difference. A ladder calibrates it. It
consists of students of one loss whose initial weights w were replaced by w (1 + εξ), ξ = ±1, for
rungs ε from the rounding of the weights to a hundredth. A distance between students of two losses
is then read as the ε that carries one and the same loss as far.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdlm.study.schemas import STUDENT_KEYS

__all__ = ["OBJECTIVE", "Ladder", "ladders"]

Array = npt.NDArray[np.float64]

GROUP = list(STUDENT_KEYS)[:5]
OBJECTIVE = ["loss", "temperature", "means", "mean_gap"]


@dataclass(frozen=True)
class Ladder:
    """The rungs of one ladder, in rising order of ε.

    >>> ladder = Ladder(np.array([1e-10, 1e-8, 1e-6, 1e-4]), np.array([1e-8, 1e-6, 0.6, 0.5]))
    >>> ladder.saturation, ladder.plateau_from
    (0.3, 1e-06)
    >>> ladder.jitter(np.array([1e-9, 1e-7, 0.4]))
    array([0.e+00, 1.e-09,    inf])
    """

    rungs: Array
    """ε of each rung, (R,), R at least 1."""
    shares: Array
    """Distance to the unperturbed student, in distances between seeds, (R,); never NaN."""

    @property
    def flat(self) -> bool:
        """Whether the ladder has a plateau: two rungs have at least half of the largest share."""
        largest = self.shares.max()
        return bool(largest > 0 and (self.shares >= largest / 2).sum() > 1)

    @property
    def saturation(self) -> float:
        """The share from which on the jitter that corresponds to a distance cannot be read.

        It is half of the plateau, which is the largest share of any rung. If the ladder ends before
        a plateau, it is the largest share itself.
        """
        largest = float(self.shares.max())
        return largest / 2 if self.flat else largest

    @property
    def plateau_from(self) -> float:
        """The smallest ε whose share reaches `saturation`."""
        return float(self.rungs[self.shares >= self.saturation].min())

    def jitter(self, shares: Array) -> Array:
        """Return for each share the ε at which a student of the ladder moves as far.

        The shares of the rungs are replaced by their running maximum, so that they increase with ε.
        Between two rungs log ε is linear in log share. The result is 0 for a share below that of
        the lowest rung that moved the student at all, infinite for a share of `saturation` or more,
        and NaN for NaN.

        Args:
            shares: distances, in units of the distance between seeds, any shape.

        """
        rising = np.maximum.accumulate(self.shares)
        # A rung is dropped if its share does not exceed that of a smaller rung.
        kept = np.diff(rising, prepend=0.0) > 0
        found = np.zeros_like(shares)
        if kept.any():
            least = rising[kept][0]
            logs = np.log(np.maximum(shares, least))
            between = np.exp(np.interp(logs, np.log(rising[kept]), np.log(self.rungs[kept])))
            found = np.where(shares < least, 0.0, between)
        found = np.where((shares >= self.saturation) & (shares > 0), math.inf, found)
        return np.where(np.isnan(shares), math.nan, found)


def ladders(pairs: pd.DataFrame, share: str) -> dict[tuple[Any, ...], Ladder]:
    """Return the ladder of each group of students that has one.

    A group has one teacher, architecture, initialisation and recipe. If several losses of a group
    have rungs, the ladder is that of KD at the largest temperature, or else of the first loss by
    name; among several mean gaps the smallest is used. The share of a rung is the mean over seeds.
    A group with a lost rung has no ladder, because a mean over the other seeds would be another
    measure.

    Args:
        pairs: table ``comparisons``; the pairs of kind ``rung`` are used.
        share: the column that holds the distance, ``weights_share`` or ``logits_share``.

    Returns:
        Ladders by the values of the group's keys, `GROUP`.

    """
    rungs = pairs[pairs["kind"] == "rung"]
    found = {}
    for group, members in rungs.groupby(GROUP):
        objectives = members.groupby([f"{key}_a" for key in OBJECTIVE])
        chosen = members.loc[objectives.groups[min(objectives.groups, key=_preference)]]
        sizes = chosen[["relative_perturbation_a", "relative_perturbation_b"]].max(axis=1)
        by_size = chosen.groupby(sizes)[share]
        if not chosen[share].isna().any():
            means = by_size.mean()
            found[tuple(group)] = Ladder(
                means.index.to_numpy(dtype=np.float64), means.to_numpy(dtype=np.float64)
            )
    return found


def _preference(objective: tuple[str, float, str, float]) -> tuple[Any, ...]:
    loss, temperature, means, gap = objective
    return loss != "kd", loss, -temperature, means != "trained-teacher", means, abs(gap), gap
