"""Tolerances: how far the results of a rerun may be from archived ones, fixed before the run.

The tolerances of a study are part of its resolved config, ``study.json``, with defaults for columns
that the config does not name. The job that writes this file is the first to start.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from kdlm.study.complaints import Location, nearest, refuse
from kdlm.study.schemas import SCHEMAS
from kdlm.study.specs import Spec

__all__ = ["TOLERANCES", "Tolerance", "Tolerances"]


class Tolerance(Spec):
    """The tolerance of one column.

    A column b of a rerun agrees with the archived column a if
    rms(b − a) ≤ absolute + relative · rms(a).
    """

    absolute: float = Field(ge=0, description="in the unit of the column")
    relative: float = Field(default=0.0, ge=0, description="in rms of the archived column")


def _within(absolute: float, relative: float = 0.0) -> Tolerance:
    return Tolerance(absolute=absolute, relative=relative)


TOLERANCES = {
    # Twice the differences between runs of the default study with AVX2 and with AVX-512. These
    # instruction sets round differently, training amplifies that, and students follow a float32
    # teacher.
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
    "mean_logit_rms": _within(0.2, 0.2),
    "gap": _within(0.1, 0.1),
    "gap_rms": _within(0.1, 0.5),
    "gap_energy": _within(0.05, 0.6),
    "gap_share": _within(0.2, 0.5),
    "logits": _within(0.0, 0.8),
    # Columns of untrained networks, where no training amplifies the rounding of float32.
    "mean": _within(1e-6, 1e-4),
    "sd_over_images": _within(1e-6, 1e-4),
    "rms": _within(1e-6, 1e-4),
    "predicted_sd": _within(1e-6, 1e-4),
}
"""The default tolerance of each column that training and initialisation jobs write."""

_JOB_TABLES = ("history", "logits", "means")
"""The tables that training and initialisation jobs write; the others are gathered from them."""


def _whole(given: dict[str, Tolerance]) -> dict[str, Tolerance]:
    """Return the given tolerances, by column, with the default for every other column.

    Raises:
        ValidationError: a given column takes no tolerance.

    """
    known = {column for table in _JOB_TABLES for column in SCHEMAS[table]}
    problems: list[tuple[Location, str]] = []
    for column in sorted(set(given) - set(TOLERANCES)):
        near = nearest(column, TOLERANCES)
        why = "it is compared exactly" if column in known else "no table has such a column"
        hint = f"did you mean {near!r}? " if near and column not in known else ""
        problems.append(
            ((column,), f"takes no tolerance: {why}; {hint}known: {', '.join(TOLERANCES)}")
        )
    refuse(Tolerance, problems)
    return {**TOLERANCES, **given}


Tolerances = Annotated[
    dict[str, Tolerance],
    AfterValidator(_whole),
    Field(json_schema_extra={"propertyNames": {"enum": [*TOLERANCES]}}),
]
