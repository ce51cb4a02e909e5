"""The views of a training, against a plain loop over batches."""

import pytest
import torch
from torch import Tensor

from kdlm.data.augmentation import augment
from kdlm.data.images import Images
from kdlm.networks.initialisation import stream
from kdlm.study.specs import ViewsSpec
from kdlm.training.views import Views

IMAGES = 23


def images() -> Images:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(256, (IMAGES, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(IMAGES), (0.5,), (0.25,), torch.float64)


def spec(**changes: object) -> ViewsSpec:
    facts = {"epochs": 3, "batch_size": 5, "augment": True, "crop_padding": 2, "flip": True,
             "precision": "float64", "seed": 4}  # fmt: skip
    return ViewsSpec.model_validate(facts | changes)


def epoch(views: Views) -> list[tuple[Tensor, Tensor]]:
    views.begin()
    return [views.batch(number) for number in range(len(views))]


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("augmented", [True, False])
@pytest.mark.parametrize("flip", [True, False])
def test_views_are_those_of_a_loop_that_draws_batch_by_batch(
    role: str, augmented: bool, flip: bool
) -> None:
    known = images()
    views = Views(known, spec(augment=augmented, flip=flip), role)
    order, eyes = stream(4, f"{role} order"), stream(4, f"{role} views")
    for _ in range(3):
        chosen = torch.randperm(IMAGES, generator=order)
        batches = torch.split(chosen, 5)
        found = epoch(views)
        assert len(found) == len(batches) == 5
        for batch, (pixels, labels) in zip(batches, found, strict=True):
            expected = known.pixels[batch]
            if augmented:
                expected = augment(expected, 2, flip, eyes)
            assert torch.equal(pixels, known.scaled(expected))
            assert torch.equal(labels, batch)


def test_every_image_comes_once_an_epoch_and_epochs_differ() -> None:
    views = Views(images(), spec(), "student")
    first, second = (torch.cat([labels for _, labels in epoch(views)]) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(IMAGES))
    assert not torch.equal(first, second)


def test_a_state_is_that_of_the_epochs_beginning() -> None:
    views = Views(images(), spec(), "student")
    epoch(views)
    second = epoch(views)
    kept = {name: value.clone() for name, value in views.state().items()}
    epoch(views)
    again = Views(images(), spec(), "student")
    again.restore(kept)
    for (pixels, _), (expected, _) in zip(epoch(again), second, strict=True):
        assert torch.equal(pixels, expected)


def test_other_seeds_see_other_views() -> None:
    one, other = (epoch(Views(images(), spec(seed=seed), "student")) for seed in (0, 1))
    assert not torch.equal(one[0][1], other[0][1])
