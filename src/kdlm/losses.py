"""The losses of the study: pure functions of logits (batch, K) that return the mean of the batch.

For one sample with K classes, z^s and z^t are the logits of student and teacher, c^s and c^t their
means over the classes, and p = softmax(z/T) at temperature T. Equation numbers are those of Chen,
Wang, Chen, arXiv 2109.06458; where a formula has a printed and a corrected form, docs/errata.md
proves the corrected one.

Gradients flow to the student's logits alone. Every loss is computed in float64, which costs little
since a sample has only K logits. The result is float64 for float64 logits of the student, else
float32.

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
    "l1_lm_loss",
    "lm_loss",
    "named_loss",
    "regularised_lm_loss",
    "reverse_kd_loss",
    "softened",
    "standardised_kd_loss",
]

Form = Literal["corrected", "printed"]
LossT = TypeVar("LossT", bound=Callable[..., Tensor])

# Added to the standard deviation by which logits are divided, as Sun et al. do: where all logits of
# a sample are equal, the standard deviation is 0.
_LEAST_SD = 1e-7


def _check_form(form: str) -> None:
    if form not in ("corrected", "printed"):
        raise ValueError(f"form must be 'corrected' or 'printed', not {form!r}")


def _of_two_sides(loss: LossT) -> LossT:
    """Decorate a loss of student and teacher logits with the steps that all such losses share.

    The decorated loss checks the shapes, converts both sides to float64, detaches the teacher's
    logits from autograd, and converts the result to the student's type (half precision to float32).
    """

    @functools.wraps(loss)
    def checked(
        student_logits: Tensor, teacher_logits: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        check_logits(student_logits=student_logits, teacher_logits=teacher_logits)
        # The difference of two float32 logits is exact in float64, however far the means of student
        # and teacher are apart.
        value = loss(student_logits.double(), teacher_logits.detach().double(), *args, **kwargs)
        return value if student_logits.dtype == torch.float64 else value.float()

    return cast("LossT", checked)


@_of_two_sides
def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return the loss of knowledge distillation, T²·KL(p^t ‖ p^s): eq. (3) times T².

    Its gradient on one sample's student logits is T(p^s − p^t), eq. (A.3) times T². At T = ∞ the
    loss is centred logits matching (`centred_lm_loss`), the limit that the corrected eq. (7)
    states. Value and gradient are accurate to the rounding of their type at every T, also where
    softmax followed by a logarithm in float32 would lose every digit.

    >>> student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(kd_loss(student, teacher, T).item(), 4) for T in (1, 4, 1e8, math.inf)]
    [1.0068, 1.1163, 1.125, 1.125]

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K); no gradient flows to them.
        temperature: T in (0, inf].

    Returns:
        The mean over the batch, in nats: a scalar, float64 for float64 student logits, else
        float32.

    Raises:
        ValueError: the shapes are wrong, or the temperature is not in (0, inf].

    """
    return tempered_kl(student_logits, teacher_logits, temperature, "forward")


@_of_two_sides
def reverse_kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return T²·KL(p^s ‖ p^t), knowledge distillation with the sides of the divergence exchanged.

    With d = (z^s − z^t)/T, the gradient on one sample's student logits is
    T p^s_i (d_i − Σ_j p^s_j d_j). As T → ∞, value and gradient have the same limit as those of
    `kd_loss`: centred logits matching. Arguments, unit, result and errors are those of `kd_loss`.

    >>> student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> [round(reverse_kd_loss(student, teacher, T).item(), 4) for T in (1, 4, 1e8, math.inf)]
    [0.8287, 1.0993, 1.125, 1.125]
    """
    return tempered_kl(student_logits, teacher_logits, temperature, "reverse")


def _standardised(logits: Tensor) -> Tensor:
    """Return ẑ = (z − z̄)/(σ + 1e-7) for each sample of ``logits`` (batch, K).

    σ² = Σ_i (z_i − z̄)²/K is the variance over the classes.
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    # Where all logits are equal, autograd gives 0 as the derivative of vector_norm, but would give
    # infinity as that of a square root.
    sd = torch.linalg.vector_norm(centred, dim=1, keepdim=True) / math.sqrt(logits.shape[1])
    standardised: Tensor = centred / (sd + _LEAST_SD)
    return standardised


@_of_two_sides
def standardised_kd_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float
) -> Tensor:
    """Return `kd_loss` of logits that are standardised in each sample.

    Student and teacher logits z are first replaced by ẑ = (z − z̄)/(σ + 1e-7), where
    σ² = Σ_i (z_i − z̄)²/K (Sun et al., arXiv 2403.01427). Adding a constant to the logits of a
    sample, or multiplying them by a positive factor, therefore does not change the loss, apart from
    the 1e-7. The gradient flows through the student's mean and σ too. Arguments, unit, result and
    errors are those of `kd_loss`.

    >>> student, teacher = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([[7.0, 1.0, 4.0]])
    >>> round(standardised_kd_loss(student, teacher, 4).item(), 9)
    0.0
    """
    return tempered_kl(
        _standardised(student_logits), _standardised(teacher_logits), temperature, "forward"
    )


