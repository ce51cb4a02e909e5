"""Networks layer by layer, against the same written out with torch's functions on their weights."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdlm.networks.init_means import layer_means
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.resnet import ARCHITECTURES, ResNet
from kdlm.study.specs import InitMeansSpec


def layers(model: ResNet, images: Tensor, depth: int, *, training: bool) -> Iterator[Tensor]:
    """The output of every layer in the order of He et al., section 4.2; the last are the logits."""
    state = model.state_dict()

    def convolved(x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], None, stride, padding)

    def normalised(x: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        if training:
            mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        mean, variance, scale, shift = (
            one[None, :, None, None] for one in (mean, variance, scale, shift)
        )
        out: Tensor = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
        return out

    yield (x := convolved(images, "conv1", 1, 1))
    yield (x := normalised(x, "bn1"))
    x = x.clamp(min=0)
    for stage in range(3):
        for block in range((depth - 2) // 6):
            name = f"stages.{stage}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            yield (y := convolved(x, f"{name}.conv1", stride, 1))
            yield (y := normalised(y, f"{name}.bn1"))
            y = y.clamp(min=0)
            yield (y := convolved(y, f"{name}.conv2", 1, 1))
            yield (y := normalised(y, f"{name}.bn2"))
            if stride == 2:
                yield (x := convolved(x, f"{name}.shortcut.0", 2, 0))
                yield (x := normalised(x, f"{name}.shortcut.1"))
            x = (x + y).clamp(min=0)
    features = x.flatten(2).mean(dim=2)
    yield features @ state["classifier.weight"].T + state["classifier.bias"]


def images(number: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return 1 + torch.randn(number, 2, 8, 8, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("depth", [8, 14])
def test_logits_are_those_of_the_layers_written_out(depth: int, training: bool) -> None:
    model = ARCHITECTURES[f"resnet{depth}"](num_classes=4, in_channels=2).double()
    initialise(model, "he", stream(0, "layers"))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "running" in name or name.endswith(("bn1.weight", "bn2.bias")):
                value.add_(0.3 + 0.1 * torch.arange(len(value)).remainder(3))
        expected = [*layers(model, images(), depth, training=training)][-1]
        found = model.train(training)(images())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("initialisation", ["he", "xavier"])
def test_every_layer_s_mean_spread_and_rms_are_those_of_its_output(
    batchnorm: str, initialisation: str
) -> None:
    spec = InitMeansSpec(
        architecture="resnet8", initialisation=initialisation, batchnorm=batchnorm, first_seed=5,
        seeds=2, images=5, num_classes=4, threads=1,
    )  # fmt: skip
    rows = layer_means(spec, images().float())
    assert [row["seed"] for row in rows] == sorted([5, 6] * (len(rows) // 2))
    for seed in (5, 6):
        model = ARCHITECTURES["resnet8"](num_classes=4, in_channels=2).double()
        initialise(model, initialisation, stream(seed, "initial means"))
        own = [row for row in rows if row["seed"] == seed]
        with torch.no_grad():
            outputs = [*layers(model, images(), 8, training=batchnorm == "train")]
        assert [row["depth"] for row in own] == list(range(len(own)))
        # the shortcut's layers run after the block's own or before, by how the block is written
        assert len(own) == len(outputs)
        wanted = sorted(outputs, key=lambda one: float(one.square().mean()))
        for row, output in zip(sorted(own, key=lambda row: row["rms"]), wanted, strict=True):
            check(row, output)
        assert own[-1]["kind"] == "linear"
        check(own[-1], outputs[-1])


def check(row: dict[str, Any], output: Tensor) -> None:
    rms = math.sqrt(float(output.square().mean()))
    per_image = output.flatten(1).mean(dim=1)
    assert row["rms"] == pytest.approx(rms, rel=1e-4)
    assert row["mean"] == pytest.approx(float(per_image.mean()), abs=1e-5 * rms)
    assert row["sd_over_images"] == pytest.approx(float(per_image.std()), rel=1e-3, abs=1e-5 * rms)
