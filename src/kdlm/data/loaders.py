"""Loaders of the data sets, which decode raw files to uint8 tensors in memory.

`kdlm.data.prepared` writes them to disk.

=============  ===============  ======  ======  =======  ==================================
name           channels × side  train   test    classes  raw files
=============  ===============  ======  ======  =======  ==================================
digits         1 × 8            1,437   360     10       ship with scikit-learn
photographs    3 × 32           416     104     2        ship with scikit-learn
scikit-image   3 × 32           403     101     4        ship with scikit-image
fashion-mnist  1 × 28           60,000  10,000  10       torchvision's, or a folder of .gz
cifar10        3 × 32           50,000  10,000  10       torchvision's
cifar100       3 × 32           50,000  10,000  100      torchvision's
imagefolder    3 × image_side   any     any     any      train/<class>/* and test/<class>/*
=============  ===============  ======  ======  =======  ==================================

`load` can keep the first images of a training set alone. Debian's and torchvision's files of
Fashion-MNIST and CIFAR are shuffled, so their first images are of all classes: of the first 15,000
of Fashion-MNIST, each class has between 1,445 and 1,548.

A new data set is a function `Source` -> `Dataset`, its name in `DATASETS`, and its facts in
`kdlm.study.names`.
"""

import math
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch

from kdlm.data.dataset import DataError, Dataset, Source
from kdlm.data.idx import one_line, read_split
from kdlm.data.imagefolder import imagefolder
from kdlm.data.prepared import prepare
from kdlm.storage.files import reading
from kdlm.storage.locks import lock_file
from kdlm.study import names

__all__ = ["DATASETS", "Source", "load", "prepare_dataset"]

_DOWNLOAD_ERRORS = (RuntimeError, OSError, HTTPException)


def digits(_source: Source) -> Dataset:
    """Read scikit-learn's 8×8 digits, the 1,797 test images of UCI's optdigits.

    The levels 0..16 become ⌊x·255/16⌉ in uint8. The first 1,437 images are the training set, the
    last 360 the test set. The images are sorted by writer, so the two sets have different writers,
    except for one writer with 22 digits in the training set and the rest in the test set.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415

    raw = load_digits()
    images = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(raw.target).long()
    split = 1437
    return Dataset(
        "digits",
        images[:split],
        labels[:split],
        images[split:],
        labels[split:],
        tuple(str(name) for name in raw.target_names),
    )


def photographs(_source: Source) -> Dataset:
    """Read 32×32 patches of scikit-learn's two sample photographs; the label is the photograph.

    The patches are real colour images that need no download, meant for the means at initialisation.
    As a classification task they are easy, and patches of the two splits are adjacent. Each
    photograph (427×640) has 13×20 patches; see `_patches`. Pillow is needed, and its JPEG decoder
    decides the last bit of a pixel.
    """
    from sklearn.datasets import load_sample_images  # noqa: PLC0415

    raw = load_sample_images()
    return _patches("photographs", raw.images, tuple(Path(name).stem for name in raw.filenames))


def scikit_image(_source: Source) -> Dataset:
    """Read 32×32 patches of four photographs that ship with scikit-image; see `_patches`.

    They are a second set of real colour images without a download, of other scenes and cameras than
    `photographs`: an astronaut, a cat, a cup of coffee and the start of a rocket. Each has 126
    patches, as many as the smallest photograph.

    Raises:
        DataError: scikit-image is not installed.

    """
    try:
        from skimage import data  # noqa: PLC0415
    except ImportError as error:
        raise DataError(
            "scikit-image: the package of that name has these images and is not installed; "
            "run pip install scikit-image"
        ) from error
    classes = ("astronaut", "chelsea", "coffee", "rocket")
    return _patches("scikit-image", [getattr(data, name)() for name in classes], classes)


def _patches(name: str, photographs: Sequence[Any], classes: tuple[str, ...]) -> Dataset:
    """Cut photographs (H, W, 3) along a regular grid into 32×32 patches; the label is the number.

    Patches do not overlap, and the rest at the bottom and on the right is dropped. The photographs
    alternate, and the n cells of each grid are visited in steps of `_golden_step` modulo n. In this
    order the first patches, as well as the last fifth, which is the test set, are spread over the
    whole of every photograph. Each has as many patches as the smallest of them.
    """
    side = 32
    grids = [
        torch.tensor(photograph).unfold(0, side, side).unfold(1, side, side).flatten(0, 1)
        for photograph in photographs
    ]
    count = min(map(len, grids))
    visited = [grid[torch.arange(count) * _golden_step(len(grid)) % len(grid)] for grid in grids]
    images = torch.stack(visited, dim=1).flatten(0, 1)
    labels = torch.arange(len(grids)).repeat(count)
    split = len(images) * 4 // 5
    return Dataset(name, images[:split], labels[:split], images[split:], labels[split:], classes)


def _golden_step(count: int) -> int:
    """Return the whole number nearest to ``count`` over the golden ratio and coprime to ``count``.

    >>> _golden_step(260), _golden_step(126)
    (161, 79)
    """
    ideal = 2 * count / (1 + math.sqrt(5))
    coprime = (step for step in range(1, count + 1) if math.gcd(step, count) == 1)
    return min(coprime, key=lambda step: abs(step - ideal))


def _download(kind: Any, root: Path) -> None:
    """Download torchvision's data set ``kind`` to ``root``, once even if several studies ask."""
    with lock_file(root / ".download.lock"):
        # torchvision keeps files that another process downloaded in the meantime.
        kind(root, train=False, download=True)


