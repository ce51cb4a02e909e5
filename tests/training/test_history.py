"""What is recorded of a training, against sums written out by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdlm.data.images import Images
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.resnet import ARCHITECTURES, ResNet
from kdlm.training.history import Recorder, RunningMetrics, gradient_sums


class Squares:
    """Half the squared distance to a reference of logits; its gradient sums to anything."""

    def __init__(self, images: Tensor | None = None) -> None:
        """The reference is twice the first pixels of the ``images``, of any split."""
        self.images = images

    def recorded(self, split: str, first: int, last: int) -> Tensor:  # noqa: ARG002
        assert self.images is not None
        return self.reference(self.images[first:last], 0, 0)

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:  # noqa: ARG002
        return images.flatten(1)[:, :3] * 2

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return (logits - reference).square().sum(dim=1).mean() / 2


def of_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, labels), logits)
    return gradient_sums(gradient)


def test_a_surely_classified_sample_does_not_refute_a_zero_sum() -> None:
    logits = 5 * torch.randn(1000, 10, dtype=torch.float64, generator=torch.manual_seed(0))
    labels = logits.argmax(dim=1)
    for margin in (0, 10, 20, 30, 100):
        sure = logits + margin * functional.one_hot(labels, 10)
        assert of_cross_entropy(sure, labels).max() < 1e-7


def test_a_sum_that_is_not_zero_is_seen_and_so_is_a_gradient_that_is_not_a_number() -> None:
    gradient = torch.tensor([[1.0, 1.0], [1.0, -1.0], [3.0, -1.0]], dtype=torch.float64) / 3
    assert gradient_sums(gradient).tolist() == [1.0, 0.0, 0.5]
    gradient[1, 1] = math.nan
    assert math.isnan(float(gradient_sums(gradient).max()))


def test_batches_of_any_size_count_by_their_samples() -> None:
    generator = torch.manual_seed(1)
    logits, reference = torch.randn(2, 7, 3, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    tally, whole = RunningMetrics(), RunningMetrics()
    for part in (slice(0, 4), slice(4, 6), slice(6, 7)):
        tally.add(Squares(), logits[part], reference[part], labels[part])
    whole.add(Squares(), logits, reference, labels)
    row = tally.row()
    assert row == pytest.approx(whole.row(), rel=1e-12)
    mean = sum(float(z.mean()) for z in logits) / 7
    assert row["mean_logit"] == pytest.approx(mean)
    assert row["objective"] == pytest.approx(float((logits - reference).square().sum()) / 14)
    assert row["accuracy"] == sum(int(z.argmax()) == y for z, y in zip(logits, labels)) / 7  # noqa: B905
    squares = sum(float((z - z.mean()).square().sum()) for z in logits)
    assert row["logit_rms"] == pytest.approx(math.sqrt(squares / 21))
    gap = sum(float(z.mean() - t.mean()) for z, t in zip(logits, reference, strict=True)) / 7
    assert row["gap"] == pytest.approx(gap)
    gradients = [z - t for z, t in zip(logits, reference, strict=True)]
    worst = max(float(g.sum().abs() / g.abs().sum()) for g in gradients)
    assert row["logit_gradient_sum"] == pytest.approx(worst)


@pytest.fixture
def network() -> ResNet:
    model = ARCHITECTURES["resnet8"](num_classes=3, in_channels=1).double()
    initialise(model, "he", stream(0, "student weights"))
    return model


def recorder(model: ResNet) -> Recorder:
    pixels = torch.randint(256, (9, 1, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(2))
    images = Images(pixels, torch.arange(9) % 3, (0.4,), (0.3,), torch.float64)
    squares = Squares(images.scaled(pixels))
    return Recorder(model, squares, images, images.scaled(pixels[:4]), images.labels[:4])


def test_the_classifiers_sums_are_those_of_its_change(network: ResNet) -> None:
    found = recorder(network)
    weight = torch.randn(network.classifier.weight.shape, dtype=torch.float64)
    bias = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)
    with torch.no_grad():
        network.classifier.weight.add_(weight)
        network.classifier.bias.add_(bias)
    assert found.record(1, None)
    (row,) = found.rows
    total = [sum(float(w[i]) for w in weight) for i in range(weight.shape[1])]
    assert row["classifier_weight_sum"] == pytest.approx(math.hypot(*total))
    assert row["classifier_bias_sum"] == pytest.approx(0.4)
    assert row["classifier_weight_change"] == pytest.approx(math.hypot(*weight.flatten().tolist()))
    assert row["classifier_bias_change"] == pytest.approx(math.hypot(0.5, 0.2, 0.1))


def test_the_drift_is_of_each_samples_mean_logit(network: ResNet) -> None:
    found = recorder(network)
    with torch.no_grad():
        network.classifier.bias.add_(torch.tensor([3.0, 0.0, 0.0]))
    assert found.record(1, None)
    # one class by 3 moves each mean of three by 1
    assert found.rows[0]["mean_logit_drift"] == pytest.approx(1.0)


def test_recording_leaves_the_network_alone(network: ResNet) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    found = recorder(network)
    trained = RunningMetrics()
    trained.add(Squares(), torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0, 1]))
    assert found.record(1, trained)
    assert [row["split"] for row in found.rows] == ["probe", "train", "test"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_nothing_is_recorded_of_numbers_that_are_not_finite(network: ResNet) -> None:
    found = recorder(network)
    with torch.no_grad():
        network.classifier.bias.fill_(math.inf)
    assert not found.record(1, None)
    assert found.rows == []
