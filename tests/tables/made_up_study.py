"""A study's folder whose networks were never trained: made-up histories, logits and weights."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.saved import save_network
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, parse
from kdlm.study.jobs import network_jobs
from kdlm.study.specs import StudentSpec, TeacherSpec

TRAIN, TEST, CLASSES = 12, 9, 10

ACCURACY = (0.2, 0.6, 0.6, 0.4)
"""Of the test set by epoch, the first being 1: it falls at the end, and its best is there twice."""


def study(config: dict[str, Any]) -> Study:
    """The tiny study with four epochs, and a second teacher with students of its own."""
    config = copy.deepcopy(config)
    config["recipes"]["short"]["epochs"] = len(ACCURACY)
    # fewer than there are test images
    config["theory"]["samples"] = 5
    config["recipes"]["long"] = config["recipes"]["short"] | {
        "weight_decay": 0.25,
        "ce_weight": 0.5,
    }
    config["teachers"] += [
        {"architecture": "resnet8", "initialisation": "he", "recipe": "short", "seed": 3},
        {"architecture": "resnet14", "initialisation": "he-centred", "recipe": "long"},
    ]
    config["arms"] += [
        {"teacher": "resnet8-he-short", "teacher_seed": 3, "architecture": "resnet8",
         "initialisation": "he", "recipe": "short", "losses": ["kd", "centred-lm"],
         "temperatures": [4], "seeds": [0, 1]},
        {"teacher": "resnet14-he-centred-long", "architecture": "resnet14",
         "initialisation": "xavier", "recipe": "long", "losses": ["kd", "lm"],
         "temperatures": [4], "seeds": [0, 1]},
    ]  # fmt: skip
    return parse(config)


def jobs(study: Study) -> list[tuple[str, Path, Any]]:
    """Role, folder within the study's and spec of every network."""
    return [
        ("student" if job.teacher else "teacher", job.folder, job.spec)
        for job in network_jobs(study)
    ]


def logits(seed: int, samples: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of no zero mean, and of another spread for every seed."""
    draws = np.random.default_rng(seed).normal(size=(samples, CLASSES))
    return ((1 + seed % 7) * draws + 3 * (seed % 5)).astype(np.float32)


def history(number: int, epochs: int) -> pd.DataFrame:
    """Rows in no order."""
    rows = []
    for epoch in range(epochs + 1):
        for split in ("probe", "train", "test") if epoch else ("probe",):
            accuracy = ACCURACY[epoch - 1] if split == "test" else 0.9 + 0.01 * epoch
            rows.append(
                {"epoch": epoch, "split": split, "accuracy": accuracy, "objective": 1.0 + number}
            )
    return pd.DataFrame(rows).sample(frac=1, random_state=number)


def write_network(
    folder: Path,
    number: int,
    role: str,
    spec: TeacherSpec | StudentSpec,
    diverged: dict[str, Any] | None = None,
) -> None:
    """One network's history, logits and weights, all decided by its ``number``."""
    described = spec.model_dump(mode="json")
    write_table("history", history(number, spec.recipe.epochs), folder / "history.parquet",
                described, diverged)  # fmt: skip
    rows = [
        {"split": split, "index": i, "label": (i + number) % CLASSES, "logits": [*values]}
        for split, samples in (("train", TRAIN), ("test", TEST))
        if split == "test" or role == "teacher"
        for i, values in enumerate(logits(number + 1000 * (split == "train"), samples).tolist())
    ]
    write_table("logits", rows, folder / "logits.parquet", described, diverged)
    model = build(spec.architecture, CLASSES, 1, torch.float32)
    initialise(model, spec.initialisation, stream(number, "made up"))
    save_network(model, folder / "model.safetensors", architecture=spec.architecture,
                 in_channels=1, spec=described)  # fmt: skip


def write(study: Study, folder: Path) -> None:
    """All networks of a study."""
    for number, (role, place, spec) in enumerate(jobs(study)):
        write_network(folder / place, number, role, spec)
