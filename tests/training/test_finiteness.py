"""The first number that is not finite is found, and named, without asking the device meanwhile."""

import math

import pytest
import torch
from torch import Tensor

from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.resnet import ResNet, resnet8
from kdlm.training.finiteness import KINDS, FirstNonFinite

FINE = torch.tensor(0.5)


@pytest.fixture
def model() -> ResNet:
    network = resnet8(num_classes=3, in_channels=1)
    initialise(network, "he", stream(0, "finiteness"))
    return network


def gradients(model: ResNet) -> list[Tensor]:
    return [torch.ones_like(parameter) for parameter in model.parameters()]


def test_finite_numbers_are_found_fine_however_large(model: ResNet) -> None:
    finite = FirstNonFinite(model)
    # the square of this is infinite in float32
    finite.look(1, torch.tensor(1e30), [gradient * 1e30 for gradient in gradients(model)])
    assert finite.first() is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_named_at_its_first_batch(model: ResNet, kind: str, value: float) -> None:
    finite = FirstNonFinite(model)
    finite.look(1, FINE, gradients(model))
    loss, wrong = FINE, gradients(model)
    with torch.no_grad():
        if kind == "weights":
            model.get_parameter("conv1.weight")[0, 0, 1, 1] = value
        elif kind == "running statistics":
            model.get_buffer("bn1.running_var")[2] = value
        elif kind == "loss":
            loss = torch.tensor(value)
        else:
            wrong[3].view(-1)[-1] = value
    finite.look(2, loss, wrong)
    finite.look(3, torch.tensor(math.nan), wrong)
    assert finite.first() == (2, kind)


def test_of_several_kinds_in_one_batch_the_first_is_named(model: ResNet) -> None:
    finite = FirstNonFinite(model)
    spoiled = [gradient * math.nan for gradient in gradients(model)]
    finite.look(4, torch.tensor(math.nan), spoiled)
    assert finite.first() == (4, "loss")


def test_looking_asks_nothing_of_the_device(model: ResNet) -> None:
    # of a tensor on the device meta no number can be read
    finite = FirstNonFinite(model.to("meta"))
    finite.look(1, FINE.to("meta"), gradients(model))
    with pytest.raises((RuntimeError, NotImplementedError)):
        finite.first()
