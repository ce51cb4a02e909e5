"""The losses of the study: pure functions of logits (batch, K) that return the batch mean.

Equation numbers are those of Chen, Wang, Chen, arXiv 2109.06458; docs/errata.md proves where a
corrected form differs from the printed one. Gradients flow to the student alone. Every loss is
evaluated in float64, a few K numbers a sample, and returned in the type of the student's logits,
half precision as float32.

>>> import torch
>>> student, teacher = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[1.0, 1.0, 4.0]])
>>> lm_loss(student, teacher).item()
1.8333333730697632
>>> kd_loss(student, teacher, temperature=float("inf")) == centred_lm_loss(student, teacher)
tensor(True)
"""

import functools
import math
from collections.abc import Callable
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional

from kdlm.divergences import centred_lm, check_logits, softened, tempered_kl
from kdlm.study import names

__all__ = [
    "LOSSES",
    "Form",
    "centred_lm_loss",
    "cross_entropy_lower_bound",
    "kd_loss",
    "lm_loss",
    "named_loss",
    "regularised_lm_loss",
    "reverse_kd_loss",
    "softened",
    "standardised_kd_loss",
]

Form = Literal["corrected", "printed"]
LossT = TypeVar("LossT", bound=Callable[..., Tensor])

# Added to a standard deviation, as its authors do: equal logits have none.
_LEAST_SD = 1e-7


def _check_form(form: str) -> None:
    if form not in ("corrected", "printed"):
        raise ValueError(f"form must be 'corrected' or 'printed', not {form!r}")


def _of_two_sides(loss: LossT) -> LossT:
    """Check shapes, widen both sides to float64 and hold the teacher constant, for every loss."""

    @functools.wraps(loss)
    def checked(
        student_logits: Tensor, teacher_logits: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
        # float64 loses nothing of float32's differences, however far apart the means are
        value = loss(student_logits.double(), teacher_logits.detach().double(), *args, **kwargs)
        return value if student_logits.dtype == torch.float64 else value.float()

    return cast("LossT", checked)


@_of_two_sides
def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Knowledge distillation, eq. (3) weighted by T²: T²·KL(p^t ‖ p^s), batch mean, in nats.

    Gradient on a sample's student logits: T(p^s − p^t), eq. (A.3) times T². At T = ∞ this is
    centred logits matching, the limit that eq. (7) should state. Value and gradient keep the
    accuracy of their type at any T, also where softmax and log in float32 lose every digit.

    >>> student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(kd_loss(student, teacher, T).item(), 4) for T in (1, 4, 1e8, math.inf)]
    [1.0068, 1.1163, 1.125, 1.125]

    Args:
        student_logits: (batch, K).
        teacher_logits: (batch, K); no gradient flows to it.
        temperature: T in (0, inf].

    Returns:
        A scalar: float64 for float64 logits, else float32.

    Raises:
        ValueError: wrong shapes, or the temperature is not in (0, inf].

    """
    return tempered_kl(student_logits, teacher_logits, temperature, "forward")


@_of_two_sides
def reverse_kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Knowledge distillation with the sides of the divergence exchanged: T²·KL(p^s ‖ p^t).

    Batch mean, in nats. With d = (z^s − z^t)/T the gradient on a sample's student logits is
    T p^s_i (d_i − Σ p^s d). As T → ∞ value and gradient have the limit of `kd_loss`, centred
    logits matching. Arguments, type and errors as in `kd_loss`.

    >>> student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(reverse_kd_loss(student, teacher, T).item(), 4) for T in (1, 4, 1e8, math.inf)]
    [0.8287, 1.0993, 1.125, 1.125]
    """
    return tempered_kl(student_logits, teacher_logits, temperature, "reverse")


