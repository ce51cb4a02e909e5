"""Claims about untrained networks: Proposition 1, its extension to convolutions, and Table 1."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from kdlm import published
from kdlm.claims.evidence import Claim, Evidence, Finding, NotMeasured, at_most, over_seeds, worst
from kdlm.claims.statistics import simultaneous
from kdlm.study.margins import Margins

__all__ = ["CLAIMS"]

Array = npt.NDArray[np.float64]

PROTOCOL = ["initialisation", "batchnorm"]
CASE = ["architecture", *PROTOCOL]
_RESAMPLES = 2000
_OUTLIER = "resnet44"
_LOOKS = len(published.MEANS) * 3 * 2
"""Networks of Table 1 that could be left out, times protocols: three initialisations, two modes."""


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
    level = simultaneous(len(cases))
    findings = [
        over_seeds(values, f"{len(cases)} cases; worst: {name}", level)
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


def _standard_errors(evidence: Evidence) -> dict[str, Array]:
    """Return the published means of Table 1 in standard errors, for each protocol.

    A protocol is an initialisation with a mode of BatchNorm under which all four networks were run.
    A standard error is the sd over this study's seeds, over the root of the paper's 6000 seeds.

    Returns:
        By protocol an array (1 + resamples, 4): the first row has the measured sds, the others have
        those of bootstrap samples of the seeds.

    Raises:
        NotMeasured: there is no such protocol, or one with a single seed or a null.

    """
    table = evidence.layer_means
    logits = table[(table["kind"] == "linear") & table["architecture"].isin(published.MEANS)]
    means = np.array(list(published.MEANS.values()))
    found: dict[str, Array] = {}
    for protocol, rows in logits.groupby(PROTOCOL, sort=False):
        by_network = {
            name: group["mean"].to_numpy() for name, group in rows.groupby("architecture")
        }
        # The mean logits of he-centred networks are all zero, so they cannot explain Table 1.
        if set(by_network) != set(published.MEANS) or "he-centred" in protocol:
            continue
        samples = [by_network[name] for name in published.MEANS]
        if min(map(len, samples)) < 2 or not all(np.isfinite(one).all() for one in samples):
            raise NotMeasured("one seed only, so no sd, or not a number")
        generator = np.random.default_rng(0)
        sds = [
            np.append(
                sample.std(ddof=1),
                sample[generator.integers(len(sample), size=(_RESAMPLES, len(sample)))].std(
                    axis=1, ddof=1
                ),
            )
            for sample in samples
        ]
        with np.errstate(divide="ignore"):  # with an sd of 0, a mean is infinitely far out
            found[", BatchNorm ".join(protocol)] = (
                means * np.sqrt(published.SEEDS) / np.stack(sds, axis=-1)
            )
    if not found:
        raise NotMeasured("not all four networks of Table 1 were run")
    return found


def _p(errors: Array) -> Array:
    """Return the joint two-sided p-values, (...), of several published means.

    Under the hypothesis that all true means are zero, the sum of squares of the means in standard
    errors follows a chi-square distribution with as many degrees of freedom as there are means. The
    test has two sides, because means that are all very close to zero are also unlikely.

    >>> _p(np.array([[1.0, 1.0], [0.0, 0.0], [5.0, 5.0]])).round(3).tolist()
    [0.736, 0.0, 0.0]

    Args:
        errors: means in standard errors, (..., means).

    """
    chi_square = np.square(errors).sum(axis=-1)
    distribution = stats.chi2(errors.shape[-1])
    tail: Array = np.minimum(distribution.cdf(chi_square), distribution.sf(chi_square))
    return 2 * tail


def _interval(resampled: Array, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _plausibility(errors: dict[str, Array], seeds: int, note: str) -> Finding:
    """Return the finding that the means are plausible under some protocol.

    Its value is the largest p over the protocols. That p is below .05 by chance in at most 5 % of
    all studies, whichever protocol is the true one, so a refutation needs no correction for the
    number of protocols. The interval shows how well the sds are known here: its ends are the
    largest of the protocols' ends, each of a bootstrap interval of the simultaneous level.

    Args:
        errors: by protocol the means in standard errors, (1 + resamples, means).
        seeds: number of seeds behind each sd.
        note: which means these are.

    """
    level = simultaneous(len(errors))
    p = {name: float(_p(values[0])) for name, values in errors.items()}
    ends = [_interval(_p(values[1:]), level) for values in errors.values()]
    value = max(p.values())
    low, high = (max(side) for side in zip(*ends, strict=True))
    listed = ", ".join(f"{name} {number:.1e}" for name, number in p.items())
    return Finding(
        value, min(low, value), max(high, value), seeds, f"{note}; p by protocol: {listed}"
    )


def _seeds(evidence: Evidence) -> int:
    table = evidence.layer_means
    logits = table[(table["kind"] == "linear") & table["architecture"].isin(published.MEANS)]
    return int(logits.groupby(CASE)["seed"].size().min())


def _table1(evidence: Evidence) -> Finding:
    return _plausibility(_standard_errors(evidence), _seeds(evidence), "all four means")


def _without(errors: dict[str, Array], network: str) -> dict[str, Array]:
    """Return the standard errors of the other three networks' means, for each protocol."""
    place = list(published.MEANS).index(network)
    return {name: np.delete(values, place, axis=1) for name, values in errors.items()}


