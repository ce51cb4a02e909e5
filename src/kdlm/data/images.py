"""Images on the device, and forward passes over them without gradients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kdlm.data.prepared import Prepared, normalise

__all__ = ["DTYPES", "EVALUATION_BATCH", "Images", "predict", "train_mode_logits"]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
"""Type of weights and images by the recipe's precision; bfloat16 is autocast over float32."""

EVALUATION_BATCH = 512
"""Images in a forward pass without gradients; limits memory and has no other effect."""


@dataclass(frozen=True)
class Images:
    """One split of a dataset on the device: uint8 (N, C, H, W), labels (N,), and their scaling."""

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, prepared: Prepared, split: str, precision: str, device: torch.device) -> "Images":
        """Return the ``train`` or ``test`` images of a dataset, for a recipe's ``precision``."""
        pixels, labels = {
            "train": (prepared.train_images, prepared.train_labels),
            "test": (prepared.test_images, prepared.test_labels),
        }[split]
        return cls(
            pixels.to(device),
            labels.to(device),
            prepared.mean,
            prepared.sd,
            DTYPES[precision],
        )

    def scaled(self, pixels: Tensor) -> Tensor:
        """Return ``pixels`` normalised for the network: (x/255 − mean)/sd per channel."""
        return normalise(pixels, self.mean, self.sd, self.dtype)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield all images in their order, normalised, in batches of ``size``.

        A single last image is added to the batch before it, because BatchNorm has no statistics of
        one image.
        """
        batches = list(torch.split(self.pixels, size))
        if len(batches) > 1 and len(batches[-1]) == 1 < size:
            batches[-2:] = [self.pixels[-size - 1 :]]
        for pixels in batches:
            yield self.scaled(pixels)


class _Trainable(Protocol):
    """The methods of a module that a forward pass in train mode needs."""

    training: bool

    def train(self, mode: bool = True) -> Any: ...
    def buffers(self) -> Iterator[Tensor]: ...
    def __call__(self, images: Tensor) -> Tensor: ...


def train_mode_logits(model: _Trainable, images: Tensor) -> Tensor:
    """Return logits with BatchNorm using the batch's statistics; running statistics are kept."""
    was_training = model.training
    model.train()
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.no_grad():
        logits: Tensor = model(images)
        for buffer, value in kept:
            buffer.copy_(value)
    model.train(was_training)
    return logits


@torch.no_grad()
def predict(model: Callable[[Tensor], Tensor], images: Images) -> Tensor:
    """Return the logits (N, K) of all images in their order.

    The caller puts the model into train or eval mode.
    """
    return torch.cat([model(batch) for batch in images.batches(EVALUATION_BATCH)])
