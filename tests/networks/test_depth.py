"""The sd of the mean logit from theory, beside that of real networks and beside closed forms."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from kdlm import published
from kdlm.data.loaders import load
from kdlm.networks import depth
from kdlm.networks.depth import blocks, expected_sd
from kdlm.networks.init_means import layer_means
from kdlm.networks.initialisation import INITIALISATIONS
from kdlm.networks.resnet import ARCHITECTURES, BasicBlock
from kdlm.study.specs import InitMeansSpec

TABLE_1: dict[str, Any] = {"image_side": 32, "in_channels": 3, "num_classes": 100}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Four real colour images of mean 0 and mean square 1 in each channel."""
    pixels = load("photographs").train_images[:4].float()
    axes = (0, 2, 3)
    return (pixels - pixels.mean(axes, keepdim=True)) / pixels.std(axes, keepdim=True)


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("initialisation", ["he", "default", "xavier"])
@pytest.mark.parametrize("architecture", published.MEANS)
def test_theory_is_within_a_quarter_of_real_networks(
    images: torch.Tensor, architecture: str, initialisation: str, batchnorm: str
) -> None:
    """The networks of Table 1, whose sds lie between 0.008 and 30 logits."""
    spec = InitMeansSpec(
        architecture=architecture, initialisation=initialisation, batchnorm=batchnorm,
        first_seed=0, seeds=40, layer_seeds=0, images=4, num_classes=100, threads=1,
    )  # fmt: skip
    rows = layer_means(spec, images)
    measured = math.sqrt(sum(row["predicted_sd"] ** 2 for row in rows) / len(rows))
    expected = expected_sd(architecture, initialisation, batchnorm, **TABLE_1)
    assert expected is not None
    assert 1 / 1.25 < expected / measured < 1.25


def test_the_scale_of_the_weights_does_not_matter_in_mode_train() -> None:
    he, default = (expected_sd("resnet20", name, "train", **TABLE_1) for name in ("he", "default"))
    assert he == default


def test_in_mode_train_the_variance_is_that_of_a_walk_above_zero() -> None:
    """Spitzer's identity for the mean of max(0, x + step), from a first step of variance 2."""
    generator = np.random.default_rng(1)
    for name in published.MEANS:
        walk = np.maximum(math.sqrt(2) * generator.standard_normal(400_000), 0)
        for _ in range(blocks(name) // 3 - 1):  # type: ignore[operator]
            walk = np.maximum(walk + generator.standard_normal(len(walk)), 0)
        feature = walk.mean()
        found = expected_sd(name, "default", "train", **TABLE_1)
        assert found == pytest.approx(math.sqrt((1 + 64 * feature**2) / (3 * 64 * 100)), rel=0.02)
        # one more step of variance 1 takes the place of the first, which has variance 2
        steps = blocks(name) // 3 + 1  # type: ignore[operator]
        spitzer = sum(1 / math.sqrt(2 * math.pi * step) for step in range(1, steps + 1))
        assert feature == pytest.approx(spitzer, rel=0.25)


def test_with_he_s_weights_in_mode_eval_the_sd_grows_by_a_factor_a_block() -> None:
    sds = [expected_sd(f"resnet{size}", "he", "eval", **TABLE_1) for size in (32, 44, 56)]
    small, middle, large = (sd for sd in sds if sd is not None)
    # six blocks more each
    assert (middle / small) ** (1 / 6) == pytest.approx((large / middle) ** (1 / 6), rel=0.01)
    assert (middle / small) ** (1 / 6) == pytest.approx(math.sqrt(2.2), rel=0.02)


def test_logits_that_are_centred_do_not_vary() -> None:
    assert expected_sd("resnet8", "he-centred", "eval", **TABLE_1) == 0


def test_what_theory_does_not_know_has_no_sd() -> None:
    assert expected_sd("vgg8", "he", "eval", **TABLE_1) is None
    assert expected_sd("resnet8", "unheard-of", "eval", **TABLE_1) is None
    assert blocks("mlp") is None


def test_every_initialisation_has_the_variance_of_its_convolutions() -> None:
    assert set(depth._VARIANCES) == set(INITIALISATIONS)
    for name, draw in INITIALISATIONS.items():
        network = ARCHITECTURES["resnet8x4"](num_classes=10)
        draw(network, torch.manual_seed(0))
        weights = dict(network.named_parameters())["stages.2.0.conv1.weight"].detach()
        expected = depth._VARIANCES[name](128, 256, 9)
        assert float(weights.var()) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_are_counted(name: str) -> None:
    network = ARCHITECTURES[name](num_classes=10)
    found = sum(isinstance(module, BasicBlock) for module in network.modules())
    assert blocks(name) == found
