r"""How the mean logit of an untrained ResNet scatters over seeds, from theory alone.

In the limit of many channels, the channels of a layer are independent of each other, and the sums
in a convolution are Gaussian over the weights (Neal 1996; Lee et al., arXiv 1711.00165). Two
numbers then describe a layer: the mean square q of its outputs, and their mean product c at two
sites, where a site is an image and a pixel of it. The mean feature over sites has
E‖f̄‖² = F c with F features, and the mean logit of section 6 of docs/errata.md has the sd

    √((σ_b² + σ_w² F c)/K).

One layer turns q and c into those of the next:

- a convolution multiplies both by g = n σ², with n inputs a sum and weights of variance σ²; for
  3×3 weights n counts only pixels inside the image, on average over its sites;
- BatchNorm in mode train subtracts the mean over sites and divides by their sd, so q = 1 and c = 0
  whatever came before; in mode eval, untrained, it changes nothing;
- a residual block is x ← max(0, S + B), with the shortcut S (x itself, or a convolution of x) and
  the branch B, which is Gaussian given x and has the q and c that its two convolutions and the ReLU
  between them give it.

**Mode train.** Along identity shortcuts every B is standard normal and independent between sites:
x is a random walk that is kept from falling below 0 (Lindley 1952). Its mean after n steps is
Σ_{j ≤ n} 1/√(2πj) ≈ √(2n/π) (Spitzer 1956), its variance grows by less than 1 a step, and
c = (E x)². Each shortcut with a convolution starts the walk anew. The variance of the mean logit
therefore grows linearly in the n blocks of the last stage, and no other stage, nor the scale of
the weights, matters.

**Mode eval.** q grows by a factor for each block, since B is proportional to √q. For He's weights
g = 2, so B has the mean square 2 q, the sum S + B has 3 q, and the ReLU keeps half of a sum that is
symmetric (q grows by 3/2) and all of one that is positive (by 3); in between, q settles at a factor
of 2.4 a block, or 2.2 with the pixels outside the image, and the sd at 1.5 a block. Where a
shortcut has a convolution, the number of channels doubles, and He's weights, scaled by the outputs,
have g = 1: S and B have q each, the ReLU keeps half of their sum, and q stays. PyTorch's default
weights have g = 1/3 and Xavier's 1; B then has q/18 or q/2, and the sd hardly grows, or by 1.2 a
block.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from kdlm.networks.initialisation import classifier_variances
from kdlm.networks.resnet import ARCHITECTURES

__all__ = ["blocks", "expected_sd"]

Array = npt.NDArray[np.float64]

_CHANNELS = 100_000
"""Channels that stand for infinitely many; the sds are then right to about a per cent."""


_VARIANCES: dict[str, Callable[[int, int, int], float]] = {
    "he": lambda _inputs, outputs, size: 2 / (outputs * size),
    "he-centred": lambda _inputs, outputs, size: 2 / (outputs * size),
    "default": lambda inputs, _outputs, size: 1 / (3 * inputs * size),
    "xavier": lambda inputs, outputs, size: 2 / ((inputs + outputs) * size),
}
"""By initialisation, the variance of a convolution's weight from its channels and pixels."""


def blocks(architecture: str) -> int | None:
    """Return the number of residual blocks of a ResNet, or None for another network.

    >>> blocks("resnet44"), blocks("vgg8")
    (21, None)
    """
    if architecture not in ARCHITECTURES:
        return None
    depth, _ = cast("Any", ARCHITECTURES[architecture]).args
    return int(depth - 2) // 2


def expected_sd(
    architecture: str,
    initialisation: str,
    batchnorm: str,
    *,
    image_side: int,
    in_channels: int,
    num_classes: int,
) -> float | None:
    """Return the sd over seeds of the mean logit of an untrained ResNet, in the limit of width.

    The images are taken to have mean 0 and mean square 1 in each channel, and no correlation
    between two sites; what correlation there is matters to the first blocks only. The result is
    within a factor of 1.25 of what networks of 16 to 64 channels have, as a test measures.

    >>> common = {"image_side": 32, "in_channels": 3, "num_classes": 100}
    >>> for mode in ("train", "eval"):
    ...     sds = [expected_sd(f"resnet{depth}", "he", mode, **common) for depth in (8, 20, 32, 44)]
    ...     print(mode, *(f"{sd:.2g}" for sd in sds))
    train 0.034 0.06 0.081 0.098
    eval 0.029 0.3 3.1 31

    Args:
        architecture: name of the network.
        initialisation: how its weights are drawn.
        batchnorm: mode of BatchNorm, ``train`` or ``eval``.
        image_side: side of the images in pixels.
        in_channels: channels of the images.
        num_classes: K.

    Returns:
        The sd in logits; None if the network is no ResNet or the initialisation is not known here.

    """
    if architecture not in ARCHITECTURES or initialisation not in _VARIANCES:
        return None
    depth, widths = cast("Any", ARCHITECTURES[architecture]).args
    features = int(widths[-1])
    product = _product_of_features(
        int(depth), widths, initialisation, batchnorm == "train", image_side, in_channels
    )
    weight, bias = classifier_variances(initialisation, features, num_classes)
    return math.sqrt((bias + weight * features * product) / num_classes)


@cache
def _product_of_features(
    depth: int,
    widths: tuple[int, int, int, int],
    initialisation: str,
    normalised: bool,
    side: int,
    in_channels: int,
) -> float:
    """Return c after the last block: the mean product of a feature map at two sites."""
    layers = _Layers(initialisation, normalised, np.random.default_rng(0))
    x = np.maximum(layers.convolution(1.0, 0.0, in_channels, widths[0], 3, side), 0)
    for stage, (before, width) in enumerate(pairwise(widths)):
        for block in range((depth - 2) // 6):
            first = block == 0
            if first and stage > 0:
                side = (side + 1) // 2
            inputs = before if first else width
            moments = _moments(x)
            hidden = np.maximum(layers.convolution(*moments, inputs, width, 3, side), 0)
            branch = layers.convolution(*_moments(hidden), width, width, 3, side)
            if first and (stage > 0 or before != width):
                x = layers.convolution(*moments, before, width, 1, side)
            x = np.maximum(x + branch, 0)
    return _moments(x)[1]


def _moments(x: Array) -> tuple[float, float]:
    """Return q and c of outputs (2 sites, channels)."""
    return float(np.square(x).mean()), float((x[0] * x[1]).mean())


@dataclass(frozen=True)
class _Layers:
    """Convolutions with BatchNorm, as samples (2 sites, channels) of their Gaussian outputs."""

    initialisation: str
    normalised: bool
    generator: np.random.Generator

    def convolution(
        self, q: float, c: float, inputs: int, outputs: int, kernel: int, side: int
    ) -> Array:
        """Return outputs for inputs with the moments q and c; ``side`` is that of the outputs."""
        if self.normalised:
            q, c = 1.0, 0.0
        else:
            size = kernel**2
            inside = 1 - (kernel - 1) / (kernel * side)
            variance = _VARIANCES[self.initialisation](inputs, outputs, size)
            gain = variance * inputs * size * inside**2
            q, c = gain * q, gain * c
        one, other = self.generator.standard_normal((2, _CHANNELS))
        share = c / q
        return math.sqrt(q) * np.stack([one, share * one + math.sqrt(1 - share**2) * other])
