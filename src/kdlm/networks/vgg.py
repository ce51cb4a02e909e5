"""VGG networks for small images (Simonyan, Zisserman, arXiv 1409.1556), with BatchNorm.

They are built as in the distillation literature (Tian, Krishnan, Isola, arXiv 1910.10699): five
groups of 3×3 convolutions with biases, maximum pooling that halves the image after each of the
first three groups, and one linear layer.
"""

import re
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "VGG", "spellings"]

WIDTHS = (64, 128, 256, 512, 512)
HALVED = 3
"""How many of the groups, from the first on, are followed by 2×2 maximum pooling."""


class VGG(nn.Module):
    """A VGG network for small images; ``repeats`` gives the number of convolutions in each group.

    >>> vgg8 = VGG((1, 1, 1, 1, 1), num_classes=100)
    >>> sum(parameter.numel() for parameter in vgg8.parameters())
    3965028
    """

    def __init__(self, repeats: tuple[int, ...], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for group, (width, count) in enumerate(zip(WIDTHS, repeats, strict=True)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU(inplace=True))
                channels = width
            if group < HALVED:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features (B, 512) of images (B, C, H, W)."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _in_sequence(repeats: int) -> Callable[[re.Match[str]], str]:
    """Return the function that translates a layer's place in a block to its place in `VGG.layers`.

    Each convolution is followed by BatchNorm and a ReLU, and the first blocks end with a pool.
    """
    return lambda found: (
        f"layers.{int(found[1]) * 3 * repeats + min(int(found[1]), HALVED) + int(found[2])}."
    )


def spellings(repeats: int) -> tuple[tuple[str, Callable[[re.Match[str]], str]], ...]:
    """Return the translations of RepDistiller's layer names of a VGG into ours.

    ``repeats`` is the number of convolutions in each block.
    """
    return (
        (r"^block([0-4])\.([0-9]+)\.", _in_sequence(repeats)),
        (r"^fc\.", lambda _found: "classifier."),
    )


ARCHITECTURES: dict[str, Callable[..., VGG]] = {
    "vgg8": partial(VGG, (1, 1, 1, 1, 1)),
    "vgg13": partial(VGG, (2, 2, 2, 2, 2)),
}
"""By name, the function that builds a network from ``num_classes`` and ``in_channels`` (or 3)."""
