import math

import numpy as np
import pytest
import torch
from scipy import stats

from kdlm.init_means import layer_means, mean_logits, summarise
from kdlm.initialisation import initialise, stream
from kdlm.resnet import ARCHITECTURES


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 8, 8, generator=stream(0, "test images"))


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
@pytest.mark.parametrize("initialisation", ["he", "default", "xavier"])
def test_mean_logits_are_those_of_a_fresh_network_in_float64(
    images: torch.Tensor, initialisation: str, batchnorm: str
) -> None:
    found = mean_logits("resnet8", [3, 4], images, initialisation, batchnorm, 10)
    assert found.dtype == torch.float64
    for seed, mean in zip((3, 4), found.tolist(), strict=True):
        model = ARCHITECTURES["resnet8"](num_classes=10).double()
        initialise(model, initialisation, stream(seed, "initial means"))
        model.train(batchnorm == "train")
        logits = model(images.double())
        assert mean == pytest.approx(float(logits.mean()), abs=1e-5 * float(logits.std()))


def test_every_layer_is_observed(images: torch.Tensor) -> None:
    rows = layer_means("resnet8", [0], images, "he", "train", 10)
    # 7 convolutions and 2 of shortcuts, as many BatchNorms, one classifier
    assert rows["kind"].value_counts().to_dict() == {"convolution": 9, "batchnorm": 9, "linear": 1}
    assert rows["depth"].tolist() == list(range(19))
    batchnorm = rows[rows["kind"] == "batchnorm"]
    # normalised by these very images
    assert batchnorm["mean"].abs().max() < 1e-6
    assert batchnorm["rms"].between(0.99, 1.001).all()


def test_seeds_do_not_depend_on_their_shard(images: torch.Tensor) -> None:
    whole = mean_logits("resnet8", range(4), images, "he", "eval", 10)
    parts = [mean_logits("resnet8", part, images, "he", "eval", 10) for part in ((0, 1), (2, 3))]
    assert torch.equal(whole, torch.cat(parts))


def test_the_predicted_sd_is_the_observed_one(images: torch.Tensor) -> None:
    rows = layer_means("resnet8", range(200), images, "he", "train", 10)
    linear = rows[rows["kind"] == "linear"]
    standardised = linear["mean"] / linear["predicted_sd"].astype(float)
    low, high = stats.chi2(len(linear)).ppf([1e-4, 1 - 1e-4])
    assert low < float(np.square(standardised).sum()) < high


def test_a_centred_classifier_predicts_and_shows_no_spread(images: torch.Tensor) -> None:
    rows = layer_means("resnet8", range(3), images, "he-centred", "train", 10)
    linear = rows[rows["kind"] == "linear"]
    assert (linear["predicted_sd"].astype(float) == 0).all()
    assert linear["mean"].abs().max() < 1e-6


def test_the_summary_is_textbook_statistics(images: torch.Tensor) -> None:
    rows = layer_means("resnet8", range(5), images, "he", "eval", 10)
    summary = summarise(rows).set_index("layer").loc["classifier"]
    values = rows.loc[rows["layer"] == "classifier", "mean"].to_numpy()
    low, high = stats.t.interval(
        0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(5)
    )
    assert summary["seeds"] == 5
    assert summary["mean"] == pytest.approx(values.mean())
    assert summary["sd"] == pytest.approx(values.std(ddof=1))
    assert (summary["ci_low"], summary["ci_high"]) == pytest.approx((low, high))
    assert summary["predicted_sd"] > 0


def test_an_unknown_mode_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="train or eval, not 'both'"):
        mean_logits("resnet8", [0], images, "he", "both", 10)
