"""A study whose jobs' files are made up: right specs, random numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, parse
from kdlm.study.jobs import network_jobs

IMAGES, CLASSES = 8, 10
ACCURACIES = (0.3, 0.9, 0.6)
"""Of the test set by epoch: the last is not the best."""


@pytest.fixture
def study(config: dict[str, Any]) -> Study:
    config["recipes"]["short"]["epochs"] = len(ACCURACIES)
    return parse(config)


@pytest.fixture
def folder(study: Study, tmp_path: Path) -> Path:
    """The study's folder, with the history and the logits of every network."""
    generator = np.random.default_rng(0)
    for job in network_jobs(study):
        described = job.spec.model_dump(mode="json")
        rows = [{"epoch": 0, "split": "probe", "accuracy": 0.1}]
        for epoch, accuracy in enumerate(ACCURACIES, 1):
            rows += [
                {"epoch": epoch, "split": "train", "accuracy": 1.0},
                {"epoch": epoch, "split": "test", "accuracy": accuracy},
            ]
        write_table("history", rows, tmp_path / job.folder / "history.parquet", described)
        splits = ("train", "test") if job.teacher is None else ("test",)
        logits = [
            {"split": split, "index": i, "label": i, "logits": generator.normal(size=CLASSES)}
            for split in splits
            for i in range(IMAGES)
        ]
        write_table("logits", logits, tmp_path / job.folder / "logits.parquet", described)
    return tmp_path
