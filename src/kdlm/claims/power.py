"""The power of an equivalence test: the differences that a number of seeds can decide.

A claim is supported where Student's interval of its n units lies inside its margin, which is two
one-sided tests (Schuirmann 1987, doi 10.1007/BF01068419). The power is the probability of this. For
independent normal units with mean δ and standard deviation σ it is computed here exactly: the sd
that the test estimates is not σ, and with few units the difference is large.
"""

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, roots_legendre
from scipy.stats import chi, t

from kdlm.claims.evidence import Claim, Evidence, Finding, NotMeasured
from kdlm.claims.statistics import EQUIVALENCE_LEVEL, FEWEST_UNITS
from kdlm.terminal import printable

__all__ = [
    "Power",
    "equivalence_power",
    "fewest_units",
    "format_powers",
    "largest_difference",
    "largest_sd",
    "powers",
]

Array = npt.NDArray[np.float64]

_WANTED = 0.8
_MOST_UNITS = 10_000_000
_TAIL = 1e-14
_WIDTH = 95


def equivalence_power(
    n: int,
    sd: float,
    margin: tuple[float, float],
    difference: float = 0.0,
    level: float = EQUIVALENCE_LEVEL,
) -> float:
    r"""Return the probability that Student's interval lies inside ``margin`` = [a, b].

    With ν = n − 1, e = σ/√n, t the quantile (1 + level)/2 of Student's distribution and u the
    estimated sd over σ, so that √ν u has the chi distribution with ν degrees of freedom, it is

        ∫ f(u) max(0, Φ((b − δ)/e − t u) − Φ((a − δ)/e + t u)) du,

    since mean and sd of a normal sample are independent. An end of the margin may be infinite.

    >>> round(equivalence_power(3, 0.0064, (-0.01, 0.01)), 2)
    0.36

    Args:
        n: number of units; with fewer than two there is no interval, and the power is 0.
        sd: σ, the standard deviation over units, in the unit of the statistic.
        margin: the ends a < b.
        difference: δ, the true mean.
        level: level of the interval.

    """
    if n < 2:
        return 0.0
    low, high = margin[0] - difference, margin[1] - difference
    if sd == 0:
        return float(low <= 0 <= high)
    error, quantile = sd / math.sqrt(n), float(t.ppf((1 + level) / 2, n - 1))
    ratio = chi(n - 1, scale=1 / math.sqrt(n - 1))
    # Upper limits of u: beyond the first, the interval is wider than the margin; beyond the others,
    # the integrand is below rounding, as the mean is eight standard errors out or u is in its tail.
    widest = min(
        (high - low) / (2 * quantile * error),
        (high / error + 8) / quantile,
        (-low / error + 8) / quantile,
        float(ratio.isf(_TAIL)),
    )
    narrowest = float(ratio.ppf(_TAIL))
    if widest <= narrowest:
        return 0.0
    nodes, weights = _gauss_legendre()
    half = (widest - narrowest) / 2
    u = narrowest + half * (nodes + 1)
    between = ndtr(high / error - quantile * u) - ndtr(low / error + quantile * u)
    return float(np.clip(half * (weights * ratio.pdf(u)) @ between, 0, 1))


@cache
def _gauss_legendre() -> tuple[Array, Array]:
    """Return nodes and weights on [−1, 1], enough for an integrand of a hundred unit steps."""
    nodes, weights = roots_legendre(500)
    return nodes, weights


def largest_sd(
    n: int, margin: tuple[float, float], level: float = EQUIVALENCE_LEVEL, power: float = _WANTED
) -> float:
    """Return the largest sd over units at which the true difference 0 has ``power``; NaN if none.

    >>> sd = largest_sd(10, (-0.01, 0.01))
    >>> round(sd, 5), round(equivalence_power(10, sd, (-0.01, 0.01)), 6)
    (0.00995, 0.8)
    """
    if n < 2 or not margin[0] < 0 < margin[1]:
        return math.nan
    scale = min(-margin[0], margin[1])

    def excess(logarithm: float) -> float:
        return equivalence_power(n, scale * math.exp(logarithm), margin, 0.0, level) - power

    # The power is 1 if the sd is far below the margin, and 0 if it is far above.
    return scale * math.exp(brentq(excess, -15, 15, xtol=1e-9))


def largest_difference(
    n: int,
    sd: float,
    margin: tuple[float, float],
    level: float = EQUIVALENCE_LEVEL,
    power: float = _WANTED,
) -> float:
    """Return the largest true difference, 0 or more, that has ``power``; NaN if 0 has less.

    >>> round(largest_difference(10, 0.005, (-0.01, 0.01)), 5)
    0.00574
    """

    def excess(difference: float) -> float:
        return equivalence_power(n, sd, margin, difference, level) - power

    if excess(0.0) < 0:
        return math.nan
    # At the end of the margin the power is at most (1 − level)/2, except if the sd is 0.
    return margin[1] if excess(margin[1]) >= 0 else float(brentq(excess, 0.0, margin[1]))


