"""torchvision's data sets, also where its compiled operators do not load.

PyPI's torchvision is compiled for CUDA. Beside a CPU build of torch its extension does not load,
and then ``import torchvision`` itself fails: it describes the results of two operators, ``nms`` and
``qnms``, that nobody has declared. The data sets need no compiled operator, so here the two are
declared (without an implementation: calling one still fails) if, and only if, the extension that
brings them is not there.
"""

import importlib.util
from importlib.machinery import PathFinder

import torch

__all__ = ["datasets", "transforms"]

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _load_extension() -> None:
    """Load torchvision's compiled operators where this build of torch can; it may not."""
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
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SIGNATURE)  # type: ignore[no-untyped-call]
    return library


_load_extension()
# a declaration lives as long as its library
_library = _declare_missing()

from torchvision import datasets, transforms  # noqa: E402
