"""The status of each network that a study asks for; the other modules of `tables` start from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from kdlm.errors import InputError
from kdlm.storage.files import verify
from kdlm.storage.parquet import expect_spec, read_divergence, read_table
from kdlm.study import names
from kdlm.study.config import Study
from kdlm.study.jobs import StudentJob, TeacherJob, network_jobs
from kdlm.study.schemas import STUDENT_KEYS
from kdlm.study.specs import Spec

__all__ = [
    "Network",
    "calibration_error",
    "networks",
    "none_missing",
    "rms",
    "test_logits",
]

_BINS = 15
"""As in Guo et al., arXiv 1706.04599."""

_ROLES = {"teachers": "teacher", "students": "student"}


@dataclass(frozen=True)
class Network:
    """A network that the study asks for, and whether its training finished."""

    job: TeacherJob | StudentJob
    keys: dict[str, Any]
    """Role and path keys, typed as in the tables."""
    folder: Path
    """Folder of the network's files."""
    channels: int
    """Channels of the network's images."""
    side: int
    """Side of the network's images, in pixels."""
    status: str
    """``finished``, ``diverged`` or ``missing``."""
    reason: str | None
    """Why the network diverged or is missing; None for a finished one."""


def networks(
    study: Study, folder: Path, needs: tuple[str, ...] = ("model.safetensors",)
) -> list[Network]:
    """Return every network of the study with its status, teachers first.

    A network is ``missing`` if its history, its logits, or one of the files that the caller
    ``needs`` is not there or is damaged, or if its history or logits belong to another spec. It is
    ``diverged`` if its history says so, else ``finished``.

    Args:
        study: the study.
        folder: the study's folder.
        needs: names of further files of a network that have to be there and undamaged.

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
    """Return the networks ``found``, after a check that none of them is missing.

    Raises:
        InputError: a network is missing; the message names the file.

    """
    found = list(found)
    for network in found:
        if network.status == "missing":
            raise InputError(str(network.reason))
    return found


def _typed(keys: Mapping[str, str]) -> dict[str, Any]:
    """Convert the values of path keys from text to their types in the tables."""
    convert = {"text": str, "int": int, "float": float}
    return {key: convert[STUDENT_KEYS[key][0]](value) for key, value in keys.items()}


def test_logits(folder: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read the test logits (N, K), float64, and labels (N,) of the network in ``folder``.

    Raises:
        InputError: the file is missing or damaged.

    """
    table = read_table(folder / "logits.parquet", "logits")
    test = table[table["split"] == "test"]
    return np.stack(test["logits"].to_list()).astype(np.float64), test["label"].to_numpy()


def rms(values: npt.NDArray[np.float64]) -> float:
    """Return the root mean square of all ``values``.

    >>> rms(np.array([[1.0, -7.0], [5.0, 5.0]]))
    5.0
    """
    return float(np.sqrt(np.square(values).mean()))


def calibration_error(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the expected calibration error of a network.

    Images are put into 15 bins of equal width by confidence, the largest softmax probability. The
    result is Σ_b n_b/N |accuracy_b − mean confidence_b| (Guo et al., arXiv 1706.04599, eq. (3)).

    >>> logits, labels = np.log([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])
    >>> round(calibration_error(logits, labels), 12)
    0.4

    Args:
        logits: test logits (N, K).
        labels: true classes (N,).

    Returns:
        A number between 0 and 1.

    """
    confidence = softmax(logits, axis=1).max(axis=1)
    right = logits.argmax(axis=1) == labels
    # a bin includes its upper end, so that a confidence of 1 is in the last one
    bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    surplus = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.abs(surplus).sum() / len(labels))