def _best(errors: dict[str, Array]) -> tuple[str, float]:
    """Return the protocol under which the means are most plausible, and their p."""
    p = {name: float(_p(values[0])) for name, values in errors.items()}
    best = max(p, key=lambda name: p[name])
    return best, p[best]


def _table1_without(evidence: Evidence) -> Finding:
    """Measure how plausible the three means other than ResNet-44's are.

    Which network to leave out was chosen after seeing Table 1, so the note has the largest p of
    each choice.
    """
    errors = _standard_errors(evidence)
    finding = _plausibility(
        _without(errors, _OUTLIER), _seeds(evidence), f"inferred, without {_OUTLIER}"
    )
    others = ", ".join(
        f"{network} {_best(_without(errors, network))[1]:.1e}"
        for network in published.MEANS
        if network != _OUTLIER
    )
    note = f"{finding.measured_on}; largest p with another left out instead: {others}"
    return replace(finding, measured_on=note)


def _table1_outlier(evidence: Evidence) -> Finding:
    """Measure how far from zero ResNet-44's published mean is, in standard errors.

    The protocol is the one under which the other three means are most plausible.

    The note also has a hundredth of the distance, which an exponent of -4 in place of -2 would
    give. The margin is corrected for the number of networks and protocols that could have been
    chosen (`_outlier_margin`).
    """
    errors = _standard_errors(evidence)
    best, p = _best(_without(errors, _OUTLIER))
    place = list(published.MEANS).index(_OUTLIER)
    distance = np.abs(errors[best][:, place])
    value = float(distance[0])
    low, high = _interval(distance[1:], simultaneous(_LOOKS))
    everywhere = ", ".join(f"{name} {abs(values[0, place]):.2g}" for name, values in errors.items())
    note = (
        f"inferred, under {best}, where the other three have p = {p:.2g}; {value / 100:.2g} if "
        f"the exponent were -4; {_LOOKS} networks and protocols looked at; by protocol: "
        f"{everywhere}"
    )
    return Finding(value, min(low, value), max(high, value), _seeds(evidence), note)


def _outlier_margin(margins: Margins) -> tuple[float, float]:
    """Return the distance, in standard errors, up to which a single mean is plausible.

    It is chosen so that the largest of `_LOOKS` means is beyond it with a probability of at most
    the margin ``plausibility`` (Bonferroni).

    >>> round(_outlier_margin(Margins(plausibility=0.05))[1], 2)
    3.08
    """
    return at_most(float(stats.norm.isf(margins.plausibility / _LOOKS / 2)))


def _plausible(margins: Margins) -> tuple[float, float]:
    return margins.plausibility, 1.0


CLAIMS = (
    Claim("prop1-linear", "as stated", "Proposition 1",
          "the mean logit of an untrained network is zero in expectation",
          "mean over seeds in its predicted sd",
          lambda margins: (-margins.initial_mean, margins.initial_mean), _linear),
    Claim("prop1-conv", "as stated", "Proposition 1",
          "so is that of its convolutions, averaged over layers", "mean output over rms output",
          lambda margins: (-margins.layer_mean, margins.layer_mean), _layers("convolution")),
    Claim("table1", "as stated", "Table 1",
          "the four published means are plausible under some protocol",
          "largest two-sided p over protocols, chi-square with 4 degrees of freedom",
          _plausible, _table1),
    Claim("table1-without-resnet44", "as stated", "Table 1",
          "the other three are, when that of ResNet-44 is left out",
          "largest two-sided p over protocols, chi-square with 3 degrees of freedom",
          _plausible, _table1_without),
    Claim("table1-resnet44", "as stated", "Table 1",
          "that of ResNet-44 is plausible where the other three are most so",
          "distance from zero in standard errors of 6000 seeds", _outlier_margin,
          _table1_outlier),
)  # fmt: skip
