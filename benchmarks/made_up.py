"""The files of a study whose networks were never trained: made-up results in the right places.

``python -m benchmarks.made_up FOLDER`` writes those of the study whose study.json is in the folder.
"""

import json
import string
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from benchmarks.made_up_config import EPOCHS
from kdlm.archive.contents import expected
from kdlm.data.dataset import Dataset
from kdlm.data.prepared import prepare
from kdlm.networks.init_means import draw_init_means
from kdlm.storage.files import OPEN_SEAL, sealed
from kdlm.storage.parquet import write_table
from kdlm.study.config import Study, read_study
from kdlm.study.jobs import StudentJob, TeacherJob, init_means_jobs, network_jobs

__all__ = ["touch", "write"]

_TEST, _CLASSES = 40, 10


def write(study: Study, folder: Path) -> None:
    """Write the outputs of all jobs that make no table, and their logs and benchmarks.

    Args:
        study: the study.
        folder: its folder.

    """
    _write_datasets(study, folder)
    for job in init_means_jobs(study):
        data = folder / f"data/{study.init_means.dataset.name}.safetensors"
        draw_init_means(job.spec, data, folder / job.folder / "means.parquet")
        _write_traces(folder, job.folder)
    for number, network in enumerate(network_jobs(study)):
        _write_network(folder / network.folder, number, network)
        _write_traces(folder, network.folder)


def touch(study: Study, folder: Path) -> None:
    """Make an empty file of each output of a study: enough for Snakemake, which looks at times."""
    for name in expected(study):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _write_datasets(study: Study, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, (channels, side) in {
        study.dataset.name: (1, 8),
        study.init_means.dataset.name: (3, 32),
    }.items():
        images = torch.randint(
            256, (20, channels, side, side), dtype=torch.uint8, generator=generator
        )
        labels = torch.arange(20) % _CLASSES
        classes = tuple(string.ascii_lowercase[:_CLASSES])
        path = folder / f"data/{name}.safetensors"
        prepare(Dataset(name, images, labels, images, labels, classes), path)


def _write_traces(folder: Path, job: Path) -> None:
    for name, text in (
        (f"logs/{job}.log", "finished on somewhere\n"),
        (f"benchmarks/{job}.tsv", "s\th:m:s\tmax_rss\n1.5\t0:00:01\t200.0\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _write_network(folder: Path, number: int, job: TeacherJob | StudentJob) -> None:
    """Write the four files of a network, decided by its ``number`` alone."""
    generator = np.random.default_rng(number)
    spec = job.spec.model_dump(mode="json")
    write_table("history", _history(generator, job), folder / "history.parquet", spec)
    images = [("test", index) for index in range(_TEST)]
    if job.teacher is None:
        images = [("train", index) for index in range(_TEST)] + images
    logits = generator.normal(size=(len(images), _CLASSES))
    rows = [
        {"split": split, "index": index, "label": index % _CLASSES, "logits": values}
        for (split, index), values in zip(images, logits.tolist(), strict=True)
    ]
    write_table("logits", rows, folder / "logits.parquet", spec)
    weights = {
        "classifier.bias": generator.normal(size=_CLASSES),
        "classifier.weight": generator.normal(size=(_CLASSES, 20)),
        "stem.weight": generator.normal(size=100),
    }
    (folder / "model.safetensors").write_bytes(sealed(save(weights, {"sha256": OPEN_SEAL})))
    (folder / "run.json").write_text(json.dumps({"seconds": 1.5}) + "\n")


def _history(generator: np.random.Generator, job: TeacherJob | StudentJob) -> list[dict[str, Any]]:
    """Return the rows of table ``history``, with random numbers between 0.1 and 1."""
    columns = [
        "objective", "accuracy", "mean_logit", "mean_logit_rms", "mean_logit_drift", "logit_rms",
        "classifier_weight_sum", "classifier_bias_sum", "classifier_weight_change",
        "classifier_bias_change",
    ]  # fmt: skip
    if job.teacher is not None:
        columns += ["gap", "gap_rms", "gap_energy", "gap_share"]
    places = [(0, "probe"), (0, "initial")]
    places += [(e, s) for e in range(1, EPOCHS + 1) for s in ("probe", "train", "test")]
    return [
        {"epoch": epoch, "split": split, "logit_gradient_sum": 0.0}
        | dict(zip(columns, generator.uniform(0.1, 1, len(columns)).tolist(), strict=True))
        for epoch, split in places
    ]


if __name__ == "__main__":
    write(read_study(Path(sys.argv[1])), Path(sys.argv[1]))
