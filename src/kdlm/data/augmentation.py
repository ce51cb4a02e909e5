"""Random views of training images: the crop and flip of the CIFAR recipe, a batch at a time.

Each image gets its own offset and its own coin. Both are drawn on the CPU from the caller's
generator, so a seed gives the same views on every device; the images stay where they are. Apply
before normalisation: what a crop adds is then black, pixel value 0, as in the reference recipe (He,
Zhang, Ren, Sun, arXiv 1512.03385, §4.2).
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["augment", "random_crop", "random_flip"]


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Surround images (B, C, H, W) with ``padding`` pixels of 0; cut an H × W window of each.

    Both offsets of a window are uniform on 0..2·padding.

    Raises:
        ValueError: ``padding`` is negative.

    """
    if padding < 0:
        raise ValueError(f"padding must be 0 pixels or more, not {padding}")
    batch, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, batch), generator=generator).to(images.device)
    padded = functional.pad(images, (padding,) * 4)
    # every window as a view (B, C, top, left, H, W): nothing is copied but the one that is picked
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(batch, device=images.device), :, top, left]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each of the images (B, C, H, W) left to right with probability ½."""
    flips = torch.randint(2, (len(images), 1, 1, 1), generator=generator).bool()
    return torch.where(flips.to(images.device), images.flip(-1), images)


def augment(images: Tensor, crop_padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Crop at random, and then, where the data set allows a ``flip``, flip at random.

    Images are (B, C, H, W), uint8 or float; shape, type and device are kept.
    """
    cropped = random_crop(images, crop_padding, generator)
    return random_flip(cropped, generator) if flip else cropped
