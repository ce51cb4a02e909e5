"""Distilling a student: its initial weights are shifted or perturbed, then it learns by a loss."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from kdlm.data.images import DTYPES, EVALUATION_BATCH, Images, train_mode_logits
from kdlm.data.prepared import Prepared, open_prepared
from kdlm.errors import InputError
from kdlm.losses import named_loss
from kdlm.networks.architectures import build
from kdlm.networks.devices import configure_torch, resolve_device, to_device
from kdlm.networks.initialisation import initialise, jitter, perturb, stream
from kdlm.networks.network import Network
from kdlm.sources import digest
from kdlm.storage.files import verify
from kdlm.study.specs import StudentSpec
from kdlm.training.checkpoints import Checkpoint, CheckpointPolicy
from kdlm.training.loop import train
from kdlm.training.outputs import read_initial_mean, read_logits, write_outputs
from kdlm.training.teaching import Answers, OnlineTeacher

__all__ = ["distill"]


@dataclass(frozen=True)
class _Distillation:
    """The objective of a student: w CE + (1 − w) L, with w the recipe's ``ce_weight``.

    L is the spec's loss, against the logits of the teacher in eval mode. For the loss ``ce``, L is
    the cross-entropy itself, so the teacher has no influence.
    """

    spec: StudentSpec
    teacher: "_Teacher"
    logits: Mapping[str, Tensor]
    """The teacher's logits (N, K) for the images of each split, not augmented."""
    student_mean: float
    teacher_mean: float

    def recorded(self, split: str, first: int, last: int) -> Tensor:
        return self.logits[split][first:last]

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:
        return self.teacher(images, epoch, batch).to(images.dtype)

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
        weight = self.spec.recipe.ce_weight
        loss = named_loss(
            self.spec.loss,
            student_logits=logits,
            teacher_logits=reference,
            targets=labels,
            temperature=self.spec.temperature,
            student_mean=self.student_mean,
            teacher_mean=self.teacher_mean,
        )
        if weight == 0:
            return loss
        return weight * functional.cross_entropy(logits, labels) + (1 - weight) * loss


class _Teacher(Protocol):
    """Gives the logits (B, K) of a teacher in eval mode for the views of one batch."""

    def __call__(self, images: Tensor, epoch: int, batch: int) -> Tensor: ...


def _train_mode_mean(model: Network, images: Images) -> float:
    """Return the mean logit of an untrained network over all training images and classes.

    BatchNorm runs in train mode: an untrained network has no running statistics of the data.
    """
    means = [
        train_mode_logits(model, batch).double().mean(dim=1)
        for batch in images.batches(EVALUATION_BATCH)
    ]
    return float(torch.cat(means).mean())


def _initial_student(
    spec: StudentSpec, prepared: Prepared, teacher_mean: float, device: torch.device
) -> tuple[Network, float]:
    """Build the student as it is before training, and return it with its mean logit c^s.

    Its weights are drawn. Unless the spec's means are natural, its last bias is shifted so that its
    mean logit over the training set is ``teacher_mean`` plus the spec's mean gap. Then every weight
    is moved by the spec's perturbations.
    """
    channels, _, side = prepared.image_shape
    dtype = DTYPES[spec.recipe.precision]
    model = build(spec.architecture, prepared.num_classes, channels, dtype, side)
    initialise(model, spec.initialisation, stream(spec.seed, "student weights"))
    to_device(model, device)
    images = Images.of(prepared, "train", spec.recipe.precision, device)
    student_mean = _train_mode_mean(model, images)
    if spec.means != "natural":
        with torch.no_grad():
            model.get_parameter("classifier.bias").add_(spec.mean_gap + teacher_mean - student_mean)
        student_mean = teacher_mean + spec.mean_gap
    perturb(model, spec.perturbation)
    jitter(model, spec.relative_perturbation, stream(spec.seed, "student jitter"))
    return model, student_mean


def distill(
    spec: StudentSpec,
    data: Path,
    teacher: Path,
    directory: Path,
    keeping: CheckpointPolicy | None = None,
    answers: Path | None = None,
) -> None:
    """Train one student and write its files to ``directory``.

    A student that diverges counts as a result, not as an error: its files are written as they were
    after the last whole epoch, and their metadata say where the student diverged.

    The result is the same to the bit whether the teacher runs beside the student, or its logits
    are read from its ``answers`` (`kdlm.training.answers.write_answers`).

    Args:
        spec: the student's spec.
        data: file of the prepared dataset.
        teacher: folder with the teacher's files.
        directory: folder that the student's files are written to.
        keeping: where and how often to save checkpoints; None saves none.
        answers: file of the teacher's answers to the student's views; None runs the teacher.

    Raises:
        InputError: a file cannot be read, the dataset leaves a single image for the last batch, the
            teacher has another number of classes than the dataset, the answers are of another
            teacher or other views, or the device is missing.
        SystemExit: a signal asked to stop.

    """
    configure_torch(spec.threads)
    device = resolve_device(spec.device)
    prepared = open_prepared(data)
    spec.recipe.refuse_last_image(len(prepared.train_labels))
    seals = [
        verify(teacher / name)
        for name in ("model.safetensors", "logits.parquet", "history.parquet")
    ]
    logits = {split: read_logits(teacher / "logits.parquet", split) for split in ("train", "test")}
    teacher_classes = logits["train"].shape[1]
    if teacher_classes != prepared.num_classes:
        raise InputError(
            f"{teacher}: the teacher knows {teacher_classes} classes, "
            f"but {data} has {prepared.num_classes}; teacher and student must share theirs"
        )
    if spec.means == "untrained-teacher":
        teacher_mean = read_initial_mean(teacher / "history.parquet")
    else:
        teacher_mean = float(logits["train"].mean())
    model, student_mean = _initial_student(spec, prepared, teacher_mean, device)
    objective = _Distillation(
        spec,
        OnlineTeacher.load(teacher, device) if answers is None else Answers(answers, spec, teacher),
        {split: values.to(device) for split, values in logits.items()},
        student_mean=student_mean,
        teacher_mean=teacher_mean,
    )
    checkpoint = Checkpoint(
        keeping,
        {
            "spec": spec.canonical_json(),
            "version of the code": digest("kdlm.training.students"),
            "version of torch": torch.__version__,
            "kind of device": device.type,
            "data set": prepared.sha256,
            "teacher": "".join(seals),
        },
    )
    trained = train(model, objective, spec, prepared, "student", checkpoint)
    write_outputs(
        directory,
        spec=spec,
        model=model,
        image_shape=prepared.image_shape,
        history=trained.history,
        logits={"test": (trained.test_logits, prepared.test_labels)},
        device=device,
        resumptions=checkpoint.resumptions,
        diverged=asdict(trained.diverged) if trained.diverged else None,
    )
    checkpoint.remove()
