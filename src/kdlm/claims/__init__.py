"""Deciding the study's claims: those of the paper and their corrected forms.

No verdict is written by hand. A claim consists of a statement, a margin that the config fixes
before the run, and a function that measures a statistic from the tables. The verdict follows from
where the statistic's confidence interval lies relative to the margin. A claim that could not be
measured is ``inconclusive``, and its row says why.
"""

import math
import textwrap
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
from kdlm.terminal import printable

__all__ = ["CLAIMS", "decide", "format_claims", "format_rows", "judge", "judge_study"]

_WIDTH = 110

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


def format_rows(claims: pd.DataFrame) -> str:
    """Return rows of table ``claims`` in full, a paragraph each, for a terminal of 110 columns."""
    paragraphs = []
    for row in claims.itertuples():
        interval = "" if row.ci_low == row.ci_high else f", interval {_interval(row)}"
        lines = [
            f"{row.id} ({row.form}), {row.equation}: {row.verdict}",
            row.statement,
            f"{row.statistic}: {_number(row.value)}{interval}, "
            f"margin {_margin(row.margin_low, row.margin_high)}, n = {row.n}",
            f"measured on: {row.measured_on}",
        ]
        paragraphs.append(
            "\n".join(
                textwrap.fill(printable(line), _WIDTH, subsequent_indent="  ") for line in lines
            )
        )
    return "\n\n".join(paragraphs)


def _interval(row: Any) -> str:
    return f"{_number(row.ci_low)} to {_number(row.ci_high)}"


def format_claims(claims: pd.DataFrame) -> str:
    """Return table ``claims`` as text for a terminal of 110 columns."""
    heading = f"{'claim':<23} {'verdict':<12} {'value':>9}  {'interval':<22} {'margin':<13} "
    lines = [f"{heading}statement", "-" * _WIDTH]
    for row in claims.itertuples():
        interval = _interval(row)
        if row.ci_low == row.ci_high:
            interval = "exact"
        if pd.isna(row.value):
            interval = "-"
        name = row.id if row.form == "as stated" or row.id.endswith(row.form) else None
        statement = printable(row.statement if name else f"({row.form}) {row.statement}")
        first, *rest = textwrap.wrap(statement, _WIDTH - len(heading)) or [""]
        lines.append(
            f"{printable(row.id):<23} {printable(row.verdict):<12} "
            f"{_number(row.value):>9}  {interval:<22} "
            f"{_margin(row.margin_low, row.margin_high):<13} {first}"
        )
        lines += [" " * len(heading) + line for line in rest]
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"


def _margin(low: float, high: float) -> str:
    if math.isinf(high):
        return f">= {_number(low)}"
    return f"<= {_number(high)}" if math.isinf(low) else f"{_number(low)} to {_number(high)}"
