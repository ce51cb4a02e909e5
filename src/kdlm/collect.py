"""Gathering the outputs of a study's jobs into its tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load

from kdlm.comparisons import compare, test_logits
from kdlm.config import Study
from kdlm.errors import InputError
from kdlm.files import read_sealed, verify
from kdlm.init_means import summarise
from kdlm.layout import init_means_directory, student_directory, teacher_directory
from kdlm.specs import StudentSpec, TeacherSpec, spell
from kdlm.tables import STUDENT_KEYS, read_divergence, read_table

__all__ = ["Network", "comparisons", "histories", "init_means", "networks", "none_missing", "runs"]


@dataclass(frozen=True)
class Network:
    """A network that the study asks for, and what came of it."""

    keys: dict[str, Any]
    """Role and path keys, typed as in the tables."""
    spec: TeacherSpec | StudentSpec
    folder: Path
    status: str
    """``finished``, ``diverged`` or ``missing``."""
    reason: str | None
    """Why it is not finished."""


def networks(study: Study, folder: Path) -> list[Network]:
    """Every network of the study, teachers first; one that is not there is ``missing``."""
    return [
        *(
            _network("teacher", keys, teacher, folder / teacher_directory(keys))
            for keys, teacher in study.teacher_jobs()
        ),
        *(
            _network("student", keys, student, folder / student_directory(keys))
            for keys, student in study.student_jobs()
        ),
    ]


def _network(
    role: str, path_keys: dict[str, str], spec: TeacherSpec | StudentSpec, folder: Path
) -> Network:
    keys = {"role": role, **_typed(path_keys)}
    return Network(keys, spec, folder, *_status(keys, folder))


def _status(keys: dict[str, Any], folder: Path) -> tuple[str, str | None]:
    name = ", ".join(
        spell(value) if isinstance(value, float) else str(value)
        for key, value in keys.items()
        if key not in ("teacher_seed", "perturbation", "seed")
    )
    name += f", seed {keys['seed']}" + (", control" if keys.get("perturbation") else "")
    try:
        for file in ("model.safetensors", "logits.parquet"):
            verify(folder / file)
        diverged = read_divergence(folder / "history.parquet")
    except InputError as error:
        return "missing", f"{name}: {error}"
    if diverged is None:
        return "finished", None
    where = "{what} NaN or infinite in epoch {epoch}, batch {batch}".format(**diverged)
    return "diverged", f"{name}: {where}"


def none_missing(found: Iterable[Network]) -> list[Network]:
    """What was ``found``, of which nothing may be missing.

    Raises:
        InputError: something is; the message names the file.

    """
    found = list(found)
    for network in found:
        if network.status == "missing":
            raise InputError(str(network.reason))
    return found


def _typed(keys: dict[str, str]) -> dict[str, Any]:
    """Path keys with the types that the tables give them."""
    convert = {"text": str, "int": int, "float": float}
    return {key: convert[STUDENT_KEYS[key][0]](value) for key, value in keys.items()}


def histories(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``histories``: every history with the keys of its network."""
    return pd.concat(
        [
            read_table(network.folder / "history.parquet", "history").assign(
                status=network.status, **network.keys
            )
            for network in found
            if network.status != "missing"
        ]
    )


def runs(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``runs``: how each network ended; of one that is not finished, its recipe alone."""
    return pd.DataFrame(
        [
            network.keys
            | {"status": network.status, "reason": network.reason}
            | {
                "epochs": network.spec.recipe.epochs,
                "weight_decay": network.spec.recipe.weight_decay,
                "ce_weight": network.spec.recipe.ce_weight,
                "optimizer": network.spec.recipe.optimizer,
            }
            | (_outcome(network.folder) if network.status == "finished" else {})
            for network in found
        ]
    )


def _outcome(folder: Path) -> dict[str, Any]:
    history = read_table(folder / "history.parquet", "history")
    test = history[history["split"] == "test"].sort_values("epoch")
    best = test.loc[test["accuracy"].idxmax()]
    z, _ = test_logits(folder)
    centred = z - z.mean(axis=1, keepdims=True)
    return {
        "num_classes": z.shape[1],
        "parameters": _parameters(folder / "model.safetensors"),
        "last_accuracy": test["accuracy"].iloc[-1],
        "best_accuracy": best["accuracy"],
        "best_epoch": int(best["epoch"]),
        "logit_mean": z.mean(),
        "logit_rms": np.sqrt(np.square(centred).mean()),
        "logit_magnitude": np.abs(centred).mean(),
    }


def comparisons(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``comparisons``: of a student that is not finished, the pairs without a distance."""
    rms, students, lost = {}, [], {}
    for network in found:
        keys = network.keys
        if network.status != "finished":
            lost[network.folder] = (network.status, str(network.reason))
        if keys["role"] == "student":
            students.append((keys, network.folder))
        elif network.status == "finished":
            z, _ = test_logits(network.folder)
            centred = z - z.mean(axis=1, keepdims=True)
            name = f"{keys['architecture']}-{keys['initialisation']}-{keys['recipe']}"
            rms[name, keys["seed"]] = float(np.sqrt(np.square(centred).mean()))
    return compare(students, rms, lost)


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
