"""A study for the pointwise claims: students whose logits, weights and histories are made up.

Every student's files are written as a training writes them. A student's test logits are those of
its seed plus a multiple of one fixed direction, and so are its weights; `apart` says which
multiple. It is in distances of two seeds, so it is also the share that a claim should find.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from safetensors.numpy import save

from kdlm.claims import CLAIMS, _row
from kdlm.claims.evidence import Evidence
from kdlm.storage.files import OPEN_SEAL, sealed
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, parse
from kdlm.study.margins import Margins
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.comparisons import comparisons
from kdlm.tables.networks import networks
from kdlm.tables.runs import histories, runs
from tests.conftest import TINY

INF = math.inf
CLASSES, TEST, TRAIN, FEATURES = 10, 24, 16, 3
Array = npt.NDArray[np.float64]
Keys = dict[str, Any]

SGD = {
    "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4,
    "schedule": {"name": "constant"}, "epochs": 1, "batch_size": 256, "augment": True,
    "precision": "float64",
}  # fmt: skip
ADAM = SGD | {"optimizer": "adam", "momentum": 0.0}
LADDER = {1e-10: 1e-8, 1e-8: 1e-6, 1e-6: 0.4, 1e-4: 0.6}
"""By rung, how far it moves a student: a cliff between 1e-8 and 1e-6, and a plateau."""
EXACT = 1e-9
SEEDS = (0, 1)


def arm(losses: list[str], temperatures: list[float] | None = None, **changes: Any) -> Keys:
    return {
        "teacher": "resnet8-he-sgd", "architecture": "resnet8", "initialisation": "he",
        "recipe": "sgd", "losses": losses, "temperatures": temperatures or [], "seeds": [*SEEDS],
    } | changes  # fmt: skip


CENTRED = {"teacher": "resnet8-he-centred-sgd", "initialisation": "he-centred"}
RUNGS = {"relative_perturbations": [*LADDER]}
EIGHT = ["regularised-lm-printed", "regularised-lm-corrected"]
ARMS = {
    "losses": arm(["ce", "kd", "lm", "centred-lm"], [4, 1e4, 1e6, 1e8, INF]),
    "gap": arm(["ce", "kd", "lm", "centred-lm", *EIGHT], [4, INF], mean_gaps=[5]),
    "doses": arm(["lm"], mean_gaps=[0.5]),
    "untrained": arm(["kd", "lm"], [INF], means=["untrained-teacher"]),
    "untrained gap": arm(["kd", *EIGHT], [INF], means=["untrained-teacher"], mean_gaps=[5]),
    "natural": arm(["lm"], means=["natural"]),
    "ladder": arm(["kd"], [INF], **RUNGS),
    "centred": arm(["kd", "lm", "centred-lm", EIGHT[1]], [INF], **CENTRED),
    "centred ladder": arm(["kd"], [INF], **CENTRED, **RUNGS),
    "adam": arm(["kd", "lm"], [INF], **CENTRED, recipe="adam"),
}


def config(arms: dict[str, Keys], recipes: dict[str, Keys] | None = None) -> Keys:
    loaded: Keys = yaml.safe_load(TINY)
    return loaded | {
        "recipes": {"sgd": SGD, "adam": ADAM} | (recipes or {}),
        "teachers": [
            {"architecture": "resnet8", "initialisation": initialisation, "recipe": "sgd"}
            for initialisation in ("he", "he-centred")
        ],
        "arms": list(arms.values()),
        "margins": {},
    }  # fmt: skip


def apart(keys: Keys) -> float:
    """How far a student is from KD at T = inf of its seed, in distances of two seeds."""
    loss: str = keys["loss"]
    temperature: float = keys["temperature"]
    seed: int = keys["seed"]
    gap: float = keys["mean_gap"]
    moved = EXACT * (1 + gap + seed)
    if keys["perturbation"]:
        return 1e-12
    if keys["relative_perturbation"]:
        return LADDER[keys["relative_perturbation"]] * (1 + 0.1 * seed)
    if keys["initialisation"] == "he-centred":
        return EXACT * len(loss)
    if loss == "kd":
        return {4: 0.7, 1e4: 0.5, 1e6: 0.03, 1e8: 1e-7, INF: 0}[temperature] + moved
    by_loss = {"ce": 0.9, "centred-lm": 0.0, "lm": 0.5 + 0.05 * gap,
               EIGHT[0]: 2.0, EIGHT[1]: 0.45}  # fmt: skip
    return by_loss[loss] * (1 + 0.02 * seed) + moved


def draws(purpose: int, *shape: int) -> Array:
    drawn: Array = np.random.default_rng(purpose).normal(size=shape)
    return drawn


def centred(logits: Array) -> Array:
    found: Array = logits - logits.mean(axis=1, keepdims=True)
    return found


def direction(which: int, *shape: int) -> Array:
    """A fixed direction whose rms is 1; that of logits is centred over the classes."""
    drawn = draws(which, *shape)
    drawn = centred(drawn) if len(shape) == 2 else drawn
    found: Array = drawn / np.sqrt(np.square(drawn).mean())
    return found


def logits_of(seed: int, multiple: float) -> Array:
    """Test logits whose distance between two seeds is 1 before anything is added."""
    one, other = draws(10, TEST, CLASSES), draws(11, TEST, CLASSES)
    size = np.sqrt(np.square(centred(one - other)).mean())
    drawn: Array = (one, other)[seed] / size + multiple * direction(12, TEST, CLASSES)
    return drawn


def weights_of(seed: int, multiple: float) -> Array:
    one, other = draws(20, 50), draws(21, 50)
    size = np.sqrt(np.square(one - other).mean())
    drawn: Array = (one, other)[seed] / size + multiple * direction(22, 50)
    return drawn


@dataclasses.dataclass(frozen=True)
class Start:
    """Logits of a student and its teacher on the training set before the student's training."""

    student: Array
    teacher: Array

    @property
    def gaps(self) -> Array:
        """c^s − c^t of each sample."""
        found: Array = self.student.mean(axis=1) - self.teacher.mean(axis=1)
        return found

    def row(self) -> Keys:
        difference = self.student - self.teacher
        energy = float(np.square(self.gaps).mean() / 2)
        matching = float(np.square(difference).mean() / 2)
        centre = self.student.mean(axis=1)
        return {
            "mean_logit": float(self.student.mean()),
            "mean_logit_rms": float(np.sqrt(np.square(centre).mean())),
            "logit_rms": float(np.sqrt(np.square(centred(self.student)).mean())),
            "gap": float(self.gaps.mean()), "gap_rms": float(np.sqrt(2 * energy)),
            "gap_energy": energy, "gap_share": energy / matching if matching else 0.0,
        }  # fmt: skip


