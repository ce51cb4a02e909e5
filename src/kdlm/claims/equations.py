"""Claims about equations, decided from the tables `identities` and `gradient_limit`."""

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
    losses_of,
    unless_refuted,
)
from kdlm.study.margins import Margins

__all__ = ["CLAIMS"]

MarginOf = Callable[[Margins], tuple[float, float]]


def _at_most(key: str) -> MarginOf:
    return lambda margins: at_most(getattr(margins, key))


def _failed(rows: pd.DataFrame, column: str, name: str) -> list[str]:
    """Return a reason for each row in which ``column`` is null because its evaluation failed."""
    return [f"not a number for {value}" for value in rows.loc[rows[column].isna(), name]]


def _absent(evidence: Evidence) -> str:
    """Return a note on the networks whose logits would have been further cases.

    These are every teacher and the first student of each loss. Missing networks are only noted: the
    equations are about all logits, so random logits can support or refute them.
    """
    runs = evidence.runs
    students = runs[runs["role"] == "student"].groupby("loss", sort=False).head(1)
    asked = pd.concat([runs[runs["role"] == "teacher"], students])
    absent = int((asked["reason"].notna() & asked["last_accuracy"].isna()).sum())
    return f"; {absent} of {len(asked)} networks missing" if absent else ""


_EXACT = _at_most("identity")


def _worst_violation(evidence: Evidence, claim: str, form: str) -> tuple[Finding, list[str]]:
    """Return an identity's worst violation over all cases, and the reasons of those that failed.

    Raises:
        NotMeasured: there is no case, or all failed.

    """
    table = evidence.identities
    rows = table[(table["claim"] == claim) & (table["form"] == form)]
    failed = _failed(rows, "value", "case")
    if len(failed) == len(rows):
        raise NotMeasured(failed[0] if failed else "no logits to evaluate it on")
    worst = rows.loc[rows["value"].idxmax()]
    note = f"{len(rows)} cases; worst: {worst['case']}{_absent(evidence)}"
    return exactly(worst["value"], len(rows), note), failed


def _identity(claim: str, form: str, margin: MarginOf = _EXACT) -> Callable[[Evidence], Finding]:
    """Return the function that finds an identity's worst violation over all cases."""

    def measure(evidence: Evidence) -> Finding:
        finding, failed = _worst_violation(evidence, claim, form)
        return unless_refuted(finding, margin(evidence.margins), failed)

    return measure


def _limit(form: str, margin: MarginOf) -> Callable[[Evidence], Finding]:
    """Return the function that finds the largest relative distance of the gradient from ``form``.

    The distance is at the largest finite temperature, over the cases of table ``identities`` and
    the sources of table ``gradient_limit``.
    """

    def measure(evidence: Evidence) -> Finding:
        finding, failed = _worst_violation(evidence, f"eq7-{form}", form)
        table = evidence.gradient_limit
        table = table[(table["form"] == form) & np.isfinite(table["temperature"])]
        last = table[table["temperature"] == table["temperature"].max()]
        failed += _failed(last, "relative_distance_max", "source")
        largest = last["relative_distance_max"].max()
        if largest > finding.value:
            worst = last.loc[last["relative_distance_max"].idxmax()]
            note = (
                f"{finding.n} cases and {len(last)} sources; worst: {worst['source']}"
                f"{_absent(evidence)}"
            )
            finding = exactly(largest, finding.n + len(last), note)
        return unless_refuted(finding, margin(evidence.margins), failed)

    return measure


def _slope(evidence: Evidence) -> Finding:
    """Measure the slope furthest from −1 over the sources of logits; one source can refute it."""
    table = evidence.gradient_limit
    slopes = table[table["form"] == "corrected"].groupby("source")["slope"].first().dropna()
    if slopes.empty:
        raise NotMeasured("fewer than two temperatures beyond ten rms")
    worst = (slopes + 1).abs().idxmax()
    note = (
        f"{len(slopes)} sources of logits, slopes from {slopes.min():.3f} to {slopes.max():.3f}; "
        f"worst: {worst}{_absent(evidence)}"
    )
    return exactly(float(slopes[worst]), len(slopes), note)


