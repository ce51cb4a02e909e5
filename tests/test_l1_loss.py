"""Logits matching with an l1 penalty, against sums written out class by class."""

import pytest
import torch

from kdlm.losses import l1_lm_loss, lm_loss


@pytest.mark.parametrize(("student_mean", "teacher_mean"), [(2.0, -0.5), (-0.5, 2.0), (1.0, 1.0)])
def test_the_penalty_is_the_size_of_the_gap_times_the_mean_of_the_sizes(
    student_mean: float, teacher_mean: float
) -> None:
    generator = torch.Generator().manual_seed(4)
    student, teacher = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    penalties = [
        abs(student_mean - teacher_mean) * sum(abs(z) for z in sample) / 3
        for sample in student.tolist()
    ]
    found = l1_lm_loss(student, teacher, student_mean, teacher_mean)
    assert float(found - lm_loss(student, teacher)) == pytest.approx(sum(penalties) / 5)
