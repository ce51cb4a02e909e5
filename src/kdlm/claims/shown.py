"""The rows of table `claims` as a reader wants to see them: with units, and in words."""

import math
from dataclasses import dataclass

import pandas as pd

__all__ = ["ShownClaim", "shown_claims"]


@dataclass(frozen=True)
class ShownClaim:
    """A row of table ``claims``, in words and in numbers."""

    key: str
    """Unique: the id, with the form appended where an id stands for several rows."""
    id: str
    form: str
    statement: str
    statistic: str
    unit: str
    value: str
    interval: str
    margin: str
    number: float
    low: float
    high: float
    margin_low: float
    margin_high: float
    n: int
    verdict: str
    reason: str
    """Why the verdict is inconclusive; empty where it is not."""
    measured_on: str
    images: str
    """The dataset; empty for an equation, which holds of any logits."""


def shown_claims(claims: pd.DataFrame) -> list[ShownClaim]:
    """Return the rows of table ``claims``, in its order."""
    several = set(claims.loc[claims["id"].duplicated(), "id"])
    return [
        ShownClaim(
            key=f"{row.id}.{row.form.replace(' ', '-')}" if row.id in several else row.id,
            id=row.id,
            form=row.form,
            statement=row.statement,
            statistic=row.statistic,
            unit="",
            value=f"{row.value:.3g}",
            interval=f"{row.ci_low:.3g} to {row.ci_high:.3g}",
            margin=f"{row.margin_low:.3g} to {row.margin_high:.3g}",
            number=float("nan") if row.value is None else row.value,
            low=math.nan if row.ci_low is None else row.ci_low,
            high=math.nan if row.ci_high is None else row.ci_high,
            margin_low=row.margin_low,
            margin_high=row.margin_high,
            n=row.n,
            verdict=row.verdict,
            reason="" if row.verdict != "inconclusive" else row.measured_on,
            measured_on=row.measured_on,
            images="",
        )
        for row in claims.itertuples()
    ]
