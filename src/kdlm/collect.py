"""Gathering the outputs of a study's jobs into its tables."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load

from kdlm.comparisons import compare, test_logits
from kdlm.config import Study
from kdlm.files import read_sealed
from kdlm.init_means import summarise
from kdlm.layout import init_means_directory, student_directory, teacher_directory
from kdlm.specs import StudentSpec, TeacherSpec
from kdlm.tables import STUDENT_KEYS, read_table

__all__ = ["comparisons", "histories", "init_means", "networks", "runs"]

Network = tuple[dict[str, Any], TeacherSpec | StudentSpec, Path]


def networks(study: Study, folder: Path) -> Iterator[Network]:
    """Role and keys, spec and folder of every network of the study, teachers first."""
    for keys, teacher in study.teacher_jobs():
        yield {"role": "teacher", **_typed(keys)}, teacher, folder / teacher_directory(keys)
    for keys, student in study.student_jobs():
        yield {"role": "student", **_typed(keys)}, student, folder / student_directory(keys)


def _typed(keys: dict[str, str]) -> dict[str, Any]:
    """Path keys with the types that the tables give them."""
    convert = {"text": str, "int": int, "float": float}
    return {key: convert[STUDENT_KEYS[key][0]](value) for key, value in keys.items()}


def histories(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``histories``: every history with the keys of its network."""
    return pd.concat(
        [
            read_table(folder / "history.parquet", "history").assign(**keys)
            for keys, _, folder in found
        ]
    )


def runs(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``runs``: how each network ended."""
    return pd.DataFrame([_run(*network) for network in found])


def _run(keys: dict[str, Any], spec: TeacherSpec | StudentSpec, folder: Path) -> dict[str, Any]:
    history = read_table(folder / "history.parquet", "history")
    test = history[history["split"] == "test"].sort_values("epoch")
    best = test.loc[test["accuracy"].idxmax()]
    z, _ = test_logits(folder)
    centred = z - z.mean(axis=1, keepdims=True)
    return keys | {
        "num_classes": z.shape[1],
        "parameters": _parameters(folder / "model.safetensors"),
        "epochs": spec.recipe.epochs,
        "last_accuracy": test["accuracy"].iloc[-1],
        "best_accuracy": best["accuracy"],
        "best_epoch": int(best["epoch"]),
        "logit_mean": z.mean(),
        "logit_rms": np.sqrt(np.square(centred).mean()),
        "logit_magnitude": np.abs(centred).mean(),
        "weight_decay": spec.recipe.weight_decay,
        "ce_weight": spec.recipe.ce_weight,
        "optimizer": spec.recipe.optimizer,
    }


def comparisons(study: Study, folder: Path) -> pd.DataFrame:
    """Table ``comparisons`` of a study."""
    rms = {}
    for keys, _ in study.teacher_jobs():
        z, _ = test_logits(folder / teacher_directory(keys))
        centred = z - z.mean(axis=1, keepdims=True)
        name = f"{keys['architecture']}-{keys['initialisation']}-{keys['recipe']}"
        rms[name, int(keys["seed"])] = float(np.sqrt(np.square(centred).mean()))
    students = [
        (_typed(keys), folder / student_directory(keys)) for keys, _ in study.student_jobs()
    ]
    return compare(students, rms)


def _parameters(path: Path) -> int:
    """Number of parameters in a network's file, BatchNorm's running statistics left out."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    state = load(read_sealed(path))
    return sum(value.size for name, value in state.items() if not name.endswith(buffers))


def init_means(study: Study, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All shards of table ``means`` with their keys, and their summary, table ``init_means``."""
    means = pd.concat(
        [
            read_table(folder / init_means_directory(keys) / "means.parquet", "means").assign(
                architecture=spec.architecture,
                initialisation=spec.initialisation,
                batchnorm=spec.batchnorm,
            )
            for keys, spec in study.init_means_jobs()
        ],
        ignore_index=True,
    )
    keys = ["architecture", "initialisation", "batchnorm"]
    summaries = [
        summarise(group).assign(**dict(zip(keys, values, strict=True)))
        for values, group in means.groupby(keys, sort=False)
    ]
    return means, pd.concat(summaries, ignore_index=True)
