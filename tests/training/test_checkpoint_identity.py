"""What a checkpoint is bound to, and when the next one is due."""

import dataclasses
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlm.data.dataset import Dataset
from kdlm.data.prepared import prepare
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec
from kdlm.training import students, teachers
from kdlm.training.checkpoints import Checkpoint, CheckpointPolicy, State
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher

RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=0,
    schedule={"name": "constant"},
    epochs=1,
    batch_size=8,
    augment=False,
)
COMMON: dict[str, Any] = {
    "architecture": "resnet8",
    "initialisation": "he",
    "recipe": RECIPE,
    "crop_padding": 1,
    "flip": False,
    "seed": 0,
    "device": "cpu",
    "threads": 1,
}
STUDENT: dict[str, Any] = {"loss": "kd", "temperature": 4.0, "mean_gap": 0.0, "perturbation": 0}

Identity = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Files:
    """Two datasets, and a teacher of each of two seeds."""

    data: Path
    other_data: Path
    teacher: Path
    other_teacher: Path


def dataset(seed: int, path: Path) -> Path:
    images = torch.randint(
        256, (24, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    labels = torch.arange(24) % 3
    prepare(Dataset("digits", images[:16], labels[:16], images[16:], labels[16:], tuple("abc")),
            path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    data = [dataset(seed, folder / f"{seed}.safetensors") for seed in (0, 1)]
    for seed in (0, 1):
        train_teacher(TeacherSpec(**COMMON | {"seed": seed}), data[0], folder / f"teacher{seed}")
    return Files(data[0], data[1], folder / "teacher0", folder / "teacher1")


class _Stop(Exception):  # noqa: N818
    """Once the checkpoint is known, a training need not begin."""


@pytest.fixture
def identity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Callable[..., None], Any], Identity]:
    """Function that says what the checkpoint of a training would be bound to."""

    def of(start: Callable[..., None], *arguments: Any) -> Identity:
        found: list[Identity] = []

        def stopped(*of_training: Any) -> None:
            found.append(dict(of_training[-1].identity))
            raise _Stop

        for module in (students, teachers):
            monkeypatch.setattr(module, "train", stopped)
        with pytest.raises(_Stop):
            start(*arguments, tmp_path / "out", CheckpointPolicy(tmp_path / "kept", 1, 1000))
        return found[0]

    return of


def differing(one: Identity, other: Identity) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]}


def test_a_teacher_s_checkpoint_is_of_its_spec_and_its_dataset(
    files: Files, identity: Callable[..., Identity]
) -> None:
    spec = TeacherSpec(**COMMON)
    known = identity(train_teacher, spec, files.data)
    assert differing(known, identity(train_teacher, spec, files.data)) == set()
    other = TeacherSpec(**COMMON | {"seed": 1})
    assert differing(known, identity(train_teacher, other, files.data)) == {"spec"}
    assert differing(known, identity(train_teacher, spec, files.other_data)) == {"data set"}


def test_a_student_s_checkpoint_is_of_its_spec_dataset_and_teacher(
    files: Files, identity: Callable[..., Identity]
) -> None:
    spec = StudentSpec(**COMMON | STUDENT)
    known = identity(distill, spec, files.data, files.teacher)
    assert differing(known, identity(distill, spec, files.data, files.teacher)) == set()
    for change in ({"seed": 1}, {"mean_gap": 1.0}, {"loss": "ce", "temperature": 1.0}):
        other = StudentSpec(**COMMON | STUDENT | change)
        assert differing(known, identity(distill, other, files.data, files.teacher)) == {"spec"}
    elsewhere = identity(distill, spec, files.other_data, files.teacher)
    assert differing(known, elsewhere) == {"data set"}
    of_other = identity(distill, spec, files.data, files.other_teacher)
    assert differing(known, of_other) == {"teacher"}


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_another_version_of_code_or_torch_is_another_training(
    files: Files, identity: Callable[..., Identity], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def now() -> Identity:
        if kind == "teacher":
            return identity(train_teacher, TeacherSpec(**COMMON), files.data)
        spec = StudentSpec(**COMMON | STUDENT)
        return identity(distill, spec, files.data, files.teacher)

    known = now()
    monkeypatch.setattr(torch, "__version__", "9.9.0")
    assert differing(known, now()) == {"version of torch"}
    for module in (students, teachers):
        monkeypatch.setattr(module, "digest", lambda _module: "other sources")
    assert differing(known, now()) == {"version of torch", "version of the code"}


def state(epoch: int, batch: int) -> State:
    return State(epoch, batch, {"one": torch.arange(6.0).view(2, 3).t()}, {"rows": [0.1, 1e-17]})


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_part_of_an_identity_is_looked_at(tmp_path: Path, name: str) -> None:
    keeping = CheckpointPolicy(tmp_path / "kept", 1, 0)
    known = {"a": "1", "b": "2"}
    Checkpoint(keeping, known).keep(1, 3, lambda: state(1, 3))
    found = Checkpoint(keeping, known).load()
    assert found is not None
    assert (found.epoch, found.batch, found.facts) == (1, 3, {"rows": [0.1, 1e-17]})
    assert torch.equal(found.tensors["one"], state(1, 3).tensors["one"])
    assert found.tensors["one"].stride() == state(1, 3).tensors["one"].stride()
    assert Checkpoint(keeping, known | {name: "3"}).load() is None
    assert Checkpoint(keeping, known | {"c": "3"}).load() is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Function that sets the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def saved(checkpoint: Checkpoint, epoch: int, batch: int) -> bool:
    asked: list[State] = []

    def given() -> State:
        asked.append(state(epoch, batch))
        return asked[0]

    checkpoint.keep(epoch, batch, given)
    return bool(asked)


def test_a_save_by_minutes_starts_the_minutes_anew(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    checkpoint = Checkpoint(CheckpointPolicy(tmp_path / "kept", 1000, 10), {})
    times = itertools.count(0, 60)
    when = []
    for batch, second in enumerate(itertools.islice(times, 41)):
        clock(second)
        if saved(checkpoint, 1, batch):
            when.append(second // 60)
    assert when == [10, 20, 30, 40]


def test_a_save_by_epochs_starts_the_epochs_anew_and_the_minutes(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    checkpoint = Checkpoint(CheckpointPolicy(tmp_path / "kept", 3, 10), {})
    when = []
    for epoch in range(1, 12):
        for batch in range(3):
            clock(60 * (3 * (epoch - 1) + batch))
            if saved(checkpoint, epoch, batch):
                when.append((epoch, batch))
    # nine batches of a minute are three epochs: never ten minutes since the last
    assert when == [(4, 0), (7, 0), (10, 0)]


def test_whole_epochs_alone_count(tmp_path: Path, clock: Callable[[float], None]) -> None:
    clock(0)
    checkpoint = Checkpoint(CheckpointPolicy(tmp_path / "kept", 1, 1000), {})
    assert not any(saved(checkpoint, 1, batch) for batch in range(5))
    assert saved(checkpoint, 2, 0)
    assert not saved(checkpoint, 2, 1)


def test_epochs_are_counted_from_where_a_training_went_on(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    clock(0)
    keeping = CheckpointPolicy(tmp_path / "kept", 3, 1000)
    first = Checkpoint(keeping, {})
    assert saved(first, 4, 0)
    again = Checkpoint(keeping, {})
    assert again.load() is not None
    assert [epoch for epoch in range(4, 12) if saved(again, epoch, 0)] == [7, 10]
