from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats

from kdlm.data.loaders import prepare_dataset
from kdlm.data.prepared import first_images
from kdlm.networks.init_means import draw_init_means, layer_means
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.resnet import ARCHITECTURES
from kdlm.storage.parquet import read_spec, read_table
from kdlm.study.specs import InitMeansSpec

Rows = list[dict[str, Any]]


def spec(seeds: range, initialisation: str = "he", batchnorm: str = "train") -> InitMeansSpec:
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
