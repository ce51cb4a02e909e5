"""The limit of the KD gradient against mpmath and against what each form says of itself."""

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import Tensor

from kdlm.losses import centred_lm_loss, lm_loss
from kdlm.storage.parquet import read_table, write_table
from kdlm.study.schemas import SCHEMAS
from kdlm.theory.gradient_limit import (
    FORMS,
    centred_rms,
    gradient_limit,
    infinite_temperature_gradient,
    kd_gradient,
    logit_gradient,
    random_logits,
)

TEMPERATURES = [1, 4, 16, 64, 256, 1e3, 1e4, 1e5, 1e6, math.inf]

COLUMNS = [
    "relative_distance",
    "relative_distance_max",
    "gradient_norm",
    "temperature_over_rms",
]

means = st.floats(-6, 6)
classes = st.sampled_from([2, 3, 10, 100])
seeds = st.integers(0, 2**32)


def logits(
    seed: int, num_classes: int, student_mean: float, teacher_mean: float
) -> tuple[Tensor, Tensor]:
    return random_logits(
        20,
        num_classes,
        5.0,
        student_mean=student_mean,
        teacher_mean=teacher_mean,
        generator=torch.Generator().manual_seed(seed),
    )


def value(table: pd.DataFrame, form: str, temperature: float, column: str) -> float:
    rows = table[(table["form"] == form) & (table["temperature"] == temperature)]
    return float(rows[column].item())


def slope(table: pd.DataFrame, form: str) -> float:
    (only,) = table[table["form"] == form]["slope"].unique()
    return float(only)


def mp_gradient(student: Tensor, teacher: Tensor, temperature: float) -> list[list[float]]:
    """T(p^s − p^t) with 60 digits: the slow, obvious one."""

    def softmax(z: list[float]) -> list[mpf]:
        powers = [mp.exp(mpf(x) / mpf(temperature)) for x in z]
        return [power / mp.fsum(powers) for power in powers]

    with mp.workdps(60):
        return [
            [
                float(mpf(temperature) * (p - q))
                for p, q in zip(softmax(zs), softmax(zt), strict=True)
            ]
            for zs, zt in zip(student.tolist(), teacher.tolist(), strict=True)
        ]


@given(seeds, classes, means, means)
@settings(max_examples=25, deadline=None)
def test_each_form_sums_to_what_the_errata_say(
    seed: int, num_classes: int, student_mean: float, teacher_mean: float
) -> None:
    student, teacher = logits(seed, num_classes, student_mean, teacher_mean)
    gap = student_mean - teacher_mean
    for form, multiple in {"corrected": 0.0, "lm": 1.0, "printed": 2.0}.items():
        sums = infinite_temperature_gradient(student, teacher, form).sum(dim=1)
        torch.testing.assert_close(sums, torch.full_like(sums, multiple * gap), atol=1e-12, rtol=0)


@given(seeds, classes, means, means, means)
@settings(max_examples=25, deadline=None)
def test_only_the_corrected_form_is_blind_to_a_constant(
    seed: int, num_classes: int, student_mean: float, teacher_mean: float, shift: float
) -> None:
    student, teacher = logits(seed, num_classes, student_mean, teacher_mean)
    moved = {
        form: infinite_temperature_gradient(student + shift, teacher, form)
        - infinite_temperature_gradient(student, teacher, form)
        for form in FORMS
    }
    for form, multiple in {"corrected": 0, "lm": 1, "printed": 2}.items():
        expected = torch.full_like(student, multiple * shift / num_classes)
        torch.testing.assert_close(moved[form], expected, atol=1e-12, rtol=0)


def test_forms_are_the_gradients_of_their_losses() -> None:
    student, teacher = logits(0, 10, 1.0, 5.0)
    for form, loss in {"corrected": centred_lm_loss, "lm": lm_loss}.items():
        gradient = logit_gradient(lambda z, loss=loss: loss(z, teacher), student)  # type: ignore[misc]
        torch.testing.assert_close(gradient, infinite_temperature_gradient(student, teacher, form))


def test_unknown_form_is_named() -> None:
    student, teacher = logits(0, 10, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"unknown form 'right'; known: printed, corrected, lm"):
        infinite_temperature_gradient(student, teacher, "right")


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("temperature", [1.0, 16.0, 1e3, 1e6])
def test_kd_gradient_is_that_of_sixty_digits(num_classes: int, temperature: float) -> None:
    student, teacher = (z[:4] for z in logits(1, num_classes, 1.0, 5.0))
    exact = torch.tensor(mp_gradient(student, teacher, temperature), dtype=torch.float64)
    error = (kd_gradient(student, teacher, temperature) - exact).norm(dim=1)
    assert float((error / exact.norm(dim=1)).max()) < 1e-12


def test_gradient_is_each_samples_own() -> None:
    student, teacher = logits(2, 10, 1.0, 5.0)
    together = kd_gradient(student, teacher, 4.0)
    alone = torch.cat(
        [kd_gradient(s[None], t[None], 4.0) for s, t in zip(student, teacher, strict=True)]
    )
    torch.testing.assert_close(together, alone)


