"""A study whose histories, logits and initialisation means are written as files, then gathered.

Tests change the numbers before they are written, and compute from the files what a claim ought to
say, with numpy and pyarrow alone.
"""

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from kdlm.claims import CLAIMS, _row
from kdlm.claims.evidence import Evidence
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, parse
from kdlm.study.jobs import init_means_jobs, network_jobs
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.init_means import init_means
from kdlm.tables.networks import networks
from kdlm.tables.runs import histories, runs
from kdlm.tables.theory import theory

Array = npt.NDArray[np.float64]
Config = dict[str, Any]

EPOCHS, IMAGES, CLASSES = 2, 40, 10
SEEDS = range(5)


def study(tiny: Config, **changes: Any) -> Study:
    """The tiny study with arms for the claims about means; ``changes`` go to the config's top."""
    config = copy.deepcopy(tiny)
    plain = config["recipes"].pop("short") | {"epochs": EPOCHS}
    config["recipes"] = {
        "plain": plain,
        "decayed": plain | {"weight_decay": 5e-4},
        "adam": plain | {"optimizer": "adam", "momentum": 0},
    }
    config["teachers"] = [
        {"architecture": "resnet8", "initialisation": initialisation, "recipe": "decayed"}
        for initialisation in ("he", "he-centred")
    ]

    def arm(recipe: str, losses: list[str], initialisation: str = "he", **more: Any) -> Config:
        temperatures = {"temperatures": [4]} if "kd" in losses else {}
        return {
            "teacher": f"resnet8-{initialisation}-decayed", "architecture": "resnet8",
            "initialisation": initialisation, "recipe": recipe, "losses": losses,
            "seeds": [*SEEDS],
        } | temperatures | more  # fmt: skip

    config["arms"] = [
        arm("plain", ["ce", "kd"]),
        arm("plain", ["kd"], relative_perturbations=[1e-4]),
        arm("plain", ["kd"], "he-centred"),
        arm("plain", ["lm"]),
        arm("decayed", ["kd"]),
        arm("adam", ["kd"]),
        arm(
            "decayed",
            ["lm", "l1-lm", "regularised-lm-printed", "regularised-lm-corrected"],
            mean_gaps=[5],
        ),
    ]
    return parse(config | changes)


def history(keys: dict[str, Any], number: int) -> list[Config]:
    """Rows as a network's training would leave them: means of rms .2 that move by about .1."""
    generator = np.random.default_rng(number)
    scale, moved = 0.2 * generator.uniform(0.9, 1.1), 0.1 * generator.uniform(0.5, 1)
    kept = keys["recipe"] == "plain" and keys.get("loss") in ("ce", "kd")
    return [
        {"epoch": epoch, "split": split, "accuracy": 0.5, "objective": 1.0}
        | {"mean_logit_rms": scale * (1 + epoch), "logit_rms": 1.0 + 5 * epoch}
        | {"mean_logit_drift": moved * epoch / EPOCHS if split == "probe" else None}
        | {"logit_gradient_sum": 1e-15, "classifier_bias_sum": 0.0}
        | {"classifier_weight_sum": (1e-15 if kept else 0.3) * epoch}
        | {"classifier_weight_change": 1.0 * epoch, "classifier_bias_change": 0.1 * epoch}
        for epoch in range(EPOCHS + 1)
        for split in (("probe", "train", "test") if epoch else ("probe", "initial"))
    ]


def logits(keys: dict[str, Any], number: int) -> Array:
    """Test logits (images, classes), of a larger mean in the students of (8), smaller with l1."""
    generator = np.random.default_rng(number)
    z = 3 * generator.normal(size=(IMAGES, CLASSES))
    factor = {"l1-lm": 0.5}.get(str(keys.get("loss")), 1.0)
    return factor * z + (5 if str(keys.get("loss")).startswith("regularised") else 0)


