"""A teacher's answers: students that read them end with the bits of those that run the teacher."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from kdlm.data.dataset import Dataset
from kdlm.data.images import Images
from kdlm.data.loaders import load
from kdlm.data.prepared import open_prepared, prepare
from kdlm.errors import InputError
from kdlm.networks.saved import load_network
from kdlm.study.specs import AnswersSpec, Recipe, StudentSpec, TeacherSpec
from kdlm.training.answers import write_answers
from kdlm.training.checkpoints import CheckpointPolicy
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher
from kdlm.training.teaching import Answers
from kdlm.training.views import Views

Observed = Callable[[str], None]

RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": {"name": "constant"},
    "epochs": 2,
    "batch_size": 32,
    "augment": True,
}
COMMON: dict[str, Any] = {
    "architecture": "resnet8",
    "initialisation": "he",
    "crop_padding": 1,
    "flip": True,
    "device": "cpu",
    "threads": 1,
}
OUTPUTS = ("model.safetensors", "history.parquet", "logits.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four batches, the last of them smaller, and two teachers."""
    folder = tmp_path_factory.mktemp("answers")
    digits = load("digits")
    few = Dataset(
        "digits",
        digits.train_images[:110],
        digits.train_labels[:110],
        digits.test_images[:30],
        digits.test_labels[:30],
        digits.classes,
    )
    prepare(few, folder / "data")
    for seed in (0, 1):
        recipe = Recipe(**RECIPE | {"epochs": 1})
        train_teacher(
            TeacherSpec(recipe=recipe, seed=seed, **COMMON), folder / "data", folder / f"t{seed}"
        )
    return folder


def student(loss: str = "kd", seed: int = 0, **recipe: Any) -> StudentSpec:
    return StudentSpec(
        recipe=Recipe(**RECIPE | recipe), loss=loss, temperature=4 if loss == "kd" else 1,
        mean_gap=0.5, perturbation=0, seed=seed, **COMMON,
    )  # fmt: skip


def answered(folder: Path, spec: StudentSpec, teacher: str = "t0") -> Path:
    views = spec.views
    name = "-".join(str(value) for value in views.model_dump().values())
    output = folder / f"answers/{teacher}/{name}.parquet"
    if not output.exists():
        write_answers(
            AnswersSpec(**views.model_dump(), device="cpu", threads=1),
            folder / "data",
            folder / teacher,
            output,
        )
    return output


def bits(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in OUTPUTS}


@pytest.mark.parametrize("loss", ["ce", "kd", "lm"])
@pytest.mark.parametrize(
    "recipe",
    [{}, {"augment": False}, {"precision": "float64"}, {"precision": "bfloat16"}],
    ids=["float32", "not augmented", "float64", "bfloat16"],
)
def test_known_answers_give_the_bits_of_a_teacher_that_is_asked(
    loss: str, recipe: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    spec = student(loss, **recipe)
    distill(spec, folder / "data", folder / "t0", tmp_path / "online")
    known = answered(folder, spec)
    distill(spec, folder / "data", folder / "t0", tmp_path / "known", answers=known)
    assert bits(tmp_path / "known") == bits(tmp_path / "online")


def test_an_answer_is_what_the_teacher_says_of_the_view(folder: Path) -> None:
    spec = student(seed=3)
    answers = Answers(answered(folder, spec), spec, folder / "t0")
    images = Images.of(open_prepared(folder / "data"), "train", "float32", torch.device("cpu"))
    views = Views(images, spec.views, "student")
    network = load_network(folder / "t0/model.safetensors").eval()
    seen = []
    for epoch in (1, 2):
        views.begin()
        for batch in range(len(views)):
            pixels, _ = views.batch(batch)
            expected = network(pixels).detach()
            torch.testing.assert_close(answers(pixels, epoch, batch), expected)
            seen.append(pixels)
    # another epoch is other views in another order
    assert not torch.equal(torch.cat(seen[:4]), torch.cat(seen[4:]))


def test_a_training_that_was_stopped_reads_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = student()
    known = answered(folder, spec)
    distill(spec, folder / "data", folder / "t0", tmp_path / "whole", answers=known)
    keeping = CheckpointPolicy(tmp_path / "checkpoint.safetensors", 1000, 0)
    calls = iter(range(1000))
    monkeypatch.setattr(
        "kdlm.signals.received", lambda: __import__("signal").SIGTERM if next(calls) == 5 else None
    )
    with pytest.raises(SystemExit):
        distill(spec, folder / "data", folder / "t0", tmp_path / "cut", keeping, known)
    # with the teacher itself from there on: the bits are the same
    distill(spec, folder / "data", folder / "t0", tmp_path / "cut", keeping)
    assert json.loads((tmp_path / "cut/run.json").read_text())["resumed_from"]
    assert bits(tmp_path / "cut") == bits(tmp_path / "whole")


@pytest.mark.parametrize(
    ("other", "teacher"),
    [
        (student(seed=1), "t0"),
        (student(epochs=3), "t0"),
        (student(batch_size=16), "t0"),
        (student(augment=False), "t0"),
        (student(precision="float64"), "t0"),
        (student(), "t1"),
    ],
)
def test_the_answers_to_other_views_are_refused(
    other: StudentSpec, teacher: str, folder: Path, tmp_path: Path
) -> None:
    known = answered(folder, other, teacher)
    with pytest.raises(InputError, match="the answers of another teacher, or to other views"):
        distill(student(), folder / "data", folder / "t0", tmp_path, answers=known)


@pytest.mark.fault(
    "damaged answers of a teacher",
    area="files",
    provoked="missing, emptied, cut short, another table in their place, a bit of a logit flipped",
)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "table", *range(12)])
def test_damaged_answers_are_refused(
    damage: str | int, folder: Path, tmp_path: Path, observed: Observed
) -> None:
    spec = student()
    path = tmp_path / "answers.parquet"
    content = bytearray(answered(folder, spec).read_bytes())
    if damage == "table":
        shutil.copy(folder / "t0/history.parquet", path)
    elif isinstance(damage, int):
        epoch = pq.ParquetFile(answered(folder, spec)).read_row_group(damage % 2)["logits"]
        logits = epoch.combine_chunks().flatten().to_numpy().tobytes()
        within = int(np.random.default_rng(damage).integers(len(logits)))
        content[content.index(logits) + within] ^= 1 << (damage % 8)
        path.write_bytes(content)
    elif damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(InputError, match=str(path)) as caught:
        distill(spec, folder / "data", folder / "t0", tmp_path / "student", answers=path)
    assert "run snakemake again" in str(caught.value)
    assert "\n" not in str(caught.value)
    observed("refused in one line that names the file; the remedy is given")


def test_equal_answers_are_equal_bytes_with_a_row_group_an_epoch(
    folder: Path, tmp_path: Path
) -> None:
    spec = student()
    first = answered(folder, spec)
    again = tmp_path / "again.parquet"
    described = AnswersSpec(**spec.views.model_dump(), device="cpu", threads=1)
    write_answers(described, folder / "data", folder / "t0", again)
    assert again.read_bytes() == first.read_bytes()
    table = pq.read_table(again)
    assert table.column_names == ["epoch", "logits"]
    assert table["epoch"].to_pylist() == [1] * 110 + [2] * 110
    assert pq.ParquetFile(again).metadata.num_row_groups == 2
