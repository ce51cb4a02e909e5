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
    require_complete,
)
from kdlm.study.margins import Margins

__all__ = ["CLAIMS"]


def _all_numbers(rows: pd.DataFrame, column: str, name: str) -> None:
    """Refuse ``rows`` in which a value of ``column`` is null: a failed evaluation proves nothing.

    Raises:
        NotMeasured: a value is null; the message gives that row's ``name``.

    """
    failed = rows[rows[column].isna()]
    if not failed.empty:
        raise NotMeasured(f"not a number for {failed[name].iloc[0]}")


def _all_logits(evidence: Evidence) -> None:
    """Check that the logits of every teacher and of the first student of each loss were there.

    The equations are evaluated on these trained logits besides the random ones.

    Raises:
        NotMeasured: one of these networks diverged or is missing.

    """
    runs = evidence.runs
    students = runs[runs["role"] == "student"].groupby("loss", sort=False).head(1)
    require_complete(pd.concat([runs[runs["role"] == "teacher"], students]), "last_accuracy")


def _identity(claim: str, form: str) -> Callable[[Evidence], Finding]:
    """Return the function that finds an identity's worst violation over all cases."""

    def measure(evidence: Evidence) -> Finding:
        _all_logits(evidence)
        table = evidence.identities
        rows = table[(table["claim"] == claim) & (table["form"] == form)]
        if rows.empty:
            raise NotMeasured("no logits to evaluate it on")
        _all_numbers(rows, "value", "case")
        worst = rows.loc[rows["value"].idxmax()]
        return exactly(worst["value"], len(rows), f"{len(rows)} cases; worst: {worst['case']}")

    return measure


def _limit(form: str) -> Callable[[Evidence], Finding]:
    """Return the function that finds the largest relative distance of the gradient from ``form``.

    The distance is at the largest finite temperature, over the cases of table ``identities`` and
    the sources of table ``gradient_limit``.
    """

    def measure(evidence: Evidence) -> Finding:
        finding = _identity(f"eq7-{form}", form)(evidence)
        table = evidence.gradient_limit
        table = table[(table["form"] == form) & np.isfinite(table["temperature"])]
        last = table[table["temperature"] == table["temperature"].max()]
        _all_numbers(last, "relative_distance_max", "source")
        if last.empty or last["relative_distance_max"].max() <= finding.value:
            return finding
        worst = last.loc[last["relative_distance_max"].idxmax()]
        return exactly(
            worst["relative_distance_max"],
            finding.n + len(last),
            f"{finding.n} cases and {len(last)} sources; worst: {worst['source']}",
        )

    return measure


def _slope(evidence: Evidence) -> Finding:
    _all_logits(evidence)
    table = evidence.gradient_limit
    slopes = table[table["form"] == "corrected"].groupby("source")["slope"].first().dropna()
    if slopes.empty:
        raise NotMeasured("fewer than two temperatures beyond ten rms")
    return Finding(
        float(slopes.median()),
        float(slopes.min()),
        float(slopes.max()),
        len(slopes),
        f"median and range over {len(slopes)} sources of logits",
    )


def _zero_sum(claim: str, loss: str) -> Callable[[Evidence], Finding]:
    """Return the function that finds the worst |Σg|/Σ|g| of the gradient of ``loss``.

    It looks at the identity ``claim`` on stored and random logits, and at every epoch and split of
    the networks that were trained with ``loss`` alone.
    """

    def measure(evidence: Evidence) -> Finding:
        stored = _identity(claim, "as stated")(evidence)
        runs = evidence.runs
        pure = runs[(runs["ce_weight"] == 0) | (loss == "ce")]["recipe"].unique()

        def chosen(table: pd.DataFrame) -> pd.DataFrame:
            trained = (table["loss"] == loss) | ((loss == "ce") & (table["role"] == "teacher"))
            return table[trained & table["recipe"].isin(pure)]

        require_complete(chosen(runs), "last_accuracy")
        rows = chosen(evidence.histories)
        if rows.empty:
            raise NotMeasured(f"no network of this study is trained with {loss} alone")
        _all_numbers(rows, "logit_gradient_sum", "recipe")
        during = rows["logit_gradient_sum"].max()
        return exactly(
            max(stored.value, during),
            stored.n + len(rows),
            f"{len(rows)} epochs and splits of training (worst {during:.1e}), "
            f"{stored.n} cases of stored and random logits (worst {stored.value:.1e})",
        )

    return measure


def _at_most(key: str) -> Callable[[Margins], tuple[float, float]]:
    return lambda margins: at_most(getattr(margins, key))


_EXACT = _at_most("identity")
_RELATIVE = "worst relative violation"

CLAIMS = (
    Claim("eq1", "as stated", "(1)", "the tempered softmax is exp(z/T) over its sum",
          "largest difference", _EXACT, _identity("eq1", "as stated")),
    Claim("eq2", "as stated", "(2)", "LM is half the mse, with gradient (z^s - z^t)/K",
          _RELATIVE, _EXACT, _identity("eq2", "as stated")),
    Claim("eq3-scale", "as stated", "(3)",
          "weighted by T^2, KD's gradient keeps its order of size at every T",
          "largest over smallest gradient norm, T from 1 to 1024 rms",
          lambda margins: (1.0, margins.scale), _identity("eq3-scale", "as stated")),
    Claim("eq4-zero-mean", "as stated", "(4)", "for zero-mean logits KD at T = inf is LM",
          _RELATIVE, _EXACT, _identity("eq4-zero-mean", "as stated")),
    Claim("eq5", "as stated", "(5)", "KD's gradient on a sample's logits sums to zero",
          "largest |sum g| / sum |g|", _at_most("gradient_sum"), _zero_sum("eq5", "kd")),
    Claim("eq6", "as stated", "(6)", "CE's gradient on a sample's logits sums to zero",
          "largest |sum g| / sum |g|", _at_most("gradient_sum"), _zero_sum("eq6", "ce")),
    Claim("eq7-printed", "printed", "(7)",
          "KD's gradient tends to (z^s - z^t + c^s - c^t)/K",
          "largest relative distance at the largest finite T", _at_most("limit"),
          _limit("printed")),
    Claim("eq7-corrected", "corrected", "(7)",
          "KD's gradient tends to (z^s - z^t - (c^s - c^t))/K",
          "largest relative distance at the largest finite T", _at_most("limit"),
          _limit("corrected")),
    Claim("eq7-slope", "corrected", "(7)", "the distance to the limit falls as 1/T",
          "log-log slope beyond ten rms", lambda margins: margins.slope, _slope),
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
    Claim("b3", "as stated", "(B.3)", "CE is -sum y z + log sum exp z, with gradient p - y",
          _RELATIVE, _EXACT, _identity("b3", "as stated")),
    Claim("b4-printed", "printed", "(B.4)", "CE is at least -sum y z + sum z",
          "largest excess of the bound, nats", _EXACT, _identity("b4-printed", "printed")),
    Claim("b4-corrected", "corrected", "(B.4)", "CE is at least -sum y z + log K + mean z",
          "largest excess of the bound, nats", _EXACT, _identity("b4-corrected", "corrected")),
)  # fmt: skip
