"""Claims about untrained networks: Proposition 1, its extension to other layers, and Table 1."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from kdlm import published
from kdlm.claims.evidence import Claim, Evidence, Finding, NotMeasured, worst
from kdlm.claims.statistics import EQUIVALENCE_LEVEL, confidence_interval

__all__ = ["CLAIMS"]

Array = npt.NDArray[np.float64]

PROTOCOL = ["initialisation", "batchnorm"]
CASE = ["architecture", *PROTOCOL]
_RESAMPLES = 2000


def _worst_case(cases: dict[str, pd.Series], margin: float) -> Finding:
    """Return the finding of the case whose verdict is worst.

    The cases are ordered by verdict first and by value second, so a noisy, inconclusive case with a
    large value cannot hide a case that clearly refutes. With m cases each interval has the level
    1 − 0.1/m (Bonferroni); otherwise a true statement about many networks would often be refuted by
    chance.

    Args:
        cases: by name, the values of one network and protocol, one for each seed.
        margin: the largest mean, in absolute value, that counts as zero.

    Raises:
        NotMeasured: there is no case, or a case has a single seed or a null.

    """
    if not cases:
        raise NotMeasured("no such layer in the initialisation means")
    for name, values in cases.items():
        if len(values) < 2 or values.isna().any():
            raise NotMeasured(f"one seed only, or not a number: {name}")
    level = 1 - (1 - EQUIVALENCE_LEVEL) / len(cases)
    findings = [
        Finding(
            float(values.mean()),
            *confidence_interval(values, level),
            len(values),
            f"{len(cases)} cases; worst: {name}",
        )
        for name, values in cases.items()
    ]
    return worst(findings, (-margin, margin))


def _linear(evidence: Evidence) -> Finding:
    """Measure the mean logit of each network and protocol, in units of its predicted sd."""
    table = evidence.layer_means
    rows = table[(table["kind"] == "linear") & (table["predicted_sd"] > 0)]
    return _worst_case(
        {
            ", ".join(case): group["mean"] / np.sqrt(np.square(group["predicted_sd"]).mean())
            for case, group in rows.groupby(CASE, sort=False)
        },
        evidence.margins.initial_mean,
    )


def _layers(kind: str) -> Callable[[Evidence], Finding]:
    """Return the function that measures the mean outputs of the layers of one ``kind``.

    For each seed it averages, over these layers, the mean output divided by the rms output.
    """

    def measure(evidence: Evidence) -> Finding:
        table = evidence.layer_means
        rows = table[table["kind"] == kind]
        rows = rows.assign(share=rows["mean"] / rows["rms"])
        return _worst_case(
            {
                ", ".join(case): group.groupby("seed")["share"].mean()
                for case, group in rows.groupby(CASE, sort=False)
            },
            evidence.margins.layer_mean,
        )

    return measure


def _p(variances: Array) -> Array:
    """Return the two-sided p-values, (...), of the four published means of Table 1 together.

    Under the hypothesis that all true means are zero, Σ mean² · 6000/variance follows a chi-square
    distribution with four degrees of freedom.

    Args:
        variances: variance over seeds of each network's mean logit, (..., 4).

    """
    means = np.array(list(published.MEANS.values()))
    chi_square = (np.square(means) * published.SEEDS / variances).sum(axis=-1)
    distribution = stats.chi2(len(means))
    tail: Array = np.minimum(distribution.cdf(chi_square), distribution.sf(chi_square))
    return 2 * tail


def _table1(evidence: Evidence) -> Finding:
    """Measure how plausible Table 1 is: the largest p-value over all protocols.

    A protocol is an initialisation with a mode of BatchNorm. The interval comes from a bootstrap of
    the standard deviations, which are measured here.
    """
    table = evidence.layer_means
    logits = table[(table["kind"] == "linear") & table["architecture"].isin(published.MEANS)]
    found: dict[str, tuple[float, float, float, int]] = {}
    for protocol, rows in logits.groupby(PROTOCOL, sort=False):
        by_network = {
            name: group["mean"].to_numpy() for name, group in rows.groupby("architecture")
        }
        # The mean logits of he-centred networks are all zero, so they cannot explain Table 1.
        if set(by_network) != set(published.MEANS) or "he-centred" in protocol:
            continue
        samples = [by_network[name] for name in published.MEANS]
        if min(map(len, samples)) < 2:
            raise NotMeasured("one seed only, so no sd")
        generator = np.random.default_rng(0)
        variances = np.stack(
            [
                sample[generator.integers(len(sample), size=(_RESAMPLES, len(sample)))].var(
                    axis=1, ddof=1
                )
                for sample in samples
            ],
            axis=-1,
        )
        p = float(_p(np.array([sample.var(ddof=1) for sample in samples])))
        tail = (1 - EQUIVALENCE_LEVEL) / 2
        low, high = np.quantile(_p(variances), [tail, 1 - tail])
        found[", BatchNorm ".join(protocol)] = (p, float(low), float(high), len(samples[0]))
    if not found:
        raise NotMeasured("not all four networks of Table 1 were run")
    best = max(found, key=lambda name: found[name][0])
    p, low, high, n = found[best]
    listed = ", ".join(f"{name} p = {values[0]:.1e}" for name, values in found.items())
    return Finding(p, min(low, p), max(high, p), n, listed)


CLAIMS = (
    Claim("prop1-linear", "as stated", "Proposition 1",
          "the mean logit of an untrained network is zero in expectation",
          "mean over seeds in its predicted sd",
          lambda margins: (-margins.initial_mean, margins.initial_mean), _linear),
    Claim("prop1-conv", "as stated", "Proposition 1",
          "so is that of its convolutions, averaged over layers", "mean output over rms output",
          lambda margins: (-margins.layer_mean, margins.layer_mean), _layers("convolution")),
    Claim("prop1-batchnorm", "as stated", "Proposition 1",
          "so is that of its BatchNorms, averaged over layers", "mean output over rms output",
          lambda margins: (-margins.layer_mean, margins.layer_mean), _layers("batchnorm")),
    Claim("table1", "as stated", "Table 1",
          "the four published means are plausible under some protocol",
          "largest two-sided p over protocols, chi-square with 4 degrees of freedom",
          lambda margins: (margins.plausibility, 1.0), _table1),
)  # fmt: skip
