"""Within an epoch nothing waits for the device: its numbers are read when the epoch has ended.

A GPU works through a queue while Python goes on, until Python asks for a number. Here the networks
and images are on torch's device ``meta``, whose tensors have shapes and no numbers, so that every
such question is an error.
"""

from typing import Any

import pytest
import torch

from kdlm.data.dataset import Dataset
from kdlm.data.prepared import Prepared, open_prepared, prepare
from kdlm.losses import LOSSES
from kdlm.networks.resnet import resnet8
from kdlm.study import names
from kdlm.study.specs import Recipe, StudentSpec
from kdlm.training.checkpoints import Checkpoint
from kdlm.training.finiteness import FirstNonFinite
from kdlm.training.history import Recorder, RunningMetrics
from kdlm.training.loop import train
from kdlm.training.students import _Distillation
from kdlm.training.teaching import OnlineTeacher

CLASSES = 4
META = torch.device("meta")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    generator = torch.Generator().manual_seed(7)
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(40) % CLASSES
    folder = tmp_path_factory.mktemp("data")
    dataset = Dataset("digits", images[:30], labels[:30], images[30:], labels[30:], tuple("abcd"))
    prepare(dataset, folder / "data.safetensors")
    return open_prepared(folder / "data.safetensors")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace what reads the numbers at the end of an epoch; the batches of each epoch."""
    batches: list[int] = []
    row = {"objective": 0.0, "accuracy": 0.0}

    def record(recorder: Recorder, _epoch: int, trained: RunningMetrics | None) -> bool:
        recorder.rows += [row, row]
        batches.append(trained.samples if trained else 0)
        return True

    monkeypatch.setattr(Recorder, "record_start", lambda *_: None)
    monkeypatch.setattr(Recorder, "record", record)
    monkeypatch.setattr(FirstNonFinite, "first", lambda _: None)
    return batches


def spec(loss: str, **recipe: Any) -> StudentSpec:
    return StudentSpec(
        architecture="resnet8", initialisation="he", crop_padding=1, flip=True, seed=0,
        device="cpu", threads=1, loss=loss, mean_gap=0, perturbation=0,
        temperature=4 if names.LOSSES[loss].tempered else 1,
        recipe=Recipe.model_validate(
            {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4, "epochs": 2,
             "schedule": {"name": "constant"}, "batch_size": 8, "augment": True} | recipe
        ),
    )  # fmt: skip


def run(prepared: Prepared, wanted: StudentSpec) -> None:
    network, teacher = (resnet8(num_classes=CLASSES, in_channels=1).to(META) for _ in range(2))
    logits = dict.fromkeys(("train", "test"), torch.zeros(30, CLASSES, device=META))
    objective = _Distillation(wanted, OnlineTeacher(teacher), logits, 0.5, 0.5)
    train(network, objective, wanted, prepared, "student", Checkpoint(None, {}))


@pytest.mark.parametrize("loss", LOSSES)
def test_an_epoch_asks_nothing_of_the_device(
    loss: str, prepared: Prepared, counted: list[int]
) -> None:
    run(prepared, spec(loss))
    assert counted == [0, 30, 30]


@pytest.mark.parametrize(
    "recipe",
    [{"optimizer": "adam"}, {"optimizer": "adamw"}, {"ce_weight": 0.3}, {"augment": False}],
)
def test_nor_does_any_recipe(
    recipe: dict[str, Any], prepared: Prepared, counted: list[int]
) -> None:
    run(prepared, spec("kd", **recipe))
    assert counted == [0, 30, 30]


def test_a_question_would_be_an_error(
    prepared: Prepared, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = FirstNonFinite.look

    def asking(self: FirstNonFinite, batch: int, *numbers: Any) -> None:
        look(self, batch, *numbers)
        self.found.tolist()

    monkeypatch.setattr(FirstNonFinite, "look", asking)
    with pytest.raises((RuntimeError, NotImplementedError)):
        run(prepared, spec("kd"))
    assert counted == [0]
