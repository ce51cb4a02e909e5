"""Each loss, forward and backward: the literal formula or torch's own function, and kdlm's.

The literal formulas are computed in the type of the logits, float32, as public code does; kdlm
computes in float64 and is accurate at any temperature. The two take turns in one process.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from kdlm.losses import named_loss

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ["LITERAL", "add_options", "main"]

STUDENT_MEAN, TEACHER_MEAN = 0.5, 1.5

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Of the student's logits, the teacher's, both (batch, K), the labels (batch,), and T."""


def kd(student: Tensor, teacher: Tensor, _labels: Tensor, temperature: float) -> Tensor:
    """Return T²·KL(p^t ‖ p^s) by torch's divergence."""
    log_p_student = functional.log_softmax(student / temperature, dim=1)
    p_teacher = functional.softmax(teacher / temperature, dim=1)
    return temperature**2 * functional.kl_div(log_p_student, p_teacher, reduction="batchmean")


def reverse_kd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return T²·KL(p^s ‖ p^t) by torch's divergence."""
    return kd(teacher, student, labels, temperature)


def standardised_kd(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return `kd` of logits that are standardised in each sample."""
    student, teacher = (
        (z - z.mean(dim=1, keepdim=True)) / (z.std(dim=1, correction=0, keepdim=True) + 1e-7)
        for z in (student, teacher)
    )
    return kd(student, teacher, labels, temperature)


def lm(student: Tensor, teacher: Tensor, _labels: Tensor, _temperature: float) -> Tensor:
    """Return half of torch's mean squared error."""
    return functional.mse_loss(student, teacher) / 2


def centred_lm(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return `lm` of logits less their means."""
    student, teacher = (z - z.mean(dim=1, keepdim=True) for z in (student, teacher))
    return lm(student, teacher, labels, temperature)


def regularised_lm(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, sign: int
) -> Tensor:
    """Return `lm` and the linear term of eq. (8)."""
    term = sign * (TEACHER_MEAN - STUDENT_MEAN) * student.mean(dim=1).mean()
    return lm(student, teacher, labels, temperature) + term


def l1_lm(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return `lm` and an l1 penalty."""
    term = abs(TEACHER_MEAN - STUDENT_MEAN) * student.abs().mean(dim=1).mean()
    return lm(student, teacher, labels, temperature) + term


def ce(student: Tensor, _teacher: Tensor, labels: Tensor, _temperature: float) -> Tensor:
    """Return torch's cross-entropy."""
    return functional.cross_entropy(student, labels)


LITERAL: dict[str, Loss] = {
    "ce": ce,
    "kd": kd,
    "reverse-kd": reverse_kd,
    "standardised-kd": standardised_kd,
    "lm": lm,
    "centred-lm": centred_lm,
    "regularised-lm-corrected": partial(regularised_lm, sign=1),
    "regularised-lm-printed": partial(regularised_lm, sign=-1),
    "l1-lm": l1_lm,
}
"""By the name of a loss in a config, its formula."""


def ours(name: str) -> Loss:
    """Return the loss of that name as a training calls it."""

    def loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        return named_loss(
            name,
            student_logits=student,
            teacher_logits=teacher,
            targets=labels,
            temperature=temperature,
            student_mean=STUDENT_MEAN,
            teacher_mean=TEACHER_MEAN,
        )

    return loss


def seconds(loss: Loss, sides: tuple[Tensor, Tensor, Tensor], calls: int) -> float:
    """Return the mean time of a forward and backward pass at T = 4."""
    student, teacher, labels = sides
    started = time.perf_counter()
    for _ in range(calls):
        torch.autograd.grad(loss(student, teacher, labels, 4.0), student)
    return (time.perf_counter() - started) / calls


def add_options(parser: "ArgumentParser") -> None:
    """Add the options of the command, which are the arguments of `main`."""
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64, help="samples")
    parser.add_argument("--classes", type=int, default=100, help="logits of a sample, K")
    parser.add_argument("--calls", type=int, default=100, help="of each loss in its turn")
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")


def main(threads: int, batch: int, classes: int, calls: int, rounds: int) -> int:
    """Measure, print the table."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(batch, classes, generator=generator) * 3 for _ in range(2))
    sides = student.requires_grad_(), teacher, torch.arange(batch) % classes
    print(f"{batch} samples of {classes} float32 logits, {threads} threads, µs a call")
    print(f"{'loss':<26} {'literal':>8} {'ours':>8} ratio")
    ratios = []
    for name, literal in LITERAL.items():
        both: tuple[Loss, Loss] = (literal, ours(name))
        for loss in both:
            seconds(loss, sides, calls // 10 + 1)
        taken = [[seconds(loss, sides, calls) for loss in both] for _ in range(rounds)]
        theirs, own = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"{name:<26} {1e6 * theirs:>8.0f} {1e6 * own:>8.0f} {theirs / own:>5.2f}")
        ratios.append(f"{name} {theirs / own:.2f}")
    print("ratio " + "; ".join(ratios))
    return 0
