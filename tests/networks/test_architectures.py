"""What every architecture has in common, and what the literature says of each."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from kdlm.networks.architectures import ARCHITECTURES, build
from kdlm.networks.initialisation import INITIALISATIONS, initialise, stream
from kdlm.study import names

# published with the distillation literature's tables, at K = 100 and three channels
PARAMETERS = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn-16-2": 703_284,
    "wrn-40-2": 2_255_156,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
    # counted by hand: weights and biases of three layers
    "mlp": (3072 * 256 + 256) + (256 * 256 + 256) + (256 * 100 + 100),
}
SMALL = ["resnet8", "wrn-16-2", "vgg8", "mlp"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = build(name, 100, 3, image_side=32)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_a_network_on_its_smallest_images(name: str) -> None:
    side = names.ARCHITECTURES[name].minimum_side
    network = build(name, 7, 1, image_side=side)
    initialise(network, "he", stream(0, "weights"))
    network.eval()
    images = torch.randn(2, 1, side, side)
    features = network.features(images)
    assert features.shape == (2, network.classifier.in_features)
    assert network(images).shape == (2, 7)
    torch.testing.assert_close(network(images), network.classifier(features))


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("name", SMALL)
def test_what_a_network_was_before_does_not_matter(name: str, initialisation: str) -> None:
    one, other = (build(name, 5, 1, image_side=8) for _ in range(2))
    other.load_state_dict({key: value + 1 for key, value in other.state_dict().items()})
    for network in (one, other):
        initialise(network, initialisation, stream(0, "weights"))
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_a_seed_decides_every_number_in_every_process() -> None:
    code = (
        "from kdlm.networks.architectures import build;"
        "from kdlm.networks.initialisation import initialise, stream;"
        "network = build('mlp', 5, 1, image_side=8);"
        "initialise(network, 'he', stream(0, 'weights'));"
        "print(*(p.double().sum().item() for p in network.parameters()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    network = build("mlp", 5, 1, image_side=8)
    initialise(network, "he", stream(0, "weights"))
    sums = [parameter.double().sum().item() for parameter in network.parameters()]
    assert run.stdout.split() == [str(value) for value in sums]


@pytest.mark.parametrize("name", SMALL)
def test_centred_classifiers_have_a_zero_mean_for_every_image(name: str) -> None:
    network = build(name, 10, 1, torch.float64, image_side=8)
    initialise(network, "he-centred", stream(1, "weights"))
    logits = network(torch.randn(6, 1, 8, 8, dtype=torch.float64))
    # the numbers are drawn in float32
    assert logits.mean(dim=1).abs().max() < 1e-6 * logits.abs().max()


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.classifier = nn.Linear(3, 2)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :3] * self.scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_a_parameter_that_is_not_drawn_is_refused(initialisation: str) -> None:
    with pytest.raises(ValueError, match="draws no numbers for scale;"):
        initialise(Odd(), initialisation, stream(0, "weights"))


def test_a_network_of_one_side_is_not_built_without_it() -> None:
    with pytest.raises(ValueError, match="mlp depends on the side of the images"):
        build("mlp", 10, 3)


def test_later_groups_of_vgg_see_smaller_images() -> None:
    network = build("vgg8", 10, 3)
    sides: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        sides.append(output.shape[-1])

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    network(torch.randn(2, 3, 32, 32))
    assert sides == [32, 16, 8, 4, 4]


def test_a_wide_block_adds_its_input_or_a_projection_of_what_it_activates() -> None:
    network = build("wrn-16-2", 10, 3, torch.float64)
    network.eval()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    # without second convolutions nothing is left of a block but its shortcut
    for name, value in kept.items():
        if name.endswith("conv2.weight"):
            value.zero_()
    network.load_state_dict(kept)
    convolve, scale = torch.nn.functional.conv2d, (1 + 1e-5) ** -0.5
    out = convolve(images, kept["conv1.weight"], padding=1)
    for stage, stride in ((0, 1), (1, 2), (2, 2)):
        projection = kept[f"stages.{stage}.0.shortcut.weight"]
        out = convolve(torch.relu(out * scale), projection, stride=stride)
    expected = torch.relu(out * scale).mean(dim=(2, 3))
    torch.testing.assert_close(network.features(images), expected)
