"""Element-wise work in place gives the bits that it gives out of place."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from kdlm.networks.architectures import build
from kdlm.networks.initialisation import initialise, stream


class OutOfPlace(TorchFunctionMode):
    """While it is entered, additions and ReLUs in place are done out of place."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.relu_ or (func is functional.relu and kwargs.get("inplace")):
            self.replaced += 1
            return torch.relu(args[0])
        if func is Tensor.__iadd__:
            self.replaced += 1
            return torch.add(*args)
        return func(*args, **kwargs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("architecture", ["resnet14", "resnet8x4", "wrn-16-2", "vgg8", "mlp"])
def test_logits_and_gradients_have_the_same_bits(
    architecture: str, precision: str, training: bool
) -> None:
    dtype = torch.float64 if precision == "float64" else torch.float32
    network = build(architecture, 10, 3, dtype, image_side=16)
    initialise(network, "he", stream(0, "weights"))
    network.train(training)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 3, 16, 16, dtype=dtype, generator=generator)
    images = images.to(memory_format=torch.channels_last)
    autocast = precision == "bfloat16"

    def outcome() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
            logits = network(images)
        gradients = torch.autograd.grad(logits.double().square().mean(), [*network.parameters()])
        return [logits, *gradients]

    found = outcome()
    with OutOfPlace() as mode:
        expected = outcome()
    assert mode.replaced >= 2
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
        assert one.isfinite().all()
