"""What the training loop records of a gradient."""

import math

import torch
from torch.nn import functional

from kdlm.training.history import gradient_sums


def of_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels), logits)
    return gradient_sums(gradient)


def test_a_surely_classified_sample_does_not_refute_a_zero_sum() -> None:
    logits = 5 * torch.randn(1000, 10, dtype=torch.float64, generator=torch.manual_seed(0))
    labels = logits.argmax(dim=1)
    for margin in (0, 10, 20, 30, 100):
        sure = logits + margin * functional.one_hot(labels, 10)
        assert of_cross_entropy(sure, labels).max() < 1e-7


def test_a_sum_that_is_not_zero_is_seen_and_so_is_a_gradient_that_is_not_a_number() -> None:
    gradient = torch.tensor([[1.0, 1.0], [1.0, -1.0], [3.0, -1.0]], dtype=torch.float64) / 3
    assert gradient_sums(gradient).tolist() == [1.0, 0.0, 0.5]
    gradient[1, 1] = math.nan
    assert math.isnan(float(gradient_sums(gradient).max()))
