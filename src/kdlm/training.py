"""One training loop for teachers and students, and what it records.

The loop knows no loss: whoever calls it brings an `Objective`. That keeps a teacher's code, and so
its weights, independent of every distillation loss.
"""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdlm.augmentation import augment
from kdlm.errors import InputError
from kdlm.initialisation import stream
from kdlm.optimizers import OPTIMIZERS, learning_rate
from kdlm.prepared import Prepared, normalise
from kdlm.specs import Recipe, StudentSpec, TeacherSpec

__all__ = [
    "Images",
    "Objective",
    "Trained",
    "configure_torch",
    "predict",
    "resolve_device",
    "train",
    "train_mode_logits",
]

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}
"""Of weights and images; bfloat16 is autocast over float32 weights."""

EVALUATION_BATCH = 512
"""Images a forward pass where no gradient is needed; bounds memory only."""


class Objective(Protocol):
    """What a network is trained to minimise."""

    def reference(self, images: Tensor) -> Tensor:
        """The teacher's logits for a batch of images, (batch, K); NaN where there is no teacher."""
        ...

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
        """Batch mean of the loss, a scalar."""
        ...


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
        """All images in their order, scaled, in batches of ``size``."""
        for pixels in torch.split(self.pixels, size):
            yield self.scaled(pixels)


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` stands for on this machine.

    Raises:
        InputError: cuda was asked for and there is none.

    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "device: cuda was asked for, but torch sees no CUDA device on this machine"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def configure_torch(threads: int) -> None:
    """Make this process repeatable: ``threads`` CPU threads, deterministic kernels only.

    Call it after all imports: what they made is left out of garbage collection from here on.
    Sums are split by thread, so the count decides the last bits; it never follows ``--cores``.
    """
    gc.freeze()
    gc.enable()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    # as use_deterministic_algorithms, which would also import the compiler, 2 s of every job
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False


def _autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    if recipe.precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def train_mode_logits(model: nn.Module, images: Tensor) -> Tensor:
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
class _Tally:
    """Running totals over the batches of one split in one epoch, in float64."""

    samples: int = 0
    loss: float = 0.0
    right: int = 0
    logit_total: float = 0.0
    centred_square: float = 0.0
    gap: float = 0.0
    gradient_sum: float = 0.0

    def add(self, objective: Objective, logits: Tensor, reference: Tensor, labels: Tensor) -> None:
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

    def row(self) -> dict[str, float]:
        return {
            "objective": self.loss / self.samples,
            "accuracy": self.right / self.samples,
            "mean_logit": self.logit_total / self.samples,
            "logit_rms": (self.centred_square / self.samples) ** 0.5,
            "logit_gradient_sum": self.gradient_sum,
            "gap": self.gap / self.samples,
        }


@dataclass
class _Recorder:
    """Writes the history: a row per epoch and split."""

    model: nn.Module
    objective: Objective
    test: Images
    probe: Tensor
    probe_labels: Tensor
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.initial_weight = self._classifier("weight")
        self.initial_bias = self._classifier("bias")
        self.initial_centre = train_mode_logits(self.model, self.probe).double().mean(dim=1)
        self.probe_reference = self.objective.reference(self.probe)
        self.test_reference = torch.cat(
            [self.objective.reference(batch) for batch in self.test.batches(EVALUATION_BATCH)]
        )
        self.test_logits = torch.empty(0)

    def _classifier(self, name: str) -> Tensor:
        return self.model.get_parameter(f"classifier.{name}").detach().double().clone()

    def _sums(self) -> dict[str, float]:
        weight = self._classifier("weight") - self.initial_weight
        bias = self._classifier("bias") - self.initial_bias
        return {
            "classifier_weight_sum": float(weight.sum(dim=0).norm()),
            "classifier_bias_sum": float(bias.sum().abs()),
            "classifier_weight_change": float(weight.norm()),
            "classifier_bias_change": float(bias.norm()),
        }

    def record(self, epoch: int, trained: _Tally | None) -> None:
        sums = self._sums()
        probe = _Tally()
        logits = train_mode_logits(self.model, self.probe)
        probe.add(self.objective, logits, self.probe_reference, self.probe_labels)
        drift = (logits.double().mean(dim=1) - self.initial_centre).square().mean().sqrt()
        row = {"epoch": epoch, **sums}
        self.rows.append(row | {"split": "probe", "mean_logit_drift": float(drift)} | probe.row())
        if trained is None:
            return
        self.rows.append(row | {"split": "train"} | trained.row())
        self.model.eval()
        self.test_logits = predict(self.model, self.test)
        tested = _Tally()
        tested.add(self.objective, self.test_logits, self.test_reference, self.test.labels)
        self.rows.append(row | {"split": "test"} | tested.row())


@dataclass(frozen=True)
class Trained:
    """What training leaves: the history's rows and the last epoch's test logits (N, K)."""

    history: list[dict[str, Any]]
    test_logits: Tensor


def train(
    model: nn.Module,
    objective: Objective,
    spec: TeacherSpec | StudentSpec,
    prepared: Prepared,
    role: str,
) -> Trained:
    """Train ``model`` in place for the epochs of its recipe.

    Batch order and augmentation come from streams of the spec's seed and the ``role`` alone, so
    all students of one seed see the same views in the same order, whatever their loss.
    """
    recipe = spec.recipe
    device = next(model.parameters()).device
    train_images = Images.of(prepared, "train", recipe, device)
    test_images = Images.of(prepared, "test", recipe, device)
    order, views = stream(spec.seed, f"{role} order"), stream(spec.seed, f"{role} views")
    parameters = list(model.parameters())
    optimizer = OPTIMIZERS[recipe.optimizer](parameters, recipe)
    probe = train_images.pixels[: recipe.batch_size]
    recorder = _Recorder(
        model, objective, test_images, train_images.scaled(probe), train_images.labels[: len(probe)]
    )
    recorder.record(0, None)

    for epoch in range(1, recipe.epochs + 1):
        model.train()
        rate = learning_rate(recipe, epoch)
        tally = _Tally()
        permutation = torch.randperm(len(train_images.labels), generator=order).to(device)
        for batch in torch.split(permutation, recipe.batch_size):
            pixels, labels = train_images.pixels[batch], train_images.labels[batch]
            if recipe.augment:
                pixels = augment(pixels, spec.crop_padding, spec.flip, views)
            images = train_images.scaled(pixels)
            with _autocast(recipe, device):
                reference = objective.reference(images)
                logits = model(images).to(images.dtype)
            loss = objective(logits, reference, labels)
            optimizer.step(list(torch.autograd.grad(loss, parameters)), rate)
            tally.add(objective, logits, reference, labels)
        recorder.record(epoch, tally)
        logger.info(
            "epoch %d/%d  objective %.6g  train accuracy %.4f  test accuracy %.4f",
            epoch,
            recipe.epochs,
            *(recorder.rows[-2][k] for k in ("objective", "accuracy")),
            recorder.rows[-1]["accuracy"],
        )
    return Trained(recorder.rows, recorder.test_logits)