def _standardised(logits: Tensor) -> Tensor:
    """Each sample's logits less their mean, over their standard deviation (over K)."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    # the derivative of this norm is 0 where all logits are equal, that of a square root is not
    sd = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / math.sqrt(logits.shape[1])
    standardised: Tensor = centred / (sd + _LEAST_SD)
    return standardised


@_of_two_sides
def standardised_kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """`kd_loss` of logits that are standardised sample by sample (Sun et al., arXiv 2403.01427).

    ẑ = (z − z̄)/(σ + 1e-7), σ² = Σ_i (z_i − z̄)²/K, for student and teacher; the gradient flows
    through the student's σ. Neither a mean nor a positive factor of the logits is seen. Arguments,
    type and errors as in `kd_loss`.

    >>> student, teacher = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[7.0, 1.0, 4.0]])
    >>> round(standardised_kd_loss(student, teacher, 4).item(), 9)
    0.0
    """
    return tempered_kl(
        _standardised(student_logits), _standardised(teacher_logits), temperature, "forward"
    )


@_of_two_sides
def lm_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Logits matching, eq. (2): 1/(2K) ‖z^s − z^t‖², batch mean; gradient (z^s − z^t)/K a sample.

    Half of torch's ``mse_loss``.

    Raises:
        ValueError: wrong shapes.

    """
    return _lm(student_logits, teacher_logits)


def _lm(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.mse_loss(student, teacher) / 2


@_of_two_sides
def centred_lm_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Logits matching after each sample's class mean c is taken off both sides, batch mean.

    1/(2K) ‖(z^s − c^s) − (z^t − c^t)‖², the limit of T²·KL as T → ∞; gradient
    (1/K)(z^s − z^t − (c^s − c^t)) a sample, the corrected eq. (7).

    Raises:
        ValueError: wrong shapes.

    """
    return centred_lm(student_logits, teacher_logits)


def _constant(mean: float | Tensor, student: Tensor) -> Tensor:
    """A number, or one for each sample, in float64 and without gradient."""
    constant = torch.as_tensor(mean, dtype=torch.float64, device=student.device).detach()
    if constant.shape not in ((), (1,), student.shape[:1]):
        raise ValueError(
            f"means must be numbers or ({len(student)},), one a sample, not {tuple(constant.shape)}"
        )
    return constant


@_of_two_sides
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
    # terms as large as the means cancel in the gradient
    means = _constant(teacher_mean, student_logits) - _constant(student_mean, student_logits)
    coefficient = means if form == "corrected" else -means
    return _lm(student_logits, teacher_logits) + (coefficient * student_logits.mean(dim=1)).mean()


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
    check_logits(logits=logits)
    if targets.shape not in (logits.shape, logits.shape[:1]):
        raise ValueError(
            f"targets must be (batch,) or {tuple(logits.shape)}, not {tuple(targets.shape)}"
        )
    z = logits
    y = targets if targets.dim() == 2 else functional.one_hot(targets, z.shape[1])
    log_sum = z.sum(dim=1) if form == "printed" else z.mean(dim=1) + math.log(z.shape[1])
    return (log_sum - (y * z).sum(dim=1)).mean()


def _cross_entropy(student_logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, eq. (B.3), of logits (batch, K) and class indices (batch,), batch mean."""
    value = functional.cross_entropy(student_logits.double(), targets)
    return value if student_logits.dtype == torch.float64 else value.float()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": _cross_entropy,
    "kd": kd_loss,
    "reverse-kd": reverse_kd_loss,
    "standardised-kd": standardised_kd_loss,
    "lm": lm_loss,
    "centred-lm": centred_lm_loss,
    "regularised-lm-corrected": functools.partial(regularised_lm_loss, form="corrected"),
    "regularised-lm-printed": functools.partial(regularised_lm_loss, form="printed"),
}
"""By the names of config.yaml; `kdlm.study.names.LOSSES` says which arguments each needs."""


def named_loss(
    name: str,
    *,
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float,
    student_mean: float | Tensor,
    teacher_mean: float | Tensor,
) -> Tensor:
    """The loss called ``name`` of `LOSSES`, given those of the arguments that it needs."""
    available = {
        "teacher_logits": teacher_logits,
        "targets": targets,
        "temperature": temperature,
        "student_mean": student_mean,
        "teacher_mean": teacher_mean,
    }
    needs = names.LOSSES[name].needs
    return LOSSES[name](student_logits, **{need: available[need] for need in needs})
