"""A training ends where a number that is written is not finite, the running statistics' too."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kdlm.data.dataset import Dataset
from kdlm.data.prepared import Prepared, open_prepared, prepare
from kdlm.networks.initialisation import initialise, stream
from kdlm.networks.resnet import ResNet, resnet8
from kdlm.study.specs import Recipe, TeacherSpec
from kdlm.training.checkpoints import Checkpoint
from kdlm.training.loop import Divergence, Trained, train

RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "schedule": {"name": "constant"},
    "epochs": 3,
    "batch_size": 8,
    "augment": False,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (24, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(24) % 3
    folder = tmp_path_factory.mktemp("data")
    dataset = Dataset("digits", images[:16], labels[:16], images[16:], labels[16:], tuple("abc"))
    prepare(dataset, folder / "data.safetensors")
    return open_prepared(folder / "data.safetensors")


class _Scaling:
    """Cross-entropy that makes a weight's outputs overflow before one batch.

    BatchNorm divides them by their infinite spread: what comes after is finite, and so are loss
    and gradients.
    """

    def __init__(self, model: ResNet, batch: int) -> None:
        self.model, self.left = model, batch

    def recorded(self, split: str, first: int, last: int) -> Tensor:  # noqa: ARG002
        return torch.full((last - first, 1), float("nan"))

    def reference(self, images: Tensor, epoch: int, batch: int) -> Tensor:  # noqa: ARG002
        self.left -= 1
        if self.left == 0:
            with torch.no_grad():
                self.model.get_parameter("conv1.weight").mul_(1e25)
        return images.new_full((len(images), 1), float("nan"))

    def __call__(self, logits: Tensor, reference: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return functional.cross_entropy(logits, labels)


def trained(prepared: Prepared, batch: int, epochs: int = 3) -> tuple[ResNet, Trained]:
    spec = TeacherSpec(
        architecture="resnet8", initialisation="he", recipe=Recipe(**RECIPE | {"epochs": epochs}),
        crop_padding=1, flip=False, seed=0, device="cpu", threads=1,
    )  # fmt: skip
    model = resnet8(num_classes=3, in_channels=1)
    initialise(model, "he", stream(0, "divergence"))
    objective = _Scaling(model, batch)
    return model, train(model, objective, spec, prepared, "teacher", Checkpoint(None, {}))


@pytest.mark.fault(
    "infinity in a running statistic",
    area="numbers",
    provoked="outputs of the first layer that overflow in the second epoch, while loss and "
    "gradients stay finite",
)
@pytest.mark.parametrize("batch", [1, 2])
def test_an_infinite_statistic_ends_training_at_its_batch(
    prepared: Prepared, batch: int, observed: Callable[[str], None]
) -> None:
    model, result = trained(prepared, 2 + batch)
    assert result.diverged == Divergence(2, batch, "running statistics")
    assert {row["epoch"] for row in result.history} == {0, 1}
    # all is as after a training of one epoch
    shorter, expected = trained(prepared, 1000, epochs=1)
    for name, value in shorter.state_dict().items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(model.state_dict()[name], value), name
    torch.testing.assert_close(result.test_logits, expected.test_logits)
    observed("training stops at that batch; what is kept is the epoch before, all of it finite")
