import builtins
import errno
import gzip
import hashlib
import pickle
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from kdlm.data.dataset import DataError, Dataset
from kdlm.data.loaders import DATASETS, load
from kdlm.errors import InputError
from kdlm.study import names

Observed = Callable[[str], None]

INSTALLED_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def tensors(dataset: Dataset) -> list[torch.Tensor]:
    return [
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    ]


def equal(one: Dataset, other: Dataset) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def complaint(name: str, root: Path | None, **choices: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(name, root, **choices)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- names and arguments


def test_registry_has_the_names_a_config_may_use() -> None:
    assert set(DATASETS) == set(names.DATASETS)


def test_unknown_name_lists_the_known_ones() -> None:
    message = complaint("mnist", None)
    assert "unknown dataset 'mnist'" in message
    assert all(name in message for name in DATASETS)


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_root_is_asked_for(name: str) -> None:
    assert f"{name}: root is needed" in complaint(name, None)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "imagefolder"])
def test_image_side_is_refused_where_it_is_fixed(name: str, tmp_path: Path) -> None:
    assert "image_side is fixed at" in complaint(name, tmp_path, image_side=16)


@pytest.mark.parametrize("side", [None, 0, -3])
def test_image_side_is_asked_for_where_it_is_not(side: int | None, tmp_path: Path) -> None:
    assert "image_side is needed" in complaint("imagefolder", tmp_path, image_side=side)


# ---- what a data set must be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": torch.zeros(4, 1, 2, 2)}, "train images must be uint8"),
        ({"test_images": torch.zeros(2, 2, 2, dtype=torch.uint8)}, "test images must be uint8"),
        ({"train_labels": torch.zeros(3, dtype=torch.int64)}, r"train labels must be int64 \(4,\)"),
        ({"test_labels": torch.zeros(2)}, r"test labels must be int64 \(2,\)"),
        ({"test_labels": torch.tensor([0, 2])}, "test labels run from 0 to 2, but there are 2"),
        ({"test_labels": torch.tensor([-1, 1])}, "test labels run from -1 to 1"),
        ({"test_images": torch.zeros(2, 3, 2, 2, dtype=torch.uint8)}, "must be alike"),
        ({"classes": ("only",)}, "found 1 class; at least 2"),
        (
            {
                "test_images": torch.zeros(0, 1, 2, 2, dtype=torch.uint8),
                "test_labels": torch.zeros(0, dtype=torch.int64),
            },
            "test has no image",
        ),
    ],
)
def test_a_dataset_that_does_not_fit_together_is_refused(
    change: dict[str, Any], message: str
) -> None:
    fields: dict[str, Any] = {
        "name": "made",
        "train_images": torch.zeros(4, 1, 2, 2, dtype=torch.uint8),
        "train_labels": torch.tensor([0, 1, 0, 1]),
        "test_images": torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
        "test_labels": torch.tensor([0, 1]),
        "classes": ("a", "b"),
    }
    Dataset(**fields)
    with pytest.raises(DataError, match=message):
        Dataset(**fields | change)


# ---- scikit-learn's


def test_digits_are_scikit_learns_in_their_order() -> None:
    dataset = load("digits")
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (1437, 360)
    assert dataset.train_images.shape[1:] == (1, 8, 8)
    raw = load_digits()
    images = torch.cat([dataset.train_images, dataset.test_images])[:, 0]
    grey = np.array([round(Fraction(255 * level, 16)) for level in range(17)])
    assert np.array_equal(images.numpy(), grey[raw.images.astype(int)])
    assert (int(images.min()), int(images.max())) == (0, 255)
    labels = torch.cat([dataset.train_labels, dataset.test_labels])
    assert labels.tolist() == raw.target.tolist()
    assert dataset.classes == tuple("0123456789")


def test_every_digit_is_in_both_parts() -> None:
    dataset = load("digits")
    for labels in (dataset.train_labels, dataset.test_labels):
        assert int(labels.bincount(minlength=10).min()) >= 30


