"""Every architecture by its name in a config; `kdlm.study.names` has what is fixed for each."""

import re
from collections.abc import Callable

import torch

from kdlm.networks import perceptron, resnet, vgg, wide_resnet
from kdlm.networks.network import Network
from kdlm.study import names

__all__ = ["ARCHITECTURES", "SPELLINGS", "Spellings", "build"]

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    **resnet.ARCHITECTURES,
    **wide_resnet.ARCHITECTURES,
    **vgg.ARCHITECTURES,
    **perceptron.ARCHITECTURES,
}
"""A function of ``num_classes`` and ``in_channels``, and of ``image_side`` where it is needed."""

Spellings = tuple[tuple[str, Callable[[re.Match[str]], str]], ...]

SPELLINGS: dict[str, Spellings] = {
    **dict.fromkeys(resnet.ARCHITECTURES, resnet.SPELLINGS),
    **dict.fromkeys(wide_resnet.ARCHITECTURES, wide_resnet.SPELLINGS),
    "vgg8": vgg.spellings(repeats=1),
    "vgg13": vgg.spellings(repeats=2),
    **dict.fromkeys(perceptron.ARCHITECTURES, perceptron.SPELLINGS),
}
"""How other code spells an architecture's layers: patterns, and what is put in their place."""


def build(
    architecture: str,
    num_classes: int,
    in_channels: int,
    dtype: torch.dtype = torch.float32,
    image_side: int | None = None,
) -> Network:
    """A network in ``dtype`` whose weights are still to be drawn.

    >>> network = build("wrn-16-2", num_classes=100, in_channels=3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    703284

    Args:
        architecture: a name of `ARCHITECTURES`.
        num_classes: K.
        in_channels: of the images.
        dtype: of weights and buffers.
        image_side: of the images in pixels; only some networks depend on it.

    Raises:
        ValueError: the network depends on the side of the images, and none is given.

    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    if names.ARCHITECTURES[architecture].of_one_side:
        if image_side is None:
            raise ValueError(f"{architecture} depends on the side of the images; none is given")
        sizes["image_side"] = image_side
    network = ARCHITECTURES[architecture](**sizes)
    network.to(dtype)
    return network
