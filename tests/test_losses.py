"""The losses against their definitions in mpmath, and the properties that the study leans on."""

import math
import shutil
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import mpmath
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from kdlm.losses import (
    LOSSES,
    Form,
    centred_lm_loss,
    cross_entropy_lower_bound,
    kd_loss,
    lm_loss,
    named_loss,
    regularised_lm_loss,
    reverse_kd_loss,
    softened,
    standardised_kd_loss,
)
from kdlm.study.names import LOSSES as FACTS

Loss = Callable[[Tensor], Tensor]

INF = math.inf
TEMPERATURES = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, INF)
# The issue asks for 1e-5; both are rounded once from float64, to half of this.
ROUNDING = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
# Below it float32 has no normal numbers.
TINY = 1e-37
# KL can be 1e-60 at the highest temperatures, as a difference of terms of order 1.
DIGITS = 100


def oracle(
    student: Tensor, teacher: Tensor, temperature: float, counts: list[int] | None = None
) -> tuple[float, Tensor]:
    """T²·KL by its definition, and T(p^s − p^t), for one sample (K,).

    ``counts`` says how often each class occurs: that makes 50,000 classes of a few hundred.
    """
    counts = counts or [1] * len(student)
    with mpmath.workdps(DIGITS):
        z_student, z_teacher = (
            [mpmath.mpf(z) for z in side.tolist()] for side in (student, teacher)
        )
        if temperature == INF:
            differences = [s - t for s, t in zip(z_student, z_teacher, strict=True)]
            mean = mpmath.fdot(differences, counts) / sum(counts)
            gradient = [(d - mean) / sum(counts) for d in differences]
            value = mpmath.fdot([g * g for g in gradient], counts) * sum(counts) / 2
        else:
            log_s, log_t = (
                _log_softmax(z, mpmath.mpf(temperature), counts) for z in (z_student, z_teacher)
            )
            terms = [mpmath.exp(t) * (t - s) for s, t in zip(log_s, log_t, strict=True)]
            value = mpmath.mpf(temperature) ** 2 * mpmath.fdot(terms, counts)
            gradient = [
                temperature * (mpmath.exp(s) - mpmath.exp(t))
                for s, t in zip(log_s, log_t, strict=True)
            ]
        return float(value), torch.tensor([float(g) for g in gradient], dtype=torch.float64)


def _log_softmax(logits: list[Any], temperature: Any, counts: list[int]) -> list[Any]:
    top = max(logits)
    scaled = [(z - top) / temperature for z in logits]
    log_sum = mpmath.log(mpmath.fdot([mpmath.exp(x) for x in scaled], counts))
    return [x - log_sum for x in scaled]


