"""The paper's exact statements, each evaluated on given logits for its worst violation.

Everything is float64. Equation numbers are those of Chen, Wang, Chen, arXiv 2109.06458;
docs/errata.md holds the proofs of the corrected forms.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kdlm.losses import (
    Form,
    centred_lm_loss,
    cross_entropy_lower_bound,
    kd_loss,
    lm_loss,
    regularised_lm_loss,
    softened,
)
from kdlm.theory import (
    centred_rms,
    infinite_temperature_gradient,
    logit_gradient,
    random_logits,
    relative_distance,
)

__all__ = ["Case", "identities", "random_cases"]

TEMPERATURES = (1.0, 4.0, 16.0, 64.0, 256.0, 1e3, 1e4, 1e5, 1e6, math.inf)

Case = tuple[Tensor, Tensor, Tensor, str]
"""Student logits (batch, K), teacher logits (batch, K), class indices (batch,), and a name."""

_FORMS: tuple[Form, Form] = ("printed", "corrected")


@dataclass(frozen=True)
class _Finding:
    claim: str
    statistic: str
    value: float
    form: str = "as stated"


def identities(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    case: str,
    temperatures: Sequence[float] = TEMPERATURES,
) -> list[dict[str, Any]]:
    """Rows of table ``identities``: the worst violation of each exact statement of the paper.

    A statement about temperatures that these do not allow to test has no row: the limit (7) needs a
    finite one, the order of the gradients over T (3) two that are at least rms(z).

    Args:
        student_logits: (batch, K).
        teacher_logits: (batch, K), each sample's centred logits other than the student's.
        targets: class indices (batch,).
        case: what the logits are, for the table.
        temperatures: each in (0, inf].

    Raises:
        ValueError: wrong shapes, or a temperature that is not in (0, inf].
    """
    student, teacher = student_logits.detach().double(), teacher_logits.detach().double()
    findings = [
        _softened(student, temperatures),
        *_logits_matching(student, teacher),
        *_scale(student, teacher, temperatures),
        _zero_mean(student, teacher),
        _zero_sum_kd(student, teacher, temperatures),
        _zero_sum_cross_entropy(student, targets),
        *_limit(student, teacher, temperatures),
        *_regularised(student, teacher),
        *_kd_gradient(student, teacher, temperatures),
        *_cross_entropy(student, targets),
        *_lower_bound(student, targets),
    ]
    return [{"case": case} | vars(finding) for finding in findings]


def random_cases(seed: int, samples: int = 200) -> Iterator[Case]:
    """Random logits of sd 5 with teacher means 0 and 5 and gaps c^s − c^t 0, 1 and −4, K = 2 … 100.

    The last case is the smallest one that violates (B.4) as printed: z = (10, 10).
    """
    generator = torch.Generator().manual_seed(seed)
    for num_classes, mean, gap in product((2, 10, 100), (0.0, 5.0), (0.0, 1.0, -4.0)):
        student, teacher = random_logits(samples, num_classes, 5.0, mean + gap, mean, generator)
        targets = torch.randint(num_classes, (samples,), generator=generator)
        yield (
            student,
            teacher,
            targets,
            f"random, K = {num_classes}, c^t = {mean:g}, gap {gap:g}",
        )
    equal = torch.tensor([[10.0, 10.0]], dtype=torch.float64)
    apart = torch.tensor([[9.0, 1.0]], dtype=torch.float64)
    yield equal, apart, torch.tensor([0]), "z^s = (10, 10), z^t = (9, 1)"


def _largest(values: Tensor) -> float:
    return float(values.max())


def _relative(value: Tensor, expected: Tensor) -> float:
    return float((value - expected).abs() / expected.abs())


def _zero_sum(gradient: Tensor) -> float:
    """Largest |Σg|/Σ|g| over samples; one without any gradient counts as 0."""
    total = gradient.abs().sum(dim=1)
    return _largest(gradient.sum(dim=1).abs() / total.where(total > 0, torch.ones_like(total)))


def _kd_gradients(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return logit_gradient(lambda z: kd_loss(z, teacher, temperature), student)


def _softened(student: Tensor, temperatures: Sequence[float]) -> _Finding:
    """(1) against its definition, exp of logits less the largest; T = 1 is softmax."""
    worst = _largest((softened(student, 1) - torch.softmax(student, dim=1)).abs())
    for temperature in temperatures:
        p = softened(student, temperature)
        powers = ((student - student.amax(dim=1, keepdim=True)) / temperature).exp()
        direct = powers / powers.sum(dim=1, keepdim=True)
        worst = max(worst, _largest((p - direct).abs()), _largest((p.sum(dim=1) - 1).abs()))
    statistic = "largest absolute difference from exp(z/T)/sum exp(z/T), and of the sum from 1"
    return _Finding("eq1", statistic, worst)


def _logits_matching(student: Tensor, teacher: Tensor) -> list[_Finding]:
    half = _relative(2 * lm_loss(student, teacher), functional.mse_loss(student, teacher))
    gradient = logit_gradient(lambda z: lm_loss(z, teacher), student)
    form = infinite_temperature_gradient(student, teacher, "lm")
    return [
        _Finding("eq2", "relative difference of twice the loss from mse_loss", half),
        _Finding(
            "eq2",
            "largest relative distance of the gradient from (z^s - z^t)/K",
            _largest(relative_distance(gradient, form, form)),
        ),
    ]


def _scale(student: Tensor, teacher: Tensor, temperatures: Sequence[float]) -> list[_Finding]:
    """T² in (3): without it the norms would differ by the square of the temperatures' ratio."""
    rms = centred_rms(teacher)
    norms = [
        float(_kd_gradients(student, teacher, temperature).square().sum(dim=1).mean().sqrt())
        for temperature in temperatures
        if temperature >= rms
    ]
    if len(norms) < 2:
        return []
    statistic = "largest over smallest rms norm of the T^2 KD gradient, T >= rms(z)"
    return [_Finding("eq3-scale", statistic, max(norms) / min(norms))]