def fewest_units(
    sd: float, margin: tuple[float, float], level: float = EQUIVALENCE_LEVEL, power: float = _WANTED
) -> int | None:
    """Return the least number of units with which the true difference 0 has ``power``.

    The result is None if more than ten million are needed, or the margin does not contain 0.

    >>> fewest_units(0.0064, (-0.01, 0.01)), fewest_units(0.013, (-0.01, 0.01))
    (6, 16)
    """

    def enough(n: int) -> bool:
        return equivalence_power(n, sd, margin, 0.0, level) >= power

    most = 2
    while not enough(most):
        if most >= _MOST_UNITS:
            return None
        most *= 2
    # The power increases with n, so the least number is in the last doubling.
    least = max(2, most // 2)
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return most


@dataclass(frozen=True)
class Power:
    """The power of a planned study for one claim."""

    claim: Claim
    margin: tuple[float, float]
    n: int = 0
    """Number of units of the claim's smallest group."""
    sd: float = math.nan
    """Standard deviation over units: measured, or the largest at which n units have that power."""
    power: float = math.nan
    """Probability of ``supported`` if the true value is 0."""
    up_to: float = math.nan
    """Largest true value that is ``supported`` with a power of 80 %."""
    more: int | None = None
    """Units to add for a power of 80 % if the true value is 0; None if unknown."""
    reason: str = ""
    """The reason why a number is missing; empty if none is missing."""


def powers(
    claims: Iterable[Claim], planned: Evidence, measured: Evidence | None = None
) -> list[Power]:
    """Return the power of a study for each of ``claims`` that has Student's interval.

    For a claim about several groups, the smallest number of units and the largest sd are used.

    Args:
        claims: the claims. Exact claims are left out; the result for a claim that cannot be
            measured has the reason.
        planned: the study's tables, made by `kdlm.claims.planned.planned`.
        measured: tables of a finished study, from which the sd is taken. Without them it is the
            largest sd at which the study has a power of 80 %.

    """
    found = [_power(claim, planned, measured) for claim in claims]
    return [power for power in found if power is not None]


def _power(claim: Claim, planned: Evidence, measured: Evidence | None) -> Power | None:
    margin = claim.margin(planned.margins)
    try:
        finding = claim.measure(planned)
    except NotMeasured as reason:
        return Power(claim, margin, reason=f"not measured with this config: {reason}")
    if math.isnan(finding.level):
        return None
    n, level = min(case.n for case in _cases(finding)), finding.level
    if measured is None:
        if n < FEWEST_UNITS:
            return Power(claim, margin, n, power=0.0, more=FEWEST_UNITS - n)
        sd = largest_sd(n, margin, level)
        return Power(claim, margin, n, sd, math.nan if math.isnan(sd) else _WANTED, more=0)
    try:
        return _with_sd(claim, margin, n, level, _largest_measured_sd(claim.measure(measured)))
    except NotMeasured as reason:
        return Power(claim, margin, n, reason=f"no sd: {reason}")


def _largest_measured_sd(finding: Finding) -> float:
    """Return the largest sd of the finding's cases that have one.

    Raises:
        NotMeasured: no case has one.

    """
    known = [case.sd for case in _cases(finding) if not math.isnan(case.sd)]
    if not known:
        raise NotMeasured("one seed only")
    return max(known)


def _with_sd(claim: Claim, margin: tuple[float, float], n: int, level: float, sd: float) -> Power:
    """Return the power for n units with the standard deviation ``sd``."""
    lacking = max(FEWEST_UNITS - n, 0)
    least = fewest_units(sd, margin, level)
    return Power(
        claim,
        margin,
        n,
        sd,
        0.0 if lacking else equivalence_power(n, sd, margin, 0.0, level),
        math.nan if lacking else largest_difference(n, sd, margin, level),
        None if least is None else max(least - n, lacking, 0),
    )


def _cases(finding: Finding) -> tuple[Finding, ...]:
    return finding.cases or (finding,)


def format_powers(found: Iterable[Power], measured_in: Path | None = None) -> str:
    """Return ``found`` as text for a terminal of 100 columns.

    Args:
        found: the power for each claim.
        measured_in: folder of the study in which the sd were measured; None if sd is the largest at
            which the study has a power of 80 %.

    """
    lines = [
        f"{'claim':<25} {'form':<10} {'n':>5}  {'margin':<16} {'sd':>9} {'power':>6} "
        f"{'up to':>9} {'more':>8}",
        "-" * _WIDTH,
    ]
    notes = []
    for power in found:
        name = f"{power.claim.id:<25} {power.claim.form:<10}"
        if power.reason:
            note = f"{power.claim.id} ({power.claim.form}): {printable(power.reason)}"
            notes += textwrap.wrap(note, _WIDTH, subsequent_indent="    ")
        if power.n == 0:
            continue
        lines.append(
            f"{name} {power.n:>5}  {_margin(power.margin):<16} {_number(power.sd):>9} "
            f"{_number(power.power, '.2f'):>6} {_number(power.up_to):>9} {_count(power.more):>8}"
        )
    origin = (
        f"sd      over units, as measured in {printable(measured_in)}"
        if measured_in
        else f"sd      the largest, over units, with which n units reach a power of {_WANTED:.0%}"
    )
    lines += [
        "",
        "n       units: seeds of the student, or of the teacher where it has several",
        origin,
        f"power   probability of `supported` if the true value is 0; 0 below {FEWEST_UNITS} units",
        f"up to   the largest true value that is `supported` with a power of {_WANTED:.0%}",
        f"more    units to add for a power of {_WANTED:.0%} if the true value is 0",
    ]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _number(value: float, form: str = ".3g") -> str:
    return "-" if math.isnan(value) else format(value, form)


def _margin(margin: tuple[float, float]) -> str:
    low, high = margin
    return f"<= {high:.3g}" if math.isinf(low) else f"{low:.3g} to {high:.3g}"


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)
