"""The objective of a teacher: cross-entropy."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CrossEntropy"]


class CrossEntropy:
    """Cross-entropy, in nats, as an `Objective`; a network that is trained by it has no teacher.

    >>> objective = CrossEntropy()
    >>> reference = objective.reference(Tensor(1, 3, 8, 8), epoch=1, batch=0)
    >>> logits, labels = Tensor([[3.0, 3.0]]), Tensor([0]).long()
    >>> round(objective(logits, reference, labels).item(), 4)
    0.6931
    """

    def recorded(self, split: str, first: int, last: int) -> Tensor:  # noqa: ARG002
        """Return NaN, (last − first, 1), in place of a teacher's logits for images of a split."""
        return torch.full((last - first, 1), float("nan"), dtype=torch.float64)

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:  # noqa: ARG002
        """Return NaN, (batch, 1), in place of a teacher's logits for images (batch, C, H, W)."""
        return images.new_full((len(images), 1), float("nan"))

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the batch mean, a scalar, for logits (batch, K) and class indices (batch,)."""
        return functional.cross_entropy(logits, labels)
