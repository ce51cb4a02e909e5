"""Deciding the study's claims: those of the paper and their corrected forms.

No verdict is written by hand. A claim consists of a statement, a margin that the config fixes
before the run, and a function that measures a statistic from the tables. The verdict follows from
where the statistic's confidence interval lies relative to the margin. A claim that could not be
measured is ``inconclusive``, and its row says why.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from kdlm.claims import (
    distributional,
    energy,
    equations,
    gaps,
    initial,
    means,
    pointwise,
    replication,
)
from kdlm.claims.evidence import Claim, Evidence, NotMeasured
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study
from kdlm.study.margins import Margins
from kdlm.study.schemas import SCHEMAS

__all__ = ["CLAIMS", "decide", "judge", "judge_study"]

_OF_TRAINED: tuple[Claim, ...] = (
    *energy.CLAIMS,
    *means.CLAIMS,
    *pointwise.CLAIMS,
    *gaps.CLAIMS,
    *distributional.CLAIMS,
    *replication.CLAIMS,
)
"""The claims about trained networks."""

CLAIMS: tuple[Claim, ...] = (*equations.CLAIMS, *_OF_TRAINED, *initial.CLAIMS)
"""Every claim, in the order of table ``claims``."""


def judge_study(study: Study, folder: Path) -> None:
    """Decide every claim of the study in ``folder`` and write table ``claims``.

    Raises:
        InputError: a table is missing or damaged.

    """
    write_table("claims", judge(study, folder / "tables"), folder / "claims.parquet")


def judge(study: Study, tables: Path) -> pd.DataFrame:
    """Return table ``claims``, decided from the files in the folder ``tables``.

    Raises:
        InputError: a table is missing or damaged.

    """
    table = decide(Evidence.read(tables, study.margins, study.dataset.name))
    images = dict.fromkeys((claim.id for claim in _OF_TRAINED), study.dataset.label)
    images |= dict.fromkeys((claim.id for claim in initial.CLAIMS), study.init_means.dataset.label)
    named = table["id"].map(images)
    table["measured_on"] = (named + ": " + table["measured_on"]).fillna(table["measured_on"])
    return table


def decide(evidence: Evidence) -> pd.DataFrame:
    """Return table ``claims``, a row for each claim and form, from tables already read."""
    rows = [_row(claim, evidence, evidence.margins) for claim in CLAIMS]
    return pd.DataFrame(rows, columns=list(SCHEMAS["claims"]))


def _row(claim: Claim, evidence: Evidence, margins: Margins) -> dict[str, Any]:
    low, high = claim.margin(margins)
    row = {
        "id": claim.id,
        "equation": claim.equation,
        "statement": claim.statement,
        "form": claim.form,
        "statistic": claim.statistic,
        "margin_low": low,
        "margin_high": high,
    }
    try:
        finding = claim.measure(evidence)
    except NotMeasured as reason:
        return row | {"verdict": "inconclusive", "n": 0, "measured_on": f"not measured: {reason}"}
    return row | {
        "value": finding.value,
        "ci_low": finding.low,
        "ci_high": finding.high,
        "verdict": finding.verdict(low, high),
        "n": finding.n,
        "measured_on": "; ".join(
            part for part in (finding.reason(low, high), finding.measured_on) if part
        ),
    }
