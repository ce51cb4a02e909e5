"""Importing torchvision's data sets, also where its compiled operators cannot be loaded.

PyPI's torchvision is compiled for CUDA. With a CPU build of torch its extension cannot be loaded,
and then ``import torchvision`` fails: it registers fake implementations of two operators, ``nms``
and ``qnms``, that only the extension declares. The data sets need no compiled operator. This module
therefore declares the two operators if, and only if, the extension cannot be loaded. They have no
implementation, so calling one still fails.
"""

import importlib.util
from importlib.machinery import PathFinder

import torch

__all__ = ["datasets", "transforms"]

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _load_extension() -> None:
    """Load torchvision's compiled operators, if this build of torch can."""
    package = importlib.util.find_spec("torchvision")
    folders = package.submodule_search_locations if package else None
    extension = PathFinder.find_spec("_C", folders) if folders else None
    if extension is None or extension.origin is None:
        return
    try:
        torch.ops.load_library(extension.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return


def _declare_missing() -> torch.library.Library:
    """Declare those of the two operators that are not declared; return their library."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SIGNATURE)  # type: ignore[no-untyped-call]
    return library


_load_extension()
# The variable keeps the library, and with it the declarations, alive.
_library = _declare_missing()

from torchvision import datasets, transforms  # noqa: E402