def test_photographs_are_a_tiling_of_scikit_learns() -> None:
    dataset = load("photographs")
    images = torch.cat([dataset.train_images, dataset.test_images]).permute(0, 2, 3, 1)
    labels = torch.cat([dataset.train_labels, dataset.test_labels])
    for label, photograph in enumerate(load_sample_images().images):
        tiles = sorted(
            photograph[top : top + 32, left : left + 32].tobytes()
            for top in range(0, 13 * 32, 32)
            for left in range(0, 20 * 32, 32)
        )
        assert sorted(tile.numpy().tobytes() for tile in images[labels == label]) == tiles
    assert dataset.classes == ("china", "flower")


def test_photographs_of_either_kind_in_either_part_and_among_the_first() -> None:
    dataset = load("photographs")
    assert dataset.train_labels.bincount().tolist() == [208, 208]
    assert dataset.test_labels.bincount().tolist() == [52, 52]
    assert dataset.train_labels[:64].bincount().tolist() == [32, 32]
    # the first 64 stand for all, as the sky and the dark leaves of the top rows would not
    overall = dataset.train_images.double().mean(dim=(0, 2, 3))
    first = dataset.train_images[:64].double().mean(dim=(0, 2, 3))
    assert float((first - overall).abs().max()) < 10


def test_scikit_images_photographs_are_tiles_in_a_spread_order() -> None:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image, an optional package")
    dataset = load("scikit-image")
    images = torch.cat([dataset.train_images, dataset.test_images]).permute(0, 2, 3, 1)
    labels = torch.cat([dataset.train_labels, dataset.test_labels])
    assert dataset.classes == ("astronaut", "chelsea", "coffee", "rocket")
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (403, 101)
    assert labels.tolist() == [0, 1, 2, 3] * 126
    for label, name in enumerate(dataset.classes):
        photograph = getattr(data, name)()
        tiles = {
            photograph[top : top + 32, left : left + 32].tobytes(): (top, left)
            for top in range(0, len(photograph) - 31, 32)
            for left in range(0, photograph.shape[1] - 31, 32)
        }
        places = [tiles[tile.numpy().tobytes()] for tile in images[labels == label]]
        assert len(set(places)) == 126
        # the first sixteen are in all quarters of the photograph
        centre = (photograph.shape[0] / 2, photograph.shape[1] / 2)
        quarters = {(top + 16 < centre[0], left + 16 < centre[1]) for top, left in places[:16]}
        assert len(quarters) == 4


def test_without_scikit_image_its_photographs_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert "pip install scikit-image" in complaint("scikit-image", None)


# ---- a part of the training set


def test_the_first_training_images_are_kept_with_all_test_images() -> None:
    whole, part = load("digits"), load("digits", train_images=100)
    for kept, every in zip(tensors(part), tensors(whole), strict=True):
        assert torch.equal(kept, every[: len(kept)])
    assert [len(one) for one in tensors(part)] == [100, 100, 360, 360]
    assert equal(load("digits", train_images=1437), whole)


@pytest.mark.parametrize("count", [-1, 0, 1, 1438])
def test_more_training_images_than_there_are_or_too_few_are_refused(count: int) -> None:
    message = complaint("digits", None, train_images=count)
    assert f"from 2 to 1437, the number of its training images, not {count}" in message


def test_the_first_images_of_a_folder_sorted_by_class_are_refused(tmp_path: Path) -> None:
    message = complaint("imagefolder", tmp_path, image_side=8, train_images=10)
    assert "train_images is not for imagefolder, whose images are sorted by class" in message


@pytest.mark.parametrize("name", ["digits", "photographs"])
def test_what_ships_with_scikit_learn_is_the_same_each_time_and_of_the_known_size(
    name: str, tmp_path: Path
) -> None:
    dataset = load(name)
    assert equal(dataset, load(name, tmp_path / "not looked at", download=False))
    side = names.DATASETS[name].image_side
    assert dataset.train_images.shape[2:] == (side, side)


# ---- Fashion-MNIST


def idx(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The idx format: two zero bytes, type 8 (unsigned byte), rank, big-endian sizes, data."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def made_fashion(train: int = 5, test: int = 3, side: int = 28) -> dict[str, Any]:
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", train), ("t10k", test)):
        arrays[f"{split}-images-idx3-ubyte"] = random.integers(
            256, size=(count, side, side), dtype=np.uint8
        )
        arrays[f"{split}-labels-idx1-ubyte"] = random.integers(10, size=count, dtype=np.uint8)
    return arrays


def write_flat(folder: Path, arrays: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))


