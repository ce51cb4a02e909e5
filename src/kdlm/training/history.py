"""The history of a training: one row of measurements for each epoch and split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from kdlm.data.images import EVALUATION_BATCH, Images, predict, train_mode_logits
from kdlm.networks.network import Network

__all__ = ["Objective", "Recorder", "RunningMetrics", "gradient_sums"]


class Objective(Protocol):
    """The loss that a network is trained to minimise."""

    def recorded(self, split: str, first: int, last: int) -> Tensor:
        """Return the teacher's logits (last − first, K) for images as they are, not augmented.

        They are the images ``first`` to ``last − 1`` of the ``split``, train or test. Where there
        is no teacher the result is NaN, with one column.
        """
        ...

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:
        """Return the teacher's logits (batch, K) for the views of one batch.

        Where there is no teacher the result is NaN, with shape (batch, 1).

        Args:
            images: the views, (batch, C, H, W), normalised.
            epoch: the epoch they belong to; the first is 1.
            batch: their position in the epoch; the first is 0.

        """
        ...

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
        """Return the batch mean of the loss, a scalar.

        Args:
            logits: of the network in training, (batch, K).
            reference: the result of `reference` for the same images.
            labels: class indices, (batch,).

        """
        ...


def gradient_sums(gradient: Tensor) -> Tensor:
    """Return |Σ_i g_i| / Σ_i |g_i| of each sample's gradient g on its logits.

    Equations (5) and (6) state that the sum is 0 for KD and for cross-entropy.

    >>> gradient_sums(torch.tensor([[0.5, -0.5], [0.3, 0.1], [0.0, 0.0]], dtype=torch.float64))
    tensor([0., 1., 0.], dtype=torch.float64)

    Args:
        gradient: gradient of a batch mean on the logits, (batch, K), float64.

    Returns:
        (batch,), float64, each between 0 and 1. Where Σ_i |g_i| is at most √ε, ε the spacing of
        float64 at 1, the result is 0: the sample is classified so surely that p_i − y_i is little
        more than the rounding of p_i.

    """
    gradient = gradient * len(gradient)
    total = gradient.abs().sum(dim=1)
    ratio = gradient.sum(dim=1).abs() / total
    return ratio.masked_fill(total <= torch.finfo(gradient.dtype).eps ** 0.5, 0)


_TOTALS = (
    "loss",
    "right",
    "logit_total",
    "mean_square",
    "centred_square",
    "gap",
    "gap_square",
    "distance",
)


@dataclass
class RunningMetrics:
    """Running totals over the batches of one split in one epoch.

    The totals stay on the device of the logits, so that adding a batch never waits for a GPU; only
    `row` reads them.
    """

    samples: int = 0
    totals: Tensor | None = None
    """Sums over the samples, (8,), float64, in the order of `_TOTALS`; None before a batch."""
    gradient_sum: Tensor | None = None
    """The largest of `gradient_sums`, a float64 scalar; None before a batch."""

    def add(self, objective: Objective, logits: Tensor, reference: Tensor, labels: Tensor) -> None:
        """Add one batch to the totals.

        Args:
            objective: the loss in training.
            logits: the network's logits, (batch, K); no gradient flows back to them.
            reference: the teacher's logits, (batch, K).
            labels: class indices, (batch,).

        """
        # The loss is evaluated in float64 at the logits that occurred, so that gradient_sum tests
        # the formula and not float32's rounding.
        wide, reference = logits.detach().double().requires_grad_(), reference.double()
        loss = objective(wide, reference, labels)
        (gradient,) = torch.autograd.grad(loss, wide)
        wide = wide.detach()
        centre = wide.mean(dim=1)
        gap = centre - reference.mean(dim=1)
        sums = torch.stack(
            [
                loss.detach() * len(labels),
                (wide.argmax(dim=1) == labels).sum().double(),
                centre.sum(),
                centre.square().sum(),
                (wide - centre[:, None]).square().mean(dim=1).sum(),
                gap.sum(),
                gap.square().sum(),
                (wide - reference).square().mean(dim=1).sum(),
            ]
        )
        largest = gradient_sums(gradient).max()
        self.samples += len(labels)
        self.totals = sums if self.totals is None else self.totals + sums
        # maximum keeps a NaN, which Python's max would lose
        self.gradient_sum = (
            largest if self.gradient_sum is None else torch.maximum(self.gradient_sum, largest)
        )

    def row(self) -> dict[str, Any]:
        """Return the totals as columns of table ``history``.

        Each is a mean over the samples counted so far, except the root mean squares
        ``mean_logit_rms``, ``logit_rms`` and ``gap_rms``; ``gap_share``, a ratio of two means; and
        ``logit_gradient_sum``, the largest over samples.

        ``gap_energy`` is ½ E[g²], g = c^s − c^t: exactly the difference between the losses of
        logits matching and of centred logits matching, which is KD at T = ∞.
        """
        if self.totals is None or self.gradient_sum is None:
            raise ValueError("a row needs a batch")
        total = dict(zip(_TOTALS, self.totals.tolist(), strict=True))
        # 0/0 where the student's logits are the teacher's: then no share is due to the gap
        share = total["gap_square"] / total["distance"] if total["distance"] else 0.0
        return {
            "objective": total["loss"] / self.samples,
            "accuracy": total["right"] / self.samples,
            "mean_logit": total["logit_total"] / self.samples,
            "mean_logit_rms": (total["mean_square"] / self.samples) ** 0.5,
            "logit_rms": (total["centred_square"] / self.samples) ** 0.5,
            "logit_gradient_sum": float(self.gradient_sum),
            "gap": total["gap"] / self.samples,
            "gap_rms": (total["gap_square"] / self.samples) ** 0.5,
            "gap_energy": total["gap_square"] / self.samples / 2,
            "gap_share": share,
        }

    def state(self) -> dict[str, Tensor]:
        """Return the totals by name, with which `restored` makes the same running metrics."""
        if self.totals is None or self.gradient_sum is None:
            return {}
        return {"totals": self.totals, "gradient_sum": self.gradient_sum}

    @classmethod
    def restored(
        cls, samples: int, state: Mapping[str, Tensor], device: torch.device
    ) -> "RunningMetrics":
        """Return running metrics that go on from a ``state`` on ``device``."""
        return cls(samples, **{name: value.to(device) for name, value in state.items()})


@dataclass
class Recorder:
    """Measures a network in training after each epoch and collects the history's rows.

    ``probe`` is one fixed batch of training images, on which BatchNorm runs in train mode: the
    running statistics that eval mode needs are not set before the first epoch. It holds the first
    images of the training set.
    """

    model: Network
    objective: Objective
    test: Images
    probe: Tensor
    probe_labels: Tensor
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.initial = {
            "weight": self._classifier("weight"),
            "bias": self._classifier("bias"),
            "centre": train_mode_logits(self.model, self.probe).double().mean(dim=1),
        }
        self.probe_reference = self._recorded("train", 0, len(self.probe))
        self.test_reference = self._recorded("test", 0, len(self.test.labels))
        self.test_logits = torch.empty(0)

    def _recorded(self, split: str, first: int, last: int) -> Tensor:
        return self.objective.recorded(split, first, last).to(self.probe.device)

    def _classifier(self, name: str) -> Tensor:
        return self.model.get_parameter(f"classifier.{name}").detach().double().clone()

    def _sums(self) -> dict[str, float]:
        weight = self._classifier("weight") - self.initial["weight"]
        bias = self._classifier("bias") - self.initial["bias"]
        return {
            "classifier_weight_sum": float(weight.sum(dim=0).norm()),
            "classifier_bias_sum": float(bias.sum().abs()),
            "classifier_weight_change": float(weight.norm()),
            "classifier_bias_change": float(bias.norm()),
        }

    def record_start(self, images: Images) -> None:
        """Add the row of the untrained network over all training ``images``, not augmented.

        BatchNorm runs in train mode. The mean logit of a teacher's row is c^t before its training.
        """
        total, done = RunningMetrics(), 0
        for batch in images.batches(EVALUATION_BATCH):
            first, done = done, done + len(batch)
            reference = self._recorded("train", first, done)
            logits = train_mode_logits(self.model, batch)
            total.add(self.objective, logits, reference, images.labels[first:done])
        self.rows.append({"epoch": 0, "split": "initial", **self._sums()} | total.row())

    def record(self, epoch: int, trained: RunningMetrics | None) -> bool:
        """Add the rows of one epoch, unless a number in them is NaN or infinite.

        Args:
            epoch: 0 for the untrained network.
            trained: totals of the epoch's training batches; None for the untrained network, which
                gets a row for the probe alone.

        Returns:
            True if the rows were added, False if a number was not finite and none was.

        """
        sums = self._sums()
        probe = RunningMetrics()
        logits = train_mode_logits(self.model, self.probe)
        probe.add(self.objective, logits, self.probe_reference, self.probe_labels)
        drift = (logits.double().mean(dim=1) - self.initial["centre"]).square().mean().sqrt()
        row: dict[str, Any] = {"epoch": epoch, **sums}
        rows = [row | {"split": "probe", "mean_logit_drift": float(drift)} | probe.row()]
        if trained is not None:
            rows.append(row | {"split": "train"} | trained.row())
            self.model.eval()
            self.test_logits = predict(self.model, self.test)
            tested = RunningMetrics()
            tested.add(self.objective, self.test_logits, self.test_reference, self.test.labels)
            rows.append(row | {"split": "test"} | tested.row())
        # a teacher has no teacher, so its gap is always NaN
        finite = all(
            math.isfinite(value)
            for each in rows
            for key, value in each.items()
            if key != "split" and not key.startswith("gap")
        )
        if finite:
            self.rows += rows
        return finite
