"""Trainings of kdlm against `tests.training.reference`: every column of the history, every weight.

Tiny random colour images, several batches with a short last one, some epochs. In float64 a training
of a few steps is no more than rounding away from the same training written otherwise, so whatever
is different in kind is seen.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdlm.data.dataset import Dataset
from kdlm.data.prepared import prepare
from kdlm.networks.resnet import ResNet, resnet8
from kdlm.storage.parquet import read_table
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec
from kdlm.training.outputs import read_logits
from kdlm.training.students import distill
from kdlm.training.teachers import train_teacher
from tests.training import reference
from tests.training.reference import Pictures, Result

INF = math.inf
CLASSES = 5
LOSSES = [
    ("ce", 1.0),
    ("kd", 1.0),
    ("kd", 4.0),
    ("kd", 1e3),
    ("kd", INF),
    ("reverse-kd", 4.0),
    ("reverse-kd", INF),
    ("standardised-kd", 4.0),
    ("standardised-kd", INF),
    ("lm", INF),
    ("centred-lm", INF),
    ("regularised-lm-corrected", INF),
    ("regularised-lm-printed", INF),
    ("l1-lm", INF),
]
RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": {"name": "constant"},
    "epochs": 2,
    "batch_size": 12,
    "augment": True,
    "precision": "float64",
}
COMMON: dict[str, Any] = {
    "architecture": "resnet8",
    "initialisation": "he",
    "crop_padding": 2,
    "flip": True,
    "seed": 3,
    "device": "cpu",
    "threads": 1,
}
STUDENT: dict[str, Any] = {"loss": "kd", "temperature": 4.0, "mean_gap": 1.5, "perturbation": 0}
STEP = {"name": "step", "milestones": [1, 3], "factor": 0.3}
ADAM = {"optimizer": "adam", "momentum": 0.0, "learning_rate": 2e-3, "weight_decay": 0.02}
RECIPES: dict[str, dict[str, Any]] = {
    "plain SGD": {"momentum": 0.0, "weight_decay": 0.0},
    "SGD with weight decay": {"momentum": 0.0, "weight_decay": 0.05},
    "momentum": {"weight_decay": 0.0},
    "Nesterov": {"nesterov": True},
    "Adam": ADAM,
    "Adam without weight decay": ADAM | {"weight_decay": 0.0},
    "AdamW": ADAM | {"optimizer": "adamw", "weight_decay": 0.3},
    "cosine": {"schedule": {"name": "cosine"}, "epochs": 3},
    "steps": {"schedule": STEP, "epochs": 4},
    "Adam, cosine": ADAM | {"schedule": {"name": "cosine"}, "epochs": 3},
    "AdamW, steps": ADAM | {"optimizer": "adamw", "schedule": STEP, "epochs": 4},
    "no augmentation": {"augment": False},
    "one batch": {"batch_size": 64},
    "CE alone": {"ce_weight": 1.0},
    "a fifth CE": {"ce_weight": 0.2},
    "half CE": {"ce_weight": 0.5},
}


def pictures() -> Pictures:
    """Noise over a gradient of grey, other channels other levels; 29 to train on, 13 to test."""
    generator = torch.Generator().manual_seed(11)
    ramp = torch.arange(8)[:, None] * 8 + torch.arange(8)
    levels = torch.tensor([30.0, 90.0, 5.0])[:, None, None]
    noise = torch.randint(0, 120, (42, 3, 8, 8), generator=generator)
    images = (noise + ramp + levels).clamp(0, 255).to(torch.uint8)
    labels = torch.randint(CLASSES, (42,), generator=generator)
    return Pictures(images[:29], labels[:29], images[29:], labels[29:], CLASSES)


@dataclass
class World:
    """Pictures, the same as a file, and a teacher of them."""

    pictures: Pictures
    data: Path
    teacher_folder: Path
    folder: Path

    @cached_property
    def teacher(self) -> ResNet:
        """The teacher's network, with its running statistics."""
        state = load_file(self.teacher_folder / "model.safetensors")
        model = resnet8(num_classes=CLASSES, in_channels=3).to(state["classifier.bias"].dtype)
        model.load_state_dict(state)
        return model

    def distilled(self, spec: StudentSpec) -> Path:
        """Folder of the student that kdlm trains."""
        folder = self.folder / str(abs(hash(spec.canonical_json())))
        if not folder.exists():
            distill(spec, self.data, self.teacher_folder, folder)
        return folder

    def expected(self, spec: StudentSpec) -> Result:
        """The student that the reference trains."""
        if spec.means == "untrained-teacher":
            untrained = reference.network(teacher_spec(), self.pictures, "teacher weights")
            dtype = next(untrained.parameters()).dtype
            images = self.pictures.scaled(self.pictures.train_images, dtype)
            with torch.no_grad():
                logits = untrained.train()(images)
        else:
            logits = read_logits(self.teacher_folder / "logits.parquet", "train")
        return reference.distil(spec, self.teacher, float(logits.double().mean()), self.pictures)


