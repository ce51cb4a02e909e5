"""VGG networks for small images (Simonyan, Zisserman, arXiv 1409.1556), with BatchNorm.

As the distillation literature has them (Tian, Krishnan, Isola, arXiv 1910.10699): five groups of
biased 3×3 convolutions, the image halved after each of the first three, and one linear layer.
"""

import re
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "VGG", "spellings"]

WIDTHS = (64, 128, 256, 512, 512)
HALVED = 3
"""Groups that a 2×2 maximum follows."""


class VGG(nn.Module):
    """``repeats`` says how many convolutions each of the five groups has."""

    def __init__(self, repeats: tuple[int, ...], num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for group, (width, count) in enumerate(zip(WIDTHS, repeats, strict=True)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU())
                channels = width
            if group < HALVED:
                layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (B, 512) of images (B, C, H, W)."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _in_sequence(repeats: int) -> Callable[[re.Match[str]], str]:
    """Where a layer of a block is in one sequence: a block ends with a ReLU, and with a pool."""
    return lambda found: (
        f"layers.{int(found[1]) * 3 * repeats + min(int(found[1]), HALVED) + int(found[2])}."
    )


def spellings(repeats: int) -> tuple[tuple[str, Callable[[re.Match[str]], str]], ...]:
    """How RepDistiller spells the names of a VGG with so many convolutions a block."""
    return (
        (r"^block([0-4])\.([0-9]+)\.", _in_sequence(repeats)),
        (r"^fc\.", lambda _found: "classifier."),
    )


ARCHITECTURES: dict[str, Callable[..., VGG]] = {
    "vgg8": partial(VGG, (1, 1, 1, 1, 1)),
    "vgg13": partial(VGG, (2, 2, 2, 2, 2)),
}
"""By name: a function of ``num_classes`` and ``in_channels`` (3 unless said otherwise)."""
