"""What came of each network that a study asks for: the ground of the tables `runs` to `theory`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlm.errors import InputError
from kdlm.storage.files import verify
from kdlm.storage.parquet import expect_spec, read_divergence, read_table
from kdlm.study import names
from kdlm.study.config import Study
from kdlm.study.jobs import StudentJob, TeacherJob, network_jobs
from kdlm.study.schemas import STUDENT_KEYS
from kdlm.study.specs import Spec

__all__ = ["Network", "networks", "none_missing", "rms", "test_logits"]

_ROLES = {"teachers": "teacher", "students": "student"}


@dataclass(frozen=True)
class Network:
    """A network that the study asks for, and what came of it."""

    job: TeacherJob | StudentJob
    keys: dict[str, Any]
    """Role and path keys, typed as in the tables."""
    folder: Path
    """Of the network's files."""
    channels: int
    """Of its images."""
    side: int
    """Of its images, in pixels."""
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
    channels = names.DATASETS[study.dataset.name].channels
    return [
        Network(
            job,
            {"role": _ROLES[job.kind], **_typed(job.keys)},
            folder / job.folder,
            channels,
            study.dataset.side,
            *_status(folder / job.folder, job.spec, needs),
        )
        for job in network_jobs(study)
    ]


def _status(folder: Path, spec: Spec, needs: tuple[str, ...]) -> tuple[str, str | None]:
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


def _typed(keys: Mapping[str, str]) -> dict[str, Any]:
    """Path keys with the types that the tables give them."""
    convert = {"text": str, "int": int, "float": float}
    return {key: convert[STUDENT_KEYS[key][0]](value) for key, value in keys.items()}


def test_logits(folder: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Test logits (N, K) and labels (N,) of the network in ``folder``.

    Raises:
        InputError: the file is missing or damaged.

    """
    table = read_table(folder / "logits.parquet", "logits")
    test = table[table["split"] == "test"]
    return np.stack(test["logits"].to_list()).astype(np.float64), test["label"].to_numpy()


def rms(values: npt.NDArray[np.float64]) -> float:
    """Root mean square of all ``values``."""
    return float(np.sqrt(np.square(values).mean()))
