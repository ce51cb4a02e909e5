"""The losses of the study: pure functions of logits (batch, K) that return the batch mean.

Equation numbers are those of Chen, Wang, Chen, arXiv 2109.06458; docs/errata.md proves where a
corrected form differs from the printed one. Gradients flow to the student alone.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "LOSSES",
    "Form",
    "centred_lm_loss",
    "cross_entropy_lower_bound",
    "kd_loss",
    "lm_loss",
    "regularised_lm_loss",
    "softened",
]

Form = Literal["corrected", "printed"]

# Above this KD differs from its limit by less than float64's rounding for logits up to 1e4.
_AS_GOOD_AS_INFINITE = 1e20
# Where φ changes from its series, good to float64's rounding up to here, to the direct form.
_SERIES_RADIUS = 0.5
_SERIES = [1 / math.factorial(n) for n in range(17, 1, -1)]


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be a positive number or inf, not {temperature}")


def _check_logits(**logits: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in logits.items()}
    for name, shape in shapes.items():
        if len(shape) != 2 or shape[0] < 1 or shape[1] < 2:
            raise ValueError(f"{name} must be (batch, classes) with K ≥ 2 classes, not {shape}")
    if len(set(shapes.values())) > 1:
        listed = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must be the same: {listed}")


def _check_form(form: str) -> None:
    if form not in ("corrected", "printed"):
        raise ValueError(f"form must be 'corrected' or 'printed', not {form!r}")


def _wide(logits: Tensor) -> Tensor:
    """Half precision as float32; float64 as it is."""
    return logits if logits.dtype == torch.float64 else logits.float()


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Tempered softmax, eq. (1): p_i = exp(z_i/T) / Σ_j exp(z_j/T), shape (batch, K).

    Raises:
        ValueError: the shape is not (batch, K), or the temperature not in (0, inf].

    """
    _check_temperature(temperature)
    _check_logits(logits=logits)
    return torch.softmax(_wide(logits) / temperature, dim=1)


def _relative_to(values: Tensor, index: Tensor) -> Tensor:
    """Each sample's values less that of one of its classes, the class ``index`` (batch, 1)."""
    return values - values.gather(1, index)


def _phi_over_square(x: Tensor) -> Tensor:
    """φ(x)/x² with φ(x) = eˣ − 1 − x, which loses all digits near 0 unless summed as a series."""
    small = x.clamp(-_SERIES_RADIUS, _SERIES_RADIUS)
    series = torch.zeros_like(x)
    for coefficient in _SERIES:
        series = series * small + coefficient
    return torch.where(x.abs() < _SERIES_RADIUS, series, (torch.expm1(x) - x) / x.square())


