"""The first number of a training that is NaN or infinite, found without waiting for a GPU."""

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from kdlm.networks.network import Network

__all__ = ["KINDS", "FirstNonFinite"]

KINDS = ("weights", "running statistics", "loss", "gradient")
"""What can be not finite. Where several are in one batch, the first of them is reported."""


class FirstNonFinite:
    """Remembers, on the device, the first batch with a number that is NaN or infinite."""

    def __init__(self, model: Network) -> None:
        """Watch the weights and the floating-point buffers of ``model``."""
        self.weights = [parameter.detach() for parameter in model.parameters()]
        # BatchNorm's running means and variances, without its integer counters of batches
        self.statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.found = torch.zeros(2, dtype=torch.int64, device=self.weights[0].device)
        """The batch, from 1, and the position in `KINDS`; zeros where all was finite so far."""

    @torch.no_grad()
    def look(self, batch: int, loss: Tensor, gradients: list[Tensor]) -> None:
        """Look at the numbers of one batch, after its backward pass and before its step.

        Args:
            batch: position of the batch in the epoch; the first is 1.
            loss: the batch's loss, a scalar.
            gradients: the gradients of the weights.

        """
        parts = (self.weights, self.statistics, [loss.detach()], gradients)
        bad = torch.stack([~torch.isfinite(self._largest(part)) for part in parts])
        # argmax gives the first of equal values, here the first kind that is not finite
        now = torch.stack([bad.new_full((), batch, dtype=torch.int64), bad.byte().argmax()])
        self.found = torch.where((self.found[0] == 0) & bad.any(), now, self.found)

    def first(self) -> tuple[int, str] | None:
        """Return the first batch and its kind of number; None where all were finite.

        This waits for the device.
        """
        batch, kind = self.found.tolist()
        return (batch, KINDS[kind]) if batch else None

    def _largest(self, tensors: list[Tensor]) -> Tensor:
        """Return the largest absolute value in ``tensors``, a scalar; NaN if one is NaN.

        A sum of squares could overflow although all numbers are finite.
        """
        if not tensors:
            return self.weights[0].new_zeros(())
        return get_total_norm(tensors, norm_type=float("inf"))
