"""The optimisers of a recipe, through torch's functional forms, and its learning-rate schedule.

The state is plain tensors and the schedule a function of the epoch, so there is nothing to pickle.
The classes of torch.optim would also import the compiler at their first call: 1.5 s of every job.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from kdlm.study.specs import Recipe, Schedule

__all__ = ["OPTIMIZERS", "SGD", "Adam", "learning_rate"]


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Learning rate in ``epoch``, the first being 1.

    step: times ``factor`` for each milestone passed; cosine: from the initial rate towards 0,
    (1 + cos(π (epoch − 1)/epochs))/2 (Loshchilov, Hutter, arXiv 1608.03983, without restarts).
    """
    return recipe.learning_rate * _SCHEDULES[recipe.schedule.name](
        recipe.schedule, epoch - 1, recipe.epochs
    )


_SCHEDULES: dict[str, Callable[[Schedule, int, int], float]] = {
    "constant": lambda _schedule, _passed, _epochs: 1.0,
    "step": lambda schedule, passed, _epochs: (
        schedule.factor ** bisect_right(schedule.milestones, passed)
    ),
    "cosine": lambda _schedule, passed, epochs: (1 + math.cos(math.pi * passed / epochs)) / 2,
}


class SGD:
    """Stochastic gradient descent with momentum; weight decay is added to the gradient."""

    def __init__(self, parameters: Iterable[Tensor], recipe: Recipe) -> None:
        self.parameters = list(parameters)
        self.recipe = recipe
        self.momentum: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], rate: float) -> None:
        """Move the parameters against their ``gradients``."""
        sgd(
            self.parameters,
            gradients,
            self.momentum,
            lr=rate,
            momentum=self.recipe.momentum,
            nesterov=self.recipe.nesterov,
            weight_decay=self.recipe.weight_decay,
            dampening=0.0,
            maximize=False,
            foreach=False,
        )

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on besides parameters and gradients."""
        return {str(i): value for i, value in enumerate(self.momentum) if value is not None}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from the `state` of another optimiser of the same recipe."""
        for i, value in state.items():
            self.momentum[int(i)] = value.to(self.parameters[int(i)].device)


class Adam:
    """Adam (Kingma, Ba, arXiv 1412.6980), or AdamW, which decays weights apart from it."""

    def __init__(self, parameters: Iterable[Tensor], recipe: Recipe) -> None:
        self.parameters = list(parameters)
        self.recipe = recipe
        self.mean = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.square = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros(()) for _ in self.parameters]

    @torch.no_grad()
    def step(self, gradients: list[Tensor], rate: float) -> None:
        """Move the parameters against their ``gradients``."""
        adam(
            self.parameters,
            gradients,
            self.mean,
            self.square,
            [],
            self.steps,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            weight_decay=self.recipe.weight_decay,
            decoupled_weight_decay=self.recipe.optimizer == "adamw",
            amsgrad=False,
            maximize=False,
            foreach=False,
        )

    def _kinds(self) -> dict[str, list[Tensor]]:
        return {"mean": self.mean, "square": self.square, "steps": self.steps}

    def state(self) -> dict[str, Tensor]:
        """What the next step depends on besides parameters and gradients."""
        return {
            f"{kind}.{i}": value
            for kind, values in self._kinds().items()
            for i, value in enumerate(values)
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from the `state` of another optimiser of the same recipe."""
        for name, value in state.items():
            kind, i = name.split(".")
            self._kinds()[kind][int(i)].copy_(value)


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam, "adamw": Adam}
