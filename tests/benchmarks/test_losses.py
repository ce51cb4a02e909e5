"""The formulas that kdlm's losses are measured against are those of the same losses."""

import pytest
import torch

from benchmarks import losses
from kdlm.losses import LOSSES


def test_every_loss_is_measured() -> None:
    assert losses.LITERAL.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", losses.LITERAL)
def test_both_sides_compute_the_same(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 8, 5, dtype=torch.float64, generator=generator)
    student.requires_grad_()
    labels = torch.arange(8) % 5
    found = []
    for loss in (losses.LITERAL[name], losses.ours(name)):
        value = loss(student, teacher, labels, 4.0)
        found.append((value, *torch.autograd.grad(value, student)))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


def test_it_ends_with_the_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    assert losses.main(threads=1, batch=4, classes=3, calls=1, rounds=1) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("ratio ce ")
    assert last.count(";") == len(LOSSES) - 1
