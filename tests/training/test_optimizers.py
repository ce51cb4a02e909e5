"""The functional optimisers and the schedule are those of torch.optim."""

from typing import Any

import pytest
import torch
from torch import nn

from kdlm.study.specs import Recipe
from kdlm.training.optimizers import OPTIMIZERS, learning_rate

BASE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "weight_decay": 0.01,
    "schedule": {"name": "constant"},
    "epochs": 10,
    "batch_size": 4,
    "augment": False,
}


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate(BASE | changes)


REFERENCES: list[tuple[Recipe, Any]] = [
    (recipe(weight_decay=0), lambda p: torch.optim.SGD(p, 0.05, foreach=False)),
    (
        recipe(momentum=0.9),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01, foreach=False),
    ),
    (
        recipe(momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(
            p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=False
        ),
    ),
    (
        recipe(optimizer="adam"),
        lambda p: torch.optim.Adam(p, 0.05, weight_decay=0.01, foreach=False),
    ),
    (
        recipe(optimizer="adamw"),
        lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.01, foreach=False),
    ),
]


@pytest.mark.parametrize(("spec", "reference"), REFERENCES)
def test_twenty_steps_are_bit_equal(spec: Recipe, reference: Any) -> None:
    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))

    mine, theirs = fresh(), fresh()
    parameters = list(mine.parameters())
    optimizer = OPTIMIZERS[spec.optimizer](parameters, spec)
    expected = reference(theirs.parameters())
    for _ in range(20):
        images = torch.randn(4, 3)
        gradients = torch.autograd.grad(mine(images).square().sum(), parameters)
        optimizer.step(list(gradients), spec.learning_rate)
        expected.zero_grad()
        theirs(images).square().sum().backward()
        expected.step()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def _torch_rates(spec: Recipe, schedule: Any) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], spec.learning_rate)
    scheduler = schedule(optimizer)
    rates = []
    for _ in range(spec.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_schedules_are_those_of_torch() -> None:
    step = recipe(schedule={"name": "step", "milestones": [3, 7], "factor": 0.2})
    cosine = recipe(schedule={"name": "cosine"})
    schedulers = torch.optim.lr_scheduler
    for spec, expected in (
        (step, _torch_rates(step, lambda o: schedulers.MultiStepLR(o, [3, 7], 0.2))),
        (cosine, _torch_rates(cosine, lambda o: schedulers.CosineAnnealingLR(o, 10))),
        (recipe(), [0.05] * 10),
    ):
        found = [learning_rate(spec, epoch) for epoch in range(1, 11)]
        assert found == pytest.approx(expected, rel=1e-12)
