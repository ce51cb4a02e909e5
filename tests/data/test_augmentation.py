from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdlm.data.augmentation import augment, random_crop, random_flip


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Float images whose pixels all differ, none of them 0."""
    count = batch * channels * height * width
    return torch.arange(1.0, count + 1).reshape(batch, channels, height, width)


def crop_pixel_by_pixel(image: Tensor, padding: int, top: int, left: int) -> Tensor:
    cropped = torch.zeros_like(image)
    channels, height, width = image.shape
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                from_row, from_column = row + top - padding, column + left - padding
                if 0 <= from_row < height and 0 <= from_column < width:
                    cropped[channel, row, column] = image[channel, from_row, from_column]
    return cropped


def offsets(image: Tensor, cropped: Tensor, padding: int) -> list[tuple[int, int]]:
    """Every (top, left) at which the slow crop of ``image`` is ``cropped``."""
    reach = range(2 * padding + 1)
    return [
        (top, left)
        for top in reach
        for left in reach
        if torch.equal(crop_pixel_by_pixel(image, padding, top, left), cropped)
    ]


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 5), st.integers(2, 5)),
    padding=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_crop_is_a_window_of_the_zero_padded_image(
    shape: tuple[int, int, int, int], padding: int, seed: int
) -> None:
    images = numbered(*shape)
    cropped = random_crop(images, padding, seeded(seed))
    assert cropped.shape == images.shape
    for before, after in zip(images, cropped, strict=True):
        assert offsets(before, after, padding)


def test_offsets_are_independent_of_each_other_and_uniform() -> None:
    padding, batch = 1, 9000
    images = numbered(1, 1, 3, 3).expand(batch, 1, 3, 3)
    cropped = random_crop(images, padding, seeded(0))
    windows = {
        tuple(crop_pixel_by_pixel(images[0], padding, top, left).flatten().tolist()): (top, left)
        for top in range(3)
        for left in range(3)
    }
    counts = Counter(windows[tuple(row)] for row in cropped.flatten(1).tolist())
    assert len(counts) == 9
    # five standard deviations of a binomial count with probability 1/9
    assert all(
        abs(count - 1000) < 5 * (batch * (1 / 9) * (8 / 9)) ** 0.5 for count in counts.values()
    )


def test_flip_mirrors_left_to_right_or_leaves_alone_with_even_odds() -> None:
    images = numbered(1, 2, 3, 4).expand(4000, 2, 3, 4)
    flipped = random_flip(images, seeded(0))
    mirrored = torch.tensor(
        [[[row[::-1] for row in channel] for channel in image] for image in images.tolist()]
    )
    is_mirrored = (flipped == mirrored).flatten(1).all(dim=1)
    is_same = (flipped == images).flatten(1).all(dim=1)
    assert bool((is_mirrored ^ is_same).all())
    # five standard deviations of 4000 coins
    assert abs(int(is_mirrored.sum()) - 2000) < 5 * 1000**0.5


def test_uint8_images_stay_uint8_and_padding_is_black() -> None:
    images = torch.full((64, 3, 8, 8), 255, dtype=torch.uint8)
    views = augment(images, 4, flip=True, generator=seeded(1))
    assert views.dtype == torch.uint8
    assert set(views.flatten().tolist()) == {0, 255}


def test_augment_crops_then_flips_from_one_generator() -> None:
    images = numbered(16, 1, 6, 6)
    one = seeded(3)
    assert torch.equal(
        augment(images, 2, flip=True, generator=seeded(3)),
        random_flip(random_crop(images, 2, one), one),
    )


def test_without_flip_an_image_is_only_ever_shifted() -> None:
    images = numbered(8, 1, 5, 5)
    views = augment(images, 1, flip=False, generator=seeded(5))
    assert all(offsets(a, b, 1) for a, b in zip(images, views, strict=True))


def test_padding_0_without_flip_changes_nothing() -> None:
    images = numbered(4, 3, 5, 7)
    assert torch.equal(augment(images, 0, flip=False, generator=seeded(0)), images)


def test_generator_alone_decides_and_images_are_not_written_to() -> None:
    images = numbered(32, 3, 8, 8)
    untouched = images.clone()
    views = augment(images, 2, flip=True, generator=seeded(7))
    torch.manual_seed(99)
    assert torch.equal(augment(images, 2, flip=True, generator=seeded(7)), views)
    assert not torch.equal(augment(images, 2, flip=True, generator=seeded(8)), views)
    assert torch.equal(images, untouched)


def test_a_batch_split_differently_uses_the_generator_on() -> None:
    images, generator = numbered(32, 1, 6, 6), seeded(0)
    first = augment(images, 2, flip=True, generator=generator)
    assert not torch.equal(augment(images, 2, flip=True, generator=generator), first)


def test_images_stay_on_their_device() -> None:
    images = torch.empty(4, 3, 8, 8, device="meta")
    assert random_flip(images, seeded(0)).device.type == "meta"
    assert random_crop(images, 2, seeded(0)).device.type == "meta"


def test_negative_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="padding must be 0 pixels or more, not -1"):
        random_crop(numbered(1, 1, 4, 4), -1, seeded(0))