def write_torchvision(root: Path, arrays: dict[str, Any]) -> None:
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in arrays.items():
        (raw / name).write_bytes(idx(array))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No test reaches the network; what would have been fetched is listed."""
    import kdlm.data._torchvision as bridge

    asked: list[str] = []

    def refuse(url: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        raise URLError("no route to host")

    for module in (bridge.datasets.mnist, bridge.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", refuse)
    return asked


@pytest.mark.parametrize("write", [write_flat, write_torchvision])
def test_fashion_mnist_from_a_flat_folder_and_from_torchvisions(
    write: Callable[[Path, dict[str, Any]], None], tmp_path: Path, offline: list[str]
) -> None:
    arrays = made_fashion()
    write(tmp_path, arrays)
    dataset = load("fashion-mnist", tmp_path)
    for found, name in zip(
        tensors(dataset),
        (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ),
        strict=True,
    ):
        assert found.flatten().tolist() == arrays[name].flatten().tolist()
    assert dataset.train_images.shape == (5, 1, 28, 28)
    assert len(dataset.classes) == 10
    assert dataset.classes[9] == "Ankle boot"
    assert offline == []


def test_torchvisions_own_class_reads_the_same(tmp_path: Path) -> None:
    from kdlm.data._torchvision import datasets

    write_torchvision(tmp_path, made_fashion())
    ours = load("fashion-mnist", tmp_path, download=False)
    for train, images, labels in (
        (True, ours.train_images, ours.train_labels),
        (False, ours.test_images, ours.test_labels),
    ):
        theirs = datasets.FashionMNIST(tmp_path, train=train)
        assert torch.equal(theirs.data[:, None], images)
        assert torch.equal(theirs.targets, labels)


def test_missing_fashion_mnist_names_the_file_where_no_download_is_allowed(
    tmp_path: Path, offline: list[str]
) -> None:
    root = tmp_path / "nowhere"
    message = complaint("fashion-mnist", root, download=False)
    assert f"{root}/FashionMNIST/raw/train-images-idx3-ubyte[.gz] is missing" in message
    assert offline == []
    assert not root.exists()


def test_missing_fashion_mnist_is_fetched_by_torchvision_if_allowed(
    tmp_path: Path, offline: list[str]
) -> None:
    message = complaint("fashion-mnist", tmp_path / "new")
    assert f"the download to {tmp_path}/new/FashionMNIST/raw failed" in message
    assert "no route to host" in message
    assert offline[0].endswith("train-images-idx3-ubyte.gz")


def test_fetched_fashion_mnist_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdlm.data._torchvision import datasets

    arrays = made_fashion()

    def fetch(_url: str, download_root: str, filename: str, **_: Any) -> None:
        name = filename.removesuffix(".gz")
        Path(download_root, name).write_bytes(idx(arrays[name]))

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", fetch)
    dataset = load("fashion-mnist", tmp_path)
    assert dataset.test_labels.tolist() == arrays["t10k-labels-idx1-ubyte"].tolist()


def test_one_missing_file_of_a_flat_folder_is_named_not_fetched(
    tmp_path: Path, offline: list[str]
) -> None:
    write_flat(tmp_path, made_fashion())
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    message = complaint("fashion-mnist", tmp_path)
    assert f"{tmp_path}/t10k-labels-idx1-ubyte[.gz] is missing" in message
    assert offline == []


def packed(content: bytes) -> bytes:
    return gzip.compress(content)


IMAGES = idx(made_fashion()["train-images-idx3-ubyte"])


@pytest.mark.fault(
    "damaged raw files of Fashion-MNIST",
    area="files",
    provoked="truncated, emptied, a wrong checksum, header or type; twelve ways",
)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html>404 not found</html>", id="not gzip"),
        pytest.param(packed(IMAGES)[:-200], id="gzip cut short"),
        pytest.param(packed(IMAGES)[:-8] + b"\0" * 8, id="gzip checksum"),
        pytest.param(b"", id="empty"),
        pytest.param(packed(b""), id="nothing inside"),
        pytest.param(packed(IMAGES[:16]), id="header alone"),
        pytest.param(packed(IMAGES[:-1]), id="idx cut short"),
        pytest.param(packed(IMAGES + b"\0"), id="idx too long"),
        pytest.param(packed(b"\x89PNG" + IMAGES[4:]), id="wrong magic"),
        pytest.param(packed(b"\0\0\x0a" + IMAGES[3:]), id="unknown type"),
        pytest.param(packed(b"\0\0\x0b" + IMAGES[3:]), id="16 bit"),
        pytest.param(packed(idx(np.zeros((5, 784), np.uint8))), id="wrong rank"),
    ],
)
def test_a_bad_idx_file_is_named_with_the_remedy(
    content: bytes, tmp_path: Path, observed: Observed
) -> None:
    write_flat(tmp_path, made_fashion())
    bad = tmp_path / "train-images-idx3-ubyte.gz"
    bad.write_bytes(content)
    message = complaint("fashion-mnist", tmp_path)
    assert f"{bad}: not a whole idx file" in message
    assert "fetch it again" in message
    observed("one line that names the file and says to fetch it again")


def test_a_bad_file_in_torchvisions_folder_is_named_too(tmp_path: Path) -> None:
    write_torchvision(tmp_path, made_fashion())
    bad = tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    bad.write_bytes(bad.read_bytes()[:-1])
    assert f"{bad}: not a whole idx file" in complaint("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"train-labels-idx1-ubyte": np.zeros(4, np.uint8)}, id="a label too few"),
        pytest.param({"train-labels-idx1-ubyte": np.full(5, 10, np.uint8)}, id="eleventh class"),
        pytest.param({"train-images-idx3-ubyte": np.zeros((5, 32, 32), np.uint8)}, id="32x32"),
    ],
)
def test_idx_files_of_another_data_set_are_named(change: dict[str, Any], tmp_path: Path) -> None:
    write_flat(tmp_path, made_fashion() | change)
    message = complaint("fashion-mnist", tmp_path)
    assert str(tmp_path) in message
    assert "train-images-idx3-ubyte and train-labels-idx1-ubyte should hold" in message


@pytest.mark.skipif(
    not INSTALLED_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_the_real_fashion_mnist_as_debian_installs_it() -> None:
    dataset = load("fashion-mnist", INSTALLED_FASHION_MNIST, download=False)
    assert dataset.train_images.shape == (60_000, 1, 28, 28)
    assert dataset.test_images.shape == (10_000, 1, 28, 28)
    assert dataset.train_labels.bincount().tolist() == [6000] * 10
    assert dataset.test_labels.bincount().tolist() == [1000] * 10
    # the mean that every recipe for this data set quotes
    assert float(dataset.train_images.double().mean() / 255) == pytest.approx(0.2860, abs=5e-5)


# ---- CIFAR


def made_cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Files of CIFAR's real format with few images; torchvision is told their MD5s."""
    from kdlm.data._torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    key, num_classes = {"cifar10": ("labels", 10), "cifar100": ("fine_labels", 100)}[name]
    random = np.random.default_rng(0)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    md5 = {}
    batches: dict[str, Any] = {}

    def write(file: str, content: dict[str, Any]) -> None:
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
        md5[file] = hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest()

    for file, _ in kind.train_list + kind.test_list:
        batches[file] = {
            "data": random.integers(256, size=(4, 3072), dtype=np.uint8),
            key: random.integers(num_classes, size=4).tolist(),
        }
        write(file, batches[file])
    write(kind.meta["filename"], {kind.meta["key"]: [f"class {k}" for k in range(num_classes)]})
    for attribute in ("train_list", "test_list"):
        files = [[file, md5[file]] for file, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, files)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5[kind.meta["filename"]]})
    return {
        "folder": folder,
        "images": {file: batch["data"] for file, batch in batches.items()},
        "labels": {file: batch[key] for file, batch in batches.items()},
    }


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    return lambda name: made_cifar(tmp_path, name, monkeypatch)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cifar10", [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]),
        ("cifar100", ["train", "test"]),
    ],
)
def test_cifar_is_read_by_torchvisions_loader(
    name: str,
    files: list[str],
    tmp_path: Path,
    cifar: Callable[[str], dict[str, Any]],
    offline: list[str],
) -> None:
    made = cifar(name)
    dataset = load(name, tmp_path)
    *train, test = files
    # a row of the file is 1024 red, then 1024 green, then 1024 blue pixels, each row by row
    for images, part in ((dataset.train_images, train), (dataset.test_images, [test])):
        rows = np.concatenate([made["images"][file] for file in part])
        for image, row in zip(images, rows, strict=True):
            planes = [row[start : start + 1024].reshape(32, 32) for start in (0, 1024, 2048)]
            assert image.tolist() == [plane.tolist() for plane in planes]
    assert dataset.train_labels.tolist() == [k for file in train for k in made["labels"][file]]
    assert dataset.test_labels.tolist() == made["labels"][test]
    assert dataset.classes == tuple(f"class {k}" for k in range(int(name[5:])))
    assert dataset.train_images.is_contiguous()
    assert offline == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_names_the_file_where_no_download_is_allowed(
    name: str, tmp_path: Path, offline: list[str]
) -> None:
    root = tmp_path / "nowhere"
    message = complaint(name, root, download=False)
    first = {"cifar10": "cifar-10-batches-py/data_batch_1", "cifar100": "cifar-100-python/train"}
    assert f"{root}/{first[name]} is missing; delete" in message
    assert "run again with the download allowed" in message
    assert offline == []


