"""Where networks run: the device, its memory format, and the settings that make runs repeatable."""

import gc
import os
from typing import TypeVar

import torch
from torch import nn

from kdlm.errors import InputError
from kdlm.networks.network import Network

__all__ = ["configure_torch", "resolve_device", "to_device"]

ModuleT = TypeVar("ModuleT", bound=Network | nn.Module)


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for on this machine.

    Raises:
        InputError: cuda was asked for and there is none.

    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "device: cuda was asked for, but torch sees no CUDA device on this machine"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def configure_torch(threads: int) -> None:
    """Make this process repeatable: ``threads`` CPU threads, deterministic kernels only.

    Call it after all imports: what they made is left out of garbage collection from here on.
    Sums are split by thread, so the count decides the last bits; it never follows ``--cores``.
    """
    gc.freeze()
    gc.enable()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # as use_deterministic_algorithms, which would also import the compiler, 2 s of every job
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False


def to_device(model: ModuleT, device: torch.device) -> ModuleT:
    """Move a network to ``device``, its convolutions in channels_last; return the network.

    That format halves a float64 step on a CPU, and suits a GPU with bfloat16 best.
    """
    # torch's stubs leave this argument out
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