def _kd_value_and_gradient(
    student: Tensor, teacher: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """T²·KL(p^t ‖ p^s) of each sample, (batch,), and its gradient T(p^s − p^t), (batch, K).

    With d = (z^s − z^t)/T and d' = d − Σ p^t d one has Σ p^t e^{d'} = 1 + ε, ε = Σ p^t φ(d'), so

        KL = log(1 + ε),    p^s_i = p^t_i e^{d'_i − KL}.

    Every term of ε is positive and no digit cancels, however small d' is (high T). All differences
    are taken to the teacher's top class m first: d'_m, whose p is near 1 at low T, is then the sum
    of small terms and not the difference of large ones, and a mean common to all logits drops out.
    """
    top = teacher.argmax(dim=1, keepdim=True)
    z_teacher = _relative_to(teacher, top)
    difference = _relative_to(student - teacher, top)
    log_p = torch.log_softmax(z_teacher / temperature, dim=1)
    p = log_p.exp()
    # in logits; as d' they could underflow when squared
    centred = difference - (p * difference).sum(dim=1, keepdim=True)
    d = centred / temperature
    # p e^d in one exponential where e^d alone could overflow, or p underflow
    log_odds = log_p + d
    epsilon_terms = torch.where(
        d < 1,
        p * centred.square() * _phi_over_square(d),
        temperature**2 * (log_odds.exp() - p * (1 + d)),
    )
    scaled_epsilon = epsilon_terms.sum(dim=1)
    epsilon = scaled_epsilon / temperature**2
    ratio = torch.where(epsilon > 0, torch.log1p(epsilon) / epsilon, torch.ones_like(epsilon))
    log_sum = torch.logsumexp(log_odds, dim=1)
    # beyond 1 the two agree to rounding, and only the second cannot overflow
    value = torch.where(log_sum > 1, temperature**2 * log_sum, scaled_epsilon * ratio)
    divergence = (value / temperature**2)[:, None]
    gradient = temperature * torch.where(
        d < 1, p * torch.expm1(d - divergence), torch.exp(log_odds - divergence) - p
    )
    return value, gradient


class _KD(torch.autograd.Function):
    """Batch mean of T²·KL with the gradient in closed form; differentiable once."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        # float64 inside: a few K numbers a sample, and float32's differences are exact in it
        value, gradient = _kd_value_and_gradient(student.double(), teacher.double(), temperature)
        ctx.save_for_backward((gradient / len(value)).to(student.dtype))
        return value.mean().to(student.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_outputs[0] * gradient, None, None


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Knowledge distillation, eq. (3) weighted by T²: T²·KL(p^t ‖ p^s), batch mean, in nats.

    Gradient on a sample's student logits: T(p^s − p^t), eq. (A.3) times T². At T = ∞ this is
    centred logits matching, the limit that eq. (7) should state. Value and gradient keep the
    accuracy of their type at any T, also where softmax and log in float32 lose every digit.

    Args:
        student_logits: (batch, K).
        teacher_logits: (batch, K); no gradient flows to it.
        temperature: T in (0, inf].

    Returns:
        A scalar: float64 for float64 logits, else float32.

    Raises:
        ValueError: wrong shapes, or the temperature is not in (0, inf].

    """
    _check_temperature(temperature)
    _check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    if temperature > _AS_GOOD_AS_INFINITE:
        return centred_lm_loss(student_logits, teacher_logits)
    loss: Tensor = _KD.apply(  # type: ignore[no-untyped-call]
        _wide(student_logits), teacher_logits.detach(), float(temperature)
    )
    return loss


def lm_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Logits matching, eq. (2): 1/(2K) ‖z^s − z^t‖², batch mean; gradient (z^s − z^t)/K a sample.

    Half of torch's ``mse_loss``.

    Raises:
        ValueError: wrong shapes.

    """
    _check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    return functional.mse_loss(_wide(student_logits), _wide(teacher_logits.detach())) / 2


def centred_lm_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Logits matching after each sample's class mean c is taken off both sides, batch mean.

    1/(2K) ‖(z^s − c^s) − (z^t − c^t)‖², the limit of T²·KL as T → ∞; gradient
    (1/K)(z^s − z^t − (c^s − c^t)) a sample, the corrected eq. (7).

    Raises:
        ValueError: wrong shapes.

    """
    _check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    # float64 here loses nothing of float32's differences, however far apart the means are
    difference = student_logits.double() - teacher_logits.detach().double()
    centred = difference - difference.mean(dim=1, keepdim=True)
    return centred.to(_wide(student_logits).dtype).square().mean() / 2


def regularised_lm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_mean: float | Tensor,
    teacher_mean: float | Tensor,
    form: Form = "corrected",
) -> Tensor:
    """Logits matching with the linear term of eq. (8), batch mean.

    corrected: L_LM + (c^t − c^s)/K · Σ_i z^s_i;  printed: L_LM + (c^s − c^t)/K · Σ_i z^s_i.

    Args:
        student_logits: (batch, K).
        teacher_logits: (batch, K); no gradient flows to it.
        student_mean: c^s, a number or (batch,), held constant in the derivative.
        teacher_mean: c^t, likewise.
        form: the sign of the coefficient.

    Raises:
        ValueError: wrong shapes, or an unknown form.

    """
    _check_form(form)
    lm = lm_loss(student_logits, teacher_logits)
    means = torch.as_tensor(teacher_mean) - torch.as_tensor(student_mean)
    means = means.detach().to(lm)
    if means.shape not in ((), student_logits.shape[:1]):
        raise ValueError(
            f"means must be numbers or ({len(student_logits)},), one a sample, "
            f"not {tuple(means.shape)}"
        )
    coefficient = means if form == "corrected" else -means
    return lm + (coefficient * _wide(student_logits).mean(dim=1)).mean()


def cross_entropy_lower_bound(logits: Tensor, targets: Tensor, form: Form = "corrected") -> Tensor:
    """A lower bound of the cross-entropy, eq. (B.4), batch mean, in nats.

    corrected: −Σ_i y_i z_i + log K + z̄ (Jensen);  printed: −Σ_i y_i z_i + Σ_j z_j, no bound.

    Args:
        logits: (batch, K).
        targets: class indices (batch,), or probabilities y (batch, K).
        form: which of the two.

    Raises:
        ValueError: wrong shapes, or an unknown form.

    """
    _check_form(form)
    _check_logits(logits=logits)
    if targets.shape not in (logits.shape, logits.shape[:1]):
        raise ValueError(
            f"targets must be (batch,) or {tuple(logits.shape)}, not {tuple(targets.shape)}"
        )
    z = _wide(logits)
    y = targets if targets.dim() == 2 else functional.one_hot(targets, z.shape[1])
    log_sum = z.sum(dim=1) if form == "printed" else z.mean(dim=1) + math.log(z.shape[1])
    return (log_sum - (y * z).sum(dim=1)).mean()


def _cross_entropy(student_logits: Tensor, targets: Tensor, **_: object) -> Tensor:
    return functional.cross_entropy(student_logits, targets)


def _kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float, **_: object) -> Tensor:
    return kd_loss(student_logits, teacher_logits, temperature)


def _lm(student_logits: Tensor, teacher_logits: Tensor, **_: object) -> Tensor:
    return lm_loss(student_logits, teacher_logits)


def _centred_lm(student_logits: Tensor, teacher_logits: Tensor, **_: object) -> Tensor:
    return centred_lm_loss(student_logits, teacher_logits)


def _regularised(form: Form) -> Callable[..., Tensor]:
    def loss(
        student_logits: Tensor,
        teacher_logits: Tensor,
        student_mean: float,
        teacher_mean: float,
        **_: object,
    ) -> Tensor:
        return regularised_lm_loss(student_logits, teacher_logits, student_mean, teacher_mean, form)

    return loss


LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": _cross_entropy,
    "kd": _kd,
    "lm": _lm,
    "centred-lm": _centred_lm,
    "regularised-lm-corrected": _regularised("corrected"),
    "regularised-lm-printed": _regularised("printed"),
}
"""By the names of config.yaml.

Each takes by keyword, and ignores where it has no use for it: ``student_logits``,
``teacher_logits``, ``targets``, ``temperature``, ``student_mean``, ``teacher_mean``.
"""
