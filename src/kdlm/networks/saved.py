"""A network on disk: weights as safetensors, what it is in the file's metadata."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kdlm.errors import InputError
from kdlm.networks.architectures import build
from kdlm.networks.network import Network
from kdlm.storage.files import OPEN_SEAL, replacing, sealed, verify
from kdlm.study import names

__all__ = ["load_network", "save_network"]

_KEY = "kdlm.network"
"""The only key of the file's metadata: safetensors writes several in a random order."""


def save_network(
    model: Network,
    path: Path,
    *,
    architecture: str,
    in_channels: int,
    spec: dict[str, Any],
    image_side: int | None = None,
) -> None:
    """Write weights and buffers, and beside them what `load_network` has to know."""
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    facts = {
        "architecture": architecture,
        "num_classes": state["classifier.bias"].numel(),
        "in_channels": in_channels,
        "spec": spec,
        "sha256": OPEN_SEAL,
    }
    if names.ARCHITECTURES[architecture].of_one_side:
        facts["image_side"] = image_side
    with replacing(path) as temporary:
        temporary.write_bytes(sealed(save(state, {_KEY: json.dumps(facts, sort_keys=True)})))


def load_network(path: Path, dtype: torch.dtype | None = None) -> Network:
    """The network that `save_network` wrote, in ``dtype`` or else as it was written.

    Raises:
        InputError: the file is missing, damaged or not a network of this study.

    """
    verify(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[_KEY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model = build(
            facts["architecture"],
            facts["num_classes"],
            facts["in_channels"],
            dtype or state["classifier.bias"].dtype,
            facts.get("image_side"),
        )
        model.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: not a network of this study ({error}); delete it and run snakemake again"
        ) from error
    return model
