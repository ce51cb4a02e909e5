"""The worst violation of each exact statement of the paper, on given logits.

All results are float64. Equation numbers are those of Chen, Wang, Chen, arXiv 2109.06458;
docs/errata.md has the proofs of the corrected forms.
"""

import math
from collections.abc import Callable, Iterator
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
    lm_loss,
    regularised_lm_loss,
    softened,
)
from kdlm.theory.gradient_limit import (
    centred_rms,
    infinite_temperature_gradient,
    kd_gradient,
    logit_gradient,
    random_logits,
    relative_distance,
)

__all__ = ["Case", "identities", "random_cases"]

TEMPERATURES = (1.0, 4.0, 16.0, 64.0, 256.0, 1e3, 1e4, 1e5, 1e6, math.inf)
FINITE = TEMPERATURES[:-1]

_FORMS: tuple[Form, Form] = ("printed", "corrected")


@dataclass(frozen=True)
class Case:
    """Logits on which the identities are evaluated.

    Attributes:
        name: description of the logits, for column ``case`` of the table.
        student: z^s, (batch, K). In every sample the centred logits must differ from the teacher's:
            relative distances divide by that difference.
        teacher: z^t, (batch, K).
        targets: class indices, (batch,).

    """

    name: str
    student: Tensor
    teacher: Tensor
    targets: Tensor


@dataclass(frozen=True)
class _Finding:
    claim: str
    statistic: str
    value: float
    form: str = "as stated"


def identities(case: Case) -> list[dict[str, Any]]:
    """Return the worst violation of each exact statement of the paper on the logits of ``case``.

    Statements about every temperature are evaluated at `TEMPERATURES`, from 1 to 10⁶ and ∞; eq.
    (A.3) at the finite ones, and the limit (7) at 10⁶.

    Returns:
        Rows of table ``identities``.

    Raises:
        ValueError: the shapes are wrong.

    """
    student, teacher = case.student.detach().double(), case.teacher.detach().double()
    findings = [
        _softened(student),
        *_logits_matching(student, teacher),
        _scale(student, teacher),
        _zero_mean(student, teacher),
        _zero_sum_kd(student, teacher),
        _zero_sum_cross_entropy(student, case.targets),
        *_limit(student, teacher),
        *_regularised(student, teacher),
        *_energy(student, teacher),
        *_kd_gradient_form(student, teacher),
        *_cross_entropy(student, case.targets),
        *_lower_bound(student, case.targets),
    ]
    return [{"case": case.name} | vars(finding) for finding in findings]


def random_cases(samples: int, seed: int) -> Iterator[Case]:
    """Yield cases of random logits, and one counterexample to eq. (B.4) as printed.

    The random logits have standard deviation 5. There is a case for each combination of K = 2, 10
    and 100 classes, teacher means c^t = 0 and 5, and gaps c^s − c^t = 0, 1 and −4. Targets are
    random too. The last case is a single sample, z^s = (10, 10).

    Args:
        samples: number of samples in each random case.
        seed: seed of the random numbers.

    """
    generator = torch.Generator().manual_seed(seed)
    for num_classes, mean, gap in product((2, 10, 100), (0.0, 5.0), (0.0, 1.0, -4.0)):
        student, teacher = random_logits(
            samples, num_classes, 5.0,
            student_mean=mean + gap, teacher_mean=mean, generator=generator,
        )  # fmt: skip
        targets = torch.randint(num_classes, (samples,), generator=generator)
        name = f"random, K = {num_classes}, c^t = {mean:g}, c^s - c^t = {gap:g}"
        yield Case(name, student, teacher, targets)
    equal = torch.tensor([[10.0, 10.0]], dtype=torch.float64)
    apart = torch.tensor([[9.0, 1.0]], dtype=torch.float64)
    yield Case("z^s = (10, 10), z^t = (9, 1)", equal, apart, torch.tensor([0]))