def _zero_sum(claim: str, loss: str, margin: MarginOf) -> Callable[[Evidence], Finding]:
    """Return the function that finds the worst |Σg|/Σ|g| of the gradient of ``loss``.

    It looks at the identity ``claim`` on stored and random logits, and at every epoch and split of
    the networks that were trained with ``loss`` alone.
    """

    def measure(evidence: Evidence) -> Finding:
        stored, lost = _worst_violation(evidence, claim, "as stated")
        runs = evidence.runs
        pure = runs[(runs["ce_weight"] == 0) | (loss == "ce")]["recipe"].unique()

        def chosen(table: pd.DataFrame) -> pd.DataFrame:
            trained = (table["loss"] == loss) | ((loss == "ce") & (table["role"] == "teacher"))
            return table[trained & table["recipe"].isin(pure)]

        rows = chosen(evidence.histories)
        lost += losses_of(chosen(runs), "last_accuracy")
        lost += _failed(rows, "logit_gradient_sum", "recipe")
        if rows.empty and not lost:
            lost = [f"no network of this study is trained with {loss} alone"]
        during = rows["logit_gradient_sum"].max()
        found = exactly(
            float(np.fmax(stored.value, during)),
            stored.n + len(rows),
            f"{len(rows)} epochs and splits of training (worst {during:.1e}), "
            f"{stored.n} cases of stored and random logits (worst {stored.value:.1e})",
        )
        return unless_refuted(found, margin(evidence.margins), lost)

    return measure


_LIMIT = _at_most("limit")
_ZERO_SUM = _at_most("gradient_sum")
_RELATIVE = "worst relative violation"


def _scale(margins: Margins) -> tuple[float, float]:
    return 1.0, margins.scale


CLAIMS = (
    Claim("eq1", "as stated", "(1)", "the tempered softmax is exp(z/T) over its sum",
          "largest difference", _EXACT, _identity("eq1", "as stated")),
    Claim("eq2", "as stated", "(2)", "LM is half the mse, with gradient (z^s - z^t)/K",
          _RELATIVE, _EXACT, _identity("eq2", "as stated")),
    Claim("eq3-scale", "as stated", "(3)",
          "weighted by T^2, KD's gradient keeps its order of size at every T",
          "largest over smallest gradient norm, T from 1 to 1024 rms",
          _scale, _identity("eq3-scale", "as stated", _scale)),
    Claim("eq4-zero-mean", "as stated", "(4)", "for zero-mean logits KD at T = inf is LM",
          _RELATIVE, _EXACT, _identity("eq4-zero-mean", "as stated")),
    Claim("eq5", "as stated", "(5)", "KD's gradient on a sample's logits sums to zero",
          "largest |sum g| / sum |g|", _ZERO_SUM, _zero_sum("eq5", "kd", _ZERO_SUM)),
    Claim("eq6", "as stated", "(6)", "CE's gradient on a sample's logits sums to zero",
          "largest |sum g| / sum |g|", _ZERO_SUM, _zero_sum("eq6", "ce", _ZERO_SUM)),
    Claim("eq7-printed", "printed", "(7)",
          "KD's gradient tends to (z^s - z^t + c^s - c^t)/K",
          "largest relative distance at the largest finite T", _LIMIT,
          _limit("printed", _LIMIT)),
    Claim("eq7-corrected", "corrected", "(7)",
          "KD's gradient tends to (z^s - z^t - (c^s - c^t))/K",
          "largest relative distance at the largest finite T", _LIMIT,
          _limit("corrected", _LIMIT)),
    Claim("eq7-slope", "corrected", "(7)", "the distance to the limit falls as 1/T",
          "log-log slope beyond ten rms, of the source furthest from -1",
          lambda margins: margins.slope, _slope),
    Claim("eq8-printed", "printed", "(8)",
          "LM + (c^s - c^t)/K sum z^s, with the current means, has the gradient of KD at inf",
          _RELATIVE, _EXACT, _identity("eq8-printed", "printed")),
    Claim("eq8-corrected", "corrected", "(8)",
          "LM + (c^t - c^s)/K sum z^s, with the current means, has the gradient of KD at inf",
          _RELATIVE, _EXACT, _identity("eq8-corrected", "corrected")),
    Claim("energy-identity", "corrected", "(8)",
          "LM is KD at T = inf plus g^2/2, g = c^s - c^t, with g/K more gradient on every logit",
          _RELATIVE, _EXACT, _identity("energy-identity", "corrected")),
    Claim("a3", "as stated", "(A.3)", "KD's gradient is (p^s - p^t)/T",
          _RELATIVE, _EXACT, _identity("a3", "as stated")),
    Claim("b3", "as stated", "appendix B", "CE is -sum y z + log sum exp z, with gradient p - y",
          _RELATIVE, _EXACT, _identity("b3", "as stated")),
    Claim("b4-printed", "printed", "(B.4)", "CE is at least -sum y z + sum z",
          "largest excess of the bound, nats", _EXACT, _identity("b4-printed", "printed")),
    Claim("b4-corrected", "corrected", "(B.4)", "CE is at least -sum y z + log K + mean z",
          "largest excess of the bound, nats", _EXACT, _identity("b4-corrected", "corrected")),
)  # fmt: skip
