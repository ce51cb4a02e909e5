"""Reading weights that were trained elsewhere, and matching their layers with ours by name.

A file of weights is safetensors or a torch checkpoint. A checkpoint is read with
``weights_only=True``, so that no code in it is run. The tensors can be wrapped in a dictionary, as
``{"model": …}`` or ``{"state_dict": …}``.
"""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kdlm.errors import InputError
from kdlm.networks.architectures import SPELLINGS
from kdlm.networks.network import Network

__all__ = ["load_brought", "read_weights"]

logger = logging.getLogger(__name__)

_WRAPPERS = ("model", "state_dict", "net", "model_state_dict")
_COUNTER = "num_batches_tracked"
"""A buffer of BatchNorm that older checkpoints lack; no result depends on it."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights.

    Returns:
        The tensors by name, without the prefix ``module.`` of torch's ``DataParallel``.

    Raises:
        InputError: the file cannot be read, or holds anything but tensors with names.

    """
    try:
        found: Any = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (SafetensorError, OSError):
        found = _torch_checkpoint(path)
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: no tensors by name, but {type(found).__name__}")
    if other := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise InputError(f"{path}: {other[0]!r} is no tensor; save the network's state_dict alone")
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def _torch_checkpoint(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds more than tensors, so that to read it could run code; save the "
            f"network's state_dict alone, as safetensors or by torch.save"
        ) from None
    except Exception as error:
        # an unpickler can fail in any way on bytes that are not a pickle
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: neither safetensors nor a torch checkpoint ({first})") from None


def load_brought(network: Network, architecture: str, path: Path) -> None:
    """Load the weights in the file ``path`` into ``network``.

    Where a name in the file is spelt in another way than in this package, the log says which layer
    it was taken for.

    Raises:
        InputError: a layer is missing, left over, or of another shape; the message lists each.

    """
    theirs, ours = read_weights(path), network.state_dict()
    spelt = {name: _respelt(name, architecture, ours) for name in theirs}
    for name, own in spelt.items():
        if name != own and own in ours:
            logger.info("%s: %s is taken for %s", path.name, name, own)
    found = {own: theirs[name] for name, own in spelt.items()}
    complaints = [
        f"{own}: {tuple(found[own].shape)} in the file, {tuple(value.shape)} in {architecture}"
        for own, value in ours.items()
        if own in found and found[own].shape != value.shape
    ]
    complaints += [
        f"{own}: {tuple(value.shape)} in {architecture}, not in the file"
        for own, value in ours.items()
        if own not in found and not own.endswith(_COUNTER)
    ]
    complaints += [
        f"{name}: {tuple(theirs[name].shape)} in the file, not in {architecture}"
        for name, own in spelt.items()
        if own not in ours
    ]
    if complaints:
        raise InputError(f"{path} does not fit {architecture}: {'; '.join(complaints)}")
    network.load_state_dict({own: found.get(own, value) for own, value in ours.items()})


def _respelt(name: str, architecture: str, ours: dict[str, Any]) -> str:
    """Return a layer's name as this package spells it.

    A name that is already one of ours stays as it is, and so does what no pattern matches.
    """
    if name in ours:
        return name
    for pattern, replacement in SPELLINGS.get(architecture, ()):
        name = re.sub(pattern, replacement, name)
    return name
