import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from kdlm.data.dataset import DataError, Dataset
from kdlm.data.loaders import load
from kdlm.data.prepared import first_images, normalise, open_prepared, prepare
from kdlm.errors import InputError

Observed = Callable[[str], None]

TENSORS = ("train_images", "train_labels", "test_images", "test_labels")


def make_dataset(
    seed: int = 0, train: int = 7, test: int = 3, shape: tuple[int, int, int] = (3, 5, 4)
) -> Dataset:
    generator = torch.Generator().manual_seed(seed)

    def images(count: int) -> torch.Tensor:
        return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)

    def labels(count: int) -> torch.Tensor:
        return torch.randint(3, (count,), generator=generator)

    classes = ("Katze", "ça", 'a "b"\n')
    return Dataset("made", images(train), labels(train), images(test), labels(test), classes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "made.safetensors"


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    train=st.integers(2, 20),
    test=st.integers(1, 5),
    shape=st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)),
)
def test_what_is_prepared_is_what_is_opened(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    train: int,
    test: int,
    shape: tuple[int, int, int],
) -> None:
    path = tmp_path_factory.mktemp("data") / "made.safetensors"
    dataset = make_dataset(seed, train, test, shape)
    prepare(dataset, path)
    prepared = open_prepared(path)
    for name in TENSORS:
        before, after = getattr(dataset, name), getattr(prepared, name)
        assert after.dtype == before.dtype
        assert torch.equal(after, before)
    assert (prepared.name, prepared.classes) == (dataset.name, dataset.classes)
    assert prepared.num_classes == 3
    assert prepared.image_shape == shape


def test_mean_and_sd_are_those_of_the_training_images_alone(path: Path) -> None:
    dataset = make_dataset()
    prepare(dataset, path)
    prepared = open_prepared(path)
    pixels = dataset.train_images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(prepared.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(prepared.sd, pixels.std(axis=(0, 2, 3)), rtol=1e-13)


def test_sd_keeps_its_digits_where_pixels_hardly_differ(path: Path) -> None:
    # one pixel of a million is 201 and the rest 200: E x^2 - (E x)^2 in floats would lose this
    images = torch.full((1000, 1, 25, 40), 200, dtype=torch.uint8)
    images[0, 0, 0, 0] = 201
    labels = torch.arange(1000) % 2
    prepare(Dataset("flat", images, labels, images[:2], labels[:2], ("a", "b")), path)
    share = 1e-6
    expected = math.sqrt(share * (1 - share)) / 255
    assert open_prepared(path).sd[0] == pytest.approx(expected, rel=1e-12)


def test_a_channel_without_contrast_is_refused(path: Path) -> None:
    images = torch.zeros(4, 2, 3, 3, dtype=torch.uint8)
    images[0, 0] = 1
    labels = torch.tensor([0, 1, 0, 1])
    with pytest.raises(DataError, match="flat: channel 1 has the same value"):
        prepare(Dataset("flat", images, labels, images, labels, ("a", "b")), path)
    assert not path.exists()


def test_equal_datasets_are_equal_bytes(path: Path) -> None:
    prepare(make_dataset(), path)
    reference = path.read_bytes()
    # a metadata key too many, and safetensors would order them anew each time
    for _ in range(10):
        prepare(make_dataset(), path)
        assert path.read_bytes() == reference


def test_metadata_is_one_key_with_readable_facts(path: Path) -> None:
    prepare(make_dataset(), path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert list(metadata) == ["kdlm.dataset"]
    assert set(json.loads(metadata["kdlm.dataset"])) == {"name", "classes", "mean", "sd", "sha256"}


def test_sha256_tells_datasets_apart(path: Path) -> None:
    def digest(dataset: Dataset) -> str:
        prepare(dataset, path)
        return open_prepared(path).sha256

    base = make_dataset()
    labels = base.test_labels.clone()
    labels[0] = (labels[0] + 1) % 3
    train = (base.train_images, base.train_labels)
    reshaped = base.train_images.reshape(7, 3, 4, 5)
    others = [
        make_dataset(1),
        Dataset("made", *train, base.test_images, labels, base.classes),
        Dataset("made", *train, base.test_images, base.test_labels, ("x", "y", "z")),
        Dataset(
            "made",
            reshaped,
            base.train_labels,
            base.test_images.reshape(3, 3, 4, 5),
            base.test_labels,
            base.classes,
        ),
    ]
    digests = [digest(dataset) for dataset in [base, *others]]
    assert len(set(digests)) == 5
    assert digest(make_dataset()) == digests[0]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc/self/maps")
def test_images_are_mapped_and_writing_to_them_leaves_the_file_alone(path: Path) -> None:
    prepare(make_dataset(train=500), path)
    before = path.read_bytes()
    prepared = open_prepared(path)
    start, length = prepared.train_images.data_ptr(), prepared.train_images.numel()
    mapped = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line
    ]
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in mapped]
    assert any(low <= start and start + length <= high for low, high in ranges)
    prepared.train_images.zero_()
    assert path.read_bytes() == before
    assert not torch.equal(open_prepared(path).train_images, prepared.train_images)


