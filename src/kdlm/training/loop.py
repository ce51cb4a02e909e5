"""One training loop for teachers and students.

The loop itself contains no loss: the caller passes it an `Objective`. So the digest of a teacher's
code does not depend on any distillation loss, and editing a loss retrains no teacher.
"""

import logging
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from kdlm.data.augmentation import augment
from kdlm.data.images import Images, predict
from kdlm.data.prepared import Prepared
from kdlm.networks.initialisation import stream
from kdlm.networks.network import Network
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec
from kdlm.training.checkpoints import Checkpoint, State
from kdlm.training.history import Objective, Recorder, RunningMetrics
from kdlm.training.optimizers import OPTIMIZERS, SGD, Adam, learning_rate

__all__ = ["Divergence", "Trained", "train"]

logger = logging.getLogger(__name__)


def _autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    if recipe.precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


@dataclass(frozen=True)
class Divergence:
    """Where a number of a training first became NaN or infinite."""

    epoch: int
    """The first epoch is 1."""
    batch: int
    """The first batch of an epoch is 1."""
    what: str
    """The first of ``weights``, ``running statistics``, ``loss``, ``gradient`` not finite."""


@dataclass(frozen=True)
class Trained:
    """The outcome of a training, besides the network itself."""

    history: list[dict[str, Any]]
    """Rows of table ``history``."""
    test_logits: Tensor
    """Test logits (N, K) after the last whole epoch."""
    diverged: Divergence | None = None
    """Where the training diverged; None where it ran to its end."""


@dataclass
class _Progress:
    """Everything that changes while a network is trained; a checkpoint saves all of it."""

    model: Network
    optimizer: SGD | Adam
    order: torch.Generator
    views: torch.Generator
    recorder: Recorder
    epoch: int = 1
    batch: int = 0
    tally: RunningMetrics = field(default_factory=RunningMetrics)

    def __post_init__(self) -> None:
        self.begin(self.epoch)

    def begin(self, epoch: int) -> None:
        """Start ``epoch`` with no batch done, and remember the network as it is now.

        Called before the first epoch and between two epochs.
        """
        self.epoch, self.batch, self.tally = epoch, 0, RunningMetrics()
        self.epoch_order = self.order.get_state()
        self.whole = {name: value.clone() for name, value in self.model.state_dict().items()}

    def state(self) -> State:
        parts: dict[str, dict[str, Tensor]] = {
            "model": self.model.state_dict(),
            "whole": self.whole,
            "optimizer": self.optimizer.state(),
            "recorder": self.recorder.initial,
            "stream": {"order": self.epoch_order, "views": self.views.get_state()},
        }
        return State(
            self.epoch,
            self.batch,
            {f"{part}:{name}": value for part, of in parts.items() for name, value in of.items()},
            {"tally": asdict(self.tally), "history": self.recorder.rows},
        )

    def restore(self, state: State) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): value
                for name, value in state.tensors.items()
                if name.startswith(prefix)
            }

        device = next(self.model.parameters()).device
        self.epoch, self.batch = state.epoch, state.batch
        self.model.load_state_dict(part("model:"))
        self.whole = part("whole:")
        self.optimizer.restore(part("optimizer:"))
        self.recorder.initial = {name: t.to(device) for name, t in part("recorder:").items()}
        self.epoch_order = state.tensors["stream:order"]
        self.order.set_state(self.epoch_order)
        self.views.set_state(state.tensors["stream:views"])
        self.tally = RunningMetrics(**state.facts["tally"])
        self.recorder.rows = state.facts["history"]


