"""Training written out from the papers and PyTorch's own classes, to hold kdlm's training against.

Of kdlm there is the network's definition and what gives it the same weights, order and views:
`initialise` and `stream`. All else is torch.optim and its schedulers, nn.CrossEntropyLoss,
F.kl_div, and loops over samples and pixels. Slow, and meant to be read.
"""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.resnet import ResNet, resnet8
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec


@dataclass(frozen=True)
class Pictures:
    """Images, uint8 (N, C, H, W), and labels of both splits."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    num_classes: int

    def scaled(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Pixels from 0 to 1, less the training set's mean, over its sd, channel by channel."""
        out = torch.empty(pixels.shape, dtype=torch.float64)
        for channel in range(pixels.shape[1]):
            every = self.train_images[:, channel].double() / 255
            mean, sd = every.mean(), every.std(correction=0)
            out[:, channel] = (pixels[:, channel].double() / 255 - mean) / sd
        return out.to(dtype)


@dataclass(frozen=True)
class Result:
    """What a training comes to."""

    model: ResNet
    rows: list[dict[str, Any]]
    test_logits: Tensor


Loss = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""Of logits, the teacher's logits, and labels: the mean over the samples."""


def network(spec: TeacherSpec | StudentSpec, pictures: Pictures, purpose: str) -> ResNet:
    """A resnet8 with its initial weights."""
    model = resnet8(
        num_classes=pictures.num_classes, in_channels=pictures.train_images.shape[1]
    ).to(torch.float64 if spec.recipe.precision == "float64" else torch.float32)
    initialise(model, spec.initialisation, stream(spec.seed, purpose))
    # kernels round by the memory layout
    return model.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def _optimizer(model: ResNet, recipe: Recipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=decay,
        )
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)


def _scheduler(
    optimizer: torch.optim.Optimizer, recipe: Recipe
) -> torch.optim.lr_scheduler.LRScheduler:
    schedule = recipe.schedule
    if schedule.name == "step":
        return torch.optim.lr_scheduler.MultiStepLR(
            optimizer, [*schedule.milestones], schedule.factor
        )
    if schedule.name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)


