"""Small data sets of small images, whose last batch may be a single image of a single pixel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlm.cli import main
from kdlm.data.dataset import Dataset
from kdlm.data.images import EVALUATION_BATCH, Images
from kdlm.data.prepared import open_prepared, prepare
from kdlm.study.specs import Recipe, StudentSpec, TeacherSpec

Observed = Callable[[str], None]


def made(folder: Path, images: int) -> Path:
    """A prepared data set of random images of 4 × 4 pixels: the last features have one pixel."""
    generator = torch.Generator().manual_seed(images)

    def draw(count: int) -> torch.Tensor:
        return torch.randint(256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)

    labels = torch.arange(images) % 2
    path = folder / f"{images}.safetensors"
    prepare(Dataset("small", draw(images), labels, draw(4), labels[:4], ("a", "b")), path)
    return path


def spec(batch_size: int, **student: Any) -> TeacherSpec | StudentSpec:
    recipe = Recipe(
        optimizer="sgd", learning_rate=0.01, weight_decay=0, schedule={"name": "constant"},
        epochs=1, batch_size=batch_size, augment=False,
    )  # fmt: skip
    kind = StudentSpec if student else TeacherSpec
    return kind(
        architecture="resnet8", initialisation="he", recipe=recipe, crop_padding=1, flip=False,
        seed=0, device="cpu", threads=1, **student,
    )  # fmt: skip


STUDENT: dict[str, Any] = {"loss": "lm", "temperature": "inf", "mean_gap": 0, "perturbation": 0}


@pytest.mark.fault(
    "a last batch of one image, known from the dataset",
    area="hostile input",
    provoked="a batch_size that leaves one of a data set's training images for the last batch",
)
@pytest.mark.parametrize("images", [9, EVALUATION_BATCH + 1])
def test_a_last_batch_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], observed: Observed, images: int
) -> None:
    data = made(tmp_path, images)

    def run(batch_size: int, **student: Any) -> int:
        command = "distill" if student else "train-teacher"
        teacher = ["--teacher", str(tmp_path / "teacher")] if student else []
        output = tmp_path / ("student" if student else "teacher")
        text = spec(batch_size, **student).canonical_json()
        return main([command, "--spec", text, "--data", str(data), *teacher,
                     "--output", str(output)])  # fmt: skip

    assert run(8) == 1
    assert f"kdlm: batch_size: {images} training images in batches of 8" in capsys.readouterr().err
    # images by themselves are met where nothing is trained, too
    assert run(7) == 0
    assert run(8, **STUDENT) == 1
    assert "choose another batch_size" in capsys.readouterr().err
    assert run(7, **STUDENT) == 0
    observed("teacher and student refused before training, in one line that names key and remedy")


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 17])
def test_no_batch_is_a_single_image_but_of_a_single_image(tmp_path: Path, count: int) -> None:
    prepared = open_prepared(made(tmp_path, max(count, 4)))
    recipe = spec(2).recipe
    images = Images.of(prepared, "train", recipe.precision, torch.device("cpu"))
    images = Images(images.pixels[:count], images.labels[:count], images.mean, images.sd,
                    images.dtype)  # fmt: skip
    batches = list(images.batches(8))
    assert torch.equal(torch.cat(batches), images.scaled(images.pixels))
    assert all(len(batch) > 1 for batch in batches) or count == 1