def teacher_spec(**changes: Any) -> TeacherSpec:
    recipe = Recipe(**RECIPE | {"epochs": 3} | changes)
    return TeacherSpec(recipe=recipe, **COMMON)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder, known = tmp_path_factory.mktemp("oracle"), pictures()
    names = tuple("abcde")
    dataset = Dataset(
        "digits",
        known.train_images,
        known.train_labels,
        known.test_images,
        known.test_labels,
        names,
    )
    prepare(dataset, folder / "data.safetensors")
    train_teacher(teacher_spec(), folder / "data.safetensors", folder / "teacher")
    return World(known, folder / "data.safetensors", folder / "teacher", folder)


def student_spec(recipe: dict[str, Any] | None = None, **changes: Any) -> StudentSpec:
    return StudentSpec(recipe=Recipe(**RECIPE | (recipe or {})), **COMMON | STUDENT | changes)


def assert_same(folder: Path, expected: Result, tolerance: float) -> None:
    """Every column of every row, every weight and running statistic, every logit."""
    written = read_table(folder / "history.parquet", "history").to_dict("records")
    rows = {(row["epoch"], row["split"]): row for row in written}
    assert len(rows) == len(written) == len(expected.rows)
    for row in expected.rows:
        found = rows[row["epoch"], row["split"]]
        assert found.keys() == row.keys()
        for column in row.keys() - {"epoch", "split"}:
            assert found[column] == pytest.approx(
                row[column], rel=tolerance, abs=tolerance, nan_ok=True
            ), (column, row["epoch"], row["split"])
    state = load_file(folder / "model.safetensors")
    wanted = expected.model.state_dict()
    assert state.keys() == wanted.keys()
    for name, value in wanted.items():
        assert state[name].dtype == value.dtype
        torch.testing.assert_close(state[name], value, rtol=tolerance, atol=tolerance, msg=name)
    logits = read_logits(folder / "logits.parquet", "test")
    torch.testing.assert_close(
        logits, expected.test_logits.double(), rtol=tolerance, atol=tolerance
    )


def assert_student(world: World, spec: StudentSpec, tolerance: float = 1e-9) -> None:
    assert_same(world.distilled(spec), world.expected(spec), tolerance)


@pytest.mark.parametrize("gap", [0.0, -1.5])
@pytest.mark.parametrize(("loss", "temperature"), LOSSES)
def test_every_loss_trains_the_student_of_the_reference(
    world: World, loss: str, temperature: float, gap: float
) -> None:
    assert_student(world, student_spec(loss=loss, temperature=temperature, mean_gap=gap))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_every_recipe_trains_the_student_of_the_reference(
    world: World, recipe: dict[str, Any]
) -> None:
    spec = student_spec(recipe)
    # Adam divides by the root of small squares
    assert_student(world, spec, 1e-9 if spec.recipe.optimizer == "sgd" else 1e-7)


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(("loss", "temperature"), [("ce", 1.0), ("lm", INF), ("kd", INF)])
def test_cross_entropy_has_its_weight(
    world: World, loss: str, temperature: float, weight: float
) -> None:
    recipe = {"ce_weight": weight}
    assert_student(world, student_spec(recipe, loss=loss, temperature=temperature))