@pytest.mark.fault(
    "a bit-flipped prepared dataset", area="files", provoked="every byte in turn, one bit of it"
)
def test_no_flipped_bit_goes_unseen(path: Path, observed: Observed) -> None:
    prepare(make_dataset(train=2, test=1, shape=(1, 2, 2)), path)
    good = path.read_bytes()
    reference = open_prepared(path)
    complaints = []
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        path.write_bytes(bad)
        try:
            read = open_prepared(path)
        except InputError as error:
            complaints.append(str(error))
            continue
        # the header may survive a change in its blanks; what it says may not
        for field in ("name", "classes", "mean", "sd", "sha256"):
            assert getattr(read, field) == getattr(reference, field)
        for field in TENSORS:
            assert torch.equal(getattr(read, field), getattr(reference, field))
    assert all(str(path) in complaint for complaint in complaints)
    assert len(complaints) > 0.95 * len(good)
    observed("one line that names the file, or nothing that is read has changed")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced_by_text(path: Path) -> None:
    path.write_text("this is not a tensor file, whatever its name says\n" * 9)


def replaced_by_a_network(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"architecture": "resnet8"})


def replaced_by_bare_tensors(path: Path) -> None:
    save_file({"train_images": torch.zeros(3)}, path)


def replaced_by_a_list(path: Path) -> None:
    save_file({"train_images": torch.zeros(3)}, path, {"kdlm.dataset": "[]"})


def replaced_by_other_types(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    wide = {name: torch.zeros(2, 1, 2, 2, dtype=torch.float32) for name in TENSORS}
    save_file(wide, path, metadata)


def deleted(path: Path) -> None:
    path.unlink()


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.fault(
    "a truncated prepared dataset, or another file in its place",
    area="files",
    provoked="a byte too few, empty, text, weights, other tensors, none, a folder",
)
@pytest.mark.parametrize(
    "harm",
    [
        truncated,
        emptied,
        replaced_by_text,
        replaced_by_a_network,
        replaced_by_bare_tensors,
        replaced_by_a_list,
        replaced_by_other_types,
        deleted,
        replaced_by_a_folder,
    ],
)
def test_a_file_that_is_not_ours_is_named_with_the_remedy(
    harm: Callable[[Path], None], path: Path, observed: Observed
) -> None:
    prepare(make_dataset(), path)
    harm(path)
    with pytest.raises(InputError) as caught:
        open_prepared(path)
    assert str(path) in str(caught.value)
    assert "run snakemake again" in str(caught.value)
    observed("one line that names the file and what to do")


@pytest.mark.fault(
    "two jobs prepare one dataset",
    area="two at once",
    provoked="three `kdlm prepare` of the same file at the same time",
)
def test_two_jobs_prepare_the_same_dataset(path: Path, observed: Observed) -> None:
    alone = path.with_name("alone.safetensors")
    prepare(load("digits"), alone)
    command = [sys.executable, "-m", "kdlm", "prepare", "--name", "digits", "--output", str(path)]
    jobs = [subprocess.Popen(command) for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert path.read_bytes() == alone.read_bytes()
    assert sorted(path.parent.iterdir()) == [alone, path]
    observed("each writes the whole file under a name of its own; the bytes are those of one alone")


def test_a_data_error_is_the_users_to_mend() -> None:
    assert issubclass(DataError, InputError)


def test_normalise_against_plain_python() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 3, 2, 5), dtype=torch.uint8, generator=generator)
    mean, sd = (0.1, 0.5, 0.9), (0.2, 0.3, 0.7)
    expected = [
        [
            [[(x / 255 - mean[c]) / sd[c] for x in row] for row in channel]
            for c, channel in enumerate(image)
        ]
        for image in images.tolist()
    ]
    wide = normalise(images, mean, sd, torch.float64)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide, torch.tensor(expected, dtype=torch.float64))
    narrow = normalise(images, mean, sd, torch.float32)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-6)
    assert images.dtype == torch.uint8


def test_normalised_training_images_have_mean_0_and_sd_1(path: Path) -> None:
    prepare(make_dataset(), path)
    prepared = open_prepared(path)
    images = normalise(prepared.train_images, prepared.mean, prepared.sd, torch.float64)
    sd, mean = torch.std_mean(images, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean))
    torch.testing.assert_close(sd, torch.ones_like(sd))


def test_first_images_are_the_first_and_normalised(path: Path) -> None:
    prepare(make_dataset(), path)
    prepared = open_prepared(path)
    images = first_images(path, 4)
    expected = normalise(prepared.train_images, prepared.mean, prepared.sd, torch.float32)[:4]
    assert torch.equal(images, expected)


def test_more_first_images_than_there_are_is_refused(path: Path) -> None:
    prepare(make_dataset(), path)
    message = f"{re.escape(os.fspath(path))}: 8 images were asked for, but made has 7"
    with pytest.raises(DataError, match=message):
        first_images(path, 8)