def value_and_gradient(loss: Loss, student: Tensor) -> tuple[Tensor, Tensor]:
    leaf = student.detach().clone().requires_grad_()
    value = loss(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def kd(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    return value_and_gradient(lambda z: kd_loss(z, teacher, temperature), student)


def errors(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, float]:
    """Relative error of value and, in the 2-norm, of the gradient, for one sample (K,)."""
    classes = list(zip(student.tolist(), teacher.tolist(), strict=True))
    distinct = Counter(classes)
    sides = torch.tensor(list(distinct), dtype=torch.float64).T
    true_value, gradients = oracle(sides[0], sides[1], temperature, list(distinct.values()))
    by_class = dict(zip(distinct, gradients.tolist(), strict=True))
    true_gradient = torch.tensor([by_class[pair] for pair in classes], dtype=torch.float64)
    value, gradient = kd(student[None], teacher[None], temperature)
    return (
        abs(float(value) - true_value) / max(true_value, TINY),
        float((gradient[0].double() - true_gradient).norm() / true_gradient.norm().clamp(min=TINY)),
    )


def normal(*shape: int, seed: int = 0, sd: float = 5.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * sd


def arguments(batch: int = 4, classes: int = 10, **changed: Any) -> dict[str, Any]:
    """Keywords of `named_loss`."""
    return {
        "student_logits": normal(batch, classes, seed=1),
        "teacher_logits": normal(batch, classes, seed=2),
        "targets": torch.arange(batch) % classes,
        "temperature": 4.0,
        "student_mean": 0.5,
        "teacher_mean": -1.25,
    } | changed


# Multiples of 1/64: float32 adds whole numbers to them, and takes them off again, without rounding.
_logits = st.integers(-3200, 3200).map(lambda n: n / 64)
_temperatures = st.one_of(st.floats(-1, 8).map(lambda x: 10.0**x), st.just(INF))


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    batch, classes = draw(st.integers(1, 3)), draw(st.integers(2, 8))
    side = st.lists(_logits, min_size=batch * classes, max_size=batch * classes)
    student, teacher = (torch.tensor(draw(side)).reshape(batch, classes) for _ in range(2))
    return student, teacher


pairs = _pairs()


# --- accuracy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sd", [5.0, 50.0])
@pytest.mark.parametrize("classes", [2, 10, 100, 1000, 50_000])
def test_kd_is_right_to_one_rounding_of_float32(classes: int, sd: float) -> None:
    distinct = min(classes, 200)
    # every class once at least, so that none of the logits is drawn in vain
    index = torch.arange(classes) % distinct
    for seed in range(3 if classes <= 10 else 1):
        student, teacher = normal(2, distinct, seed=seed, sd=sd)[:, index]
        for temperature in TEMPERATURES:
            assert max(errors(student, teacher, temperature)) < ROUNDING[torch.float32], temperature


def _hard_cases() -> Iterator[tuple[str, Tensor, Tensor]]:
    for classes in (2, 10):
        z, other = normal(2, classes, seed=classes)
        yield f"K = {classes}, means of 1e3 and -1e3", other + 1e3, z - 1e3
        yield f"K = {classes}, nearly equal", z + 1e-3 * other, z
        yield f"K = {classes}, one unit in the last place apart", z.nextafter(other), z
        yield f"K = {classes}, teacher flat", z, torch.zeros(classes)
        yield f"K = {classes}, student flat", torch.zeros(classes), z
        two_tops = torch.zeros(classes)
        two_tops[:2] = 50
        yield f"K = {classes}, two top classes", z, two_tops
        extreme = torch.full((classes,), -1e4)
        extreme[0] = 1e4
        yield f"K = {classes}, 1e4 opposed", -extreme, extreme
        yield f"K = {classes}, 1e4 agreeing", 0.9 * extreme, extreme
        yield f"K = {classes}, 1e4 against flat", extreme, torch.zeros(classes)
        yield f"K = {classes}, flat against 1e4", torch.zeros(classes), extreme


HARD = list(_hard_cases())


@pytest.mark.parametrize(("student", "teacher"), [c[1:] for c in HARD], ids=[c[0] for c in HARD])
def test_kd_is_right_where_formulas_usually_fail(student: Tensor, teacher: Tensor) -> None:
    for temperature in (*TEMPERATURES, 1e12, 1e19, 2e20):
        assert max(errors(student, teacher, temperature)) < ROUNDING[torch.float32], temperature


@pytest.mark.parametrize("classes", [2, 10])
def test_kd_has_no_step_where_formulas_meet(classes: int) -> None:
    student, teacher = normal(2, classes, seed=4).double()
    divergences, largest = [], []
    for temperature in torch.logspace(-0.5, 2, 200, dtype=torch.float64).tolist():
        # far below float32's rounding, where a step would hide
        assert max(errors(student, teacher, temperature)) < 1e-14, temperature
        d = (student - teacher) / temperature
        centred = d - (softened(teacher[None], temperature)[0] * d).sum()
        largest.append(float(centred.max()))
        divergence = float(kd_loss(student[None], teacher[None], temperature)) / temperature**2
        divergences.append(divergence)
    # both sides of every switch were visited: KL = 1, d' = 1, |d'| = 1/2
    assert min(divergences) < 1 < max(divergences)
    assert min(largest) < 0.5
    assert max(largest) > 1


def test_kd_has_no_step_on_the_way_to_infinity() -> None:
    student, teacher = normal(2, 10, seed=3).double()
    value, gradient = kd(student[None], teacher[None], INF)
    for temperature in (9e19, 1e20, 1.1e20, 1e30, 1e300):
        near = kd(student[None], teacher[None], temperature)
        torch.testing.assert_close(near, (value, gradient), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kd_is_finite_at_any_temperature(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.empty(50, 10).uniform_(-1e4, 1e4, generator=generator) for _ in range(2)
    )
    for temperature in (1e-300, 1e-160, 1e-30, 1e-3, *TEMPERATURES):
        value, gradient = kd(student.to(dtype), teacher.to(dtype), temperature)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_kd_does_not_hide_what_is_not_a_number() -> None:
    z = normal(2, 3)
    for side in ((z * math.nan, z), (z, z * math.nan)):
        assert kd_loss(*side, 4.0).isnan()


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 64.0, 1e8])
def test_softened_is_right_whatever_the_logits_have_in_common(
    temperature: float, offset: float
) -> None:
    logits = normal(1, 100) + offset
    with mpmath.workdps(DIGITS):
        logs = _log_softmax(
            [mpmath.mpf(z) for z in logits[0].tolist()], mpmath.mpf(temperature), [1] * 100
        )
        expected = torch.tensor([[float(mpmath.exp(x)) for x in logs]], dtype=torch.float64)
    # an exponent is rounded in units of its size, which the offset is no part of
    exponents = (logits.max() - logits).double() / temperature
    bound = ROUNDING[torch.float32] * (2 + 2 * exponents)
    relative = (softened(logits, temperature).double() - expected).abs() / expected
    assert (relative < bound)[expected > TINY].all()


def test_softened_is_softmax_at_one_and_flat_at_infinity() -> None:
    logits = normal(3, 7)
    torch.testing.assert_close(softened(logits, 1), torch.softmax(logits, dim=1))
    assert torch.equal(softened(logits, INF), torch.full((3, 7), 1 / 7))


# --- properties of KD -------------------------------------------------------------------------


@settings(deadline=None)
@given(pairs, _temperatures, st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_kd_does_not_see_a_constant(
    pair: tuple[Tensor, Tensor], temperature: float, to_student: int, to_teacher: int
) -> None:
    student, teacher = pair
    expected = kd(student, teacher, temperature)
    shifted = kd(student + to_student, teacher + to_teacher, temperature)
    if temperature == INF:
        # the mean itself is rounded
        torch.testing.assert_close(shifted, expected, rtol=1e-6, atol=1e-11)
    else:
        assert all(map(torch.equal, shifted, expected))


@settings(deadline=None)
@given(pairs, _temperatures)
def test_kd_gradient_sums_to_zero(pair: tuple[Tensor, Tensor], temperature: float) -> None:
    _, gradient = kd(*pair, temperature)
    total = gradient.double().sum(dim=1).abs()
    size = gradient.double().abs().sum(dim=1)
    assert (total <= ROUNDING[torch.float32] * size + TINY).all()


@settings(deadline=None)
@given(pairs, _temperatures)
def test_kd_is_positive_unless_the_student_is_the_teacher(
    pair: tuple[Tensor, Tensor], temperature: float
) -> None:
    student, teacher = pair
    assert kd_loss(student, teacher, temperature) >= 0
    value, gradient = kd(teacher + 3, teacher, temperature)
    assert value == 0
    assert not gradient.any()
    if temperature >= 10:
        gaps = student - teacher
        assert (kd_loss(student, teacher, temperature) > 0) == bool((gaps != gaps[:, :1]).any())


@settings(deadline=None)
@given(pairs, _temperatures, st.randoms(use_true_random=False))
def test_kd_has_no_favourite_class(
    pair: tuple[Tensor, Tensor], temperature: float, random: Any
) -> None:
    student, teacher = pair
    order = list(range(student.shape[1]))
    random.shuffle(order)
    value, gradient = kd(student, teacher, temperature)
    permuted_value, permuted = kd(student[:, order], teacher[:, order], temperature)
    torch.testing.assert_close(permuted_value, value, rtol=1e-6, atol=TINY)
    assert (permuted - gradient[:, order]).norm() <= 1e-6 * gradient.norm() + TINY


@settings(deadline=None)
@given(pairs, st.floats(-1, 8).map(lambda x: 10.0**x), st.sampled_from([0.25, 2.0, 1024.0]))
def test_kd_scales_with_the_square_of_its_units(
    pair: tuple[Tensor, Tensor], temperature: float, factor: float
) -> None:
    student, teacher = pair
    value, gradient = kd(student, teacher, temperature)
    scaled_value, scaled = kd(factor * student, factor * teacher, factor * temperature)
    torch.testing.assert_close(scaled_value, factor**2 * value, rtol=1e-6, atol=TINY)
    torch.testing.assert_close(scaled, factor * gradient, rtol=1e-6, atol=TINY)


@settings(deadline=None)
@given(pairs, st.floats(2, 8).map(lambda x: 10.0**x))
def test_kd_nears_centred_lm_as_one_over_temperature(
    pair: tuple[Tensor, Tensor], in_spreads: float
) -> None:
    student, teacher = (side[:1].double() for side in pair)
    spread = max(float(side.max() - side.min()) for side in (student, teacher))
    value, gradient = value_and_gradient(lambda z: centred_lm_loss(z, teacher), student)
    assume(value > 0)
    near_value, near = kd(student, teacher, in_spreads * spread)
    assert abs(near_value - value) <= 2 / in_spreads * value
    assert (near - gradient).norm() <= 2 / in_spreads * gradient.norm()


@settings(deadline=None)
@given(pairs)
def test_kd_at_low_temperature_is_what_the_teacher_s_choice_lacks(
    pair: tuple[Tensor, Tensor],
) -> None:
    student, teacher = (side[:1].double() for side in pair)
    top = teacher.argmax(dim=1, keepdim=True)
    assume(int((teacher == teacher.gather(1, top)).sum()) == 1)
    temperature = 1e-4
    lacking = float((student.amax(dim=1, keepdim=True) - student.gather(1, top)).sum())
    measured = float(kd_loss(student, teacher, temperature)) / temperature
    assert lacking <= measured + 1e-12
    assert measured <= lacking + temperature * math.log(student.shape[1]) + 1e-12


@settings(deadline=None)
@given(pairs, st.floats(0.5, 100))
def test_kd_gradient_is_a3_times_t_squared(pair: tuple[Tensor, Tensor], temperature: float) -> None:
    student, teacher = (side.double() for side in pair)
    _, gradient = kd(student, teacher, temperature)
    stated = temperature * (softened(student, temperature) - softened(teacher, temperature))
    torch.testing.assert_close(gradient * len(student), stated, rtol=0, atol=1e-13 * temperature)


# --- logits matching --------------------------------------------------------------------------


@settings(deadline=None)
@given(pairs)
def test_lm_is_half_of_mse(pair: tuple[Tensor, Tensor]) -> None:
    student, teacher = pair
    value, gradient = value_and_gradient(lambda z: lm_loss(z, teacher), student)
    torch.testing.assert_close(2 * value, functional.mse_loss(student, teacher))
    torch.testing.assert_close(gradient, (student - teacher) / student.numel())


@settings(deadline=None)
@given(pairs, st.integers(-1000, 1000))
def test_centred_lm_is_lm_of_centred_logits(pair: tuple[Tensor, Tensor], shift: int) -> None:
    student, teacher = pair
    wide = student.double(), teacher.double()
    expected = lm_loss(*(z - z.mean(dim=1, keepdim=True) for z in wide))
    value = centred_lm_loss(student + shift, teacher)
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-18)
    assert value.dtype == torch.float32


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corrected_8_has_the_gradient_of_centred_lm(dtype: torch.dtype, offset: float) -> None:
    student, teacher = normal(6, 10, seed=1).to(dtype) + offset, normal(6, 10, seed=2).to(dtype)
    means = student.double().mean(dim=1), teacher.double().mean(dim=1)
    _, gradient = value_and_gradient(lambda z: regularised_lm_loss(z, teacher, *means), student)
    _, centred = value_and_gradient(lambda z: centred_lm_loss(z, teacher), student)
    accuracy = ROUNDING[dtype] * (1 + offset * (dtype == torch.float64))
    assert (gradient - centred).norm() <= accuracy * centred.norm()


def test_printed_7_and_8_sum_to_twice_the_gap() -> None:
    student, teacher = normal(6, 10, seed=1).double(), normal(6, 10, seed=2).double()
    student_mean, teacher_mean = student.mean(dim=1), teacher.mean(dim=1)

    def sums(form: Form) -> Tensor:
        _, gradient = value_and_gradient(
            lambda z: regularised_lm_loss(z, teacher, student_mean, teacher_mean, form=form),
            student,
        )
        return gradient.sum(dim=1) * len(student)

    torch.testing.assert_close(sums("printed"), 2 * (student_mean - teacher_mean))
    torch.testing.assert_close(sums("corrected"), torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize(("form", "sign"), [("corrected", 1), ("printed", -1)])
def test_8_is_lm_and_a_linear_term(form: Form, sign: int) -> None:
    student, teacher = normal(4, 10, seed=1).double(), normal(4, 10, seed=2).double()
    lm = lm_loss(student, teacher)
    # numbers whose difference float32 gets wrong by 4e-4
    regularised = regularised_lm_loss(student, teacher, 1000.1, 1000.2, form=form)
    torch.testing.assert_close(regularised - lm, sign * (1000.2 - 1000.1) * student.mean())
    each = torch.arange(4.0), torch.tensor([2.0])
    expected = (sign * (each[1] - each[0]) * student.mean(dim=1)).mean()
    torch.testing.assert_close(
        regularised_lm_loss(student, teacher, *each, form=form) - lm, expected
    )


def test_means_of_8_are_held_constant() -> None:
    means = torch.zeros(4, requires_grad=True), torch.ones(4, requires_grad=True)
    student = normal(4, 10).requires_grad_()
    loss = regularised_lm_loss(student, normal(4, 10, seed=1), *means)
    gradients = torch.autograd.grad(loss, (student, *means), allow_unused=True)
    assert [gradient is None for gradient in gradients] == [False, True, True]


# --- the bound (B.4) --------------------------------------------------------------------------


@settings(deadline=None)
@given(pairs, st.data())
def test_corrected_b4_is_a_lower_bound(pair: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    logits = pair[0].double()
    index = st.integers(0, logits.shape[1] - 1)
    targets = torch.tensor(data.draw(st.lists(index, min_size=len(logits), max_size=len(logits))))
    bound = cross_entropy_lower_bound(logits, targets)
    assert bound <= functional.cross_entropy(logits, targets) + 1e-13
    probabilities = functional.one_hot(targets, logits.shape[1]).double()
    torch.testing.assert_close(cross_entropy_lower_bound(logits, probabilities), bound)


def test_b4_is_tight_for_equal_logits_and_false_as_printed() -> None:
    logits, targets = torch.tensor([[10.0, 10.0]]), torch.tensor([0])
    assert cross_entropy_lower_bound(logits, targets).item() == pytest.approx(math.log(2))
    assert cross_entropy_lower_bound(logits, targets, form="printed").item() == 10
    assert functional.cross_entropy(logits, targets).item() == pytest.approx(math.log(2))


# --- what every loss has in common ------------------------------------------------------------


def _sample(arguments_: dict[str, Any], index: int) -> dict[str, Any]:
    """The arguments of one sample of the batch, as a batch of its own."""
    return {k: v[index, None] if isinstance(v, Tensor) else v for k, v in arguments_.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_batch_means(name: str) -> None:
    # a last batch of another size must not change the weight of a sample
    whole = arguments(batch=5)
    singles = [named_loss(name, **_sample(whole, i)) for i in range(5)]
    total = named_loss(name, **whole)
    assert total.shape == ()
    torch.testing.assert_close(total, torch.stack(singles).mean())


def test_losses_are_the_functions_of_their_names() -> None:
    given_ = arguments()
    logits = given_["student_logits"], given_["teacher_logits"]
    expected = {
        "ce": functional.cross_entropy(logits[0], given_["targets"]),
        "kd": kd_loss(*logits, 4.0),
        "lm": lm_loss(*logits),
        "centred-lm": centred_lm_loss(*logits),
        "regularised-lm-corrected": regularised_lm_loss(*logits, 0.5, -1.25, form="corrected"),
        "regularised-lm-printed": regularised_lm_loss(*logits, 0.5, -1.25, form="printed"),
        "reverse-kd": reverse_kd_loss(*logits, 4.0),
        "standardised-kd": standardised_kd_loss(*logits, 4.0),
        "l1-lm": lm_loss(*logits) + 1.75 * logits[0].abs().mean(),
    }
    assert {name: pytest.approx(float(named_loss(name, **given_))) for name in LOSSES} == expected
    assert len({value.item() for value in expected.values()}) == len(expected)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_flow_to_the_student_alone(name: str) -> None:
    given_ = arguments()
    student, teacher = (given_[k].requires_grad_() for k in ("student_logits", "teacher_logits"))
    for temperature in (4.0, INF):
        loss = named_loss(name, **given_ | {"temperature": temperature})
        of_student, of_teacher = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
        assert of_student.any()
        assert of_teacher is None


@pytest.mark.parametrize("temperature", [0.5, 4.0, INF])
@pytest.mark.parametrize("name", LOSSES)
def test_first_and_second_derivatives(name: str, temperature: float) -> None:
    given_ = arguments(batch=2, classes=4, temperature=temperature)
    logits = given_.pop("student_logits").double().requires_grad_()
    given_["teacher_logits"] = given_["teacher_logits"].double()

    def mixed(z: Tensor) -> Tensor:
        # a term beside it: by itself, a lost second derivative would be an error and not silent
        return named_loss(name, student_logits=z, **given_) + torch.logsumexp(z, dim=1).mean()

    assert torch.autograd.gradcheck(mixed, logits)
    assert torch.autograd.gradgradcheck(mixed, logits)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    given_ = arguments()
    narrow = {k: given_[k].to(dtype) for k in ("student_logits", "teacher_logits")}
    expected = named_loss(name, **given_ | {k: z.float() for k, z in narrow.items()})
    assert expected.dtype == torch.float32
    narrow["student_logits"].requires_grad_()
    assert torch.equal(named_loss(name, **given_ | narrow), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = named_loss(name, **given_ | narrow)
    assert torch.equal(value, expected)
    (gradient,) = torch.autograd.grad(value, narrow["student_logits"])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_float64_stays_float64(name: str) -> None:
    given_ = arguments()
    wide = {k: given_[k].double() for k in ("student_logits", "teacher_logits")}
    assert named_loss(name, **given_ | wide).dtype == torch.float64


# --- reverse and standardised KD --------------------------------------------------------------


def reverse_oracle(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, Tensor]:
    """T²·KL(p^s ‖ p^t) by its definition, and its gradient p^s_i (log p^s_i − log p^t_i − KL) T."""
    if temperature == INF:
        # both directions have the limit of centred logits matching
        return oracle(student, teacher, INF)
    counts = [1] * len(student)
    with mpmath.workdps(DIGITS):
        t = mpmath.mpf(temperature)
        log_s, log_t = (
            _log_softmax([mpmath.mpf(z) for z in side.tolist()], t, counts)
            for side in (student, teacher)
        )
        kl = mpmath.fsum(mpmath.exp(s) * (s - u) for s, u in zip(log_s, log_t, strict=True))
        gradient = [t * mpmath.exp(s) * (s - u - kl) for s, u in zip(log_s, log_t, strict=True)]
        return float(t**2 * kl), torch.tensor([float(g) for g in gradient], dtype=torch.float64)


def standardised_oracle(
    student: Tensor, teacher: Tensor, temperature: float
) -> tuple[float, Tensor]:
    """`oracle` of z-scores written out, and its gradient by the chain rule written out."""
    with mpmath.workdps(DIGITS):
        sides, scales = [], []
        for side in (student, teacher):
            z = [mpmath.mpf(x) for x in side.tolist()]
            mean = mpmath.fsum(z) / len(z)
            sd = mpmath.sqrt(mpmath.fsum((x - mean) ** 2 for x in z) / len(z))
            sides.append([(x - mean) / (sd + mpmath.mpf(1e-7)) for x in z])
            scales.append(sd)
        t, counts = mpmath.mpf(temperature), [1] * len(student)
        if temperature == INF:
            difference = [s - u for s, u in zip(*sides, strict=True)]
            value = mpmath.fsum(d * d for d in difference) / (2 * len(counts))
            inner = [d / len(counts) for d in difference]
        else:
            log_s, log_t = (_log_softmax(side, t, counts) for side in sides)
            pairs_ = list(zip(log_s, log_t, strict=True))
            value = t**2 * mpmath.fsum(mpmath.exp(u) * (u - s) for s, u in pairs_)
            inner = [t * (mpmath.exp(s) - mpmath.exp(u)) for s, u in pairs_]
        # dẑ_i/dz_j = (δ_ij − 1/K)/(σ + ε) − ẑ_i ẑ_j (σ + ε)/(K σ)/(σ + ε)
        sd, scale, k = scales[0], scales[0] + mpmath.mpf(1e-7), len(counts)
        mean_inner = mpmath.fsum(inner) / k
        along = mpmath.fsum(g * s for g, s in zip(inner, sides[0], strict=True)) / k
        gradient = [
            (g - mean_inner - s * along * scale / sd) / scale
            for g, s in zip(inner, sides[0], strict=True)
        ]
        return float(value), torch.tensor([float(g) for g in gradient], dtype=torch.float64)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(
    ("loss", "truth"),
    [(reverse_kd_loss, reverse_oracle), (standardised_kd_loss, standardised_oracle)],
)
def test_the_kin_of_kd_are_right_to_one_rounding_of_float32(
    loss: Callable[..., Tensor],
    truth: Callable[[Tensor, Tensor, float], tuple[float, Tensor]],
    classes: int,
    temperature: float,
) -> None:
    student, teacher = normal(2, classes, seed=classes + 1)
    true_value, true_gradient = truth(student, teacher, temperature)
    value, gradient = value_and_gradient(
        lambda z: loss(z, teacher[None], temperature), student[None]
    )
    bound = ROUNDING[torch.float32]
    assert abs(float(value) - true_value) <= bound * max(true_value, TINY)
    # with two classes standardised logits are ±1 whatever the logits: their gradient is rounding
    size = float(true_gradient.norm()) if classes > 2 or loss is reverse_kd_loss else 1.0
    assert float((gradient[0].double() - true_gradient).norm()) <= bound * max(size, TINY)


@pytest.mark.parametrize(("student", "teacher"), [c[1:] for c in HARD], ids=[c[0] for c in HARD])
def test_reverse_kd_is_right_where_formulas_usually_fail(student: Tensor, teacher: Tensor) -> None:
    for temperature in (*TEMPERATURES, 1e12, 1e19, 2e20):
        true_value, true_gradient = reverse_oracle(student, teacher, temperature)
        value, gradient = value_and_gradient(
            lambda z, t=temperature: reverse_kd_loss(z, teacher[None], t),  # type: ignore[misc]
            student[None],
        )
        bound = ROUNDING[torch.float32]
        assert abs(float(value) - true_value) <= bound * max(true_value, TINY), temperature
        error = float((gradient[0].double() - true_gradient).norm())
        assert error <= bound * max(float(true_gradient.norm()), TINY), temperature


@settings(deadline=None)
@given(pairs, _temperatures)
def test_reverse_kd_is_kd_with_the_sides_exchanged(
    pair: tuple[Tensor, Tensor], temperature: float
) -> None:
    student, teacher = pair
    one, other = (
        reverse_kd_loss(student, teacher, temperature),
        kd_loss(teacher, student, temperature),
    )
    torch.testing.assert_close(one, other)


@settings(deadline=None)
@given(
    _temperatures, st.floats(-100, 100), st.floats(0.01, 100), st.floats(-100, 100),
    st.floats(0.01, 100),
)  # fmt: skip
def test_standardised_kd_sees_neither_mean_nor_scale(
    temperature: float, shift: float, factor: float, other_shift: float, other_factor: float
) -> None:
    student, teacher = normal(3, 7, seed=8).double(), normal(3, 7, seed=9).double()
    expected = standardised_kd_loss(student, teacher, temperature)
    found = standardised_kd_loss(
        shift + factor * student, other_shift + other_factor * teacher, temperature
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)


def test_equal_logits_have_a_standardised_gradient() -> None:
    value, gradient = value_and_gradient(
        lambda z: standardised_kd_loss(z, normal(1, 4), 4.0), torch.full((1, 4), 2.0)
    )
    assert value.isfinite()
    assert gradient.isfinite().all()


# --- torch.func -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_torch_func_transforms_every_loss(name: str) -> None:
    given_ = arguments(batch=3, classes=5)
    logits = given_.pop("student_logits").double()
    given_["teacher_logits"] = given_["teacher_logits"].double()

    def loss(z: Tensor, **each: Any) -> Tensor:
        return named_loss(name, student_logits=z, **given_ | each)

    _, expected = value_and_gradient(loss, logits)
    torch.testing.assert_close(torch.func.grad(loss)(logits), expected)
    torch.testing.assert_close(torch.func.jacrev(loss)(logits), expected)
    hessian = torch.func.jacrev(torch.func.grad(loss))(logits)
    twice = torch.autograd.functional.hessian(loss, logits)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(hessian, twice)

    # a gradient a sample, each a batch of its own
    def single(z: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return loss(z[None], teacher_logits=teacher[None], targets=target[None])

    sides = logits, given_["teacher_logits"], given_["targets"]
    each = torch.func.vmap(torch.func.grad(single))(*sides)
    torch.testing.assert_close(each / 3, expected)
    values = torch.func.vmap(single)(*sides)
    torch.testing.assert_close(values.mean(), loss(logits))


# --- the compiler -----------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("name", LOSSES)
def test_compiled_in_one_graph_each_loss_is_the_same(name: str) -> None:
    eager = partial(named_loss, name)
    compiled: Callable[..., Tensor] = torch.compile(eager, fullgraph=True, backend="aot_eager")
    for temperature in (0.1, 4.0, 1e8, INF) if FACTS[name].tempered else (1.0,):
        given_ = arguments(temperature=temperature)
        logits = given_.pop("student_logits")
        found, expected = (
            value_and_gradient(partial(_of_student, loss, given_), logits)
            for loss in (compiled, eager)
        )
        torch.testing.assert_close(found, expected)


def _of_student(loss: Callable[..., Tensor], given_: dict[str, Any], logits: Tensor) -> Tensor:
    return loss(student_logits=logits, **given_)


CAN_COMPILE = (shutil.which("g++") or shutil.which("clang++")) and (
    Path(sysconfig.get_path("include")) / "Python.h"
).is_file()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.skipif(not CAN_COMPILE, reason="no C++ compiler, or Python's headers are missing")
@pytest.mark.skipif(" " in torch.__file__, reason="torch's compiler takes no folder with a space")
def test_kd_keeps_its_digits_when_compiled_to_machine_code() -> None:
    # the compiler's expm1 is exp(x) − 1, by which a gradient at this temperature would be lost
    temperature = 1e14
    student, teacher = normal(4, 10, seed=1), normal(4, 10, seed=2)
    compiled: Callable[..., Tensor] = torch.compile(kd_loss, fullgraph=True)
    found = value_and_gradient(lambda z: compiled(z, teacher, temperature), student)
    torch.testing.assert_close(found, kd(student, teacher, temperature), rtol=1e-6, atol=1e-9)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, -1.5, -INF, math.nan])
def test_temperatures_that_are_none_are_refused(temperature: float) -> None:
    z = normal(2, 3)
    said = f"temperature .* not {temperature}"
    with pytest.raises(ValueError, match=said):
        kd_loss(z, z, temperature)
    with pytest.raises(ValueError, match=said):
        softened(z, temperature)


SHAPES = {
    "one sample without a batch": ((3,), (3,), r"\(3,\)"),
    "three dimensions": ((2, 3, 4), (2, 3, 4), r"\(2, 3, 4\)"),
    "one class": ((2, 1), (2, 1), r"\(2, 1\)"),
    "empty batch": ((0, 3), (0, 3), r"\(0, 3\)"),
    "different classes": ((2, 3), (2, 4), r"\(2, 3\) and teacher_logits \(2, 4\)"),
    "teacher that would broadcast": ((2, 3), (1, 3), r"\(2, 3\) and teacher_logits \(1, 3\)"),
}


@pytest.mark.parametrize(
    "name", [name for name, facts in FACTS.items() if "teacher_logits" in facts.needs]
)
@pytest.mark.parametrize(("student", "teacher", "said"), SHAPES.values(), ids=SHAPES.keys())
def test_wrong_shapes_are_refused(
    name: str, student: tuple[int, ...], teacher: tuple[int, ...], said: str
) -> None:
    sides = {"student_logits": torch.zeros(student), "teacher_logits": torch.zeros(teacher)}
    with pytest.raises(ValueError, match=said):
        named_loss(name, **arguments() | sides)


def test_functions_of_one_side_refuse_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"logits must be .* not \(3,\)"):
        softened(torch.zeros(3), 1)
    with pytest.raises(ValueError, match=r"logits must be .* not \(3,\)"):
        cross_entropy_lower_bound(torch.zeros(3), torch.tensor(0))
    with pytest.raises(ValueError, match=r"targets must be \(batch,\) or \(2, 3\), not \(3,\)"):
        cross_entropy_lower_bound(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (3,), (10,)])
def test_means_that_are_not_one_a_sample_are_refused(shape: tuple[int, ...]) -> None:
    z, wrong = normal(4, 10), torch.zeros(shape)
    for means in ((wrong, 0.0), (0.0, wrong)):
        with pytest.raises(ValueError, match=r"means must be numbers or .* not ") as error:
            regularised_lm_loss(z, z, *means)
        assert str(shape) in str(error.value)


def test_unknown_forms_are_refused() -> None:
    z, unknown = normal(2, 3), cast("Form", "fixed")
    said = "'corrected' or 'printed', not 'fixed'"
    with pytest.raises(ValueError, match=said):
        regularised_lm_loss(z, z, 0, 0, form=unknown)
    with pytest.raises(ValueError, match=said):
        cross_entropy_lower_bound(z, torch.tensor([0, 1]), form=unknown)