def _zero_mean(student: Tensor, teacher: Tensor) -> _Finding:
    student = student - student.mean(dim=1, keepdim=True)
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    form = infinite_temperature_gradient(student, teacher, "lm")
    distance = relative_distance(_kd_gradients(student, teacher, math.inf), form, form)
    return _Finding(
        "eq4-zero-mean",
        "largest relative distance of the KD gradient at T = inf from LM's, each sample's means "
        "taken off",
        _largest(distance),
    )


def _zero_sum_kd(student: Tensor, teacher: Tensor, temperatures: Sequence[float]) -> _Finding:
    worst = max(_zero_sum(_kd_gradients(student, teacher, t)) for t in temperatures)
    return _Finding("eq5", "largest |sum g|/sum |g| of the T^2 KD gradient", worst)


def _zero_sum_cross_entropy(student: Tensor, targets: Tensor) -> _Finding:
    """(6). p − 1 of the true class is expm1(−CE): taken from p it would be rounding where p nears 1."""
    index = targets[:, None]
    above = student - student.gather(1, index)
    others = above.scatter(1, index, -math.inf)
    odds = torch.logsumexp(others, dim=1, keepdim=True)
    cross_entropy = torch.logaddexp(odds, torch.zeros_like(odds))
    gradient = (others - cross_entropy).exp().scatter(1, index, torch.expm1(-cross_entropy))
    return _Finding("eq6", "largest |sum g|/sum |g| of the CE gradient p - y", _zero_sum(gradient))


def _limit(student: Tensor, teacher: Tensor, temperatures: Sequence[float]) -> list[_Finding]:
    finite = [temperature for temperature in temperatures if math.isfinite(temperature)]
    if not finite:
        return []
    gradient = _kd_gradients(student, teacher, max(finite))
    scale = infinite_temperature_gradient(student, teacher, "corrected")

    def violation(form: Form) -> float:
        stated = infinite_temperature_gradient(student, teacher, form)
        return _largest(relative_distance(gradient, stated, scale))

    statistic = f"largest relative distance of the T^2 KD gradient at T = {max(finite):g} from (7)"
    return [_Finding(f"eq7-{form}", statistic, violation(form), form) for form in _FORMS]


