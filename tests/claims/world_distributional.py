"""A study's folder with made-up logits: students of several seeds, and ways to alter them."""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import save

from kdlm.claims import CLAIMS, _row
from kdlm.claims.evidence import Evidence
from kdlm.storage.files import OPEN_SEAL, sealed
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, parse
from kdlm.study.jobs import network_jobs
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.comparisons import comparisons
from kdlm.tables.networks import networks
from kdlm.tables.runs import runs

Array = npt.NDArray[np.float64]
Keys = dict[str, str]
Alter = Callable[[Keys, Array], Array]

IMAGES, CLASSES = 400, 10
LABELS = np.arange(IMAGES) % CLASSES
HOT = 10_000.0
"""The largest finite temperature."""


OTHERS: list[dict[str, Any]] = [
    {"mean_gaps": [5]},
    {"means": ["natural"]},
    {"recipe": "mixed"},
    {"initialisation": "he-centred"},
]
"""What arms can have that these claims are not about."""


def study(
    tiny: dict[str, Any], students: dict[int, list[int]], others: list[dict[str, Any]] | None = None
) -> Study:
    """KD, LM and centred LM, without any control, in float32.

    Args:
        tiny: a config; its data sets and margins are kept.
        students: by seed of the teacher, the seeds of its students.
        others: further arms of the first teacher, by what they have otherwise.

    """
    config = copy.deepcopy(tiny)
    config["recipes"]["mixed"] = config["recipes"]["short"] | {"ce_weight": 0.1}
    teacher = {"architecture": "resnet8", "initialisation": "he", "recipe": "short"}
    config["teachers"] = [teacher | {"seed": seed} for seed in students]
    arm = {"teacher": "resnet8-he-short", "architecture": "resnet8", "initialisation": "he",
           "recipe": "short", "losses": ["kd", "lm", "centred-lm"],
           "temperatures": [4, HOT, math.inf]}  # fmt: skip
    config["arms"] = [
        arm | {"teacher_seed": teacher_seed, "seeds": seeds}
        for teacher_seed, seeds in students.items()
    ]
    first, seeds = next(iter(students.items()))
    config["arms"] += [
        arm | {"teacher_seed": first, "seeds": seeds[:2]} | other for other in others or []
    ]
    return parse(config)


def main_arm(keys: Keys) -> bool:
    """Whether the claims are about the student with these path keys."""
    return (
        keys["mean_gap"] == "0"
        and keys["means"] == "trained-teacher"
        and keys["recipe"] == "short"
        and keys["initialisation"] == "he"
    )


def logits(keys: Keys) -> Array:
    """One image in ten is wrong, others for every seed; two images depend on the loss as well."""
    seed = int(keys["seed"]), int(keys.get("teacher_seed", 99))
    wrong = np.random.default_rng(seed).choice(IMAGES, size=IMAGES // 10, replace=False)
    name = keys.get("loss", "teacher") + keys.get("temperature", "")
    of_loss = np.random.default_rng([*seed, *name.encode()])
    predicted = LABELS.copy()
    predicted[[*wrong, *of_loss.choice(IMAGES, size=2)]] += 1
    return 4 * np.eye(CLASSES)[predicted % CLASSES] + 0.05 * of_loss.normal(size=(IMAGES, CLASSES))


def unaltered(_: Keys, z: Array) -> Array:
    return z


def weights() -> bytes:
    """A file of weights, the same for every network."""
    return sealed(save({"classifier.bias": np.zeros(2, np.float32)}, {"sha256": OPEN_SEAL}))


def write(study: Study, folder: Path, alter: Alter = unaltered) -> None:
    """The files of all networks, their logits passed through ``alter``."""
    for job in network_jobs(study):
        keys, spec, place = dict(job.keys), job.spec.model_dump(mode="json"), folder / job.folder
        z = logits(keys) if job.teacher is None else alter(keys, logits(keys))
        history = [{"epoch": 1, "split": "test", "accuracy": 0.9}]
        write_table("history", history, place / "history.parquet", spec)
        rows = pd.DataFrame({"index": range(IMAGES), "label": LABELS, "logits": z.tolist()})
        write_table("logits", rows.assign(split="test"), place / "logits.parquet", spec)
        (place / "model.safetensors").write_bytes(weights())


def evidence(study: Study, folder: Path) -> Evidence:
    """The tables gathered from the files in ``folder``; those that need others are empty."""
    found = networks(study, folder)
    tables = {"runs": runs(found), "comparisons": comparisons(found)}
    empty = {
        field.name: pd.DataFrame(columns=list(SCHEMAS[field.name]))
        for field in dataclasses.fields(Evidence)
        if field.name not in (*tables, "margins", "dataset")
    }
    return Evidence(**tables, **empty, margins=study.margins)


def judged(given: Evidence, claim: str, form: str) -> dict[str, Any]:
    """The row of one claim."""
    (known,) = [one for one in CLAIMS if (one.id, one.form) == (claim, form)]
    return {"value": math.nan} | _row(known, given, given.margins)


def place(folder: Path, **keys: object) -> Path:
    """Where the files of one student are, given its loss, temperature and seed."""
    named = {
        "teacher": "resnet8-he-short", "teacher_seed": 0, "architecture": "resnet8",
        "initialisation": "he", "recipe": "short", "loss": None, "temperature": None,
        "means": "trained-teacher", "mean_gap": 0, "perturbation": 0, "relative_perturbation": 0,
        "seed": None,
    } | keys  # fmt: skip
    return folder / "students" / "/".join(f"{key}={value}" for key, value in named.items())


def read(folder: Path, **keys: object) -> tuple[Array, npt.NDArray[np.int64]]:
    """Logits and labels of one student, straight from its file."""
    table = pd.read_parquet(place(folder, **keys) / "logits.parquet", partitioning=None)
    return np.array(table["logits"].to_list()), table["label"].to_numpy()