def test_missing_cifar_is_fetched_by_torchvision_if_allowed(
    tmp_path: Path, offline: list[str]
) -> None:
    message = complaint("cifar100", tmp_path)
    assert "fetching it failed" in message
    assert "no route to host" in message
    assert len(offline) == 1


class Dangerous:
    """A pickle that leaves a trace if it is ever loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.mark.fault(
    "changed raw files of CIFAR",
    area="files",
    provoked="another pickle in the place of a file, one that would run code if it were read",
)
@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_changed_cifar_file_is_named_and_not_unpickled(
    file: str,
    download: bool,
    tmp_path: Path,
    cifar: Callable[[str], dict[str, Any]],
    offline: list[str],
    observed: Observed,
) -> None:
    folder = cifar("cifar10")["folder"]
    trace = tmp_path / "unpickled"
    (folder / file).write_bytes(pickle.dumps(Dangerous(trace)))
    message = complaint("cifar10", tmp_path, download=download)
    assert f"{folder / file} is damaged (its MD5 is not the published one)" in message
    assert f"delete {folder} and run again" in message
    assert not trace.exists()
    assert len(offline) == (download and file != "batches.meta")
    observed("one line that names the file; it is not unpickled")


# ---- imagefolder


def draw(path: Path, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> None:
    """A smooth random picture: noise would hide what an image library does at its edges."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=(3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for split, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                size = (20 + 9 * number, 31 - 5 * label)
                draw(root / split / name / f"{number}.png", size, seed=10 * label + number)
    return root