def _largest(values: Tensor) -> float:
    return float(values.max())


def _relative(value: Tensor, expected: Tensor) -> float:
    return float((value - expected).abs() / expected.abs())


def _zero_sum(gradient: Tensor) -> float:
    """Return the largest |Σg|/Σ|g| over samples; a sample whose gradient is 0 counts as 0."""
    total = gradient.abs().sum(dim=1)
    return _largest(gradient.sum(dim=1).abs() / total.where(total > 0, torch.ones_like(total)))


def _softened(student: Tensor) -> _Finding:
    """Compare eq. (1), the tempered softmax, with exp(z/T)/Σ exp(z/T) computed directly.

    The direct formula subtracts the largest logit first, so that nothing overflows. At T = 1 the
    result is also compared with torch's softmax.
    """
    worst = _largest((softened(student, 1) - torch.softmax(student, dim=1)).abs())
    for temperature in TEMPERATURES:
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


def _scale(student: Tensor, teacher: Tensor) -> _Finding:
    """Return how much the size of the gradient of T²·KL, eq. (3), varies with the temperature.

    Without the weight T² the gradient would shrink as 1/T² at high T, so the ratio of the norms at
    two temperatures would be the square of the temperatures' ratio.
    """
    rms = centred_rms(teacher)
    norms = [
        float(kd_gradient(student, teacher, temperature).square().sum(dim=1).mean().sqrt())
        for temperature in TEMPERATURES
        if temperature >= rms
    ]
    statistic = "largest over smallest rms norm of the T^2 KD gradient, T >= rms(z)"
    return _Finding("eq3-scale", statistic, max(norms) / min(norms))


def _zero_mean(student: Tensor, teacher: Tensor) -> _Finding:
    student = student - student.mean(dim=1, keepdim=True)
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    form = infinite_temperature_gradient(student, teacher, "lm")
    distance = relative_distance(kd_gradient(student, teacher, math.inf), form, form)
    return _Finding(
        "eq4-zero-mean",
        "largest relative distance of the KD gradient at T = inf from LM's, each sample's means "
        "taken off",
        _largest(distance),
    )


def _zero_sum_kd(student: Tensor, teacher: Tensor) -> _Finding:
    worst = max(_zero_sum(kd_gradient(student, teacher, t)) for t in TEMPERATURES)
    return _Finding("eq5", "largest |sum g|/sum |g| of the T^2 KD gradient", worst)


def _zero_sum_cross_entropy(student: Tensor, targets: Tensor) -> _Finding:
    """Return the worst violation of eq. (6), that the gradient p − y of CE sums to zero.

    The true class's entry p − 1 is computed as expm1(−CE). Subtracting 1 from p would leave
    nothing but rounding where p is close to 1.
    """
    index = targets[:, None]
    above = student - student.gather(1, index)
    others = above.scatter(1, index, -math.inf)
    odds = torch.logsumexp(others, dim=1, keepdim=True)
    cross_entropy = torch.logaddexp(odds, torch.zeros_like(odds))
    gradient = (others - cross_entropy).exp().scatter(1, index, torch.expm1(-cross_entropy))
    return _Finding("eq6", "largest |sum g|/sum |g| of the CE gradient p - y", _zero_sum(gradient))


def _limit(student: Tensor, teacher: Tensor) -> list[_Finding]:
    gradient = kd_gradient(student, teacher, FINITE[-1])
    scale = infinite_temperature_gradient(student, teacher, "corrected")

    def violation(form: Form) -> float:
        stated = infinite_temperature_gradient(student, teacher, form)
        return _largest(relative_distance(gradient, stated, scale))

    statistic = f"largest relative distance of the T^2 KD gradient at T = {FINITE[-1]:g} from (7)"
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


