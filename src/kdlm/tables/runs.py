"""Tables `runs` and `histories`: how each network ended, and its way there, epoch by epoch."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from kdlm.networks.architectures import build
from kdlm.storage.parquet import read_table, write_tables
from kdlm.study.config import Study
from kdlm.study.specs import BroughtTeacherSpec
from kdlm.tables.networks import Network, networks, none_missing, test_logits

__all__ = ["collect", "histories", "runs"]


def collect(study: Study, folder: Path) -> None:
    """Write tables ``runs`` and ``histories`` of the study in ``folder``.

    Raises:
        InputError: a network is missing or damaged.

    """
    # no weights are needed, so none are looked at: an archive may be without them
    found = none_missing(networks(study, folder, needs=()))
    write_tables(folder, runs=runs(found), histories=histories(found))


def histories(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``histories``: every history with the keys of its network."""
    return pd.concat(
        [
            read_table(network.folder / "history.parquet", "history").assign(
                status=network.status, **network.keys
            )
            for network in found
            if network.status != "missing"
        ]
    )


def runs(found: Iterable[Network]) -> pd.DataFrame:
    """Table ``runs``: how each network ended; of one that is not finished, its recipe alone."""
    return pd.DataFrame(
        [
            network.keys
            | {"status": network.status, "reason": network.reason}
            | _recipe(network)
            | (_outcome(network) if network.status == "finished" else {})
            for network in found
        ]
    )


def _recipe(network: Network) -> dict[str, Any]:
    """Columns of the recipe; those of a teacher that was brought along are null, its epochs 0."""
    if isinstance(network.job.spec, BroughtTeacherSpec):
        return {"epochs": 0}
    recipe = network.job.spec.recipe
    return {
        "epochs": recipe.epochs,
        "weight_decay": recipe.weight_decay,
        "ce_weight": recipe.ce_weight,
        "optimizer": recipe.optimizer,
    }


def _outcome(network: Network) -> dict[str, Any]:
    history = read_table(network.folder / "history.parquet", "history")
    test = history[history["split"] == "test"].sort_values("epoch")
    best = test.loc[test["accuracy"].idxmax()]
    z, _ = test_logits(network.folder)
    centred = z - z.mean(axis=1, keepdims=True)
    return {
        "num_classes": z.shape[1],
        "parameters": _parameters(
            network.job.spec.architecture, z.shape[1], network.channels, network.side
        ),
        "last_accuracy": test["accuracy"].iloc[-1],
        "best_accuracy": best["accuracy"],
        "best_epoch": int(best["epoch"]),
        "logit_mean": z.mean(),
        "logit_rms": np.sqrt(np.square(centred).mean()),
        "logit_magnitude": np.abs(centred).mean(),
    }


@cache
def _parameters(architecture: str, num_classes: int, in_channels: int, image_side: int) -> int:
    """Number of parameters of a network, BatchNorm's running statistics not among them."""
    # of its shape alone: weights may be left out of an archive whose tables are made anew
    with torch.device("meta"):
        model = build(architecture, num_classes, in_channels, image_side=image_side)
    return sum(parameter.numel() for parameter in model.parameters())
