import pytest
import torch

from kdlm.networks.resnet import ARCHITECTURES


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
