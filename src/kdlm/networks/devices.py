"""Where networks run: the device, its memory format, and the settings that make runs repeatable."""

import gc
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from kdlm.errors import InputError
from kdlm.networks.network import Network

__all__ = ["autocast", "configure_torch", "resolve_device", "to_device"]

ModuleT = TypeVar("ModuleT", bound=Network | nn.Module)


def resolve_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` means on this machine.

    ``auto`` is a CUDA device where torch sees one, else the CPU.

    >>> resolve_device("cpu")
    device(type='cpu')

    Raises:
        InputError: the name is ``cuda``, but torch sees no CUDA device.

    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "device: cuda was asked for, but torch sees no CUDA device on this machine"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def configure_torch(threads: int) -> None:
    """Set torch up so that this process gives the same bits whenever it is run on this machine.

    torch uses ``threads`` CPU threads and deterministic kernels only. Sums are split among the
    threads, so their number decides the last bits; that is why it comes from the config and never
    from Snakemake's ``--cores``.

    Call this after all imports. It also turns garbage collection on again, which `kdlm.__main__`
    has turned off, and exempts from it all objects that exist by now.
    """
    gc.freeze()
    gc.enable()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # The same as use_deterministic_algorithms, which would also import torch's compiler: 2 s of
    # every job.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which networks run forward in a recipe's ``precision``.

    For ``bfloat16`` it is torch's autocast over float32 weights; otherwise it changes nothing.
    """
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def to_device(model: ModuleT, device: torch.device) -> ModuleT:
    """Move a network to ``device``, with its convolutions in channels_last, and return it.

    That memory format halves the time of a float64 training step on a CPU, and suits a GPU with
    bfloat16 best.
    """
    # torch's type stubs do not have memory_format
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model