def start(keys: Keys, natural: float = 0.4) -> Start:
    """A student whose mean logit is its seed's own, or as far from the teacher's as is imposed.

    Args:
        keys: the student's path keys.
        natural: mean of c^s − c^t where nothing is imposed, in logits; of seed 1 it is half of it.

    """
    teacher = 3 * draws(30, TRAIN, CLASSES)
    student = draws(31 + keys["seed"], TRAIN, CLASSES)
    if keys["initialisation"] == "he-centred":
        return Start(centred(student), centred(teacher))
    wanted = keys["mean_gap"]
    if keys["means"] == "natural":
        wanted = natural / (1 + keys["seed"])
    return Start(student + wanted - Start(student, teacher).gaps.mean(), teacher)


class World:
    """The study's folder, and what its claims say about it."""

    def __init__(self, folder: Path, arms: dict[str, Keys], recipes: Any = None) -> None:
        """Write all networks of ``arms``."""
        self.folder = folder
        self.study: Study = parse(config(arms, recipes))
        self.networks = networks(self.study, folder, ())
        for network in self.networks:
            self.write(network)

    def write(self, network: Any, multiple: float | None = None, begun: Start | None = None,
              drift: float | None = None) -> None:  # fmt: skip
        keys, spec = network.keys, network.job.spec.model_dump(mode="json")
        student = network.job.teacher is not None
        multiple = apart(keys) if multiple is None and student else multiple or 0.0
        seed = keys["seed"] % 2
        begun = begun or start(keys if student else keys | {"mean_gap": 0.0, "means": ""})
        first = begun.row() | {"epoch": 0, "accuracy": 0.1}
        if drift is None:
            drift = 0.2 if keys["recipe"] == "adam" and student else 1e-16
        last = {"epoch": 1, "accuracy": 0.8, "logit_rms": 4.0, "mean_logit_rms": 4.0 * drift}
        rows = [first | {"split": "initial"}, first | {"split": "probe"}, last | {"split": "probe"},
                last | {"split": "test"}]  # fmt: skip
        write_table("history", rows, network.folder / "history.parquet", spec)
        logits = logits_of(seed, multiple).tolist()
        table = [
            {"split": "test", "index": i, "label": i % CLASSES, "logits": z}
            for i, z in enumerate(logits)
        ]
        write_table("logits", table, network.folder / "logits.parquet", spec)
        state = {"stem.weight": weights_of(seed, multiple)}
        content = sealed(save(state, {"sha256": OPEN_SEAL}))
        (network.folder / "model.safetensors").write_bytes(content)

    def chosen(self, **where: Any) -> list[Any]:
        """The students whose keys are these, or in these lists."""
        found = [
            network
            for network in self.networks
            if network.job.teacher is not None
            and all(
                network.keys[key] in (wanted if isinstance(wanted, list) else [wanted])
                for key, wanted in where.items()
            )
        ]
        assert found, where
        return found

    @contextlib.contextmanager
    def moved(self, files: dict[str, Any], **where: Any) -> Iterator[Evidence]:
        """The evidence with other files of the students that match; restored afterwards."""
        students = self.chosen(**where)
        for network in students:
            self.write(network, **files)
        try:
            yield self.evidence()
        finally:
            for network in students:
                self.write(network)

    @contextlib.contextmanager
    def without(self, **where: Any) -> Iterator[Evidence]:
        """The evidence after the files of the students that match are lost; restored afterwards."""
        students = self.chosen(**where)
        for network in students:
            (network.folder / "logits.parquet").unlink()
        try:
            yield self.evidence()
        finally:
            for network in students:
                self.write(network)

    @functools.cached_property
    def untouched(self) -> Evidence:
        """The evidence of the files as they were written at first."""
        return self.evidence()

    def evidence(self) -> Evidence:
        """The study's tables, gathered from its files as they are now; the others are empty."""
        found = networks(self.study, self.folder)
        empty = {
            name: pd.DataFrame(columns=list(SCHEMAS[name]))
            for name in ("identities", "gradient_limit", "layer_means", "init_means")
        }
        return Evidence(
            runs=pd.DataFrame(runs(found)).reindex(columns=list(SCHEMAS["runs"])),
            histories=histories(found).reset_index(drop=True).reindex(
                columns=list(SCHEMAS["histories"])
            ),
            comparisons=comparisons(found),
            margins=Margins(),
            **empty,
        )  # fmt: skip


def judged(evidence: Evidence, claim: str, form: str) -> Keys:
    """A claim's row of table ``claims``."""
    (found,) = [known for known in CLAIMS if (known.id, known.form) == (claim, form)]
    return {"value": math.nan} | _row(found, evidence, evidence.margins)
