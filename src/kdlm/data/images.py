"""Images on the device, and forward passes over them that need no gradient."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kdlm.data.prepared import Prepared, normalise
from kdlm.study.specs import Recipe

__all__ = ["DTYPES", "EVALUATION_BATCH", "Images", "predict", "train_mode_logits"]

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
"""Of weights and images; bfloat16 is autocast over float32 weights."""

EVALUATION_BATCH = 512
"""Images a forward pass where no gradient is needed; bounds memory only."""


@dataclass(frozen=True)
class Images:
    """One split of a dataset on the device: uint8 (N, C, H, W), labels, and their scaling."""

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, prepared: Prepared, split: str, recipe: Recipe, device: torch.device) -> "Images":
        """The ``train`` or ``test`` images of a prepared dataset."""
        pixels, labels = {
            "train": (prepared.train_images, prepared.train_labels),
            "test": (prepared.test_images, prepared.test_labels),
        }[split]
        return cls(
            pixels.to(device),
            labels.to(device),
            prepared.mean,
            prepared.sd,
            DTYPES[recipe.precision],
        )

    def scaled(self, pixels: Tensor) -> Tensor:
        """Pixels as the network sees them: zero mean and unit sd per channel."""
        return normalise(pixels, self.mean, self.sd, self.dtype)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in their order, scaled, in batches of ``size``.

        A last image by itself joins the batch before it: BatchNorm has no statistics of one.
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
    """Logits with BatchNorm on the batch's own statistics, its running statistics left alone."""
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
    """Logits (N, K) of all images in their order; the model's mode is the caller's choice."""
    return torch.cat([model(batch) for batch in images.batches(EVALUATION_BATCH)])
