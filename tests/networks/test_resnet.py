import pytest
import torch

from kdlm.networks.resnet import ARCHITECTURES

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
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    model = ARCHITECTURES[name](num_classes=100)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32), (1, 28), (3, 4)])
def test_logits_and_features_have_their_shapes(channels: int, side: int) -> None:
    model = ARCHITECTURES["resnet8"](num_classes=7, in_channels=channels).eval()
    images = torch.randn(5, channels, side, side)
    assert model(images).shape == (5, 7)
    assert model.features(images).shape == (5, model.classifier.in_features)
    torch.testing.assert_close(model(images), model.classifier(model.features(images)))


def test_later_stages_halve_the_image() -> None:
    model = ARCHITECTURES["resnet20"](num_classes=10)
    out = torch.relu(model.bn1(model.conv1(torch.randn(2, 3, 32, 32))))
    sides = []
    for stage in model.stages:
        out = stage(out)
        sides.append(out.shape[-1])
    assert sides == [32, 16, 8]


def test_images_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3×3 pixels are too small.*4 pixels"):
        ARCHITECTURES["resnet8"](num_classes=10)(torch.randn(2, 3, 3, 3))


def test_a_network_needs_two_classes() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        ARCHITECTURES["resnet8"](num_classes=1)
