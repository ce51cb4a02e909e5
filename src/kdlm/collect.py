"""Gathering the outputs of a study's jobs into its tables."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kdlm import names
from kdlm.comparisons import compare, test_logits
from kdlm.config import Study
from kdlm.errors import InputError
from kdlm.files import verify
from kdlm.init_means import summarise
from kdlm.layout import init_means_directory, student_directory, teacher_directory
from kdlm.resnet import ARCHITECTURES
from kdlm.specs import StudentSpec, TeacherSpec
from kdlm.tables import STUDENT_KEYS, expect_spec, read_divergence, read_table

__all__ = ["Network", "comparisons", "histories", "init_means", "networks", "none_missing", "runs"]


@dataclass(frozen=True)
class Network:
    """A network that the study asks for, and what came of it."""

    keys: dict[str, Any]
    """Role and path keys, typed as in the tables."""
    spec: TeacherSpec | StudentSpec
    folder: Path
    channels: int
    """Of its images."""
    status: str
    """``finished``, ``diverged`` or ``missing``."""
    reason: str | None
    """Why it is not finished."""


def networks(
    study: Study, folder: Path, needs: tuple[str, ...] = ("model.safetensors",)
) -> list[Network]:
    """Every network of the study, teachers first.

    One that lacks a whole history, whole logits, or a whole file of those that the caller
    ``needs``, is ``missing``; so is one whose history or logits are of another spec.
    """
    found: list[tuple[str, dict[str, str], TeacherSpec | StudentSpec, Path]] = [
        *(("teacher", k, spec, folder / teacher_directory(k)) for k, spec in study.teacher_jobs()),
        *(("student", k, spec, folder / student_directory(k)) for k, spec in study.student_jobs()),
    ]
    channels = names.DATASETS[study.dataset.name].channels
    return [
        Network({"role": role, **_typed(k)}, spec, place, channels, *_status(place, spec, needs))
        for role, k, spec, place in found
    ]


def _status(
    folder: Path, spec: TeacherSpec | StudentSpec, needs: tuple[str, ...]
) -> tuple[str, str | None]:
    try:
        for file in needs:
            verify(folder / file)
        for table in ("history.parquet", "logits.parquet"):
            expect_spec(folder / table, spec)
        diverged = read_divergence(folder / "history.parquet")
    except InputError as error:
        return "missing", str(error)
    if diverged is None:
        return "finished", None
    where = "{what} NaN or infinite in epoch {epoch}, batch {batch}".format(**diverged)
    return "diverged", f"{folder}: {where}"


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
            | (_outcome(network) if network.status == "finished" else {})
            for network in found
        ]
    )


def _outcome(network: Network) -> dict[str, Any]:
    history = read_table(network.folder / "history.parquet", "history")
    test = history[history["split"] == "test"].sort_values("epoch")
    best = test.loc[test["accuracy"].idxmax()]
    z, _ = test_logits(network.folder)
    centred = z - z.mean(axis=1, keepdims=True)
    return {
        "num_classes": z.shape[1],
        "parameters": _parameters(network.spec.architecture, z.shape[1], network.channels),
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


@cache
def _parameters(architecture: str, num_classes: int, in_channels: int) -> int:
    """Number of parameters of a network, BatchNorm's running statistics not among them."""
    # of its shape alone: weights may be left out of an archive whose tables are made anew
    with torch.device("meta"):
        model = ARCHITECTURES[architecture](num_classes=num_classes, in_channels=in_channels)
    return sum(parameter.numel() for parameter in model.parameters())


def init_means(study: Study, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All shards of table ``means`` with their keys, and their summary, table ``init_means``."""
    shards = []
    for keys, spec in study.init_means_jobs():
        path = folder / init_means_directory(keys) / "means.parquet"
        expect_spec(path, spec)
        shards.append(
            read_table(path, "means").assign(
                architecture=spec.architecture,
                initialisation=spec.initialisation,
                batchnorm=spec.batchnorm,
            )
        )
    means = pd.concat(shards, ignore_index=True)
    by = ["architecture", "initialisation", "batchnorm"]
    summaries = [
        summarise(group).assign(**dict(zip(by, values, strict=True)))
        for values, group in means.groupby(by, sort=False)
    ]
    return means, pd.concat(summaries, ignore_index=True)