def _regularised(student: Tensor, teacher: Tensor) -> list[_Finding]:
    means = student.mean(dim=1), teacher.mean(dim=1)
    centred = logit_gradient(lambda z: centred_lm_loss(z, teacher), student)

    def violation(form: Form) -> float:
        gradient = logit_gradient(
            lambda z: regularised_lm_loss(z, teacher, *means, form=form), student
        )
        return _largest(relative_distance(gradient, centred, centred))

    statistic = "largest relative distance of the gradient, current means, from centred LM's"
    return [_Finding(f"eq8-{form}", statistic, violation(form), form) for form in _FORMS]


def _kd_gradient(student: Tensor, teacher: Tensor, temperatures: Sequence[float]) -> list[_Finding]:
    """(A.3), relative to the terms of its difference: where p^s nears p^t those alone have digits.

    The unweighted side is torch's own divergence under autograd, not this study's loss.
    """
    plain, weighted = 0.0, 0.0
    for temperature in filter(math.isfinite, temperatures):
        p_student, p_teacher = softened(student, temperature), softened(teacher, temperature)
        scale = p_student.norm(dim=1) + p_teacher.norm(dim=1)
        divergence = logit_gradient(
            lambda z, t=temperature, p=p_teacher: functional.kl_div(
                torch.log_softmax(z / t, dim=1), p, reduction="batchmean"
            ),
            student,
        )
        stated = p_student - p_teacher
        t2_weighted = _kd_gradients(student, teacher, temperature)
        plain = max(plain, _largest((divergence * temperature - stated).norm(dim=1) / scale))
        weighted = max(weighted, _largest((t2_weighted / temperature - stated).norm(dim=1) / scale))
    about = "largest distance over |p^s| + |p^t|"
    return [
        _Finding("a3", f"{about}: T times the gradient of KL from p^s - p^t", plain),
        _Finding("a3", f"{about}: the gradient of T^2 KL, over T, from p^s - p^t", weighted),
    ]


def _cross_entropy(student: Tensor, targets: Tensor) -> list[_Finding]:
    """(B.3) read as CE = −Σ y_i z_i + log Σ_j e^{z_j}, with gradient p − y."""
    y = functional.one_hot(targets, student.shape[1]).double()
    stated = torch.logsumexp(student, dim=1) - (y * student).sum(dim=1)
    value = functional.cross_entropy(student, targets, reduction="none")
    gradient = logit_gradient(lambda z: functional.cross_entropy(z, targets), student)
    return [
        _Finding(
            "b3",
            "largest difference of CE from -sum y z + log sum exp z, over max(1, CE)",
            _largest((value - stated).abs() / value.clamp(min=1)),
        ),
        _Finding(
            "b3",
            "largest distance of the CE gradient from p - y",
            _largest((gradient - (torch.softmax(student, dim=1) - y)).norm(dim=1)),
        ),
    ]


def _lower_bound(student: Tensor, targets: Tensor) -> list[_Finding]:
    cross_entropy = functional.cross_entropy(student, targets, reduction="none")
    # the bound is a batch mean, the violation is sought sample by sample
    samples = list(zip(student.split(1), targets.split(1), strict=True))

    def violation(form: Form) -> float:
        bound = torch.stack([cross_entropy_lower_bound(z, y, form=form) for z, y in samples])
        return _largest(((bound - cross_entropy) / cross_entropy.clamp(min=1)).clamp(min=0))

    statistic = "largest (bound - CE)/max(1, CE), 0 where the bound holds"
    return [_Finding(f"b4-{form}", statistic, violation(form), form) for form in _FORMS]
