"""How far the columns of a rerun may be from the archived ones, fixed before the run.

The defaults are part of the resolved config, ``study.json``, which is written before the first job.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from kdlm.specs import Spec
from kdlm.tables import SCHEMAS

__all__ = ["TOLERANCES", "Tolerance", "Tolerances"]


class Tolerance(Spec):
    """A rerun's value b agrees with the archived a where |a − b| ≤ absolute + relative |a|."""

    absolute: float = Field(ge=0, description="in the unit of the column")
    relative: float = Field(default=0.0, ge=0, description="in units of the archived value")


def _loose(absolute: float, relative: float = 0.0) -> Tolerance:
    return Tolerance(absolute=absolute, relative=relative)


TOLERANCES = {
    # Other instruction sets round otherwise and training amplifies that: a float32 teacher of
    # other last bits is another draw of the same teacher, and its students follow it.
    "objective": _loose(0.05, 0.5),
    "accuracy": _loose(0.1),
    "mean_logit": _loose(0.5),
    "mean_logit_drift": _loose(0.2, 0.5),
    "logit_rms": _loose(0.5, 0.25),
    # below it, a sum is zero but for rounding
    "logit_gradient_sum": _loose(1e-6),
    "classifier_weight_sum": _loose(0.02, 0.5),
    "classifier_bias_sum": _loose(0.02, 0.5),
    "classifier_weight_change": _loose(0.05, 0.25),
    "classifier_bias_change": _loose(0.05, 0.5),
    "gap": _loose(0.5),
    "logits": _loose(5.0, 0.5),
    # untrained networks: nothing amplifies the rounding of float32
    "mean": _loose(1e-5, 1e-4),
    "sd_over_images": _loose(1e-5, 1e-4),
    "rms": _loose(1e-5, 1e-4),
    "predicted_sd": _loose(1e-5, 1e-4),
}
"""By column of the tables that training and initialisation jobs write."""


_JOB_TABLES = ("history", "logits", "means")
"""What training and initialisation jobs write; all other tables are gathered from them."""


def _whole(given: dict[str, Tolerance]) -> dict[str, Tolerance]:
    """The given tolerances, and for every other column the default."""
    known = {column for table in _JOB_TABLES for column in SCHEMAS[table]}
    if unknown := sorted(set(given) - set(TOLERANCES)):
        hint = "it is compared exactly" if unknown[0] in known else "no table has it"
        raise ValueError(
            f"column {unknown[0]!r} takes no tolerance: {hint}; known: {', '.join(TOLERANCES)}"
        )
    return {**TOLERANCES, **given}


Tolerances = Annotated[dict[str, Tolerance], AfterValidator(_whole)]
