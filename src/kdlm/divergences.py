"""T²·KL between tempered softmaxes, accurate at every temperature, with a closed-form gradient.

The module has both directions, KL(p^t ‖ p^s) and KL(p^s ‖ p^t), for logits (batch, K) in float64
and temperatures T from 0.1 to 1e8 and infinity. The usual way, a softmax followed by a logarithm,
loses every digit at high T: both distributions are then nearly uniform, and their divergence is a
difference of nearly equal numbers.

Symbols: z^s and z^t are the logits of student and teacher, p^s and p^t their softmaxes at
temperature T, d = (z^s − z^t)/T, d' = d − Σ p^t d, and φ(x) = eˣ − 1 − x.
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

# Above this temperature KD differs from its limit by less than float64's rounding, for logits up to
# 1e4.
_AS_GOOD_AS_INFINITE = 1e20
# For |x| below this radius φ(x) is summed as a series, accurate to float64's rounding there.
_SERIES_RADIUS = 0.5
_SERIES = [1 / math.factorial(n) for n in range(17, 1, -1)]


def check_temperature(temperature: float) -> None:
    """Check that the temperature is in (0, inf].

    Raises:
        ValueError: it is not.

    """
    if not temperature > 0:
        raise ValueError(f"temperature must be a positive number or inf, not {temperature}")


def check_logits(**logits: Tensor) -> None:
    """Check that all ``logits`` have the same shape (batch, K), with K ≥ 2.

    The keywords are the names that an error message gives to the tensors.

    Raises:
        ValueError: a tensor has another shape.

    """
    shapes = {name: tuple(tensor.shape) for name, tensor in logits.items()}
    for name, shape in shapes.items():
        if len(shape) != 2 or shape[0] < 1 or shape[1] < 2:
            raise ValueError(f"{name} must be (batch, classes) with K ≥ 2 classes, not {shape}")
    if len(set(shapes.values())) > 1:
        listed = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must be the same: {listed}")


def _wide(logits: Tensor) -> Tensor:
    """Return float64 logits as they are, and logits of any other type as float32."""
    return logits if logits.dtype == torch.float64 else logits.float()


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Return the tempered softmax, eq. (1): p_i = exp(z_i/T) / Σ_j exp(z_j/T).

    At T = ∞ every probability is 1/K.

    >>> softened(torch.tensor([[0.0, 0.0], [0.0, 1000.0]]), temperature=4)
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])

    Args:
        logits: z, (batch, K).
        temperature: T in (0, inf].

    Returns:
        (batch, K), float64 for float64 logits, else float32.

    Raises:
        ValueError: the shape is not (batch, K), or the temperature is not in (0, inf].

    """
    check_temperature(temperature)
    check_logits(logits=logits)
    z = _wide(logits)
    # Subtract the largest logit before dividing by T: the quotient of large logits would lose the
    # digits in which they differ, or overflow.
    below_top = z - z.detach().amax(dim=1, keepdim=True)
    return torch.softmax(below_top / temperature, dim=1)


def _relative_to(values: Tensor, index: Tensor) -> Tensor:
    """Subtract from each sample's values (batch, K) its value of class ``index`` (batch, 1)."""
    return values - values.gather(1, index)


def _phi(x: Tensor) -> Tensor:
    """Return φ(x) = eˣ − 1 − x, summed as a series near 0, where the formula loses all digits."""
    small = x.clamp(-_SERIES_RADIUS, _SERIES_RADIUS)
    series = torch.zeros_like(x)
    for coefficient in _SERIES:
        series = series * small + coefficient
    return torch.where(x.abs() < _SERIES_RADIUS, series * small.square(), torch.expm1(x) - x)


def _expm1(x: Tensor) -> Tensor:
    """Return eˣ − 1 for x < 1, as 2 tanh(x/2)/(1 − tanh(x/2)).

    torch.compile turns ``torch.expm1`` on a CPU into exp(x) − 1, which is 0 for x near 0.
    """
    half = torch.tanh(x / 2)
    return 2 * half / (1 - half)


