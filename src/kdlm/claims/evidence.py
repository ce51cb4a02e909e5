"""The types of a claim and its finding, and the tables from which claims are decided."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kdlm.claims.statistics import (
    EQUIVALENCE_LEVEL,
    FEWEST_UNITS,
    confidence_interval,
    verdict,
)
from kdlm.storage.parquet import read_table
from kdlm.study.margins import Margins

__all__ = [
    "GROUP",
    "Claim",
    "Evidence",
    "Finding",
    "NotMeasured",
    "at_most",
    "exactly",
    "losses_of",
    "over_seeds",
    "require_complete",
    "unless_refuted",
    "worst",
]


GROUP = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]
"""Keys of a group: students that differ only in their loss, their seed and what moved them."""


class NotMeasured(Exception):  # noqa: N818
    """A claim cannot be measured from the tables; the message says what is missing."""


@dataclass(frozen=True)
class Finding:
    """A measured statistic with its confidence interval."""

    value: float
    low: float
    """Lower end of the interval; equal to ``value`` where the statistic is exact."""
    high: float
    n: int
    """Number of independent units (seeds, samples or cases) behind the statistic."""
    measured_on: str
    """A note for a reader on the networks or samples behind the statistic."""
    doubt: str = ""
    """The reason why the verdict must be inconclusive, whatever the interval; empty without one."""
    exact: bool = False
    """Whether the statistic has no interval, because it is the worst case of a universal claim."""
    sd: float = math.nan
    """Standard deviation over the units; NaN where the interval is not Student's."""
    level: float = math.nan
    """Level of Student's interval; NaN where the interval is another, or there is none."""
    cases: tuple["Finding", ...] = ()
    """The findings that `worst` chose this one from."""

    def reason(self, margin_low: float, margin_high: float) -> str:
        """Return the reason why the verdict is inconclusive whatever the interval; else ''.

        The reason is ``doubt``, or that an interval inside the margin is of fewer than five units,
        which cannot support an equivalence. Fewer than five can still refute it.
        """
        if self.doubt or self.exact or self.n >= FEWEST_UNITS:
            return self.doubt
        if verdict(self.low, self.high, margin_low, margin_high) != "supported":
            return ""
        return f"{self.n} seeds: fewer than five support no equivalence"

    def verdict(self, margin_low: float, margin_high: float) -> str:
        """Return the verdict of `kdlm.claims.statistics.verdict`.

        It is ``inconclusive`` where `reason` gives a reason.
        """
        if self.reason(margin_low, margin_high):
            return "inconclusive"
        return verdict(self.low, self.high, margin_low, margin_high)


@dataclass(frozen=True)
class Evidence:
    """All tables of a study, each as a data frame, and the study's margins."""

    identities: pd.DataFrame
    gradient_limit: pd.DataFrame
    runs: pd.DataFrame
    histories: pd.DataFrame
    comparisons: pd.DataFrame
    layer_means: pd.DataFrame
    init_means: pd.DataFrame
    margins: Margins
    dataset: str = ""
    """Name of the dataset that teachers and students are trained on; empty where unknown."""

    @cached_property
    def mixed(self) -> frozenset[str]:
        """The recipes that add the cross-entropy to the distillation loss."""
        return frozenset(self.runs.loc[self.runs["ce_weight"] > 0, "recipe"])

    @cached_property
    def positions(self) -> Mapping[tuple[Any, ...], npt.NDArray[np.int64]]:
        """The positions of rows in `comparisons`, by kind of pair and the keys of its group.

        A claim looks at each group in turn. To search the whole table for each would take a time
        that grows with the square of the number of groups.
        """
        found: Mapping[tuple[Any, ...], npt.NDArray[np.int64]]
        found = self.comparisons.groupby(["kind", *GROUP]).indices
        return found

    @classmethod
    def read(cls, folder: Path, margins: Margins, dataset: str = "") -> "Evidence":
        """Read all tables of a study of ``dataset`` from ``folder``.

        Raises:
            InputError: a table is missing or damaged.

        """
        names = [name for name in cls.__dataclass_fields__ if name not in ("margins", "dataset")]
        tables = {name: read_table(folder / f"{name}.parquet", name) for name in names}
        return cls(**tables, margins=margins, dataset=dataset)