def write(
    made: Study,
    folder: Path,
    change_history: Callable[[Config, list[Config]], None] | None = None,
    change_logits: Callable[[Config, Array], Array] | None = None,
) -> None:
    """Write history and logits of every network, first changed by the functions given.

    Both functions get the network's path keys, as text, with its ``role``.
    """
    for number, job in enumerate(network_jobs(made)):
        keys = {"role": "student" if job.teacher else "teacher", **job.keys}
        described = job.spec.model_dump(mode="json")
        rows = history(keys, number)
        if change_history:
            change_history(keys, rows)
        write_table("history", rows, folder / job.folder / "history.parquet", described)
        values = logits(keys, number)
        if change_logits:
            values = change_logits(keys, values)
        table = [
            {"split": split, "index": i, "label": i % CLASSES, "logits": [*map(float, z)]}
            for split in (("test",) if job.teacher else ("train", "test"))
            for i, z in enumerate(values)
        ]
        write_table("logits", table, folder / job.folder / "logits.parquet", described)


def write_means(
    made: Study, folder: Path, mean_of: Callable[[str, str, str, str, int], float]
) -> None:
    """Write the shards of initialisation means.

    ``mean_of`` gives a layer's mean from architecture, initialisation, BatchNorm mode, kind, seed.
    """
    for job in init_means_jobs(made):
        spec = job.spec
        rows = [
            {"seed": seed, "layer": kind, "depth": depth, "kind": kind, "sd_over_images": 1.0,
             "mean": mean_of(spec.architecture, spec.initialisation, spec.batchnorm, kind, seed),
             "rms": 1.0, "predicted_sd": 1.0 if kind == "linear" else None}
            for seed in range(spec.first_seed, spec.first_seed + spec.seeds)
            for depth, kind in enumerate(("convolution", "batchnorm", "linear"))
            if kind == "linear" or seed < made.init_means.layer_seeds
        ]  # fmt: skip
        path = folder / job.folder / "means.parquet"
        write_table("means", rows, path, spec.model_dump(mode="json"))


def _evidence(made: Study, **tables: pd.DataFrame) -> Evidence:
    names = [
        field.name
        for field in dataclasses.fields(Evidence)
        if field.name not in ("margins", "dataset")
    ]
    empty = {name: pd.DataFrame(columns=list(SCHEMAS[name])) for name in names}
    whole = {name: table.reindex(columns=list(SCHEMAS[name])) for name, table in tables.items()}
    return Evidence(**(empty | whole), margins=made.margins)


def gathered(made: Study, folder: Path) -> Evidence:
    """The runs and histories of what `write` wrote; a network without files is missing."""
    found = networks(made, folder, needs=())
    return _evidence(made, runs=runs(found), histories=histories(found))


def gathered_theory(made: Study, folder: Path) -> Evidence:
    """The same with the equations evaluated on the logits that there are."""
    found = networks(made, folder, needs=())
    missing = {network.folder for network in found if network.status == "missing"}
    limits, identities = theory(made, folder, missing)
    tables = {"gradient_limit": limits, "identities": identities}
    return _evidence(made, runs=runs(found), histories=histories(found), **tables)


def gathered_means(made: Study, folder: Path) -> Evidence:
    """The tables of what `write_means` wrote."""
    layer_means, summary = init_means(made, folder)
    return _evidence(made, layer_means=layer_means, init_means=summary)


def judged(evidence: Evidence, claim: str, form: str = "as stated") -> Config:
    """A claim's row; numbers that are not measured are NaN."""
    (known,) = [one for one in CLAIMS if (one.id, one.form) == (claim, form)]
    numbers = dict.fromkeys(("value", "ci_low", "ci_high"), math.nan)
    return numbers | _row(known, evidence, evidence.margins)


def folders(folder: Path, *parts: str) -> list[Path]:
    """Folders of the networks whose path has all these parts, such as ``seed=0``."""
    paths = sorted(path.parent for path in folder.rglob("logits.parquet"))
    return [path for path in paths if set(parts) <= set(path.relative_to(folder).parts)]


def column(path: Path, name: str, **where: Any) -> list[Any]:
    """Values of a column of a file, in the rows that match."""
    rows = pq.read_table(path, partitioning=None).to_pylist()
    return [row[name] for row in rows if all(row[key] == value for key, value in where.items())]