def _differences(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return log p^t and d' = d − Σ p^t d, both (batch, K), with d = (z^s − z^t)/T.

    The value of the teacher's top class m is subtracted from all logits and differences first. A
    constant common to all logits then drops out. At low T, where p_m is near 1, d'_m is then a sum
    of small terms and not a difference of large ones.
    """
    top = teacher.argmax(dim=1, keepdim=True)
    log_p = torch.log_softmax(_relative_to(teacher, top) / temperature, dim=1)
    difference = _relative_to(student - teacher, top)
    mean = (log_p.exp() * difference).sum(dim=1, keepdim=True)
    return log_p, (difference - mean) / temperature


def _divergence(log_p: Tensor, d: Tensor) -> Tensor:
    """Return KL(p^t ‖ p^s) of each sample, (batch,), given log p^t and d', both (batch, K).

    Since Σ p^t d' = 0, Σ p^t e^{d'} = 1 + ε with ε = Σ p^t φ(d'), and KL = log(1 + ε). Every term
    of ε is positive, so no digits cancel, however small d' is at high T.
    """
    # For d ≥ 1, p eᵈ is one exponential of log p + d: eᵈ alone could overflow, and p underflow.
    p, log_odds = log_p.exp(), log_p + d
    epsilon = torch.where(d < 1, p * _phi(d), log_odds.exp() - p * (1 + d)).sum(dim=1)
    log_sum = torch.logsumexp(log_odds, dim=1)
    # Above 1 both formulas agree to rounding, but only logsumexp cannot overflow.
    return torch.where(log_sum > 1, log_sum, torch.log1p(epsilon))


def _forward_kl(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return KL(p^t ‖ p^s) of each sample, (batch,), and its gradient times T, (batch, K).

    The latter is p^s − p^t. It is computed from p^s_i = p^t_i e^{d'_i − KL} as
    p^t_i (e^{d'_i − KL} − 1), so no digits cancel.
    """
    log_p, d = _differences(student, teacher, temperature)
    divergence = _divergence(log_p, d)
    kl, p = divergence[:, None], log_p.exp()
    return divergence, torch.where(d < 1, p * _expm1(d - kl), (log_p + d - kl).exp() - p)


def _forward_product(
    student: Tensor, _teacher: Tensor, temperature: float, vector: Tensor
) -> Tensor:
    """Return (diag p − p pᵀ) v of each sample, (batch, K), with p = p^s.

    This is the second derivative of T²·KL(p^t ‖ p^s) applied to a vector v (batch, K).
    """
    p = softened(student, temperature)
    return p * (vector - (p * vector).sum(dim=1, keepdim=True))


def _reverse_kl(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return KL(p^s ‖ p^t) of each sample, (batch,), and its gradient times T, (batch, K).

    The latter is p^s_i (d_i − Σ_j p^s_j d_j). The divergence is that of `_forward_kl` with the
    sides exchanged. The second factor of the gradient is minus the d' of the exchanged sides, which
    `_differences` returns without cancellation.
    """
    log_p, d = _differences(teacher, student, temperature)
    return _divergence(log_p, d), -log_p.exp() * d


def _reverse_product(
    student: Tensor, teacher: Tensor, temperature: float, vector: Tensor
) -> Tensor:
    """Return the second derivative of T²·KL(p^s ‖ p^t) applied to a vector (batch, K).

    With p = p^s and d reduced by its mean under p, the matrix has the entries
    δ_ij p_i (1 + d_i) − p_i p_j (1 + d_i + d_j).
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
"""By direction: the divergence with its gradient, and the second derivative's product."""


class _Divergence(torch.autograd.Function):
    """Batch mean of T²·KL in one direction, and its gradient in closed form.

    The gradient is returned as a second output, and not only saved for the backward pass. Autograd
    thus knows that it depends on the student's logits; a saved tensor that is no output would count
    as a constant when the gradient is differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        student: Tensor, teacher: Tensor, temperature: float, direction: str
    ) -> tuple[Tensor, Tensor]:
        divergence, gradient = _DIRECTIONS[direction][0](student, teacher, temperature)
        # multiply by T twice, because T² could underflow
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
    """Return the batch mean of 1/(2K) ‖(z^s − c^s) − (z^t − c^t)‖² for logits (batch, K)."""
    difference = student - teacher
    centred = difference - difference.mean(dim=1, keepdim=True)
    return centred.square().mean() / 2


def tempered_kl(
    student: Tensor, teacher: Tensor, temperature: float, direction: Direction
) -> Tensor:
    """Return the batch mean of T²·KL between the tempered softmaxes of two sets of logits.

    >>> student, teacher = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    >>> [round(tempered_kl(student, teacher, T, "forward").item(), 4) for T in (1, math.inf)]
    [1.0068, 1.125]

    Args:
        student: z^s, (batch, K), float64.
        teacher: z^t, (batch, K), float64.
        temperature: T in (0, inf]. At infinity the result is the limit, centred logits matching.
        direction: ``forward`` for KL(p^t ‖ p^s), ``reverse`` for KL(p^s ‖ p^t).

    Returns:
        A scalar, float64, in nats.

    Raises:
        ValueError: the temperature is not in (0, inf].

    """
    check_temperature(temperature)
    if temperature > _AS_GOOD_AS_INFINITE:
        return centred_lm(student, teacher)
    value: Tensor
    value, _ = _Divergence.apply(  # type: ignore[no-untyped-call]
        student, teacher, float(temperature), direction
    )
    return value
