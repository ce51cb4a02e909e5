"""Rows of the made-up study for the claims about the energy of the gap."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

SEEDS = range(3)

_SHARES = {"he": {"kd": 0.05, "lm": 0.02}, "he-centred": {"kd": 1e-15, "lm": 1e-16}}
"""At the end of training, by the student's initialisation and its loss."""


def _students() -> Iterator[dict[str, Any]]:
    for initialisation, losses in _SHARES.items():
        for loss in losses:
            for seed in SEEDS:
                yield {
                    "role": "student", "teacher": f"resnet20-{initialisation}-decayed",
                    "teacher_seed": 0, "architecture": "resnet8", "initialisation": initialisation,
                    "recipe": "decayed", "loss": loss, "temperature": math.inf,
                    "means": "trained-teacher", "mean_gap": 0.0, "perturbation": 0,
                    "relative_perturbation": 0.0, "seed": seed, "status": "finished",
                }  # fmt: skip


def runs() -> pd.DataFrame:
    teachers = [
        {"role": "teacher", "architecture": "resnet20", "initialisation": initialisation,
         "recipe": "decayed", "loss": "ce", "temperature": 1.0, "mean_gap": 0.0,
         "perturbation": 0, "relative_perturbation": 0.0, "seed": 0, "status": "finished"}
        for initialisation in _SHARES
    ]  # fmt: skip
    return pd.DataFrame([*teachers, *_students()]).assign(
        reason=None, num_classes=10, epochs=2, last_accuracy=0.9, best_accuracy=0.9, best_epoch=2,
        logit_mean=0.0, logit_rms=4.0, logit_magnitude=3.0, weight_decay=5e-4, ce_weight=0.0,
        optimizer="sgd", precision="float64",
    )  # fmt: skip


def histories() -> pd.DataFrame:
    rows = []
    for student in _students():
        share = _SHARES[student["initialisation"]][student["loss"]]
        zero_sum = student["loss"] == "kd" or student["initialisation"] == "he-centred"
        for epoch, split in ((0, "initial"), (1, "test"), (2, "test")):
            value = share * (0.5 + 0.25 * epoch) * (1 + 0.1 * student["seed"])
            rows.append(
                student
                | {"epoch": epoch, "split": split, "objective": 1.0, "accuracy": 0.9}
                | {"mean_logit": 0.1, "logit_rms": 4.0, "gap": 0.0}
                | {"logit_gradient_sum": 1e-15 if zero_sum else 0.7}
                | {"gap_share": value, "gap_energy": 2 * value, "gap_rms": 2 * value**0.5}
            )
    return pd.DataFrame(rows)