@given(seeds, st.sampled_from([3, 10, 100]), means, means)
@settings(max_examples=15, deadline=None)
def test_corrected_form_is_reached_as_one_over_temperature(
    seed: int, num_classes: int, student_mean: float, teacher_mean: float
) -> None:
    student, teacher = logits(seed, num_classes, student_mean, teacher_mean)
    table = gradient_limit(student, teacher, TEMPERATURES)
    assert slope(table, "corrected") == pytest.approx(-1, abs=0.05)
    assert value(table, "corrected", 1e6, "relative_distance") < 1e-4
    assert value(table, "corrected", math.inf, "relative_distance_max") < 1e-9
    # what is left at T = ∞ is the gap's doing: |2 gap|/√K for the printed form, half of it for LM
    scale = infinite_temperature_gradient(student, teacher, "corrected").norm(dim=1)
    offset = abs(student_mean - teacher_mean) / num_classes**0.5 / scale
    for form, multiple in {"printed": 2, "lm": 1}.items():
        expected = float((multiple * offset).median())
        distance = value(table, form, math.inf, "relative_distance")
        assert distance == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_two_classes_reach_it_as_one_over_temperature_squared() -> None:
    student, teacher = logits(3, 2, 1.0, 5.0)
    table = gradient_limit(student, teacher, TEMPERATURES)
    assert slope(table, "corrected") == pytest.approx(-2, abs=0.05)


def test_printed_form_is_hundreds_of_per_cent_off() -> None:
    student, teacher = logits(4, 10, 1.0, 5.0)
    table = gradient_limit(student, teacher, TEMPERATURES)
    assert value(table, "printed", 1e6, "relative_distance") > 1
    assert slope(table, "printed") == pytest.approx(0, abs=0.05)


def test_without_a_gap_all_three_are_one() -> None:
    student, teacher = logits(5, 10, 5.0, 5.0)
    table = gradient_limit(student, teacher, [1e6])
    assert table["relative_distance"].max() < 1e-4


def test_rows_agree_with_a_loop_over_samples() -> None:
    student, teacher = logits(6, 10, 1.0, 5.0)
    table = gradient_limit(student, teacher, [16.0])
    row = {column: value(table, "printed", 16.0, column) for column in COLUMNS}
    exact = torch.tensor(mp_gradient(student, teacher, 16.0), dtype=torch.float64)
    distances, squares = [], 0.0
    for g, zs, zt in zip(exact, student, teacher, strict=True):
        centred = ((zs - zs.mean()) - (zt - zt.mean())) / 10
        printed = (zs - zt + zs.mean() - zt.mean()) / 10
        distances.append(float((g - printed).norm() / centred.norm()))
        squares += float(g.square().sum())
    # torch's median of an even number is the lower of the middle two
    assert row["relative_distance"] == pytest.approx(sorted(distances)[9])
    assert row["relative_distance_max"] == pytest.approx(max(distances))
    assert row["gradient_norm"] == pytest.approx(math.sqrt(squares / 20))
    assert row["temperature_over_rms"] == pytest.approx(16 / centred_rms(teacher))


def test_slope_takes_only_finite_temperatures_beyond_ten_rms() -> None:
    student, teacher = logits(7, 10, 1.0, 5.0)
    asymptotic = gradient_limit(student, teacher, [100, 1e4])
    with_others = gradient_limit(student, teacher, [1, 10, 100, 1e4, math.inf])
    for form in FORMS:
        assert slope(asymptotic, form) == slope(with_others, form)
    assert gradient_limit(student, teacher, [1, 1e4, math.inf])["slope"].isna().all()


def test_table_is_the_one_of_the_schema(tmp_path: Path) -> None:
    student, teacher = logits(8, 10, 1.0, 5.0)
    table = gradient_limit(student, teacher, TEMPERATURES)
    assert set(table) | {"source"} == set(SCHEMAS["gradient_limit"])
    path = tmp_path / "table.parquet"
    write_table("gradient_limit", table.assign(source="random"), path)
    pd.testing.assert_frame_equal(read_table(path, "gradient_limit")[[*table]], table)


def test_bad_temperature_is_refused() -> None:
    student, teacher = logits(9, 10, 0.0, 0.0)
    with pytest.raises(ValueError, match="temperature"):
        gradient_limit(student, teacher, [4, 0])


@given(seeds, classes, means, means)
@settings(max_examples=25, deadline=None)
def test_random_logits_have_the_given_mean_in_every_sample(
    seed: int, num_classes: int, student_mean: float, teacher_mean: float
) -> None:
    for z, mean in zip(
        logits(seed, num_classes, student_mean, teacher_mean),
        (student_mean, teacher_mean),
        strict=True,
    ):
        assert z.dtype == torch.float64
        assert float((z.mean(dim=1) - mean).abs().max()) < 1e-13


def test_random_logits_have_the_given_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    z, _ = random_logits(5000, 10, 3.0, student_mean=2, teacher_mean=0, generator=generator)
    # of ten independent draws the mean takes one degree of freedom
    assert centred_rms(z) == pytest.approx(3 * math.sqrt(9 / 10), rel=0.02)