def train(
    model: Network,
    objective: Objective,
    spec: TeacherSpec | StudentSpec,
    prepared: Prepared,
    role: str,
    checkpoint: Checkpoint,
) -> Trained:
    """Train ``model`` in place for the epochs of its recipe.

    A training that was interrupted goes on from its ``checkpoint``. The random streams of batch
    order and augmentation depend on the spec's seed and on the ``role`` alone, so all students of
    one seed see the same augmented images in the same order, whatever their loss.

    If the loss, a gradient, a weight or a running statistic becomes NaN or infinite, training ends
    early. The weights, the history and the test logits are then those after the last whole epoch.

    Args:
        model: the network with its initial weights, on its device.
        objective: the loss to minimise.
        spec: recipe, seed and augmentation.
        prepared: the dataset.
        role: ``teacher`` or ``student``.
        checkpoint: where the training is saved and resumed.

    Returns:
        History and test logits, and where the training diverged if it did.

    Raises:
        SystemExit: a signal asked to stop.

    """
    recipe = spec.recipe
    device = next(model.parameters()).device
    train_images = Images.of(prepared, "train", recipe, device)
    test_images = Images.of(prepared, "test", recipe, device)
    order, views = stream(spec.seed, f"{role} order"), stream(spec.seed, f"{role} views")
    parameters, statistics = list(model.parameters()), _statistics(model)
    optimizer = OPTIMIZERS[recipe.optimizer](parameters, recipe)
    probe = train_images.pixels[: recipe.batch_size]
    recorder = Recorder(
        model, objective, test_images, train_images.scaled(probe), train_images.labels[: len(probe)]
    )
    progress = _Progress(model, optimizer, order, views, recorder)
    if saved := checkpoint.load():
        progress.restore(saved)
    else:
        recorder.record_start(train_images)
        recorder.record(0, None)

    for epoch in range(progress.epoch, recipe.epochs + 1):
        model.train()
        rate = learning_rate(recipe, epoch)
        permutation = torch.randperm(len(train_images.labels), generator=order).to(device)
        for batch in torch.split(permutation, recipe.batch_size)[progress.batch :]:
            checkpoint.keep(epoch, progress.batch, progress.state)
            pixels, labels = train_images.pixels[batch], train_images.labels[batch]
            if recipe.augment:
                pixels = augment(pixels, spec.crop_padding, spec.flip, views)
            images = train_images.scaled(pixels)
            with _autocast(recipe, device):
                reference = objective.reference(images)
                logits = model(images).to(images.dtype)
            loss = objective(logits, reference, labels)
            gradients = list(torch.autograd.grad(loss, parameters))
            progress.batch += 1
            if not _finite([loss, *gradients, *statistics]):
                return _diverged(progress, loss, checkpoint, test_images)
            optimizer.step(gradients, rate)
            progress.tally.add(objective, logits, reference, labels)
        if not recorder.record(epoch, progress.tally):
            return _diverged(progress, loss, checkpoint, test_images)
        progress.begin(epoch + 1)
        logger.info(
            "epoch %d/%d  objective %.6g  train accuracy %.4f  test accuracy %.4f",
            epoch,
            recipe.epochs,
            *(recorder.rows[-2][k] for k in ("objective", "accuracy")),
            recorder.rows[-1]["accuracy"],
        )
    return Trained(recorder.rows, recorder.test_logits)


def _statistics(model: Network) -> list[Tensor]:
    """Return BatchNorm's running means and variances, without its integer batch counters."""
    return [buffer for buffer in model.buffers() if buffer.is_floating_point()]


def _finite(tensors: list[Tensor]) -> bool:
    """Return whether every number in ``tensors`` is finite.

    Only the sum is tested: a NaN or an infinity in any term makes the sum NaN or infinite.
    """
    return math.isfinite(torch.stack([tensor.detach().sum() for tensor in tensors]).sum())


def _diverged(
    progress: _Progress, loss: Tensor, checkpoint: Checkpoint, test_images: Images
) -> Trained:
    """Log the divergence, restore the model of the last whole epoch, and return its outcome."""
    model = progress.model
    if not _finite(list(model.parameters())):
        what = "weights"
    elif not _finite(_statistics(model)):
        what = "running statistics"
    else:
        what = "gradient" if _finite([loss]) else "loss"
    found = Divergence(progress.epoch, progress.batch, what)
    logger.error(
        "diverged in epoch %d, batch %d: %s NaN or infinite; kept is epoch %d; "
        "last good checkpoint: %s",
        found.epoch,
        found.batch,
        what,
        found.epoch - 1,
        checkpoint.last,
    )
    model.load_state_dict(progress.whole)
    model.eval()
    return Trained(progress.recorder.rows, predict(model, test_images), found)
