"""The gradient of knowledge distillation as the temperature grows: eqs (2), (4) and (7).

Everything is float64. Equation numbers are those of Chen, Wang, Chen, arXiv 2109.06458; c = z̄ is
the mean of one sample's logits over its K classes. docs/errata.md proves the corrected form.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from kdlm.losses import kd_loss

__all__ = [
    "FORMS",
    "centred_rms",
    "gradient_limit",
    "infinite_temperature_gradient",
    "kd_gradient",
    "logit_gradient",
    "random_logits",
    "relative_distance",
]

# Beyond this many rms of the teacher's logits the next order in 1/T no longer bends the line.
_ASYMPTOTIC = 10


def _class_mean(logits: Tensor) -> Tensor:
    return logits.mean(dim=1, keepdim=True)


def _printed(student: Tensor, teacher: Tensor) -> Tensor:
    return student - teacher + (_class_mean(student) - _class_mean(teacher))


def _corrected(student: Tensor, teacher: Tensor) -> Tensor:
    return student - teacher - (_class_mean(student) - _class_mean(teacher))


def _lm(student: Tensor, teacher: Tensor) -> Tensor:
    return student - teacher


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "printed": _printed,
    "corrected": _corrected,
    "lm": _lm,
}
"""K times the gradient that each form states, by the names of table ``gradient_limit``."""


def infinite_temperature_gradient(
    student_logits: Tensor, teacher_logits: Tensor, form: str
) -> Tensor:
    """Gradient on each sample's logits that a form states for T²-weighted KD at T → ∞.

    - ``printed``, (4)③ and (7) as the paper has them: (1/K)(z^s_i − z^t_i + (c^s − c^t));
    - ``corrected``: (1/K)(z^s_i − z^t_i − (c^s − c^t));
    - ``lm``, the gradient of logits matching (2): (1/K)(z^s_i − z^t_i).

    Returns:
        (batch, K), float64, not divided by the batch.

    Raises:
        ValueError: an unknown form.

    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
    student, teacher = student_logits.double(), teacher_logits.double()
    return FORMS[form](student, teacher) / student.shape[1]


def logit_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Gradient of each sample's own loss on its logits (batch, K), by autograd in float64.

    ``loss`` maps logits to their batch mean, so autograd's gradient is taken times the batch.
    """
    leaf = logits.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    return torch.mul(gradient, len(leaf))


def kd_gradient(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Gradient of T²-weighted KD (3) on each sample's student logits, (batch, K) float64.

    Raises:
        ValueError: wrong shapes, or a temperature that is not in (0, inf].

    """
    teacher = teacher_logits.double()
    return logit_gradient(lambda student: kd_loss(student, teacher, temperature), student_logits)


def relative_distance(gradient: Tensor, form: Tensor, scale: Tensor) -> Tensor:
    """‖gradient − form‖₂ / ‖scale‖₂ of each sample, (batch,)."""
    return torch.div((gradient - form).norm(dim=1), scale.norm(dim=1))


def centred_rms(logits: Tensor) -> float:
    """Root mean square over samples and classes of z − c, in logits: rms(z)."""
    z = logits.double()
    return float((z - _class_mean(z)).square().mean().sqrt())


def gradient_limit(
    student_logits: Tensor, teacher_logits: Tensor, temperatures: Sequence[float]
) -> pd.DataFrame:
    """How far the T²-weighted KD gradient is from each form: table ``gradient_limit`` less source.

    A row per form and temperature. The slope is that of log(median relative distance) on log(T)
    over the finite temperatures above ten rms(z), NaN where they are fewer than two. For the
    corrected form it is −1, and −2 for two classes, where the term in 1/T vanishes; for a form that
    is not the limit it is 0.

    Args:
        student_logits: (batch, K).
        teacher_logits: (batch, K).
        temperatures: each in (0, inf].

    Raises:
        ValueError: wrong shapes, or a temperature that is not in (0, inf].

    """
    rows = pd.DataFrame(_distances(student_logits, teacher_logits, temperatures))
    slopes = {form: _slope(group) for form, group in rows.groupby("form")}
    return rows.assign(slope=rows["form"].map(slopes))


def _distances(
    student_logits: Tensor, teacher_logits: Tensor, temperatures: Sequence[float]
) -> Iterator[dict[str, object]]:
    student, teacher = student_logits.double(), teacher_logits.double()
    scale = infinite_temperature_gradient(student, teacher, "corrected")
    rms = centred_rms(teacher)
    for temperature in temperatures:
        gradient = kd_gradient(student, teacher, temperature)
        for form in FORMS:
            stated = infinite_temperature_gradient(student, teacher, form)
            distance = relative_distance(gradient, stated, scale)
            yield {
                "form": form,
                "temperature": temperature,
                "temperature_over_rms": temperature / rms,
                "relative_distance": float(distance.median()),
                "relative_distance_max": float(distance.max()),
                "gradient_norm": float(gradient.square().sum(dim=1).mean().sqrt()),
            }


def _slope(rows: pd.DataFrame) -> float:
    used = rows[
        (rows["temperature_over_rms"] > _ASYMPTOTIC)
        & np.isfinite(rows["temperature"])
        & (rows["relative_distance"] > 0)
    ]
    if len(used) < 2:
        return math.nan
    fit = stats.linregress(np.log(used["temperature"]), np.log(used["relative_distance"]))
    return float(fit.slope)


def random_logits(
    samples: int,
    num_classes: int,
    standard_deviation: float,
    *,
    student_mean: float,
    teacher_mean: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Student and teacher logits (samples, K), float64, whose class means are the given numbers.

    Normal draws of the given standard deviation, less each sample's own mean, plus the given one:
    c^s and c^t hold for every sample, not on average.
    """

    def draw(mean: float) -> Tensor:
        z = torch.randn(samples, num_classes, dtype=torch.float64, generator=generator)
        return standard_deviation * (z - _class_mean(z)) + mean

    return draw(student_mean), draw(teacher_mean)