def fashion_mnist(source: Source) -> Dataset:
    """Read Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747), 28×28 grey images.

    ``root`` is either torchvision's root, with the files in ``FashionMNIST/raw``, or a folder that
    contains the four idx files, as Debian's package dataset-fashion-mnist installs it. In both the
    files may be gzipped. Downloads go to ``FashionMNIST/raw`` only.

    Raises:
        DataError: a file is missing, damaged or wrong, or the download failed.
        InputError: a file cannot be read, or there is no room to unpack it.

    """
    from kdlm.data._torchvision import datasets  # noqa: PLC0415

    root = source.folder("fashion-mnist")
    kind = datasets.FashionMNIST
    files = [Path(file).stem for file, _ in kind.resources]

    def holds(folder: Path, file: str) -> bool:
        return (folder / file).is_file() or (folder / f"{file}.gz").is_file()

    raw = root / kind.__name__ / "raw"
    folder = root if any(holds(root, file) for file in files) else raw
    if source.download and folder == raw and not all(holds(raw, file) for file in files):
        try:
            _download(kind, root)
        except _DOWNLOAD_ERRORS as error:
            raise DataError(
                f"fashion-mnist: the download to {raw} failed ({one_line(error)}); "
                f"put {', '.join(files)} (.gz or not) there, "
                f"or name the folder that has them as root"
            ) from error
    train_images, train_labels = read_split(folder, "train", 28, len(kind.classes))
    test_images, test_labels = read_split(folder, "test", 28, len(kind.classes))
    return Dataset(
        "fashion-mnist", train_images, train_labels, test_images, test_labels, tuple(kind.classes)
    )


def cifar10(source: Source) -> Dataset:
    """Read CIFAR-10 (Krizhevsky 2009), 32×32 colour images; see `_cifar`."""
    from kdlm.data._torchvision import datasets  # noqa: PLC0415

    return _cifar("cifar10", datasets.CIFAR10, source)


def cifar100(source: Source) -> Dataset:
    """Read CIFAR-100 (Krizhevsky 2009) with its 100 fine classes; see `_cifar`."""
    from kdlm.data._torchvision import datasets  # noqa: PLC0415

    return _cifar("cifar100", datasets.CIFAR100, source)


