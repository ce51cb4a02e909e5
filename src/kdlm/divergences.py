"""T²·KL of tempered softmaxes, accurate at every temperature, with its gradient in closed form.

KL(p^t ‖ p^s) and KL(p^s ‖ p^t) of logits (batch, K) in float64, for T from 0.1 to 1e8 and infinity.
Softmax and logarithm one after the other lose every digit at high T: there both distributions are
nearly uniform, and their divergence is a difference of nearly equal numbers.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "Direction",
    "centred_lm",
    "check_logits",
    "check_temperature",
    "softened",
    "tempered_kl",
]

Direction = Literal["forward", "reverse"]

# Above this KD differs from its limit by less than float64's rounding for logits up to 1e4.
_AS_GOOD_AS_INFINITE = 1e20
# Where φ changes from its series, good to float64's rounding up to here, to the direct form.
_SERIES_RADIUS = 0.5
_SERIES = [1 / math.factorial(n) for n in range(17, 1, -1)]


def check_temperature(temperature: float) -> None:
    """Refuse, with a ValueError, a temperature that is not in (0, inf]."""
    if not temperature > 0:
        raise ValueError(f"temperature must be a positive number or inf, not {temperature}")


def check_logits(**logits: Tensor) -> None:
    """Refuse, with a ValueError, logits that are not (batch, K), K ≥ 2, or not of one shape."""
    shapes = {name: tuple(tensor.shape) for name, tensor in logits.items()}
    for name, shape in shapes.items():
        if len(shape) != 2 or shape[0] < 1 or shape[1] < 2:
            raise ValueError(f"{name} must be (batch, classes) with K ≥ 2 classes, not {shape}")
    if len(set(shapes.values())) > 1:
        listed = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must be the same: {listed}")


def _wide(logits: Tensor) -> Tensor:
    """Half precision as float32; float64 as it is."""
    return logits if logits.dtype == torch.float64 else logits.float()


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Tempered softmax, eq. (1): p_i = exp(z_i/T) / Σ_j exp(z_j/T), shape (batch, K).

    At T = ∞ each is 1/K. float64 for float64 logits, else float32.

    Raises:
        ValueError: the shape is not (batch, K), or the temperature not in (0, inf].

    """
    check_temperature(temperature)
    check_logits(logits=logits)
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


