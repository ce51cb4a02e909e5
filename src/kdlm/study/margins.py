"""Margins: how large a deviation may be for a claim to count as true.

This is the only place that describes a margin and gives its default. A config names only the
margins that it sets to another value, so a new margin changes no config, and older configs stay
readable.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from kdlm.study.specs import Spec

__all__ = ["RETIRED", "Margins"]

logger = logging.getLogger(__name__)

RETIRED: dict[str, str] = {
    "agreement": "set seed_disagreement, the share of test images predicted otherwise over that of "
    "two seeds",
    "floor": "give an arm relative_perturbations; a pointwise claim is decided where the lowest "
    "rung of that ladder is below the claim's own margin, rounding or trained",
}
"""Margins that claims no longer have, each with advice on what to set now.

A config can still contain them; they are ignored with a warning.
"""


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError(f"the first of two numbers is the smaller one, unlike in {list(pair)}")
    return pair


def _margin(default: float, description: str, *, gt: float = 0, lt: float | None = None) -> Any:
    return Field(default=default, gt=gt, lt=lt, description=description)


class Margins(Spec):
    """The margins of a study, fixed before the run.

    A claim is supported if the confidence interval of its statistic lies inside its margin.

    Two margins follow from what a study of 100 seeds can resolve, in any preset. Four networks,
    three initialisations and two modes of BatchNorm are 24 cases, and the interval of the worst
    case has the level 1 - 0.1/24, so it reaches 2.9 standard errors to either side. For
    ``initial_mean`` that is 0.29 sd around a mean that is itself off by 0.1 sd or 0.2 sd: 0.3 could
    hardly be met, and 0.5 can. Even 0.5 is small beside the sd of a single network's mean, which is
    1. For ``layer_mean`` it is about 0.011, so 0.05 has room.
    """

    identity: float = _margin(1e-9, "relative error of an exact identity in float64")
    limit: float = _margin(1e-3, "relative distance at the largest finite temperature")
    slope: Annotated[tuple[float, float], AfterValidator(_rising)] = Field(
        default=(-1.1, -0.9), description="log-log slope of the distance to the limit"
    )
    scale: float = _margin(10, "largest ratio of gradient norms over temperatures", gt=1)
    gradient_sum: float = _margin(1e-6, "|sum g| / sum |g| on a sample's logits")
    # also the share in the squared norm of LM's gradient: 1e-4 is one per cent of the gradient
    energy: float = _margin(1e-4, "share of LM's loss due to the gap, c^s - c^t, that is none")
    drift: float = _margin(
        0.05, "drift of a sample's mean logit, in rms of the mean logits before training"
    )
    classifier_sum: float = _margin(1e-4, "|sum_k dW_k| over sqrt(K) |dW|, which is 1 at most")
    trained: float = _margin(
        0.1, "distance of two students, in distances of two seeds, that is none"
    )
    rounding: float = _margin(
        0.01, "the same, for students that should agree to rounding; also for shares that should"
    )
    natural_gap: float = _margin(
        0.05, "mean of c^s - c^t where none is imposed, in rms of z^s - z^t, that counts as none"
    )
    seed_disagreement: float = _margin(
        1.0, "share of test images predicted otherwise, over that of two seeds of one loss"
    )
    accuracy: float = _margin(0.01, "difference of test accuracies")
    calibration: float = _margin(0.02, "difference of expected calibration errors")
    shrinkage: float = _margin(
        0.95, "ratio of logit magnitudes below which a term shrinks logits", lt=1
    )
    initial_mean: float = _margin(0.5, "mean logit over seeds, in its predicted sd")
    layer_mean: float = _margin(0.05, "mean of a layer's output, in its rms")
    plausibility: float = _margin(0.05, "smallest p of a plausible Table 1", lt=1)

    @model_validator(mode="before")
    @classmethod
    def _without_the_retired(cls, data: Any) -> Any:
        """Remove retired margins from a config, with a warning that gives the advice for each."""
        if not isinstance(data, Mapping):
            return data
        for key in RETIRED.keys() & data.keys():
            logger.warning("config: margins.%s is no longer used: %s", key, RETIRED[key])
        return {key: value for key, value in data.items() if key not in RETIRED}
