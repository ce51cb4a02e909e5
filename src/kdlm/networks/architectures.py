"""All architectures by the names that a config uses.

`kdlm.study.names.ARCHITECTURES` has the facts about each that can be known without torch.
"""

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
"""By name, the function that builds a network from ``num_classes`` and ``in_channels``.

The function of an architecture that is ``of_one_side`` also takes ``image_side``.
"""

Spellings = tuple[tuple[str, Callable[[re.Match[str]], str]], ...]

SPELLINGS: dict[str, Spellings] = {
    **dict.fromkeys(resnet.ARCHITECTURES, resnet.SPELLINGS),
    **dict.fromkeys(wide_resnet.ARCHITECTURES, wide_resnet.SPELLINGS),
    "vgg8": vgg.spellings(repeats=1),
    "vgg13": vgg.spellings(repeats=2),
    **dict.fromkeys(perceptron.ARCHITECTURES, perceptron.SPELLINGS),
}
"""By architecture, how to translate other code's names of layers into ours.

Each entry is a regular expression and the function that gives the text in place of a match.
"""


def build(
    architecture: str,
    num_classes: int,
    in_channels: int,
    dtype: torch.dtype = torch.float32,
    image_side: int | None = None,
) -> Network:
    """Build a network; its weights have to be drawn by `kdlm.networks.initialisation` or loaded.

    >>> network = build("wrn-16-2", num_classes=100, in_channels=3)
    >>> sum(parameter.numel() for parameter in network.parameters())
    703284

    Args:
        architecture: a name of `ARCHITECTURES`.
        num_classes: K, the number of logits.
        in_channels: channels of the images.
        dtype: type of the weights and buffers.
        image_side: side of the images in pixels; needed by networks with weights for each pixel.

    Raises:
        ValueError: the network needs ``image_side``, and it is None.

    """
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    if names.ARCHITECTURES[architecture].of_one_side:
        if image_side is None:
            raise ValueError(f"{architecture} depends on the side of the images; none is given")
        sizes["image_side"] = image_side
    network = ARCHITECTURES[architecture](**sizes)
    network.to(dtype)
    return network
