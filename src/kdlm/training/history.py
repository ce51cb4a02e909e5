"""What is recorded of a training: a row per epoch and split."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from kdlm.data.images import EVALUATION_BATCH, Images, predict, train_mode_logits
from kdlm.networks.network import Network

__all__ = ["Objective", "Recorder", "Tally", "gradient_sums"]


class Objective(Protocol):
    """What a network is trained to minimise."""

    def reference(self, images: Tensor) -> Tensor:
        """The teacher's logits for a batch of images, (batch, K); NaN where there is no teacher."""
        ...

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
        """Batch mean of the loss, a scalar."""
        ...


def gradient_sums(gradient: Tensor) -> Tensor:
    """Per sample |Σ_i g_i| / Σ_i |g_i|, eqs (5) and (6).

    Args:
        gradient: of a batch mean on the logits, (batch, K), float64.

    Returns:
        (batch,) A sample that is classified so surely that its whole gradient is below √ε, where
        p_i − y_i is little more than the rounding of p_i, counts as 0.

    """
    gradient = gradient * len(gradient)
    total = gradient.abs().sum(dim=1)
    ratio = gradient.sum(dim=1).abs() / total
    return ratio.masked_fill(total <= torch.finfo(gradient.dtype).eps ** 0.5, 0)


@dataclass
class Tally:
    """Running totals over the batches of one split in one epoch, in float64."""

    samples: int = 0
    loss: float = 0.0
    right: int = 0
    logit_total: float = 0.0
    centred_square: float = 0.0
    gap: float = 0.0
    gradient_sum: float = 0.0

    def add(self, objective: Objective, logits: Tensor, reference: Tensor, labels: Tensor) -> None:
        """Count one batch."""
        # evaluated in float64 at the logits that occur, so that gradient_sum tests the formula and
        # not float32's rounding
        wide, reference = logits.detach().double().requires_grad_(), reference.double()
        loss = objective(wide, reference, labels)
        (gradient,) = torch.autograd.grad(loss, wide)
        wide = wide.detach()
        centre = wide.mean(dim=1)
        self.samples += len(labels)
        self.loss += float(loss.detach()) * len(labels)
        self.right += int((wide.argmax(dim=1) == labels).sum())
        self.logit_total += float(centre.sum())
        self.centred_square += float((wide - centre[:, None]).square().mean(dim=1).sum())
        self.gap += float((centre - reference.mean(dim=1)).sum())
        largest = gradient_sums(gradient).max()
        # not Python's max, which would lose a NaN
        self.gradient_sum = float(largest.clamp(min=self.gradient_sum))

    def row(self) -> dict[str, Any]:
        """Means over the samples counted so far."""
        return {
            "objective": self.loss / self.samples,
            "accuracy": self.right / self.samples,
            "mean_logit": self.logit_total / self.samples,
            "logit_rms": (self.centred_square / self.samples) ** 0.5,
            "logit_gradient_sum": self.gradient_sum,
            "gap": self.gap / self.samples,
        }


@dataclass
class Recorder:
    """Collects the history's rows."""

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
        self.probe_reference = self.objective.reference(self.probe)
        self.test_reference = torch.cat(
            [self.objective.reference(batch) for batch in self.test.batches(EVALUATION_BATCH)]
        )
        self.test_logits = torch.empty(0)

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

    def record(self, epoch: int, trained: Tally | None) -> bool:
        """Whether all that there is to record is finite; nothing is recorded otherwise."""
        sums = self._sums()
        probe = Tally()
        logits = train_mode_logits(self.model, self.probe)
        probe.add(self.objective, logits, self.probe_reference, self.probe_labels)
        drift = (logits.double().mean(dim=1) - self.initial["centre"]).square().mean().sqrt()
        row: dict[str, Any] = {"epoch": epoch, **sums}
        rows = [row | {"split": "probe", "mean_logit_drift": float(drift)} | probe.row()]
        if trained is not None:
            rows.append(row | {"split": "train"} | trained.row())
            self.model.eval()
            self.test_logits = predict(self.model, self.test)
            tested = Tally()
            tested.add(self.objective, self.test_logits, self.test_reference, self.test.labels)
            rows.append(row | {"split": "test"} | tested.row())
        # a teacher's gap is NaN by its nature
        finite = all(
            math.isfinite(value)
            for each in rows
            for key, value in each.items()
            if key not in ("split", "gap")
        )
        if finite:
            self.rows += rows
        return finite