def views(pixels: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image moved by its own offset, black coming in, and mirrored by its own coin."""
    top, left = torch.randint(2 * padding + 1, (2, len(pixels)), generator=generator).tolist()
    coins = [0] * len(pixels)
    if flip:
        coins = torch.randint(2, (len(pixels),), generator=generator).tolist()
    height, width = pixels.shape[2:]
    out = torch.zeros_like(pixels)
    for i, image in enumerate(pixels):
        for y in range(height):
            for x in range(width):
                row, column = y + top[i] - padding, x + left[i] - padding
                if 0 <= row < height and 0 <= column < width:
                    out[i, :, y, width - 1 - x if coins[i] else x] = image[:, row, column]
    return out


def _numbers(loss: Loss, logits: Tensor, teacher: Tensor | None, labels: Tensor) -> dict[str, Any]:
    """The columns of a row that are functions of the logits, a sample at a time, in float64."""
    objective = centred = total_mean = right = largest = 0.0
    means: list[float] = []
    gaps: list[float] = []
    logits_matching: list[float] = []
    for i in range(len(labels)):
        z = logits[i].double().requires_grad_()
        of_teacher = None if teacher is None else teacher[i : i + 1].double()
        value = loss(z[None], of_teacher, labels[i : i + 1])
        (gradient,) = torch.autograd.grad(value, z)
        z = z.detach()
        objective += float(value.detach())
        right += int(z.argmax()) == int(labels[i])
        total_mean += float(z.mean())
        centred += float((z - z.mean()).square().mean())
        means.append(float(z.mean()))
        if of_teacher is not None:
            gaps.append(float(z.mean() - of_teacher.mean()))
            logits_matching.append(float((z - of_teacher[0]).square().sum()) / (2 * len(z)))
        size = float(gradient.abs().sum())
        # below this a gradient is rounding
        if size > math.sqrt(torch.finfo(torch.float64).eps):
            largest = max(largest, abs(float(gradient.sum())) / size)
    number = len(labels)
    energies = [gap**2 / 2 for gap in gaps]
    known = bool(gaps)
    return {
        "objective": objective / number,
        "accuracy": right / number,
        "mean_logit": total_mean / number,
        "mean_logit_rms": math.sqrt(sum(mean**2 for mean in means) / number),
        "logit_rms": math.sqrt(centred / number),
        "logit_gradient_sum": largest,
        "gap": sum(gaps) / number if known else math.nan,
        "gap_rms": math.sqrt(sum(gap**2 for gap in gaps) / number) if known else math.nan,
        "gap_energy": sum(energies) / number if known else math.nan,
        "gap_share": sum(energies) / sum(logits_matching) if known else math.nan,
    }


def _eval_logits(model: ResNet, images: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(images)  # type: ignore[no-any-return]


def _train_logits(model: ResNet, images: Tensor) -> Tensor:
    """BatchNorm on the images' own statistics; of a copy, so nothing is left behind."""
    with torch.no_grad():
        return copy.deepcopy(model).train()(images)  # type: ignore[no-any-return]


def _classifier(model: ResNet) -> tuple[Tensor, Tensor]:
    return (
        model.classifier.weight.detach().double().clone(),
        model.classifier.bias.detach().double().clone(),
    )


def fit(
    model: ResNet,
    loss: Loss,
    teacher: ResNet | None,
    spec: TeacherSpec | StudentSpec,
    pictures: Pictures,
    role: str,
) -> Result:
    """Train ``model`` in place and keep the books."""
    recipe = spec.recipe
    dtype = next(model.parameters()).dtype
    order, eyes = stream(spec.seed, f"{role} order"), stream(spec.seed, f"{role} views")
    optimizer = _optimizer(model, recipe)
    scheduler = _scheduler(optimizer, recipe)
    probe = pictures.scaled(pictures.train_images[: recipe.batch_size], dtype)
    probe_labels = pictures.train_labels[: recipe.batch_size]
    test = pictures.scaled(pictures.test_images, dtype)
    weight, bias = _classifier(model)
    centre = _train_logits(model, probe).double().mean(dim=1)

    def of_teacher(images: Tensor, *, autocast: bool = False) -> Tensor | None:
        if teacher is None:
            return None
        with _precision(recipe) if autocast else nullcontext():
            return _eval_logits(teacher, images.to(next(teacher.parameters()).dtype)).double()

    def row(epoch: int, split: str, numbers: dict[str, Any]) -> dict[str, Any]:
        now_weight, now_bias = _classifier(model)
        return {
            "epoch": epoch,
            "split": split,
            "classifier_weight_sum": float((now_weight - weight).sum(dim=0).norm()),
            "classifier_bias_sum": abs(float((now_bias - bias).sum())),
            "classifier_weight_change": float((now_weight - weight).square().sum().sqrt()),
            "classifier_bias_change": float((now_bias - bias).square().sum().sqrt()),
            "mean_logit_drift": math.nan,
        } | numbers

    def probed(epoch: int) -> dict[str, Any]:
        z = _train_logits(model, probe)
        moved = z.double().mean(dim=1) - centre
        numbers = _numbers(loss, z, of_teacher(probe), probe_labels)
        return row(
            epoch, "probe", numbers | {"mean_logit_drift": float(moved.square().mean().sqrt())}
        )

    whole = pictures.scaled(pictures.train_images, dtype)
    start = _numbers(loss, _train_logits(model, whole), of_teacher(whole), pictures.train_labels)
    rows = [row(0, "initial", start), probed(0)]
    logits = _eval_logits(model, test)
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        seen: list[tuple[Tensor, Tensor | None, Tensor]] = []
        indices = torch.randperm(len(pictures.train_labels), generator=order).tolist()
        for first in range(0, len(indices), recipe.batch_size):
            batch = indices[first : first + recipe.batch_size]
            pixels, labels = pictures.train_images[batch], pictures.train_labels[batch]
            if recipe.augment:
                pixels = views(pixels, spec.crop_padding, spec.flip, eyes)
            images = pictures.scaled(pixels, dtype)
            optimizer.zero_grad()
            with _precision(recipe):
                z = model(images)
            z = z.to(dtype)
            reference = of_teacher(images, autocast=True)
            loss(z.double(), reference, labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen.append((z.detach(), reference, labels))
        scheduler.step()
        known = [reference for _, reference, _ in seen if reference is not None]
        numbers = _numbers(
            loss,
            torch.cat([z for z, _, _ in seen]),
            torch.cat(known) if known else None,
            torch.cat([labels for _, _, labels in seen]),
        )
        logits = _eval_logits(model, test)
        rows += [
            probed(epoch),
            row(epoch, "train", numbers),
            row(epoch, "test", _numbers(loss, logits, of_teacher(test), pictures.test_labels)),
        ]
    return Result(model, rows, logits)


def _precision(recipe: Recipe) -> Any:
    if recipe.precision == "bfloat16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


def train_teacher(spec: TeacherSpec, pictures: Pictures) -> Result:
    """A teacher, by cross-entropy."""

    def cross_entropy(z: Tensor, _: Tensor | None, labels: Tensor) -> Tensor:
        return nn.CrossEntropyLoss()(z, labels)  # type: ignore[no-any-return]

    model = network(spec, pictures, "teacher weights")
    return fit(model, cross_entropy, None, spec, pictures, "teacher")


def distil(spec: StudentSpec, teacher: ResNet, of_teacher: float, pictures: Pictures) -> Result:
    """A student: w CE + (1 − w) loss, its mean logit brought to ``of_teacher`` plus the gap."""
    model = network(spec, pictures, "student weights")
    images = pictures.scaled(pictures.train_images, next(model.parameters()).dtype)
    of_student = float(_train_logits(model, images).double().mean())
    wanted = of_student if spec.means == "natural" else of_teacher + spec.mean_gap
    signs = stream(spec.seed, "student jitter")
    with torch.no_grad():
        model.get_parameter("classifier.bias").add_(wanted - of_student)
        for parameter in model.parameters():
            if spec.relative_perturbation:
                coins = torch.randint(0, 2, parameter.shape, generator=signs)
                away = coins.double().mul(2).sub(1).mul(spec.relative_perturbation)
                parameter.mul_(away.add(1).to(parameter.dtype))
            for _ in range(spec.perturbation):
                parameter.copy_(torch.nextafter(parameter, torch.full_like(parameter, math.inf)))
    distillation = _distillation(spec, wanted, of_teacher)

    def objective(z: Tensor, reference: Tensor | None, labels: Tensor) -> Tensor:
        assert reference is not None
        cross_entropy: Tensor = nn.CrossEntropyLoss()(z, labels)
        if spec.loss == "ce":
            return cross_entropy
        w = spec.recipe.ce_weight
        return w * cross_entropy + (1 - w) * distillation(z, reference)

    return fit(model, objective, teacher, spec, pictures, "student")


def _distillation(
    spec: StudentSpec, student_mean: float, teacher_mean: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """The losses as docs/errata.md has them, by torch's own functions."""
    T = spec.temperature  # noqa: N806

    def kd(z: Tensor, reference: Tensor) -> Tensor:
        log_student = functional.log_softmax(z / T, dim=1)
        of_teacher = functional.softmax(reference / T, dim=1)
        return T**2 * functional.kl_div(log_student, of_teacher, reduction="batchmean")

    def reverse_kd(z: Tensor, reference: Tensor) -> Tensor:
        log_teacher = functional.log_softmax(reference / T, dim=1)
        of_student = functional.softmax(z / T, dim=1)
        return T**2 * functional.kl_div(log_teacher, of_student, reduction="batchmean")

    def standardised_kd(z: Tensor, reference: Tensor) -> Tensor:
        z, reference = (
            (one - one.mean(dim=1, keepdim=True))
            / (one.std(dim=1, correction=0, keepdim=True) + 1e-7)
            for one in (z, reference)
        )
        return centred(z, reference) if math.isinf(T) else kd(z, reference)

    def lm(z: Tensor, reference: Tensor) -> Tensor:
        samples, classes = z.shape
        return (z - reference).square().sum() / (2 * classes * samples)

    def centred(z: Tensor, reference: Tensor) -> Tensor:
        return lm(z - z.mean(dim=1, keepdim=True), reference - reference.mean(dim=1, keepdim=True))

    def regularised(sign: int) -> Callable[[Tensor, Tensor], Tensor]:
        # c^t − c^s over K times the sum of the logits, or with the other sign as printed
        def loss(z: Tensor, reference: Tensor) -> Tensor:
            classes = z.shape[1]
            term = (teacher_mean - student_mean) / classes * z.sum(dim=1).mean()
            return lm(z, reference) + sign * term

        return loss

    def l1(z: Tensor, reference: Tensor) -> Tensor:
        classes = z.shape[1]
        penalty = abs(teacher_mean - student_mean) / classes * z.abs().sum(dim=1).mean()
        return lm(z, reference) + penalty

    return {
        "ce": lm,
        "kd": centred if math.isinf(T) else kd,
        "reverse-kd": centred if math.isinf(T) else reverse_kd,
        "standardised-kd": standardised_kd,
        "lm": lm,
        "centred-lm": centred,
        "regularised-lm-corrected": regularised(1),
        "regularised-lm-printed": regularised(-1),
        "l1-lm": l1,
    }[spec.loss]
