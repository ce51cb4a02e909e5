"""The optimisers and learning-rate schedules that a recipe can name.

The optimisers call torch's functional forms (`torch.optim.sgd.sgd`, `torch.optim.adam.adam`) and
keep their state as plain tensors, and the schedule is a function of the epoch, so a checkpoint has
nothing to pickle. torch's optimiser classes would also import its compiler at their first step,
which takes 1.5 s of every job.

On a GPU all parameters are updated by a few kernels together (``foreach``); on a CPU, where that
gains nothing, one by one.
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
    """Return the learning rate in ``epoch``, where the first epoch is 1.

    The recipe's initial rate is multiplied by a factor that its schedule decides:

    - ``constant``: 1;
    - ``step``: ``factor`` to the power of the number of milestones passed; a milestone m is passed
      from epoch m + 1 on;
    - ``cosine``: (1 + cos(π (epoch − 1)/epochs))/2, which falls from 1 towards 0 (Loshchilov,
      Hutter, arXiv 1608.03983, without restarts).

    >>> step = Schedule(name="step", milestones=(2,), factor=0.1)
    >>> recipe = Recipe(optimizer="sgd", learning_rate=0.5, weight_decay=0, schedule=step,
    ...                 epochs=3, batch_size=2, augment=False)
    >>> [learning_rate(recipe, epoch) for epoch in (1, 2, 3)]
    [0.5, 0.5, 0.05]
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
    """Stochastic gradient descent with momentum μ, learning rate η and weight decay λ.

    For a parameter w with gradient g: v ← μ v + g + λ w, then w ← w − η v; with Nesterov's
    momentum w ← w − η (g + λ w + μ v). Before the first step v is empty, and that step sets
    v = g + λ w.

    >>> recipe = Recipe(optimizer="sgd", learning_rate=0.5, weight_decay=0,
    ...                 schedule=Schedule(name="constant"), epochs=1, batch_size=2, augment=False)
    >>> weight = torch.tensor([1.0])
    >>> SGD([weight], recipe).step([torch.tensor([1.0])], rate=0.5)
    >>> weight
    tensor([0.5000])
    """

    def __init__(self, parameters: Iterable[Tensor], recipe: Recipe) -> None:
        self.parameters = list(parameters)
        self.recipe = recipe
        self.momentum: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], rate: float) -> None:
        """Update the parameters in place.

        Args:
            gradients: the gradient of each parameter, in their order.
            rate: the learning rate η.

        """
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
            foreach=self.parameters[0].is_cuda,
        )

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that the next step depends on besides parameters and gradients."""
        return {str(i): value for i, value in enumerate(self.momentum) if value is not None}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``, which another optimiser of the same recipe returned."""
        for i, value in state.items():
            self.momentum[int(i)] = value.to(self.parameters[int(i)].device)


class Adam:
    """Adam (Kingma, Ba, arXiv 1412.6980) with β = (0.9, 0.999) and ε = 1e-8, or AdamW.

    For the recipe's ``adam`` weight decay λ is added to the gradient as λ w; for ``adamw`` it
    shrinks the weight by the factor 1 − ηλ instead (Loshchilov, Hutter, arXiv 1711.05101).
    """

    def __init__(self, parameters: Iterable[Tensor], recipe: Recipe) -> None:
        self.parameters = list(parameters)
        self.recipe = recipe
        self.mean = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.square = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [torch.zeros(()) for _ in self.parameters]

    @torch.no_grad()
    def step(self, gradients: list[Tensor], rate: float) -> None:
        """Update the parameters in place.

        Args:
            gradients: the gradient of each parameter, in their order.
            rate: the learning rate η.

        """
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
            foreach=self.parameters[0].is_cuda,
        )

    def _kinds(self) -> dict[str, list[Tensor]]:
        return {"mean": self.mean, "square": self.square, "steps": self.steps}

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that the next step depends on besides parameters and gradients."""
        return {
            f"{kind}.{i}": value
            for kind, values in self._kinds().items()
            for i, value in enumerate(values)
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state``, which another optimiser of the same recipe returned."""
        for name, value in state.items():
            kind, i = name.split(".")
            self._kinds()[kind][int(i)].copy_(value)


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam, "adamw": Adam}
"""The class of each optimiser, by its name in a recipe."""
