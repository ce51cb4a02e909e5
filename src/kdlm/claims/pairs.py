"""Choosing pairs of students from table `comparisons`."""

from typing import Any

import pandas as pd

from kdlm.claims.evidence import GROUP, Evidence
from kdlm.study import names

__all__ = ["GROUP", "LM_FAMILY", "between", "chosen_pairs", "of_group", "of_loss", "same"]

LM_FAMILY = [name for name, facts in names.LOSSES.items() if facts.family == "logits matching"]


def chosen_pairs(evidence: Evidence, kind: str = "objective") -> pd.DataFrame:
    """Return the pairs of one kind whose recipe adds no cross-entropy to the distillation loss."""
    table = evidence.comparisons
    return table[(table["kind"] == kind) & ~table["recipe"].isin(evidence.mixed)]


def of_group(evidence: Evidence, kind: str, group: dict[str, Any]) -> pd.DataFrame:
    """Return the pairs of `chosen_pairs` in the group with these keys."""
    none: list[int] = []
    mixed = group["recipe"] in evidence.mixed
    found = evidence.positions.get((kind, *(group[key] for key in GROUP)), none)
    return evidence.comparisons.iloc[none if mixed else found]


def same(rows: pd.DataFrame, *keys: str) -> pd.Series:
    """Return for each pair whether its two students have the same values of ``keys``."""
    alike = pd.Series(data=True, index=rows.index)
    for key in keys:
        alike &= rows[f"{key}_a"] == rows[f"{key}_b"]
    return alike


def between(rows: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Return the pairs of a student of loss ``one`` and a student of loss ``other``."""
    return rows[
        ((rows["loss_a"] == one) & (rows["loss_b"] == other))
        | ((rows["loss_a"] == other) & (rows["loss_b"] == one))
    ]


def of_loss(rows: pd.DataFrame, loss: str, key: str) -> pd.Series:
    """Return for each pair the value of ``key`` of its student of ``loss``."""
    return rows[f"{key}_a"].where(rows["loss_a"] == loss, rows[f"{key}_b"])
