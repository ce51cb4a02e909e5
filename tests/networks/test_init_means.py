from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from kdlm import published
from kdlm.data.loaders import prepare_dataset
from kdlm.data.prepared import first_images
from kdlm.networks.architectures import build
from kdlm.networks.init_means import draw_init_means, layer_means
from kdlm.networks.initialisation import (
    INITIALISATIONS,
    classifier_variances,
    initialise,
    stream,
)
from kdlm.networks.resnet import ARCHITECTURES
from kdlm.storage.parquet import read_spec, read_table
from kdlm.study.specs import InitMeansSpec

Rows = list[dict[str, Any]]


def spec(
    seeds: range, initialisation: str = "he", batchnorm: str = "train", **others: Any
) -> InitMeansSpec:
    return InitMeansSpec.model_validate(
        {
            "architecture": "resnet8",
            "initialisation": initialisation,
            "batchnorm": batchnorm,
            "first_seed": seeds.start,
            "seeds": len(seeds),
            "images": 6,
            "num_classes": 10,
            "threads": 1,
        }
        | others
    )


def column(rows: Rows, name: str, kind: str = "linear") -> list[float]:
    return [row[name] for row in rows if row["kind"] == kind]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 8, 8, generator=stream(0, "test images"))


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("initialisation", ["he", "default", "xavier"])
def test_mean_logits_are_those_of_a_fresh_network_in_float64(
    images: torch.Tensor, initialisation: str, batchnorm: str
) -> None:
    found = column(layer_means(spec(range(3, 5), initialisation, batchnorm), images), "mean")
    for seed, mean in zip((3, 4), found, strict=True):
        model = ARCHITECTURES["resnet8"](num_classes=10).double()
        initialise(model, initialisation, stream(seed, "initial means"))
        model.train(batchnorm == "train")
        logits = model(images.double())
        assert mean == pytest.approx(float(logits.mean()), abs=1e-5 * float(logits.std()))


def test_every_layer_is_observed(images: torch.Tensor) -> None:
    rows = layer_means(spec(range(1)), images)
    kinds = [row["kind"] for row in rows]
    # 7 convolutions and 2 of shortcuts, as many BatchNorms, one classifier
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    assert counts == {"convolution": 9, "batchnorm": 9, "linear": 1}
    assert [row["depth"] for row in rows] == list(range(19))
    # normalised by these very images
    assert max(map(abs, column(rows, "mean", "batchnorm"))) < 1e-6
    assert all(0.99 <= rms <= 1.001 for rms in column(rows, "rms", "batchnorm"))


def test_seeds_do_not_depend_on_their_shard(images: torch.Tensor) -> None:
    whole = layer_means(spec(range(4), batchnorm="eval"), images)
    parts = [layer_means(spec(part, batchnorm="eval"), images) for part in (range(2), range(2, 4))]
    assert whole == [*parts[0], *parts[1]]


def test_nor_do_seeds_that_record_their_logits(images: torch.Tensor) -> None:
    whole = layer_means(spec(range(4), batchnorm="eval", layer_seeds=1), images)
    shards = [(range(1), 1), (range(1, 3), 0), (range(3, 4), 0)]
    parts = [
        layer_means(spec(part, batchnorm="eval", layer_seeds=recorded), images)
        for part, recorded in shards
    ]
    assert whole == [row for part in parts for row in part]


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("recorded", [0, 2, 4])
def test_the_first_seeds_record_every_layer_and_the_others_the_logits(
    images: torch.Tensor, batchnorm: str, recorded: int
) -> None:
    rows = layer_means(spec(range(3, 7), batchnorm=batchnorm, layer_seeds=recorded), images)
    whole = layer_means(spec(range(3, 7), batchnorm=batchnorm), images)
    assert len(whole) == 4 * 19
    kept = [row for row in whole if row["kind"] == "linear" or row["seed"] < 3 + recorded]
    keys = ("seed", "layer", "depth", "kind")
    assert [[row[key] for key in keys] for row in rows] == [
        [row[key] for key in keys] for row in kept
    ]
    # a row is the same to the bit whether other layers are recorded, but that BatchNorm is folded
    for row, other in zip(rows, kept, strict=True):
        if batchnorm == "train" or row["seed"] < 3 + recorded:
            assert row == other
        else:
            close(row, other)