@pytest.mark.parametrize("initialisation", ["he", "default", "xavier", "he-centred"])
def test_every_initialisation(world: World, initialisation: str) -> None:
    assert_student(world, student_spec(initialisation=initialisation))


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_views(world: World, flip: bool, padding: int, augment: bool) -> None:
    spec = student_spec({"augment": augment, "epochs": 1}, flip=flip, crop_padding=padding)
    assert_student(world, spec)


@pytest.mark.parametrize("means", ["trained-teacher", "untrained-teacher", "natural"])
@pytest.mark.parametrize("loss", ["lm", "regularised-lm-corrected", "l1-lm"])
def test_every_kind_of_means(world: World, loss: str, means: str) -> None:
    gap = 0.0 if means == "natural" else 1.5
    spec = student_spec(loss=loss, temperature=INF, means=means, mean_gap=gap)
    assert_student(world, spec)


@pytest.mark.parametrize("size", [1e-14, 1e-6, 0.1])
def test_every_rung_of_the_ladder(world: World, size: float) -> None:
    assert_student(world, student_spec(relative_perturbation=size))


@pytest.mark.parametrize("ulps", [0, 300])
def test_a_perturbed_student_starts_some_units_in_the_last_place_away(
    world: World, ulps: int
) -> None:
    # hundreds of them, for one would drown in rounding, and hardly a step
    recipe = {"precision": "float32", "epochs": 1, "learning_rate": 1e-6}
    assert_student(world, student_spec(recipe, perturbation=ulps), 1e-6)


@pytest.mark.parametrize("seed", [0, 12])
def test_every_seed(world: World, seed: int) -> None:
    assert_student(world, student_spec(seed=seed))


@pytest.mark.parametrize(("loss", "temperature"), [("kd", 4.0), ("lm", INF)])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 1e-2)])
def test_every_precision(
    world: World, loss: str, temperature: float, precision: str, tolerance: float
) -> None:
    recipe = {"precision": precision, "epochs": 1}
    assert_student(world, student_spec(recipe, loss=loss, temperature=temperature), tolerance)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": False},
        ADAM,
        {"schedule": {"name": "cosine"}},
        {"precision": "float32", "epochs": 1},
    ],
    ids=lambda changes: ", ".join(f"{key} {value}" for key, value in changes.items()),
)
def test_a_teacher_is_that_of_the_reference(
    world: World, tmp_path: Path, changes: dict[str, Any]
) -> None:
    spec = teacher_spec(**changes)
    train_teacher(spec, world.data, tmp_path / "teacher")
    expected = reference.train_teacher(spec, world.pictures)
    tolerance = 1e-3 if spec.recipe.precision == "float32" else 1e-7
    assert_same(tmp_path / "teacher", expected, tolerance)
    # its training logits are those of its eval mode, of the images themselves, in their order
    dtype = next(expected.model.parameters()).dtype
    images = world.pictures.scaled(world.pictures.train_images, dtype)
    with torch.no_grad():
        logits = expected.model.eval()(images).double()
    found = read_logits(tmp_path / "teacher/logits.parquet", "train")
    torch.testing.assert_close(found, logits, rtol=tolerance, atol=tolerance)
    table = read_table(tmp_path / "teacher/logits.parquet", "logits")
    for split, labels in (
        ("train", world.pictures.train_labels),
        ("test", world.pictures.test_labels),
    ):
        rows = table[table["split"] == split]
        assert rows["label"].tolist() == labels.tolist()
        assert rows["index"].tolist() == list(range(len(labels)))


def test_the_teacher_is_left_as_it_was(world: World) -> None:
    before = (world.teacher_folder / "model.safetensors").read_bytes()
    world.distilled(student_spec(seed=5))
    assert (world.teacher_folder / "model.safetensors").read_bytes() == before


def test_nothing_diverged(world: World) -> None:
    run = json.loads((world.distilled(student_spec()) / "run.json").read_text())
    assert run["diverged"] is None
