"""Wide residual networks for small images (Zagoruyko, Komodakis, arXiv 1605.07146).

They are built as in the distillation literature (Tian, Krishnan, Isola, arXiv 1910.10699): three
stages of blocks in which BatchNorm comes before the convolution, without dropout.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ARCHITECTURES", "SPELLINGS", "WideResNet"]


class PreActivationBlock(nn.Module):
    """BatchNorm, ReLU and a 3×3 convolution, twice, added to a shortcut.

    The shortcut is the input itself where the block keeps the number of channels, else a 1×1
    convolution of the activated input.
    """

    BATCHNORM_AFTER: ClassVar = {"conv1": "bn2"}
    """By convolution, the BatchNorm that takes its output; nothing else does (`folding`)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Identity()
            if in_channels == channels
            else nn.Conv2d(in_channels, channels, 1, stride, bias=False)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, channels, H/stride, W/stride)."""
        # in place: autograd keeps BatchNorm's inputs and ReLU's outputs, not what lies between them
        active = functional.relu_(self.bn1(inputs))
        # as in the paper, the 1×1 convolution takes the activated input, the identity the input
        kept = inputs if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        out: Tensor = self.conv2(functional.relu_(self.bn2(self.conv1(active))))
        out += kept
        return out


class WideResNet(nn.Module):
    """A wide ResNet of depth 6n + 4, with n blocks in each of its three stages.

    Its stages have ``factor`` times as many channels (16, 32, 64) as those of a ResNet.
    """

    def __init__(self, depth: int, factor: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        widths = (16, 16 * factor, 32 * factor, 64 * factor)
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    PreActivationBlock(before, channels, stride),
                    *(PreActivationBlock(channels, channels, 1) for _ in range(blocks - 1)),
                )
                for before, channels, stride in zip(widths[:-1], widths[1:], (1, 2, 2), strict=True)
            )
        )
        self.bn = nn.BatchNorm2d(widths[-1])
        self.classifier = nn.Linear(widths[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate features (B, F) of images (B, C, H, W)."""
        out = functional.relu_(self.bn(self.stages(self.conv1(images))))
        return out.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


SPELLINGS = (
    (r"^block([123])\.layer\.", lambda found: f"stages.{int(found[1]) - 1}."),
    (r"\.convShortcut\.", lambda _found: ".shortcut."),
    (r"^bn1\.", lambda _found: "bn."),
    (r"^(fc|linear)\.", lambda _found: "classifier."),
)
"""Translations of layer names in RepDistiller and in the reference code into ours."""

ARCHITECTURES: dict[str, Callable[..., WideResNet]] = {
    "wrn-16-2": partial(WideResNet, 16, 2),
    "wrn-40-2": partial(WideResNet, 40, 2),
}
"""By name, the function that builds a network from ``num_classes`` and ``in_channels`` (or 3)."""
