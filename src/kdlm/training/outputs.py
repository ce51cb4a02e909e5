"""Writing and reading a training's files: weights, history, logits, and run.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kdlm.errors import InputError
from kdlm.networks.network import Network
from kdlm.networks.saved import save_network
from kdlm.storage.files import replacing
from kdlm.storage.parquet import read_arrow, to_arrow, write_table
from kdlm.storage.provenance import circumstances
from kdlm.study.specs import BroughtTeacherSpec, StudentSpec, TeacherSpec
from kdlm.training.arrays import from_numpy, to_numpy

__all__ = ["read_initial_mean", "read_logits", "write_outputs"]


def write_outputs(
    directory: Path,
    *,
    spec: TeacherSpec | BroughtTeacherSpec | StudentSpec,
    model: Network,
    image_shape: tuple[int, int, int],
    history: list[dict[str, Any]],
    logits: Mapping[str, tuple[Tensor, Tensor]],
    device: torch.device,
    resumptions: list[dict[str, int | str]],
    diverged: dict[str, Any] | None = None,
) -> None:
    """Write model.safetensors, history.parquet, logits.parquet and run.json.

    All files but run.json depend on the spec, the code and the hardware alone.

    Args:
        directory: folder to write to.
        spec: the spec of the training.
        model: the trained network.
        image_shape: channels, height and width of its images; the last two in pixels.
        history: rows of table ``history``.
        logits: logits (N, K) and labels (N,) of each split, by the split's name.
        device: the device that the network was trained on.
        resumptions: epoch, batch and CPU capability of each checkpoint that the training resumed.
        diverged: epoch, batch and kind of the first number that was not finite; None where the
            training ran to its end.

    Raises:
        InputError: a file cannot be written.

    """
    described = spec.model_dump(mode="json")
    save_network(
        model,
        directory / "model.safetensors",
        architecture=spec.architecture,
        in_channels=image_shape[0],
        image_side=image_shape[2],
        spec=described,
    )
    write_table("history", history, directory / "history.parquet", described, diverged)
    splits = [
        pa.table(
            {
                "split": to_arrow("text", [split] * len(labels)),
                "index": to_arrow("int", range(len(labels))),
                "label": to_arrow("int", labels.tolist()),
                "logits": _rows(values),
            }
        )
        for split, (values, labels) in logits.items()
    ]
    write_table(
        "logits", pa.concat_tables(splits), directory / "logits.parquet", described, diverged
    )
    with replacing(directory / "run.json") as temporary:
        run = circumstances(device) | {"resumed_from": resumptions, "diverged": diverged}
        temporary.write_text(json.dumps(run, indent=2) + "\n")


def _rows(values: Tensor) -> pa.ListArray:
    """Return the rows of a tensor (N, K) as an Arrow array of N lists of K float64 numbers."""
    ends = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(from_numpy(ends), from_numpy(values.double().cpu().numpy()))


def read_initial_mean(path: Path) -> float:
    """Read the mean logit of the untrained network from its file history.parquet at ``path``.

    It is the mean over the training set and the classes, with BatchNorm in train mode.

    Raises:
        InputError: the file cannot be read, or the network was not trained here.

    """
    history = read_arrow(path, "history").select(["epoch", "split", "mean_logit"]).to_pylist()
    rows = [row for row in history if row["epoch"] == 0 and row["split"] == "initial"]
    if len(rows) != 1:
        raise InputError(f"{path}: it does not say what the mean logit was before training")
    return float(rows[0]["mean_logit"])


def read_logits(path: Path, split: str) -> Tensor:
    """Read the logits (N, K), float64, of one split from the file logits.parquet at ``path``.

    Raises:
        InputError: the file cannot be read, or it has no logits of this split.

    """
    table = read_arrow(path, "logits")
    # a filter of pyarrow, or a comparison with a text, would import pandas
    chosen = [one == split for one in table["split"].to_pylist()]
    if not any(chosen):
        raise InputError(f"{path}: no logits of split {split!r}; delete it and run snakemake again")
    logits = to_numpy(table["logits"].combine_chunks().flatten())
    return torch.tensor(logits).view(len(table), -1)[torch.tensor(chosen)]