def _differences(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log p^t and d' = d − Σ p^t d, with d = (z^s − z^t)/T, both (batch, K).

    All differences are taken to the teacher's top class m first: d'_m, whose p is near 1 at low T,
    is then the sum of small terms and not the difference of large ones, and a mean common to all
    logits drops out.
    """
    top = teacher.argmax(dim=1, keepdim=True)
    log_p = torch.log_softmax(_relative_to(teacher, top) / temperature, dim=1)
    difference = _relative_to(student - teacher, top)
    mean = (log_p.exp() * difference).sum(dim=1, keepdim=True)
    return log_p, (difference - mean) / temperature


def _divergence(log_p: Tensor, d: Tensor) -> Tensor:
    """KL(p^t ‖ p^s) of each sample, (batch,), from log p^t and d'.

    Σ p^t e^{d'} = 1 + ε with ε = Σ p^t φ(d'), so KL = log(1 + ε). Every term of ε is positive and
    no digit cancels, however small d' is (high T).
    """
    # p e^d in one exponential where e^d alone could overflow, or p underflow
    p, log_odds = log_p.exp(), log_p + d
    epsilon = torch.where(d < 1, p * _phi(d), log_odds.exp() - p * (1 + d)).sum(dim=1)
    log_sum = torch.logsumexp(log_odds, dim=1)
    # beyond 1 the two agree to rounding, and only the second cannot overflow
    return torch.where(log_sum > 1, log_sum, torch.log1p(epsilon))


def _forward_kl(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(p^t ‖ p^s) of each sample, (batch,), and p^s − p^t, (batch, K).

    p^s_i = p^t_i e^{d'_i − KL}, so p^s − p^t loses no digit either.
    """
    log_p, d = _differences(student, teacher, temperature)
    divergence = _divergence(log_p, d)
    kl, p = divergence[:, None], log_p.exp()
    return divergence, torch.where(d < 1, p * _expm1(d - kl), (log_p + d - kl).exp() - p)


def _forward_product(
    student: Tensor, _teacher: Tensor, temperature: float, vector: Tensor
) -> Tensor:
    """(diag p − p pᵀ) v with p = p^s: the second derivative of T²·KL(p^t ‖ p^s), applied."""
    p = softened(student, temperature)
    return p * (vector - (p * vector).sum(dim=1, keepdim=True))


def _reverse_kl(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(p^s ‖ p^t) of each sample, (batch,), and p^s_i (d_i − Σ p^s d), (batch, K).

    The value is that of `_forward_kl` with the sides exchanged. log p^s_i − log p^t_i less its
    mean under p^s, which is the divergence, is d_i − Σ p^s d, so the gradient cancels nothing.
    """
    log_p, d = _differences(teacher, student, temperature)
    return _divergence(log_p, d), -log_p.exp() * d


def _reverse_product(
    student: Tensor, teacher: Tensor, temperature: float, vector: Tensor
) -> Tensor:
    """The second derivative of T²·KL(p^s ‖ p^t), applied to a vector (batch, K).

    It is p_i (1 + d_i) on the diagonal less p_i p_j (1 + d_i + d_j), with p = p^s and d less its
    mean under p.
    """
    p = softened(student, temperature)
    d = (student - teacher) / temperature
    d = d - (p * d).sum(dim=1, keepdim=True)
    of_vector = (p * vector).sum(dim=1, keepdim=True)
    of_both = (p * vector * d).sum(dim=1, keepdim=True)
    return p * ((1 + d) * (vector - of_vector) - of_both)


_DIRECTIONS = {
    "forward": (_forward_kl, _forward_product),
    "reverse": (_reverse_kl, _reverse_product),
}


class _Divergence(torch.autograd.Function):
    """Batch mean of T²·KL in a direction and, in closed form, its gradient.

    The gradient is an output so that autograd knows it for a function of the student's logits: a
    saved tensor that is not would be taken for a constant wherever it is differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        student: Tensor, teacher: Tensor, temperature: float, direction: str
    ) -> tuple[Tensor, Tensor]:
        divergence, gradient = _DIRECTIONS[direction][0](student, teacher, temperature)
        # T twice, as its square could underflow
        value = temperature * (temperature * divergence)
        return value.mean(), temperature * gradient / len(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        student, teacher, ctx.temperature, ctx.direction = inputs
        ctx.save_for_backward(student, teacher, output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        student, teacher, gradient = ctx.saved_tensors
        of_value, of_gradient = grad_outputs
        result = None if of_value is None else of_value * gradient
        if of_gradient is not None:
            apply = _DIRECTIONS[ctx.direction][1]
            product = apply(student, teacher, ctx.temperature, of_gradient) / len(student)
            result = product if result is None else result + product
        return result, None, None, None


def centred_lm(student: Tensor, teacher: Tensor) -> Tensor:
    """1/(2K) ‖(z^s − c^s) − (z^t − c^t)‖², batch mean."""
    difference = student - teacher
    centred = difference - difference.mean(dim=1, keepdim=True)
    return centred.square().mean() / 2


def tempered_kl(
    student: Tensor, teacher: Tensor, temperature: float, direction: Direction
) -> Tensor:
    """Batch mean of T²·KL at any temperature, the limit of centred logits matching included."""
    check_temperature(temperature)
    if temperature > _AS_GOOD_AS_INFINITE:
        return centred_lm(student, teacher)
    value: Tensor
    value, _ = _Divergence.apply(  # type: ignore[no-untyped-call]
        student, teacher, float(temperature), direction
    )
    return value
