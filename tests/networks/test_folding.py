"""A network with BatchNorm folded has the logits of the network, to rounding."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kdlm.networks.architectures import ARCHITECTURES, build
from kdlm.networks.brought import load_brought
from kdlm.networks.folding import FoldedNetwork, fold_batchnorm
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.network import Network

SIDE = 16


def trained(architecture: str, dtype: torch.dtype = torch.float64) -> Network:
    """A network in eval mode with statistics, scales and shifts of its own in each BatchNorm."""
    network = build(architecture, 10, 3, dtype, SIDE)
    initialise(network, "he", stream(0, "weights"))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.rand(len(module.weight), generator=generator) + 0.5)
                module.bias.copy_(torch.randn(len(module.bias), generator=generator) / 3)
                # the statistics of one batch, as they are
                module.momentum = None
        network.train()
        network(images(32).to(dtype))
    network.eval()
    return network


def images(number: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(number, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)


def error(found: Tensor, exact: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    return float((found - exact).abs().max() / exact.abs().max())


# ε is the rounding of the type; the deepest network adds up that of 110 layers
@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_differ_by_rounding(architecture: str) -> None:
    network = trained(architecture)
    exact = network(images())
    assert error(fold_batchnorm(network)(images()), exact) < 100 * torch.finfo(torch.float64).eps
    network.to(torch.float32)
    single = fold_batchnorm(network)(images().float())
    assert single.dtype == torch.float32
    assert error(single.double(), exact) < 100 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_batchnorm_before_a_convolution_is_left(architecture: str) -> None:
    folded = fold_batchnorm(build(architecture, 10, 3, image_side=SIDE))
    left = [name for name, one in folded.named_modules() if isinstance(one, nn.BatchNorm2d)]
    if architecture.startswith("wrn"):
        assert left
        assert all(name == "bn" or name.endswith(".bn1") for name in left)
    else:
        assert left == []


def test_the_network_itself_is_left_as_it_was() -> None:
    network = trained("resnet8")
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batchnorm(network)
    assert not folded.training
    assert network.training
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@torch.no_grad()
def test_a_teacher_that_was_brought_is_folded_too(tmp_path: Path) -> None:
    network = trained("wrn-16-2", torch.float32)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    brought = build("wrn-16-2", 10, 3)
    load_brought(brought, "wrn-16-2", tmp_path / "weights.safetensors")
    logits = fold_batchnorm(brought)(images().float())
    assert torch.equal(logits, fold_batchnorm(network)(images().float()))
    assert error(logits, network(images().float())) < 1e-5


class Wrong(nn.Module):
    """It names a layer as BatchNorm that is none."""

    BATCHNORM_AFTER = {"convolution": "classifier"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.classifier = nn.Linear(4, 2)

    def features(self, images: Tensor) -> Tensor:
        return images

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_a_layer_that_is_no_batchnorm_is_refused() -> None:
    with pytest.raises(TypeError, match="Wrong: convolution is not a convolution, or classifier"):
        fold_batchnorm(Wrong())


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["resnet8", "wrn-16-2", "vgg8", "mlp"])
def test_a_folded_network_follows_its_weights(architecture: str) -> None:
    network = trained(architecture)
    following = FoldedNetwork(network)
    for seed in (1, 2):
        initialise(network, "default", stream(seed, "weights"))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.get_buffer("running_var").mul_(1.0 + seed)
                module.bias.add_(0.1)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        found = following.update()(images())
        assert error(found, network(images())) < 100 * torch.finfo(torch.float64).eps
        assert error(found, fold_batchnorm(network)(images())) < 1e-13
        after = network.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_folded_network_that_follows_has_no_pass_of_batchnorm_left() -> None:
    network = trained("resnet8")
    left = [type(module) for module in FoldedNetwork(network).update().modules()]
    assert nn.BatchNorm2d not in left
    assert left.count(nn.Conv2d) == sum(isinstance(m, nn.Conv2d) for m in network.modules())


def test_a_layer_that_is_no_batchnorm_is_not_followed() -> None:
    with pytest.raises(TypeError, match="Wrong: convolution is not a convolution, or classifier"):
        FoldedNetwork(Wrong())
