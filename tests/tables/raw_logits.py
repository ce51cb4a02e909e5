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
from kdlm.study.jobs import StudentJob, student_jobs, teacher_jobs
from kdlm.study.specs import Spec
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

    def recorded(self, split: str, first: int, last: int) -> Tensor:
        raise NotImplementedError

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:  # noqa: ARG002
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
    for teacher in teacher_jobs(study):
        rows = [
            {"epoch": epoch, "split": split, "accuracy": 0.9}
            for epoch, split in SPLITS
            if split != "initial"
        ]
        _write(folder / teacher.folder, teacher.spec, rows, None)
    for job in student_jobs(study):
        where = {"epoch": 1, "batch": 0, "what": "loss"} if diverged(job) else None
        _write(folder / job.folder, job.spec, _history(job, raw), where)


def _write(
    folder: Path, spec: Spec, rows: list[dict[str, Any]], where: dict[str, Any] | None
) -> None:
    described = spec.model_dump(mode="json")
    write_table("history", rows, folder / "history.parquet", described, where)
    logits = [{"split": "test", "index": 0, "label": 0, "logits": [1.0, 0.0, 2.0]}]
    write_table("logits", logits, folder / "logits.parquet", described, where)
