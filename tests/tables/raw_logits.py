"""A study's folder whose histories are computed from raw logits of student and teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlm.storage.parquet import write_table
from kdlm.study.config import Study
from kdlm.study.jobs import StudentJob, network_jobs
from kdlm.training.history import RunningMetrics

Array = npt.NDArray[np.float64]
Raw = Callable[[StudentJob, int, str], tuple[Array, Array]]
"""Logits z^s and z^t (N, K) of a student, in an epoch and split."""

EPOCHS = 2
SPLITS = [(0, "initial"), (0, "probe")] + [
    (epoch, split) for epoch in range(1, EPOCHS + 1) for split in ("probe", "train", "test")
]


class _Matching:
    """Any objective: the gap does not depend on it."""

    def reference(self, images: Tensor) -> Tensor:
        return images

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return (logits - reference).square().mean()


def _history(job: StudentJob, raw: Raw) -> list[dict[str, Any]]:
    rows = []
    for epoch, split in SPLITS:
        student, teacher = (torch.tensor(logits) for logits in raw(job, epoch, split))
        labels = torch.zeros(len(student), dtype=torch.int64)
        metrics = RunningMetrics()
        # in two batches, as in training
        for part in (slice(0, 2), slice(2, None)):
            metrics.add(_Matching(), student[part], teacher[part], labels[part])
        rows.append({"epoch": epoch, "split": split} | metrics.row())
    return rows


def write(study: Study, folder: Path, raw: Raw, diverged: Callable[[StudentJob], bool]) -> None:
    """Write the history and the logits of every network."""
    for job in network_jobs(study):
        if job.teacher is None:
            rows = [
                {"epoch": epoch, "split": split, "accuracy": 0.9}
                for epoch, split in SPLITS
                if split != "initial"
            ]
        else:
            rows = _history(job, raw)
        where = {"epoch": 1, "batch": 0, "what": "loss"} if job.teacher and diverged(job) else None
        described = job.spec.model_dump(mode="json")
        write_table("history", rows, folder / job.folder / "history.parquet", described, where)
        logits = [{"split": "test", "index": 0, "label": 0, "logits": [1.0, 0.0, 2.0]}]
        write_table("logits", logits, folder / job.folder / "logits.parquet", described, where)
