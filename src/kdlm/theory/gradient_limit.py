"""The gradient of knowledge distillation (KD) as the temperature grows: eqs (2), (4) and (7).

All results are float64. Equation numbers are those of Chen, Wang, Chen, arXiv 2109.06458. For one
sample with K classes, z^s and z^t are the logits of student and teacher, and c = z̄ is the mean of
its logits over the classes. docs/errata.md proves the corrected form of eq. (7).
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

# The slope is fitted to temperatures above this many rms of the teacher's centred logits. There the
# distance to the limit is a power of T; below, terms of the next order in 1/T bend the line.
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
"""By form, the function of student and teacher logits that gives K times the stated gradient.

The names are the values of column ``form`` in table ``gradient_limit``.
"""


def infinite_temperature_gradient(
    student_logits: Tensor, teacher_logits: Tensor, form: str
) -> Tensor:
    """Return the limit that one form of eq. (7) states for the gradient of T²·KL as T → ∞.

    The gradient is with respect to the student's logits of one sample. The forms are:

    - ``printed``, (4)③ and (7) as the paper has them: (1/K)(z^s_i − z^t_i + (c^s − c^t));
    - ``corrected``, the true limit: (1/K)(z^s_i − z^t_i − (c^s − c^t));
    - ``lm``, the gradient of logits matching (2): (1/K)(z^s_i − z^t_i).

    >>> student, teacher = torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 4.0]])
    >>> for form in FORMS:
    ...     print(form, infinite_temperature_gradient(student, teacher, form).tolist())
    printed [[0.0, -2.0]]
    corrected [[1.0, -1.0]]
    lm [[0.5, -1.5]]

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K).
        form: ``printed``, ``corrected`` or ``lm``.

    Returns:
        Each sample's own gradient, (batch, K), float64; it is not divided by the batch size.

    Raises:
        ValueError: the form is unknown.

    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; known: {', '.join(FORMS)}")
    student, teacher = student_logits.double(), teacher_logits.double()
    return FORMS[form](student, teacher) / student.shape[1]


def logit_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Return the gradient of each sample's own loss with respect to its logits, by autograd.

    >>> logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> logit_gradient(lambda z: z.square().sum(dim=1).mean(), logits).tolist()
    [[2.0, 4.0], [6.0, 8.0]]

    Args:
        loss: maps logits (batch, K) to the mean loss of the batch, a scalar. Autograd therefore
            divides by the batch size, which is multiplied back.
        logits: (batch, K).

    Returns:
        (batch, K), float64.

    """
    leaf = logits.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    return torch.mul(gradient, len(leaf))


def kd_gradient(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return the gradient of T²·KL(p^t ‖ p^s), eq. (3), on each sample's student logits.

    It is T(p^s − p^t), eq. (A.3) times T².

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K).
        temperature: T in (0, inf].

    Returns:
        (batch, K), float64; not divided by the batch size.

    Raises:
        ValueError: the shapes are wrong, or the temperature is not in (0, inf].

    """
    teacher = teacher_logits.double()
    return logit_gradient(lambda student: kd_loss(student, teacher, temperature), student_logits)


def relative_distance(gradient: Tensor, form: Tensor, scale: Tensor) -> Tensor:
    """Return ‖gradient − form‖₂ / ‖scale‖₂ of each sample, (batch,), from tensors (batch, K).

    >>> zero = torch.zeros(1, 2)
    >>> relative_distance(torch.tensor([[3.0, 4.0]]), zero, torch.tensor([[6.0, 8.0]]))
    tensor([0.5000])
    """
    return torch.div((gradient - form).norm(dim=1), scale.norm(dim=1))


def centred_rms(logits: Tensor) -> float:
    """Return rms(z), the root mean square over samples and classes of the centred logits z − c.

    >>> centred_rms(torch.tensor([[1.0, 3.0], [7.0, 9.0]]))
    1.0
    """
    z = logits.double()
    return float((z - _class_mean(z)).square().mean().sqrt())


def gradient_limit(
    student_logits: Tensor, teacher_logits: Tensor, temperatures: Sequence[float]
) -> pd.DataFrame:
    """Measure how far the gradient of T²·KL is from each form of its limit.

    The slope is fitted to log(median relative distance) against log(T), over the finite
    temperatures above ten rms(z) of the teacher. For the corrected form it is −1, or −2 for two
    classes, where the term in 1/T vanishes. For a form that is not the limit the distance stays
    constant, so the slope is 0.

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K).
        temperatures: each in (0, inf].

    Returns:
        One row for each form and temperature, with the columns of table ``gradient_limit`` except
        ``source``. The slope is NaN where fewer than two temperatures can be used.

    Raises:
        ValueError: the shapes are wrong, or a temperature is not in (0, inf].

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
    """Draw normal logits of student and teacher whose class means are given.

    Each sample's own mean is subtracted and the given mean is added, so that c^s and c^t have the
    given values in every sample, not only on average.

    >>> student, teacher = random_logits(
    ...     3, 5, 2.0, student_mean=1.0, teacher_mean=0.0, generator=torch.Generator()
    ... )
    >>> torch.allclose(student.mean(dim=1), torch.ones(3, dtype=torch.float64))
    True

    Args:
        samples: number of samples.
        num_classes: K.
        standard_deviation: of the draws, in logits.
        student_mean: c^s of every sample.
        teacher_mean: c^t of every sample.
        generator: where the random numbers come from.

    Returns:
        Student logits and teacher logits, each (samples, K), float64.

    """

    def draw(mean: float) -> Tensor:
        z = torch.randn(samples, num_classes, dtype=torch.float64, generator=generator)
        return standard_deviation * (z - _class_mean(z)) + mean

    return draw(student_mean), draw(teacher_mean)
