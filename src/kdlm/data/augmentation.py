"""Augmentation of training images: the random crop and flip of the CIFAR recipe, by batch.

Offset and flip are drawn independently for each image, on the CPU from the caller's generator, so a
seed gives the same augmented images on every device. The images stay on their device. Drawing and
applying are apart, so that the draws of a whole epoch reach a GPU in one copy. Augmentation comes
before normalisation, so the padding of a crop is black (pixel value 0), as in the reference
recipe (He, Zhang, Ren, Sun, arXiv 1512.03385, §4.2).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Draws", "augment", "draw", "random_crop", "random_flip"]


@dataclass(frozen=True)
class Draws:
    """The crops and flips that were drawn for N images."""

    padding: int
    """Pixels added on each side before a crop."""
    offsets: Tensor
    """Top and left of each crop, (2, N), int64 from 0 to 2·padding."""
    flips: Tensor | None
    """Whether each image is mirrored, (N,), bool; None where no image ever is."""

    def apply(self, images: Tensor, first: int = 0) -> Tensor:
        """Return ``images`` (B, C, H, W) augmented by the draws ``first`` to ``first + B − 1``."""
        chosen = slice(first, first + len(images))
        views = _crop(images, self.padding, *self.offsets[:, chosen])
        return views if self.flips is None else _flip(views, self.flips[chosen])


def draw(
    batches: Iterable[int],
    padding: int,
    flip: bool,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Draws:
    """Return draws for the images of several batches, which `augment` would draw one by one.

    Args:
        batches: number of images of each batch.
        padding: pixels added on each side before a crop.
        flip: whether images are flipped.
        generator: of the CPU; the source of all draws.
        device: where the draws are put.

    Raises:
        ValueError: ``padding`` is negative.

    """
    offsets, flips = [], []
    for batch in batches:
        offsets.append(_offsets(batch, padding, generator))
        if flip:
            flips.append(_flips(batch, generator))
    return Draws(
        padding,
        torch.cat(offsets, dim=1).to(device),
        torch.cat(flips).to(device) if flip else None,
    )


def _offsets(batch: int, padding: int, generator: torch.Generator) -> Tensor:
    if padding < 0:
        raise ValueError(f"padding must be 0 pixels or more, not {padding}")
    return torch.randint(2 * padding + 1, (2, batch), generator=generator)


def _flips(batch: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (batch,), generator=generator).bool()


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Return a random H × W window of each of the images (B, C, H, W), padded with zeros.

    The padding has ``padding`` pixels on each side. Both offsets of a window are uniform on
    0..2·padding.

    Raises:
        ValueError: ``padding`` is negative.

    """
    offsets = _offsets(len(images), padding, generator).to(images.device)
    return _crop(images, padding, *offsets)


def _crop(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    batch, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    # A view of every window, (B, C, top, left, H, W); only the chosen windows are copied.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(batch, device=images.device), :, top, left]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images (B, C, H, W), each mirrored left to right with probability ½."""
    return _flip(images, _flips(len(images), generator).to(images.device))


def _flip(images: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips[:, None, None, None], images.flip(-1), images)


def augment(images: Tensor, crop_padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Return the images after a random crop and, if ``flip`` is true, a random flip.

    Images are (B, C, H, W), uint8 or float; shape, type and device are kept.

    Raises:
        ValueError: ``crop_padding`` is negative.

    """
    return draw([len(images)], crop_padding, flip, generator, images.device).apply(images)
