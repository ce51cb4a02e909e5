"""Distillation as the field writes it, against which ``benchmarks training`` measures kdlm.

It follows the public code of Tian, Krishnan and Isola (arXiv 1910.10699), whose style most
repositories for CIFAR share: images pass one by one through PIL in a ``DataLoader``, the networks
are eager modules in torch's default memory format, the teacher runs beside the student, and each
batch ends with meters of loss and accuracy. Of kdlm there are the images, the teacher's weights and
the student's initial weights, so that both ways do the same work; a test holds them together.
"""

import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.work import Work
from kdlm.data._torchvision import transforms
from kdlm.data.images import DTYPES
from kdlm.data.prepared import Prepared, open_prepared
from kdlm.networks.architectures import SPELLINGS, build
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.network import Network
from kdlm.networks.saved import load_network

__all__ = ["Outcome", "ResNet", "distil"]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm, added to a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
            if stride != 1 or in_channels != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, in_channels, H, W) to (B, channels, H/stride, W/stride)."""
        residual = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            residual = self.downsample(x)
        out += residual
        return functional.relu(out)


class ResNet(nn.Module):
    """A ResNet of depth 6n + 2 for images of 32×32 pixels."""

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.avgpool = nn.AvgPool2d(8)
        self.fc = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [BasicBlock(channels, channels, 1) for _ in range(blocks - 1)]
        return nn.Sequential(BasicBlock(in_channels, channels, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, K) of images x (B, 3, 32, 32)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = self.avgpool(x)
        logits: Tensor = self.fc(x.view(x.size(0), -1))
        return logits


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images in memory as bytes (N, 32, 32, 3), each transformed when it is asked for."""

    def __init__(self, prepared: Prepared, *, augment: bool, crop_padding: int) -> None:
        pixels = prepared.train_images.permute(0, 2, 3, 1).contiguous()
        self.data = pixels.numpy()
        self.targets: list[int] = prepared.train_labels.tolist()
        moved = [transforms.RandomCrop(32, crop_padding), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose(
            [
                *(moved if augment else []),
                transforms.ToTensor(),
                transforms.Normalize(prepared.mean, prepared.sd),
            ]
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the image (3, 32, 32) at ``index``, transformed, and its label."""
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


@dataclass
class AverageMeter:
    """The latest value of a quantity, and its mean over all samples so far."""

    latest: float = 0.0
    total: float = 0.0
    count: int = 0
    average: float = 0.0

    def update(self, value: float, samples: int) -> None:
        """Add the mean ``value`` of some ``samples``."""
        self.latest = value
        self.total += value * samples
        self.count += samples
        self.average = self.total / self.count


def accuracy(logits: Tensor, labels: Tensor, top: Sequence[int] = (1, 5)) -> list[Tensor]:
    """Return the percentage of samples whose label is among the k largest logits, by k."""
    with torch.no_grad():
        _, predicted = logits.topk(max(top), 1, largest=True, sorted=True)
        right = predicted.t().eq(labels.view(1, -1).expand(max(top), -1))
        return [right[:k].reshape(-1).float().sum(0) * (100.0 / labels.size(0)) for k in top]


def kd_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T²·KL of the softened softmaxes of two sets of logits (batch, K), batch mean."""
    log_p_student = functional.log_softmax(student / temperature, dim=1)
    p_teacher = functional.softmax(teacher / temperature, dim=1)
    total = functional.kl_div(log_p_student, p_teacher, reduction="sum")
    return total * temperature**2 / student.shape[0]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves."""

    student: ResNet
    times: list[float] = field(default_factory=list)
    """When each batch was there, by the monotonic clock, in seconds."""

    def weights(self, architecture: str) -> dict[str, Tensor]:
        """Return the student's tensors under the names that kdlm gives to the same layers."""
        return {_own(name, architecture): t for name, t in self.student.state_dict().items()}


def _own(name: str, architecture: str) -> str:
    for pattern, replacement in SPELLINGS[architecture]:
        name = re.sub(pattern, replacement, name)
    return name


def _copied(network: Network, architecture: str) -> ResNet:
    """Return a network of this module with the weights of one of kdlm's."""
    copy = ResNet(int(architecture.removeprefix("resnet")), network.classifier.out_features)
    own = network.state_dict()
    copy.load_state_dict({name: own[_own(name, architecture)] for name in copy.state_dict()})
    return copy.to(network.classifier.weight.dtype)


def _autocast(precision: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()


def distil(work: Work, workers: int, order: Sequence[int] | None = None) -> Outcome:
    """Train the student of ``work`` for one epoch.

    Args:
        work: the networks, the images and the recipe.
        workers: processes in which the images are loaded; 0 loads them in this one.
        order: the images of the epoch by index; None shuffles them.

    """
    spec, prepared = work.spec, open_prepared(work.data)
    torch.set_num_threads(spec.threads)
    # images are made in this type too, as the images of kdlm's training
    torch.set_default_dtype(DTYPES[spec.recipe.precision])
    initial = build(
        spec.architecture, prepared.num_classes, 3, DTYPES[spec.recipe.precision], work.side
    )
    initialise(initial, spec.initialisation, stream(spec.seed, "student weights"))
    student = _copied(initial, spec.architecture)
    teacher = _copied(load_network(work.teacher / "model.safetensors"), work.pair.teacher)
    loader = DataLoader(
        Pictures(prepared, augment=spec.recipe.augment, crop_padding=spec.crop_padding),
        batch_size=spec.recipe.batch_size,
        shuffle=order is None,
        sampler=order,
        num_workers=workers,
    )
    optimizer = torch.optim.SGD(
        student.parameters(),
        lr=spec.recipe.learning_rate,
        momentum=spec.recipe.momentum,
        weight_decay=spec.recipe.weight_decay,
    )
    outcome = Outcome(student)
    losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
    student.train()
    teacher.eval()
    for images, labels in loader:
        outcome.times.append(time.monotonic())
        with _autocast(spec.recipe.precision):
            logits = student(images)
            with torch.no_grad():
                reference = teacher(images.to(teacher.fc.weight.dtype))
        logits, reference = logits.to(images.dtype), reference.to(images.dtype)
        weight = spec.recipe.ce_weight
        cross_entropy = functional.cross_entropy(logits, labels)
        divergence = kd_divergence(logits, reference, spec.temperature)
        loss = weight * cross_entropy + (1 - weight) * divergence

        right1, right5 = accuracy(logits, labels)
        losses.update(loss.item(), images.size(0))
        top1.update(right1.item(), images.size(0))
        top5.update(right5.item(), images.size(0))

        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return outcome
