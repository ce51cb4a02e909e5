"""What a claim is made of, and the tables it is decided by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kdlm.claims.statistics import confidence_interval, verdict
from kdlm.storage.parquet import read_table
from kdlm.study.margins import Margins

__all__ = [
    "Claim",
    "Evidence",
    "Finding",
    "NotMeasured",
    "at_most",
    "exactly",
    "over_seeds",
    "whole",
    "worst",
]


class NotMeasured(Exception):  # noqa: N818
    """The tables hold nothing that bears on a claim; says what is missing."""


@dataclass(frozen=True)
class Finding:
    """A statistic with its interval, and on how many independent units it rests."""

    value: float
    low: float
    high: float
    n: int
    measured_on: str
    doubt: str = ""
    """Why no verdict may be given whatever the interval."""

    def verdict(self, margin_low: float, margin_high: float) -> str:
        """`kdlm.claims.statistics.verdict` of the interval, inconclusive where there is doubt."""
        if self.doubt:
            return "inconclusive"
        return verdict(self.low, self.high, margin_low, margin_high)


@dataclass(frozen=True)
class Evidence:
    """All tables of a study, and its margins."""

    identities: pd.DataFrame
    gradient_limit: pd.DataFrame
    runs: pd.DataFrame
    histories: pd.DataFrame
    comparisons: pd.DataFrame
    layer_means: pd.DataFrame
    init_means: pd.DataFrame
    margins: Margins

    @classmethod
    def read(cls, folder: Path, margins: Margins) -> "Evidence":
        """The tables in ``folder``."""
        names = [name for name in cls.__dataclass_fields__ if name != "margins"]
        tables = {name: read_table(folder / f"{name}.parquet", name) for name in names}
        return cls(**tables, margins=margins)


@dataclass(frozen=True)
class Claim:
    """A statement, its margin, and how its statistic is measured."""

    id: str
    form: str
    equation: str
    statement: str
    statistic: str
    margin: Callable[[Margins], tuple[float, float]]
    measure: Callable[[Evidence], Finding]


def exactly(value: float, n: int, measured_on: str) -> Finding:
    """A universal statement's worst case: no interval, one violation refutes."""
    return Finding(value, value, value, n, measured_on)


def worst(findings: list[Finding], margin: tuple[float, float]) -> Finding:
    """What a universal statement comes to: refuted before inconclusive before supported."""
    order = ["supported", "inconclusive", "refuted"]
    return max(findings, key=lambda found: (order.index(found.verdict(*margin)), abs(found.value)))


def at_most(limit: float) -> tuple[float, float]:
    """The margin of a distance: one-sided, for the interval of a tiny one reaches below zero."""
    return -math.inf, limit


def whole(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The ``rows`` that a claim has chosen, if all have the numbers in ``columns``.

    A student that diverged or is missing has its rows in the tables, without numbers but with the
    reason. A claim that would have counted one is not judged on the rest as if nothing were.

    Raises:
        NotMeasured: numbers are lost; says why.

    """
    reasons = rows.loc[rows["reason"].notna() & rows[list(columns)].isna().any(axis=1), "reason"]
    if not reasons.empty:
        first, *others = reasons.unique()
        raise NotMeasured(f"{first}" + (f"; and {len(others)} more" if others else ""))
    return rows


def over_seeds(values: pd.Series, measured_on: str) -> Finding:
    """Mean over seeds with the 90 % interval whose place in the margin is the TOST at .05."""
    if values.empty:
        raise NotMeasured("no such students in this study")
    if values.isna().any():
        raise NotMeasured(f"not a number: {measured_on}")
    low, high = confidence_interval(values)
    doubt = "one seed bounds nothing" if len(values) < 2 else ""
    return Finding(float(np.mean(values)), low, high, len(values), measured_on, doubt)