def _cifar(name: str, kind: Any, source: Source) -> Dataset:
    """Read torchvision's data set ``kind``; download it to ``root`` if it is missing and allowed.

    The files are pickles, which can run code. torchvision unpickles a file only if its MD5 is the
    published one. That protects against damage and simple tampering, but not against a forged MD5.

    Raises:
        DataError: a file is missing or damaged, or the download failed.
        InputError: a file cannot be read.

    """
    from kdlm.data._torchvision import datasets  # noqa: PLC0415

    root = source.folder(name)
    folder = root / kind.base_folder
    files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]

    check = datasets.utils.check_integrity

    def unusable() -> Path | None:
        """Return the first file that is missing or damaged; None if there is none."""
        for file, md5 in files:
            path = Path(folder, file)
            with reading(path):
                if not check(path, md5):
                    return path
        return None

    failure: Exception | None = None
    if source.download and unusable():
        try:
            _download(kind, root)
        except _DOWNLOAD_ERRORS as error:
            failure = error
    if bad := unusable():
        what = "damaged (its MD5 is not the published one)" if bad.exists() else "missing"
        tried = f"; fetching it failed ({one_line(failure)})" if failure else ""
        raise DataError(
            f"{bad} is {what}{tried}; delete {folder} and run again with the download allowed, or "
            f"unpack {kind.url} in {root}"
        ) from failure
    train, test = kind(root, train=True), kind(root, train=False)
    return Dataset(
        name,
        torch.from_numpy(train.data).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(train.targets),
        torch.from_numpy(test.data).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(test.targets),
        tuple(train.classes),
    )


DATASETS: dict[str, Callable[[Source], Dataset]] = {
    "digits": digits,
    "photographs": photographs,
    "scikit-image": scikit_image,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "imagefolder": imagefolder,
}
"""Loaders by the data set's name in config.yaml."""


def load(
    name: str,
    root: Path | str | None = None,
    *,
    download: bool = True,
    image_side: int | None = None,
    train_images: int | None = None,
) -> Dataset:
    """Return the data set called ``name``, read and decoded into memory.

    Args:
        name: a name of `DATASETS`.
        root: folder of the raw files; ignored for data sets that ship with scikit-learn.
        download: whether missing files may be downloaded to ``root``; ignored for imagefolder.
        image_side: side in pixels to which images are resized; for imagefolder only, which needs
            it.
        train_images: keep the first so many training images, in the loader's order; not for
            imagefolder, whose images are sorted by class. None keeps all of them.

    Raises:
        DataError: the name is unknown, ``image_side`` or ``train_images`` is given or missing
            against the rule, there are fewer than ``train_images``, or raw files are missing,
            truncated or wrong; the message names the file and the remedy.
        InputError: a file cannot be read, or there is no room to unpack it.

    """
    if name not in DATASETS:
        raise DataError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    fixed = names.DATASETS[name].image_side
    if fixed is not None and image_side is not None:
        raise DataError(f"image_side is fixed at {fixed} for {name}; leave it out")
    if fixed is None and (image_side is None or image_side < 1):
        raise DataError(f"image_side is needed for {name}, in pixels, not {image_side}")
    if train_images is not None and names.DATASETS[name].train_images is None:
        raise DataError(f"train_images is not for {name}, whose images are sorted by class")
    source = Source(Path(root) if root is not None else None, download, image_side)
    dataset = DATASETS[name](source)
    return dataset if train_images is None else dataset.first(train_images)


def prepare_dataset(
    name: str,
    output: Path,
    root: Path | None = None,
    *,
    download: bool = True,
    image_side: int | None = None,
    train_images: int | None = None,
) -> None:
    """Read a data set with `load` and write it to ``output``, the file that all jobs map.

    Raises:
        InputError: `load` or `prepare` refuses the data set, or the file cannot be written.

    """
    dataset = load(name, root, download=download, image_side=image_side, train_images=train_images)
    prepare(dataset, output)
