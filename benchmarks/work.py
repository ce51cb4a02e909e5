"""The work of the training benchmarks: made-up images, a teacher, and a student to be trained."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from kdlm.data.dataset import Dataset
from kdlm.data.prepared import normalise, open_prepared, prepare
from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.network import Network
from kdlm.study.specs import BroughtTeacherSpec, Recipe, StudentSpec
from kdlm.training.brought import bring_teacher

__all__ = ["BATCH", "CLASSES", "PAIRS", "Pair", "Work", "prepare_work"]

BATCH, CLASSES, SIDE = 64, 100, 32


@dataclass(frozen=True)
class Pair:
    """Architectures of a teacher and its student."""

    teacher: str
    student: str

    def __str__(self) -> str:
        return f"{self.teacher}→{self.student}"


PAIRS = (Pair("resnet20", "resnet8"), Pair("resnet56", "resnet20"))


@dataclass(frozen=True)
class Work:
    """A student to be trained for one epoch of ``steps`` batches."""

    folder: Path
    """Folder of the files that `prepare_work` writes."""
    pair: Pair
    precision: str
    """Of the student, as in a recipe; the teacher is float32."""
    threads: int
    steps: int
    augment: bool = True
    batch: int = BATCH
    side: int = SIDE
    """Side of the images in pixels."""

    @property
    def data(self) -> Path:
        """File of the prepared images."""
        return self.folder / "data.safetensors"

    @property
    def teacher(self) -> Path:
        """Folder of the teacher's files."""
        return self.folder / self.pair.teacher

    @property
    def answers(self) -> Path:
        """File of the teacher's logits for the student's views."""
        return self.folder / f"{self.pair.teacher} {self.precision}.answers"

    @property
    def spec(self) -> StudentSpec:
        """The student's spec: KD at T = 4 with a tenth of cross-entropy, as Tian et al. do."""
        recipe: dict[str, Any] = {
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": {"name": "constant"},
            "epochs": 1,
            "batch_size": self.batch,
            "augment": self.augment,
            "ce_weight": 0.1,
            "precision": self.precision,
        }
        return StudentSpec(
            architecture=self.pair.student,
            initialisation="he",
            recipe=Recipe(**recipe),
            crop_padding=4,
            flip=True,
            seed=0,
            device="cpu",
            threads=self.threads,
            loss="kd",
            temperature=4.0,
            means="natural",
            mean_gap=0.0,
            perturbation=0,
        )


def prepare_work(work: Work) -> None:
    """Write the images and the teacher of ``work`` to its folder, unless they are there."""
    if not work.data.exists():
        _write_images(work.data, work.steps * work.batch)
    if not work.teacher.exists():
        _write_teacher(work)


def _write_images(path: Path, number: int) -> None:
    """Prepare ``number`` images of noise to train on, and one batch to test."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (number + BATCH, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator
    )
    labels = torch.randint(CLASSES, (number + BATCH,), generator=generator)
    names = tuple(str(label) for label in range(CLASSES))
    prepare(
        Dataset("noise", images[:number], labels[:number], images[number:], labels[number:], names),
        path,
    )


def _write_teacher(work: Work) -> None:
    """Write an untrained teacher whose BatchNorm knows the images.

    How long a step takes does not depend on the teacher's weights. Its logits only have to be of a
    usual size, so that the student does not diverge.
    """
    prepared = open_prepared(work.data)
    network = build(work.pair.teacher, CLASSES, 3, image_side=SIDE)
    initialise(network, "he", stream(0, "teacher weights"))
    some = prepared.train_images[:256]
    _settle(network, normalise(some, prepared.mean, prepared.sd, torch.float32))
    weights = work.folder / f"{work.pair.teacher}.safetensors"
    save_file(network.state_dict(), weights)
    spec = BroughtTeacherSpec(
        architecture=work.pair.teacher,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        device="cpu",
        threads=work.threads,
    )
    bring_teacher(spec, weights, work.data, work.teacher)


@torch.no_grad()
def _settle(network: Network, images: torch.Tensor) -> None:
    """Set BatchNorm's running statistics to those of ``images`` (B, C, H, W)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # one batch of a cumulative mean is the batch itself
            module.momentum = None
    network.train()
    network(images)
