"""One training loop for teachers and students.

The loop itself contains no loss: the caller passes it an `Objective`. So the digest of a teacher's
code does not depend on any distillation loss, and editing a loss retrains no teacher.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kdlm.data.images import Images, predict
from kdlm.data.prepared import Prepared
from kdlm.networks.devices import autocast
from kdlm.networks.network import Network
from kdlm.study.specs import StudentSpec, TeacherSpec
from kdlm.training.checkpoints import Checkpoint, State
from kdlm.training.finiteness import FirstNonFinite
from kdlm.training.history import Objective, Recorder, RunningMetrics
from kdlm.training.optimizers import OPTIMIZERS, SGD, Adam, learning_rate
from kdlm.training.views import Views

__all__ = ["Divergence", "Trained", "train"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Divergence:
    """Where a number of a training first became NaN or infinite."""

    epoch: int
    """The first epoch is 1."""
    batch: int
    """The first batch of an epoch is 1."""
    what: str
    """A name of `kdlm.training.finiteness.KINDS`: what was not finite."""


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
    views: Views
    recorder: Recorder
    finite: FirstNonFinite
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
        self.whole = {name: value.clone() for name, value in self.model.state_dict().items()}

    def state(self) -> State:
        parts: dict[str, dict[str, Tensor]] = {
            "model": self.model.state_dict(),
            "whole": self.whole,
            "optimizer": self.optimizer.state(),
            "recorder": self.recorder.initial,
            "stream": self.views.state(),
            "tally": self.tally.state(),
            "finite": {"found": self.finite.found},
        }
        return State(
            self.epoch,
            self.batch,
            {f"{part}:{name}": value for part, of in parts.items() for name, value in of.items()},
            {"samples": self.tally.samples, "history": self.recorder.rows},
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
        self.views.restore(part("stream:"))
        self.tally = RunningMetrics.restored(state.facts["samples"], part("tally:"), device)
        self.finite.found = state.tensors["finite:found"].to(device)
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
    Within an epoch nothing waits for a GPU: such numbers, and the epoch's metrics, are remembered
    on the device and read when the epoch ends.

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
    train_images = Images.of(prepared, "train", recipe.precision, device)
    test_images = Images.of(prepared, "test", recipe.precision, device)
    views = Views(train_images, spec.views, role)
    parameters = list(model.parameters())
    optimizer = OPTIMIZERS[recipe.optimizer](parameters, recipe)
    probe = train_images.pixels[: recipe.batch_size]
    recorder = Recorder(
        model, objective, test_images, train_images.scaled(probe), train_images.labels[: len(probe)]
    )
    finite = FirstNonFinite(model)
    progress = _Progress(model, optimizer, views, recorder, finite)
    if saved := checkpoint.load():
        progress.restore(saved)
    else:
        recorder.record_start(train_images)
        recorder.record(0, None)

    for epoch in range(progress.epoch, recipe.epochs + 1):
        model.train()
        rate = learning_rate(recipe, epoch)
        views.begin()
        for batch in range(progress.batch, len(views)):
            checkpoint.keep(epoch, batch, progress.state)
            images, labels = views.batch(batch)
            with autocast(recipe.precision, device):
                reference = objective.reference(images, epoch, batch)
                logits = model(images).to(images.dtype)
            loss = objective(logits, reference, labels)
            gradients = list(torch.autograd.grad(loss, parameters))
            finite.look(batch + 1, loss, gradients)
            optimizer.step(gradients, rate)
            progress.tally.add(objective, logits, reference, labels)
            progress.batch += 1
        if found := finite.first():
            return _diverged(progress, Divergence(epoch, *found), checkpoint, test_images)
        if not recorder.record(epoch, progress.tally):
            finite.look(progress.batch, loss, gradients)
            _, what = finite.first() or (0, "gradient")
            found_now = Divergence(epoch, progress.batch, what)
            return _diverged(progress, found_now, checkpoint, test_images)
        progress.begin(epoch + 1)
        logger.info(
            "epoch %d/%d  objective %.6g  train accuracy %.4f  test accuracy %.4f",
            epoch,
            recipe.epochs,
            *(recorder.rows[-2][k] for k in ("objective", "accuracy")),
            recorder.rows[-1]["accuracy"],
        )
    return Trained(recorder.rows, recorder.test_logits)


def _diverged(
    progress: _Progress, found: Divergence, checkpoint: Checkpoint, test_images: Images
) -> Trained:
    """Log the divergence, restore the model of the last whole epoch, and return its outcome."""
    logger.error(
        "diverged in epoch %d, batch %d: %s NaN or infinite; kept is epoch %d; "
        "last good checkpoint: %s",
        found.epoch,
        found.batch,
        found.what,
        found.epoch - 1,
        checkpoint.last,
    )
    model = progress.model
    model.load_state_dict(progress.whole)
    model.eval()
    return Trained(progress.recorder.rows, predict(model, test_images), found)
