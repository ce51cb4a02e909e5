"""How far the columns of a rerun may be from the archived ones, fixed before the run.

The defaults are part of the resolved config, ``study.json``: of all jobs that are to do, the one
that writes it starts first.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from kdlm.study.schemas import SCHEMAS
from kdlm.study.specs import Spec

__all__ = ["TOLERANCES", "Tolerance", "Tolerances"]


class Tolerance(Spec):
    """A rerun's column b agrees with the archived a: rms(b − a) ≤ absolute + relative rms(a)."""

    absolute: float = Field(ge=0, description="in the unit of the column")
    relative: float = Field(default=0.0, ge=0, description="in rms of the archived column")


def _within(absolute: float, relative: float = 0.0) -> Tolerance:
    return Tolerance(absolute=absolute, relative=relative)


TOLERANCES = {
    # Twice what the default study came to with AVX2 instead of AVX-512: other instruction sets
    # round otherwise, training amplifies that, and students follow a teacher that is float32.
    "objective": _within(0.05, 0.6),
    "accuracy": _within(0.2),
    "mean_logit": _within(0.2, 0.2),
    "mean_logit_drift": _within(0.1, 0.5),
    "logit_rms": _within(0.05, 0.2),
    "logit_gradient_sum": _within(1e-6, 0.6),
    "classifier_weight_sum": _within(0.01, 0.5),
    "classifier_bias_sum": _within(0.02, 0.2),
    "classifier_weight_change": _within(0.0, 0.1),
    "classifier_bias_change": _within(0.0, 0.3),
    "gap": _within(0.1, 0.1),
    "logits": _within(0.0, 0.8),
    # untrained networks: nothing amplifies the rounding of float32
    "mean": _within(1e-6, 1e-4),
    "sd_over_images": _within(1e-6, 1e-4),
    "rms": _within(1e-6, 1e-4),
    "predicted_sd": _within(1e-6, 1e-4),
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
