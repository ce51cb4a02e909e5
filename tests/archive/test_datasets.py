"""What an archive says about a dataset of which a part was used."""

from pathlib import Path
from typing import Any

import pytest

from kdlm.archive.datasets import ORIGINS, describe
from kdlm.data.loaders import prepare_dataset
from kdlm.study.config import parse
from kdlm.study.jobs import describe_answers


@pytest.fixture
def part(config: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with a hundred of its 1,437 training images."""
    return config | {"dataset": {"name": "digits", "train_images": 100}, "answers": "always"}


def test_the_record_says_which_part_was_used(part: dict[str, Any], tmp_path: Path) -> None:
    prepare_dataset("digits", tmp_path / "data/digits.safetensors", train_images=100)
    prepare_dataset("photographs", tmp_path / "data/photographs.safetensors")
    described = describe(parse(part), tmp_path)
    assert described["digits"]["title"] == (f"{ORIGINS['digits'].title}, first 100 training images")
    assert (described["digits"]["train_images"], described["digits"]["test_images"]) == (100, 360)
    assert described["photographs"]["title"] == ORIGINS["photographs"].title


def test_the_size_of_the_answers_is_that_of_the_part(part: dict[str, Any]) -> None:
    study = parse(part)
    # two seeds, an epoch, ten logits of four bytes for each of a hundred images
    assert describe_answers(study).endswith(f"2 files, {1e-9 * 2 * 100 * 10 * 4:.3g} GB")


def test_a_dataset_is_called_by_its_part(part: dict[str, Any]) -> None:
    study = parse(part)
    assert study.dataset.label == "digits, first 100 training images"
    assert study.init_means.dataset.label == "photographs"
