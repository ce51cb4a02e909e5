"""The prepared file of a data set, which all jobs map: uint8 images, labels, and a checksum."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kdlm.data.dataset import DataError, Dataset
from kdlm.storage.files import OPEN_SEAL, replacing, sealed, verify

__all__ = ["Prepared", "first_images", "normalise", "open_prepared", "prepare"]

_TENSORS = ("train_images", "train_labels", "test_images", "test_labels")

_KEY = "kdlm.dataset"
"""The only key of the file's metadata, because safetensors writes several in random order."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared data set; images and labels are mapped from its file, not read into memory.

    Images are uint8 (N, C, H, W), labels int64 (N,), each an index into ``classes``. ``mean`` and
    ``sd`` are those of the training images per channel, with pixels from 0 to 1. ``sha256`` is the
    checksum of the file. Writing to a tensor changes this process's copy only, not the file.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    sha256: str

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return len(self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width


def _channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and sd (divided by N, not N − 1) of x/255 per channel of uint8 (N, C, H, W).

    The sums are over integers, so they depend neither on the order nor on the number of threads.
    """
    levels = torch.arange(256)
    means, sds = [], []
    for channel in images.unbind(dim=1):
        counts = torch.bincount(channel.flatten(), minlength=256)
        number, total = int(counts.sum()), int((counts * levels).sum())
        square = int((counts * levels.square()).sum())
        means.append(total / (number * 255))
        sds.append((number * square - total**2) ** 0.5 / (number * 255))
    return means, sds


def prepare(dataset: Dataset, path: Path) -> None:
    """Write ``dataset`` to ``path`` as safetensors; equal data sets give equal bytes.

    The four tensors have the names of `Dataset`'s fields. The metadata has a single key, with name,
    classes, mean and sd of the training images per channel, and the SHA-256, as JSON.

    Raises:
        DataError: a channel has the same value in all training images and cannot be normalised.

    """
    # safetensors refuses tensors that share memory, and the splits may be slices of one array.
    tensors = {
        name: getattr(dataset, name).clone(memory_format=torch.contiguous_format)
        for name in _TENSORS
    }
    mean, sd = _channel_statistics(dataset.train_images)
    if 0 in sd:
        raise DataError(
            f"{dataset.name}: channel {sd.index(0)} has the same value in every training image; "
            f"check the raw files"
        )
    facts = {"name": dataset.name, "classes": list(dataset.classes), "mean": mean, "sd": sd}
    content = save(tensors, {_KEY: json.dumps(facts | {"sha256": OPEN_SEAL}, sort_keys=True)})
    with replacing(path) as temporary:
        temporary.write_bytes(sealed(content))


def open_prepared(path: Path) -> Prepared:
    """Return the data set in a file written by `prepare`, mapped, after a check of its SHA-256.

    Raises:
        DataError: the file is not a prepared data set.
        InputError: the file is missing, truncated or damaged.

    """
    sha256 = verify(path)
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[_KEY])
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a prepared data set ({error}); delete it and run snakemake again"
        ) from error
    return Prepared(
        name=facts["name"],
        classes=tuple(facts["classes"]),
        mean=tuple(facts["mean"]),
        sd=tuple(facts["sd"]),
        sha256=sha256,
        **tensors,
    )


def first_images(path: Path, count: int) -> Tensor:
    """Return the first ``count`` training images (count, C, H, W), normalised, in float32.

    Raises:
        InputError: the file is missing or damaged, or has fewer training images.

    """
    prepared = open_prepared(path)
    images = prepared.train_images[:count]
    if len(images) < count:
        raise DataError(
            f"{path}: {count} images were asked for, but {prepared.name} has {len(images)} "
            f"training images; ask for no more than that"
        )
    return normalise(images, prepared.mean, prepared.sd, torch.float32)


def normalise(
    images: Tensor, mean: tuple[float, ...], sd: tuple[float, ...], dtype: torch.dtype
) -> Tensor:
    """Return (x/255 − mean)/sd per channel of uint8 images (N, C, H, W), computed in ``dtype``."""
    shift, scale = (
        torch.tensor(values, dtype=dtype, device=images.device)[:, None, None]
        for values in (mean, sd)
    )
    return images.to(dtype).div_(255).sub_(shift).div_(scale)