NUMBERS = ("mean", "sd_over_images", "rms", "predicted_sd")


def close(row: dict[str, Any], other: dict[str, Any]) -> None:
    """The bound on a seed's summary: a millionth of the rms of the logits."""
    for name in NUMBERS:
        assert row[name] == pytest.approx(other[name], rel=0, abs=1e-6 * other["rms"])


@torch.no_grad()
def naive(asked: InitMeansSpec, images: torch.Tensor, seed: int) -> dict[str, float]:
    """A new module in torch's default memory format, its logits, and float64 sums of them."""
    _, channels, _, side = images.shape
    model = build(asked.architecture, asked.num_classes, channels, image_side=side)
    initialise(model, asked.initialisation, stream(seed, "initial means"))
    model.train(asked.batchnorm == "train")
    logits = model(images).double()
    centre = model.features(images).double().mean(dim=0)
    weights, biases = classifier_variances(
        asked.initialisation, model.classifier.in_features, asked.num_classes
    )
    return {
        "mean": float(logits.mean()),
        "sd_over_images": float(logits.mean(dim=1).std()),
        "rms": float(logits.square().mean().sqrt()),
        "predicted_sd": float(((biases + weights * centre @ centre) / asked.num_classes).sqrt()),
    }


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("architecture", published.MEANS)
def test_seed_by_seed_the_summary_is_that_of_the_naive_loop(
    architecture: str, batchnorm: str
) -> None:
    """The networks and the images of Table 1: 64 of 32×32 pixels, and 100 classes."""
    images = torch.randn(64, 3, 32, 32, generator=stream(0, "test images"))
    size: dict[str, Any] = {"architecture": architecture, "images": 64, "num_classes": 100}
    for layer_seeds in (0, 2):
        asked = spec(range(5, 7), batchnorm=batchnorm, layer_seeds=layer_seeds, **size)
        rows = [row for row in layer_means(asked, images) if row["kind"] == "linear"]
        for seed, row in zip((5, 6), rows, strict=True):
            close(row, naive(asked, images, seed))


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("initialisation", sorted(INITIALISATIONS))
@pytest.mark.parametrize("architecture", ["resnet8x4", "wrn-16-2", "vgg8", "mlp"])
def test_every_architecture_s_summary_is_that_of_the_naive_loop(
    architecture: str, initialisation: str, batchnorm: str
) -> None:
    images = torch.randn(6, 3, 16, 16, generator=stream(0, "test images"))
    asked = spec(range(2), initialisation, batchnorm, architecture=architecture, layer_seeds=0)
    for seed, row in enumerate(layer_means(asked, images)):
        close(row, naive(asked, images, seed))


def test_the_predicted_sd_is_the_observed_one(images: torch.Tensor) -> None:
    rows = layer_means(spec(range(200)), images)
    pairs = zip(column(rows, "mean"), column(rows, "predicted_sd"), strict=True)
    low, high = stats.chi2(200).ppf([1e-4, 1 - 1e-4])
    assert low < sum((mean / sd) ** 2 for mean, sd in pairs) < high


def test_a_centred_classifier_predicts_and_shows_no_spread(images: torch.Tensor) -> None:
    rows = layer_means(spec(range(3), "he-centred"), images)
    assert set(column(rows, "predicted_sd")) == {0.0}
    assert max(map(abs, column(rows, "mean"))) < 1e-6


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValidationError, match="'train' or 'eval'"):
        spec(range(1), batchnorm="both")


def test_a_job_draws_the_seeds_of_its_spec_on_the_first_images(tmp_path: Path) -> None:
    data = tmp_path / "photographs.safetensors"
    prepare_dataset("photographs", data)
    asked = spec(range(5, 7), "xavier", "eval")
    draw_init_means(asked, data, tmp_path / "means.parquet")
    written = read_table(tmp_path / "means.parquet", "means")
    assert read_spec(tmp_path / "means.parquet") == asked.model_dump(mode="json")
    expected = layer_means(asked, first_images(data, 6))
    for name in ("seed", "layer", "depth", "kind", "mean", "sd_over_images", "rms"):
        assert written[name].tolist() == [row[name] for row in expected]
    assert sorted(set(written["seed"])) == [5, 6]