@_of_two_sides
def lm_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the loss of logits matching, eq. (2): 1/(2K) ‖z^s − z^t‖².

    It is half of torch's ``mse_loss``. Its gradient on one sample's student logits is
    (z^s − z^t)/K.

    >>> lm_loss(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])).item()
    1.0

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K); no gradient flows to them.

    Returns:
        The mean over the batch: a scalar, float64 for float64 student logits, else float32.

    Raises:
        ValueError: the shapes are wrong.

    """
    return _lm(student_logits, teacher_logits)


def _lm(student: Tensor, teacher: Tensor) -> Tensor:
    return functional.mse_loss(student, teacher) / 2


@_of_two_sides
def centred_lm_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return the loss of centred logits matching: 1/(2K) ‖(z^s − c^s) − (z^t − c^t)‖².

    This is logits matching after each sample's mean logit is subtracted on both sides. It is the
    limit of T²·KL as T → ∞, and its gradient on one sample's student logits is
    (1/K)(z^s_i − z^t_i − (c^s − c^t)), the corrected eq. (7).

    >>> student, teacher = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    >>> centred_lm_loss(student, teacher).item()
    0.5
    >>> centred_lm_loss(student + 100, teacher).item()
    0.5

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K); no gradient flows to them.

    Returns:
        The mean over the batch: a scalar, float64 for float64 student logits, else float32.

    Raises:
        ValueError: the shapes are wrong.

    """
    return centred_lm(student_logits, teacher_logits)


def _constant(mean: float | Tensor, student: Tensor) -> Tensor:
    """Return ``mean``, a number or a tensor (batch,), as a float64 tensor without gradient.

    Raises:
        ValueError: it has another shape.

    """
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
    """Return the loss of logits matching with the linear term of eq. (8).

    - ``corrected``: L_LM + (c^t − c^s)/K · Σ_i z^s_i;
    - ``printed``: L_LM + (c^s − c^t)/K · Σ_i z^s_i.

    L_LM is `lm_loss`. With each sample's own means, held constant, the corrected form has the
    gradient of `centred_lm_loss`.

    >>> student, teacher = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    >>> regularised_lm_loss(student, teacher, student_mean=2.0, teacher_mean=1.0).item()
    -1.0

    Args:
        student_logits: z^s, (batch, K).
        teacher_logits: z^t, (batch, K); no gradient flows to them.
        student_mean: c^s, a number or a tensor (batch,); a constant for the gradient.
        teacher_mean: c^t, a number or a tensor (batch,); a constant for the gradient.
        form: ``corrected`` or ``printed``, which decides the sign of the coefficient.

    Returns:
        The mean over the batch: a scalar, float64 for float64 student logits, else float32.

    Raises:
        ValueError: the shapes are wrong, or the form is unknown.

    """
    _check_form(form)
    # in float64, because terms as large as the means cancel in the gradient
    means = _constant(teacher_mean, student_logits) - _constant(student_mean, student_logits)
    coefficient = means if form == "corrected" else -means
    return _lm(student_logits, teacher_logits) + (coefficient * student_logits.mean(dim=1)).mean()


@_of_two_sides
def l1_lm_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_mean: float | Tensor,
    teacher_mean: float | Tensor,
) -> Tensor:
    """Return logits matching with an l1 penalty as strong as the term of eq. (8).

    The loss of one sample is L_LM + |c^s − c^t|/K · ‖z^s‖₁, with L_LM = `lm_loss`. The paper
    compares the term of (8) to such a penalty; (8) has Σ_i z^s_i where an l1 penalty has
    Σ_i |z^s_i|. Arguments, unit, result and errors are those of `regularised_lm_loss`.

    >>> student, teacher = torch.tensor([[3.0, -1.0]]), torch.tensor([[3.0, -1.0]])
    >>> l1_lm_loss(student, teacher, student_mean=2.0, teacher_mean=1.0).item()
    2.0
    """
    gap = _constant(teacher_mean, student_logits) - _constant(student_mean, student_logits)
    penalty = gap.abs() * student_logits.abs().mean(dim=1)
    return _lm(student_logits, teacher_logits) + penalty.mean()


def cross_entropy_lower_bound(logits: Tensor, targets: Tensor, form: Form = "corrected") -> Tensor:
    """Return the lower bound of the cross-entropy that eq. (B.4) states.

    - ``corrected``: −Σ_i y_i z_i + log K + z̄, which follows from Jensen's inequality;
    - ``printed``: −Σ_i y_i z_i + Σ_j z_j, which is not a lower bound.

    >>> z, y = torch.tensor([[10.0, 10.0]]), torch.tensor([0])  # the cross-entropy is log 2
    >>> for form in ("corrected", "printed"):
    ...     print(form, round(cross_entropy_lower_bound(z, y, form=form).item(), 4))
    corrected 0.6931
    printed 10.0

    Args:
        logits: z, (batch, K).
        targets: class indices (batch,), or probabilities y (batch, K).
        form: ``corrected`` or ``printed``.

    Returns:
        The mean over the batch, in nats: a scalar of the logits' type.

    Raises:
        ValueError: the shapes are wrong, or the form is unknown.

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
    """Return the cross-entropy −Σ_i y_i z_i + log Σ_j exp(z_j), in nats.

    It is the mean over the batch for logits (batch, K) and class indices (batch,), computed in
    float64 and returned as float64 for float64 logits, else as float32.
    """
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
    "l1-lm": l1_lm_loss,
}
"""The function of each loss, by its name in a config.

`kdlm.study.names.LOSSES` says which arguments each function needs.
"""


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
    """Return the value of the loss called ``name`` in `LOSSES`.

    The caller gives all arguments that any loss can need; the function gets those that it needs.
    """
    available = {
        "teacher_logits": teacher_logits,
        "targets": targets,
        "temperature": temperature,
        "student_mean": student_mean,
        "teacher_mean": teacher_mean,
    }
    needs = names.LOSSES[name].needs
    return LOSSES[name](student_logits, **{need: available[need] for need in needs})
