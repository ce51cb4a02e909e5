"""Tables of what each network's training recorded.

Table `runs` has the final numbers of each network, `histories` its numbers by epoch; table
`energies`, of module `kdlm.tables.energies`, sums up the histories of each arm.
"""

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
from kdlm.tables.energies import energies
from kdlm.tables.networks import (
    Network,
    calibration_error,
    networks,
    none_missing,
    test_logits,
)

__all__ = ["collect", "histories", "runs"]


def collect(study: Study, folder: Path) -> None:
    """Write tables ``runs``, ``histories`` and ``energies`` of the study in ``folder``.

    Raises:
        InputError: the files of a network are missing or damaged.

    """
    # These tables need no weights, so the weights are not looked for: an archive can be without
    # them and still be rebuilt.
    found = none_missing(networks(study, folder, needs=()))
    by_epoch = histories(found)
    write_tables(folder, runs=runs(found), histories=by_epoch, energies=energies(by_epoch))


def histories(found: Iterable[Network]) -> pd.DataFrame:
    """Return table ``histories``: the history of each network ``found``, with its path keys."""
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
    """Return table ``runs``: the final numbers of each network ``found``.

    The row of a network that diverged or is missing has its status, the reason and its recipe, but
    no results.
    """
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
    """Return the columns of ``runs`` that come from the recipe.

    A teacher that was trained elsewhere has no recipe here: its epochs are 0, the rest is null.
    """
    if isinstance(network.job.spec, BroughtTeacherSpec):
        return {"epochs": 0}
    recipe = network.job.spec.recipe
    return {
        "epochs": recipe.epochs,
        "weight_decay": recipe.weight_decay,
        "ce_weight": recipe.ce_weight,
        "optimizer": recipe.optimizer,
        "precision": recipe.precision,
    }


def _outcome(network: Network) -> dict[str, Any]:
    history = read_table(network.folder / "history.parquet", "history")
    test = history[history["split"] == "test"].sort_values("epoch")
    best = test.loc[test["accuracy"].idxmax()]
    z, labels = test_logits(network.folder)
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
        "logit_magnitude": np.abs(z).mean(),
        "calibration_error": calibration_error(z, labels),
    }


@cache
def _parameters(architecture: str, num_classes: int, in_channels: int, image_side: int) -> int:
    """Return the number of a network's parameters; BatchNorm's running statistics do not count.

    >>> _parameters("resnet8", num_classes=100, in_channels=3, image_side=32)
    83892
    """
    # Counted from the architecture and not from stored weights, which an archive can be without.
    with torch.device("meta"):
        model = build(architecture, num_classes, in_channels, image_side=image_side)
    return sum(parameter.numel() for parameter in model.parameters())