def _energy(student: Tensor, teacher: Tensor) -> list[_Finding]:
    """Return the worst violations of L_LM = L_centred + ½g², g = c^s − c^t, in any sample.

    L_centred is the loss of centred LM, the limit of T²·KL as T → ∞. Since ∂c^s/∂z^s_i = 1/K, the
    gradients of LM and of centred LM differ by g/K on every logit. The share of ½g² in LM's loss
    is also the share of ‖g/K‖² in the squared norm of LM's gradient: both are K g²/‖z^s − z^t‖².
    """
    # each loss returns a batch mean, so it is called on batches of one sample
    pairs = list(zip(student[:, None], teacher[:, None], strict=True))
    losses = torch.stack([lm_loss(*pair) for pair in pairs])
    centred = torch.stack([centred_lm_loss(*pair) for pair in pairs])
    gap = student.mean(dim=1) - teacher.mean(dim=1)
    violation = (losses - centred - gap.square() / 2).abs() / losses
    gradient = logit_gradient(lambda z: lm_loss(z, teacher), student)
    difference = gradient - logit_gradient(lambda z: centred_lm_loss(z, teacher), student)
    stated = (gap / student.shape[1])[:, None].expand_as(student)
    return [
        _Finding(
            "energy-identity",
            "largest difference of LM - centred LM from half the squared gap, over LM",
            _largest(violation),
            "corrected",
        ),
        _Finding(
            "energy-identity",
            "largest distance of the gradients' difference from gap/K, over LM's gradient",
            _largest(relative_distance(difference, stated, gradient)),
            "corrected",
        ),
    ]


def _kd_gradient_form(student: Tensor, teacher: Tensor) -> list[_Finding]:
    """Return the worst violations of eq. (A.3), that the gradient of KL is (p^s − p^t)/T.

    One is of KL as torch's ``kl_div`` under autograd, the other of this study's T²·KL. Distances
    are divided by |p^s| + |p^t| and not by |p^s − p^t|: where p^s is close to p^t, the rounding of
    both is all that is left of their difference.
    """
    plain, weighted = [], []
    for temperature in FINITE:
        p_student, p_teacher = softened(student, temperature), softened(teacher, temperature)
        stated = p_student - p_teacher
        scale = p_student.norm(dim=1) + p_teacher.norm(dim=1)
        divergence = logit_gradient(_divergence(p_teacher, temperature), student)
        t2_weighted = kd_gradient(student, teacher, temperature)
        plain.append(_largest((divergence * temperature - stated).norm(dim=1) / scale))
        weighted.append(_largest((t2_weighted / temperature - stated).norm(dim=1) / scale))
    about = "largest distance over |p^s| + |p^t|"
    return [
        _Finding("a3", f"{about}: T times the gradient of KL from p^s - p^t", max(plain)),
        _Finding("a3", f"{about}: the gradient of T^2 KL over T from p^s - p^t", max(weighted)),
    ]


def _divergence(p_teacher: Tensor, temperature: float) -> Callable[[Tensor], Tensor]:
    def loss(student: Tensor) -> Tensor:
        log_p = torch.log_softmax(student / temperature, dim=1)
        return functional.kl_div(log_p, p_teacher, reduction="batchmean")

    return loss


def _cross_entropy(student: Tensor, targets: Tensor) -> list[_Finding]:
    """Return the worst violations of CE = −Σ y_i z_i + log Σ_j e^{z_j}, from appendix B.

    Its gradient p − y is checked as well.
    """
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
    # cross_entropy_lower_bound returns a batch mean, so it is called on batches of one sample
    samples = list(zip(student[:, None], targets[:, None], strict=True))

    def violation(form: Form) -> float:
        bound = torch.stack([cross_entropy_lower_bound(z, y, form=form) for z, y in samples])
        return _largest(((bound - cross_entropy) / cross_entropy.clamp(min=1)).clamp(min=0))

    statistic = "largest (bound - CE)/max(1, CE), 0 where the bound holds"
    return [_Finding(f"b4-{form}", statistic, violation(form), form) for form in _FORMS]
