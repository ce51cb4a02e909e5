"""Augmentation of training images: the random crop and flip of the CIFAR recipe, by batch.

Offset and flip are drawn independently for each image, on the CPU from the caller's generator, so a
seed gives the same augmented images on every device. The images stay on their device. Augmentation
comes before normalisation, so the padding of a crop is black (pixel value 0), as in the reference
recipe (He, Zhang, Ren, Sun, arXiv 1512.03385, §4.2).
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["augment", "random_crop", "random_flip"]


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Return a random H × W window of each of the images (B, C, H, W), padded with zeros.

    The padding has ``padding`` pixels on each side. Both offsets of a window are uniform on
    0..2·padding.

    Raises:
        ValueError: ``padding`` is negative.

    """
    if padding < 0:
        raise ValueError(f"padding must be 0 pixels or more, not {padding}")
    batch, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator).to(images.device)
    padded = functional.pad(images, (padding,) * 4)
    # A view of every window, (B, C, top, left, H, W); only the chosen windows are copied.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(batch, device=images.device), :, top, left]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images (B, C, H, W), each mirrored left to right with probability ½."""
    flips = torch.randint(2, (len(images), 1, 1, 1), generator=generator).bool()
    return torch.where(flips.to(images.device), images.flip(-1), images)


def augment(images: Tensor, crop_padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Return the images after a random crop and, if ``flip`` is true, a random flip.

    Images are (B, C, H, W), uint8 or float; shape, type and device are kept.

    Raises:
        ValueError: ``crop_padding`` is negative.

    """
    cropped = random_crop(images, crop_padding, generator)
    return random_flip(cropped, generator) if flip else cropped