def squared(path: Path, side: int) -> torch.Tensor:
    """Shorter side to ``side``, bilinear; then the central square; with pillow alone."""
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    width, height = (side if edge == short else int(side * edge / short) for edge in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    image = image.crop((left, top, left + side, top + side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("side", [8, 20, 48])
def test_imagefolder_reads_sorted_classes_and_brings_images_to_size(tree: Path, side: int) -> None:
    dataset = load("imagefolder", tree, image_side=side)
    assert dataset.classes == ("cat", "dog")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]
    for split, images in (("train", dataset.train_images), ("test", dataset.test_images)):
        paths = sorted((tree / split).rglob("*.png"))
        assert torch.equal(images, torch.stack([squared(path, side) for path in paths]))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_imagefolder_turns_every_kind_of_image_into_rgb(tree: Path, mode: str) -> None:
    path = tree / "train" / "cat" / "0.png"
    draw(path, (16, 16), mode)
    dataset = load("imagefolder", tree, image_side=16)
    assert torch.equal(dataset.train_images[0], squared(path, 16))


@pytest.mark.fault(
    "damaged images in a dataset's folder",
    area="files",
    provoked="text, a truncated PNG and an empty file in the place of images",
)
def test_imagefolder_names_each_unreadable_image(tree: Path, observed: Observed) -> None:
    text, cut, empty = (
        tree / "train" / "cat" / "1.png",
        tree / "train" / "dog" / "2.png",
        tree / "test" / "dog" / "0.png",
    )
    text.write_text("no picture")
    cut.write_bytes(cut.read_bytes()[:-60])
    empty.write_bytes(b"")
    message = complaint("imagefolder", tree, image_side=8)
    assert f"not readable as images: {text}, {cut}, {empty}; repair or remove them" in message
    observed("one line that names all three")


def test_imagefolder_wants_the_same_classes_in_both_parts(tree: Path) -> None:
    draw(tree / "train" / "emu" / "0.png", (9, 9))
    draw(tree / "test" / "yak" / "0.png", (9, 9))
    message = complaint("imagefolder", tree, image_side=8)
    assert f"{tree}: train and test must have the same classes; in one only: emu, yak" in message


def test_imagefolder_wants_an_image_in_each_class(tree: Path) -> None:
    (tree / "test" / "emu").mkdir()
    message = complaint("imagefolder", tree, image_side=8)
    assert f"{tree / 'test'}" in message
    assert "emu" in message


@pytest.mark.parametrize("split", ["train", "test"])
def test_imagefolder_names_a_missing_part(split: str, tree: Path) -> None:
    (tree / split).rename(tree / "elsewhere")
    message = complaint("imagefolder", tree, image_side=8)
    assert f"{tree / split}" in message
    assert "train/<class>/ and test/<class>/" in message


# ---- what the file system refuses


@pytest.mark.fault(
    "no room to unpack Fashion-MNIST",
    area="files",
    provoked="a limit on the size of files below what is unpacked; a TMPDIR without room",
)
@pytest.mark.parametrize("full", [False, True])
def test_no_room_to_unpack_is_not_blamed_on_the_file(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observed: Observed
) -> None:
    write_flat(tmp_path, made_fashion())

    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if full:
        monkeypatch.setattr("tempfile.mkdtemp", none)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError) as caught:
            load("fashion-mnist", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(caught.value)
    assert message.startswith("the folder for temporary files (TMPDIR) cannot be written (")
    assert ("free space on that disk" if full else "raise the limit on the size of") in message
    observed("one line that names the folder for temporary files and the remedy, no raw file")


@pytest.mark.fault(
    "raw files that may not be read",
    area="files",
    provoked="opening a raw file of Fashion-MNIST or CIFAR, or an image, ends with EACCES",
)
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("fashion-mnist", "t10k-labels-idx1-ubyte.gz"),
        ("fashion-mnist", "FashionMNIST/raw/t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py/test_batch"),
        ("imagefolder", "tree/test/dog/0.png"),
    ],
)
def test_a_file_that_may_not_be_read_is_not_called_damaged(
    name: str,
    file: str,
    tmp_path: Path,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    observed: Observed,
) -> None:
    if name == "cifar10":
        made_cifar(tmp_path, name, monkeypatch)
    elif name == "fashion-mnist":
        (write_flat if file.endswith(".gz") else write_torchvision)(tmp_path, made_fashion())
    path = tmp_path / file
    assert path.is_file()
    unhindered = builtins.open

    def hindered(opened: Any, *arguments: Any, **options: Any) -> Any:
        if opened in (path, str(path)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return unhindered(opened, *arguments, **options)

    # as root may read everything
    monkeypatch.setattr("builtins.open", hindered)
    root, side = (tree, 8) if name == "imagefolder" else (tmp_path, None)
    with pytest.raises(InputError) as caught:
        load(name, root, download=False, image_side=side)
    assert f"{path} cannot be read (Permission denied); see to that" in str(caught.value)
    assert "delete" not in str(caught.value)
    observed("one line that names the file; it is not called damaged")


# ---- torchvision beside a torch it was not compiled for


def test_the_bridge_declares_nothing_where_torchvisions_operators_load() -> None:
    from torchvision import extension

    import kdlm.data._torchvision as bridge

    missing = set() if extension._has_ops() else {"torchvision::nms", "torchvision::qnms"}
    assert bridge._library._op_defs == missing


def test_an_operator_that_is_there_is_not_declared_twice() -> None:
    import kdlm.data._torchvision as bridge

    assert hasattr(torch.ops.torchvision, "nms")
    assert bridge._declare_missing()._op_defs == set()


def test_torchvision_is_not_imported_for_what_ships_with_scikit_learn() -> None:
    program = (
        "import sys; from kdlm.data.loaders import load; load('digits');"
        "assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_torchvision_is_imported_without_a_warning() -> None:
    program = "from kdlm.data._torchvision import datasets; print(datasets.CIFAR100.__name__)"
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (run.stdout, run.stderr) == ("CIFAR100\n", "")
