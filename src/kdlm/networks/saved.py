"""Saving and loading a network: its weights as safetensors, its description as metadata."""

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
"""The only key of the file's metadata: safetensors writes several keys in a random order."""


def save_network(
    model: Network,
    path: Path,
    *,
    architecture: str,
    in_channels: int,
    spec: dict[str, Any],
    image_side: int | None = None,
) -> None:
    """Write the network's weights and buffers to ``path``, with what `load_network` needs.

    Args:
        model: the network.
        path: file to write.
        architecture: the network's name in `kdlm.study.names.ARCHITECTURES`.
        in_channels: channels of its images.
        spec: the spec of the training, which goes into the file's metadata.
        image_side: side of its images in pixels; stored only for networks that depend on it.

    Raises:
        InputError: the file cannot be written.

    """
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
    """Load the network that `save_network` wrote to ``path``.

    Args:
        path: the file.
        dtype: type of the weights; None keeps the type they were saved in.

    Raises:
        InputError: the file is missing or damaged, or it is not a network of this study.

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