@dataclass(frozen=True)
class Claim:
    """A statement, its margin, and the function that measures its statistic."""

    id: str
    form: str
    """``printed``, ``corrected``, or ``as stated`` where the paper's form is the only one."""
    equation: str
    """The equation, section or table in which the paper states it."""
    statement: str
    statistic: str
    """What the measured number is, with its unit."""
    margin: Callable[[Margins], tuple[float, float]]
    """Takes the two ends of the claim's margin from the study's margins."""
    measure: Callable[[Evidence], Finding]
    """Measures the statistic; raises `NotMeasured` where the tables do not allow it."""


def exactly(value: float, n: int, measured_on: str) -> Finding:
    """Return the finding of a universal statement, whose worst case is ``value``.

    It has no interval, because a single violation refutes a universal statement.
    """
    return Finding(value, value, value, n, measured_on, exact=True)


def unless_refuted(finding: Finding, margin: tuple[float, float], lost: Sequence[str]) -> Finding:
    """Return the finding of a universal statement of which some cases are ``lost``.

    A counterexample is final: whatever the lost cases would have shown, the statement is refuted if
    the ``finding`` of the others refutes it. Support would need all cases.

    Args:
        finding: the worst of the cases that were measured.
        margin: the ends of the claim's margin.
        lost: for each lost case the reason why it could not be measured.

    Raises:
        NotMeasured: a case is lost, and the others do not refute the statement.

    """
    if not lost:
        return finding
    first = f"{lost[0]}" + (f"; and {len(lost) - 1} more" if len(lost) > 1 else "")
    if finding.verdict(*margin) != "refuted":
        raise NotMeasured(first)
    return replace(finding, measured_on=f"{finding.measured_on}; not measured: {first}")


def worst(findings: list[Finding], margin: tuple[float, float]) -> Finding:
    """Return the finding that decides a statement about all of several groups.

    The worst verdict decides: refuted, then inconclusive, then supported. Among findings of equal
    verdict the largest absolute value counts.
    """
    order = ["supported", "inconclusive", "refuted"]
    decisive = max(
        findings, key=lambda found: (order.index(found.verdict(*margin)), abs(found.value))
    )
    return replace(decisive, cases=tuple(findings))


def at_most(limit: float) -> tuple[float, float]:
    """Return the one-sided margin (−∞, limit] of a distance.

    It has no lower end because the confidence interval of a tiny distance reaches below zero.

    >>> at_most(0.1)
    (-inf, 0.1)
    """
    return -math.inf, limit


def losses_of(rows: pd.DataFrame, *columns: str) -> list[str]:
    """Return the different reasons of the ``rows`` that lack a number in ``columns``."""
    lost = rows["reason"].notna() & rows[list(columns)].isna().any(axis=1)
    return list(rows.loc[lost, "reason"].unique())


def require_complete(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return ``rows`` unchanged, after a check that none of their numbers is lost.

    A student that diverged or is missing still has its rows in the tables, with a reason in place
    of numbers. A claim passes the rows that it has chosen through this function, so that it is not
    decided on the remaining students as if there had been no others.

    Args:
        rows: rows of a table with a column ``reason``.
        columns: the columns that the claim is going to use.

    Raises:
        NotMeasured: a row with a reason lacks a number in ``columns``; the message is that reason.

    """
    reasons = losses_of(rows, *columns)
    if reasons:
        first, *others = reasons
        raise NotMeasured(f"{first}" + (f"; and {len(others)} more" if others else ""))
    return rows


def over_seeds(values: pd.Series, measured_on: str, level: float = EQUIVALENCE_LEVEL) -> Finding:
    """Return the mean of ``values``, one for each seed, with its confidence interval.

    That the 90 % interval lies inside the margin is the same as two one-sided tests (TOST) at level
    0.05 that conclude equivalence. A claim that is decided by the worst of several groups gives
    each the ``level`` of `kdlm.claims.statistics.simultaneous`.

    Raises:
        NotMeasured: there are no values, or one of them is null.

    """
    if values.empty:
        raise NotMeasured("no such students in this study")
    if values.isna().any():
        raise NotMeasured(f"not a number: {measured_on}")
    low, high = confidence_interval(values, level)
    doubt = "one seed bounds nothing" if len(values) < 2 else ""
    return Finding(
        float(np.mean(values)),
        low,
        high,
        len(values),
        measured_on,
        doubt,
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        level=level,
    )
