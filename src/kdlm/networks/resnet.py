"""ResNets for small images: three stages of basic blocks (He, Zhang, Ren, Sun, 1512.03385, §4.2).

The networks with ``x4`` in their name are wider. They and the shortcut with a 1×1 convolution are
as in the distillation literature (Tian, Krishnan, Isola, arXiv 1910.10699), so that accuracies of
the CIFAR presets can be compared with published ones.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from kdlm.study.names import MINIMUM_IMAGE_SIDE

__all__ = [
    "ARCHITECTURES",
    "MINIMUM_IMAGE_SIDE",
    "SPELLINGS",
    "BasicBlock",
    "ResNet",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet44",
    "resnet56",
    "resnet110",
]

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm, added to a shortcut."""

    BATCHNORM_AFTER: ClassVar = {"conv1": "bn1", "conv2": "bn2"}
    """By convolution, the BatchNorm that takes its output; nothing else does (`folding`)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, H, W) to (B, channels, H/stride, W/stride)."""
        # In place: autograd keeps the inputs of a convolution and of BatchNorm and the outputs of a
        # ReLU, but neither BatchNorm's outputs nor the terms of a sum.
        out = functional.relu_(self.bn1(self.conv1(images)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(images)
        return functional.relu_(out)


class ResNet(nn.Module):
    """A ResNet of depth 6n + 2 for small images.

    It has one convolution, three stages of n basic blocks, average pooling, and a linear
    classifier. The second and the third stage each halve the side of the image.

    >>> sum(parameter.numel() for parameter in ResNet(8, NARROW, num_classes=100).parameters())
    83892

    Args:
        depth: 6n + 2.
        widths: channels of the first convolution and of the three stages.
        num_classes: K.
        in_channels: channels of the images.

    Raises:
        ValueError: fewer than two classes, or no channel.

    """

    BATCHNORM_AFTER: ClassVar = {"conv1": "bn1"}
    """By convolution, the BatchNorm that takes its output; nothing else does (`folding`)."""

    def __init__(
        self, depth: int, widths: tuple[int, int, int, int], num_classes: int, in_channels: int = 3
    ) -> None:
        super().__init__()
        if num_classes < 2 or in_channels < 1:
            raise ValueError(
                f"a network needs at least two classes and one channel, not {num_classes} and "
                f"{in_channels}"
            )
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        stages = [
            nn.Sequential(
                BasicBlock(before, channels, stride),
                *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)),
            )
            for before, channels, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True)
        ]
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features (B, F) of images (B, C, H, W).

        Raises:
            ValueError: the images are too small to be halved twice.

        """
        if min(images.shape[-2:]) < MINIMUM_IMAGE_SIDE:
            raise ValueError(
                f"images of {images.shape[-2]}×{images.shape[-1]} pixels are too small: the "
                f"network halves them twice and needs {MINIMUM_IMAGE_SIDE} pixels a side"
            )
        out = self.stages(functional.relu_(self.bn1(self.conv1(images))))
        features: Tensor = out.mean(dim=(2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


SPELLINGS = (
    (r"^layer([123])\.", lambda found: f"stages.{int(found[1]) - 1}."),
    (r"\.downsample\.", lambda _found: ".shortcut."),
    (r"^(fc|linear)\.", lambda _found: "classifier."),
)
"""Translations of layer names in RepDistiller, torchvision and similar code into ours."""

ARCHITECTURES: dict[str, Callable[..., ResNet]] = {
    **{f"resnet{depth}": partial(ResNet, depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, WIDE) for depth in (8, 32)},
}
"""By name, the function that builds a network from ``num_classes`` and ``in_channels`` (or 3)."""

resnet8 = ARCHITECTURES["resnet8"]
resnet14 = ARCHITECTURES["resnet14"]
resnet20 = ARCHITECTURES["resnet20"]
resnet32 = ARCHITECTURES["resnet32"]
resnet44 = ARCHITECTURES["resnet44"]
resnet56 = ARCHITECTURES["resnet56"]
resnet110 = ARCHITECTURES["resnet110"]
resnet8x4 = ARCHITECTURES["resnet8x4"]
resnet32x4 = ARCHITECTURES["resnet32x4"]
