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

    At T = ∞ each is 1/K. float64 for float64 logits, else float32.

    Raises:
        ValueError: the shape is not (batch, K), or the temperature not in (0, inf].

    """
    _check_temperature(temperature)
    _check_logits(logits=logits)
    z = _wide(logits)
    # before the division, which would round what all logits have in common, or overflow
    below_top = z - z.detach().amax(dim=1, keepdim=True)
    return torch.softmax(below_top / temperature, dim=1)


def _relative_to(values: Tensor, index: Tensor) -> Tensor:
    """Each sample's values less that of one of its classes, the class ``index`` (batch, 1)."""
    return values - values.gather(1, index)


def _phi(x: Tensor) -> Tensor:
    """φ(x) = eˣ − 1 − x, which loses all digits near 0 unless summed as a series."""
    small = x.clamp(-_SERIES_RADIUS, _SERIES_RADIUS)
    series = torch.zeros_like(x)
    for coefficient in _SERIES:
        series = series * small + coefficient
    return torch.where(x.abs() < _SERIES_RADIUS, series * small.square(), torch.expm1(x) - x)


def _expm1(x: Tensor) -> Tensor:
    """eˣ − 1 for x < 1; torch's own is exp(x) − 1 once compiled for a CPU, and that 0 near 0."""
    half = torch.tanh(x / 2)
    return 2 * half / (1 - half)


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
    d = (difference - (p * difference).sum(dim=1, keepdim=True)) / temperature
    # p e^d in one exponential where e^d alone could overflow, or p underflow
    log_odds = log_p + d
    epsilon = torch.where(d < 1, p * _phi(d), log_odds.exp() - p * (1 + d)).sum(dim=1)
    log_sum = torch.logsumexp(log_odds, dim=1)
    # beyond 1 the two agree to rounding, and only the second cannot overflow
    divergence = torch.where(log_sum > 1, log_sum, torch.log1p(epsilon))
    kl = divergence[:, None]
    gradient = torch.where(d < 1, p * _expm1(d - kl), (log_odds - kl).exp() - p)
    # T twice, as its square could underflow
    return temperature * (temperature * divergence), temperature * gradient


class _KD(torch.autograd.Function):
    """Batch mean of T²·KL and, in closed form, its gradient.

    The gradient is an output so that autograd knows it for a function of the student's logits: a
    saved tensor that is not would be taken for a constant wherever it is differentiated again.
    """

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        # float64 inside: a few K numbers a sample, and float32's differences are exact in it
        value, gradient = _kd_value_and_gradient(student.double(), teacher.double(), temperature)
        gradient = (gradient / len(value)).to(student.dtype)
        ctx.save_for_backward(student, gradient)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return value.mean().to(student.dtype), gradient

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, None, None]:
        student, gradient = ctx.saved_tensors
        of_value, of_gradient = grad_outputs
        result = None if of_value is None else of_value * gradient
        if of_gradient is not None:
            # (diag p − p pᵀ)/batch: the second derivative
            p = softened(student, ctx.temperature)
            product = p * (of_gradient - (p * of_gradient).sum(dim=1, keepdim=True)) / len(p)
            result = product if result is None else result + product
        return result, None, None


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
    loss: Tensor
    loss, _ = _KD.apply(  # type: ignore[no-untyped-call]
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
    return (centred.square().mean() / 2).to(_wide(student_logits).dtype)


def _constant(mean: float | Tensor, student: Tensor) -> Tensor:
    """A number, or one for each sample, in float64 and without gradient."""
    constant = torch.as_tensor(mean, dtype=torch.float64, device=student.device).detach()
    if constant.shape not in ((), (1,), student.shape[:1]):
        raise ValueError(
            f"means must be numbers or ({len(student)},), one a sample, not {tuple(constant.shape)}"
        )
    return constant


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
    _check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
    student = student_logits.double()
    # float64, as in centred_lm_loss: terms as large as the means cancel in the gradient
    means = _constant(teacher_mean, student) - _constant(student_mean, student)
    coefficient = means if form == "corrected" else -means
    regularised = (
        lm_loss(student, teacher_logits.double()) + (coefficient * student.mean(dim=1)).mean()
    )
    return regularised.to(_wide(student_logits).dtype)


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
    return functional.cross_entropy(_wide(student_logits), targets)


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
