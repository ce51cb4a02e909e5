"""Images on the device: which split, in which order, scaled how, in whatever batches."""

import math

import pytest
import torch

from kdlm.data import images as images_module
from kdlm.data.dataset import Dataset
from kdlm.data.images import Images, predict
from kdlm.data.prepared import Prepared, open_prepared, prepare

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    generator = torch.Generator().manual_seed(3)
    # three channels of other levels and spreads
    images = torch.stack(
        [
            torch.randint(low, high, (30, 8, 8), generator=generator)
            for low, high in ((0, 40), (100, 256), (90, 110))
        ],
        dim=1,
    ).to(torch.uint8)
    labels = torch.arange(30) % 3
    path = tmp_path_factory.mktemp("images") / "data.safetensors"
    prepare(
        Dataset("digits", images[:20], labels[:20], images[20:], labels[20:] * 0, tuple("abc")),
        path,
    )
    return open_prepared(path)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_training_images_have_zero_mean_and_unit_spread_in_each_channel(
    prepared: Prepared, precision: str
) -> None:
    train = Images.of(prepared, "train", precision, CPU)
    scaled = train.scaled(train.pixels)
    assert scaled.dtype == (torch.float64 if precision == "float64" else torch.float32)
    for channel in scaled.unbind(dim=1):
        assert float(channel.mean()) == pytest.approx(0, abs=1e-5)
        assert float(channel.square().mean()) == pytest.approx(1, abs=1e-5)


def test_the_test_images_are_scaled_as_the_training_images_are(prepared: Prepared) -> None:
    test = Images.of(prepared, "test", "float64", CPU)
    assert torch.equal(test.pixels, prepared.test_images)
    assert torch.equal(test.labels, prepared.test_labels)
    scaled = test.scaled(test.pixels)
    for channel in range(3):
        training = prepared.train_images[:, channel].double() / 255
        expected = (test.pixels[:, channel].double() / 255 - training.mean()) / training.std(
            correction=0
        )
        torch.testing.assert_close(scaled[:, channel], expected)


def test_the_training_images_are_those_of_the_training_set(prepared: Prepared) -> None:
    train = Images.of(prepared, "train", "float64", CPU)
    assert torch.equal(train.pixels, prepared.train_images)
    assert torch.equal(train.labels, prepared.train_labels)


@pytest.mark.parametrize("size", [1, 7, 20, 512])
def test_all_images_come_once_in_their_order_whatever_the_batches(
    prepared: Prepared, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Images.of(prepared, "train", "float64", CPU)
    whole = train.scaled(train.pixels)
    batches = [*train.batches(size)]
    assert torch.equal(torch.cat(batches), whole)
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert len(batches) == math.ceil(20 / size)
    monkeypatch.setattr(images_module, "EVALUATION_BATCH", size)
    assert torch.equal(predict(lambda one: one.flatten(1), train), whole.flatten(1))


def test_prediction_has_no_gradient(prepared: Prepared) -> None:
    train = Images.of(prepared, "train", "float64", CPU)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert not predict(lambda one: one.flatten(1) * weight, train).requires_grad
