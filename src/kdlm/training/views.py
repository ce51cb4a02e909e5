"""The views of a training: its augmented images, batch by batch, in the order of the training.

Order and views depend on a `ViewsSpec` and a role alone. All students of one seed see the same
views in the same order, whatever their loss, so the teacher's logits for them can be computed once.
"""

import math

import torch
from torch import Tensor

from kdlm.data.augmentation import Draws, draw
from kdlm.data.images import Images
from kdlm.networks.initialisation import stream
from kdlm.study.specs import ViewsSpec

__all__ = ["Views"]


class Views:
    """The views of one training, an epoch at a time.

    All that is random in an epoch is drawn when the epoch begins, on the CPU, and put on the
    device of the images then. A batch needs neither the generators nor the CPU.
    """

    def __init__(self, images: Images, spec: ViewsSpec, role: str) -> None:
        """Make the views of ``images`` for the networks in a ``role``, teacher or student."""
        self.images = images
        self.spec = spec
        self.order = stream(spec.seed, f"{role} order")
        self.augmentation = stream(spec.seed, f"{role} views")
        self._permutation = torch.empty(0, dtype=torch.int64)
        self._draws: Draws | None = None
        self._before = self._generators()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return math.ceil(len(self.images.labels) / self.spec.batch_size)

    def begin(self) -> None:
        """Draw the order of the next epoch and, if images are augmented, their crops and flips."""
        self._before = self._generators()
        labels = self.images.labels
        permutation = torch.randperm(len(labels), generator=self.order)
        if self.spec.augment:
            self._draws = draw(
                [len(batch) for batch in torch.split(permutation, self.spec.batch_size)],
                self.spec.crop_padding,
                self.spec.flip,
                self.augmentation,
                labels.device,
            )
        self._permutation = permutation.to(labels.device)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return images (B, C, H, W), normalised, and labels (B,) of a batch of the epoch.

        Args:
            number: position of the batch in the epoch; the first is 0.

        """
        first = number * self.spec.batch_size
        chosen = self._permutation[first : first + self.spec.batch_size]
        pixels = self.images.pixels[chosen]
        if self._draws is not None:
            pixels = self._draws.apply(pixels, first)
        return self.images.scaled(pixels), self.images.labels[chosen]

    def _generators(self) -> dict[str, Tensor]:
        return {"order": self.order.get_state(), "views": self.augmentation.get_state()}

    def state(self) -> dict[str, Tensor]:
        """Return the generators' states at the beginning of this epoch."""
        return self._before

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to the beginning of the epoch in which `state` was taken; `begin` comes next."""
        self.order.set_state(state["order"])
        self.augmentation.set_state(state["views"])
