"""The types of a data set: the source of its raw files, and its images and labels in memory."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kdlm.errors import InputError

__all__ = ["DataError", "Dataset", "Source"]


class DataError(InputError):
    """Raw or prepared data are missing, truncated or wrong; the message names file and remedy."""


@dataclass(frozen=True)
class Source:
    """Where a loader finds the raw files of a data set."""

    root: Path | None
    """Folder of the raw files; None for data sets that ship with scikit-learn."""
    download: bool
    """Whether missing raw files may be downloaded to ``root``."""
    image_side: int | None
    """Side of the images in pixels; None for data sets in which it is fixed."""

    def folder(self, name: str) -> Path:
        """Return ``root`` for the data set ``name``, which needs it.

        Raises:
            DataError: ``root`` is None.

        """
        if self.root is None:
            raise DataError(f"{name}: root is needed, the folder of its raw files")
        return self.root.expanduser()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of a data set, in a fixed order.

    Images are uint8 (N, C, H, W), labels int64 (N,), each an index into ``classes``.

    Raises:
        DataError: shapes, types or labels do not fit together, a split is empty, or there are fewer
            than two classes.

    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"{self.name}: found {len(self.classes)} class; at least 2 are needed")
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            what = f"{self.name}: {split}"
            if images.dtype != torch.uint8 or images.ndim != 4:
                found = f"{images.dtype} {tuple(images.shape)}"
                raise DataError(f"{what} images must be uint8 (N, C, H, W), not {found}")
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                found = f"{labels.dtype} {tuple(labels.shape)}"
                raise DataError(f"{what} labels must be int64 ({len(images)},), not {found}")
            if len(labels) == 0:
                raise DataError(f"{what} has no image")
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"{what} labels run from {low} to {high}, but there are "
                    f"{len(self.classes)} classes, counted from 0"
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: train images are {tuple(self.train_images.shape[1:])}, "
                f"test images {tuple(self.test_images.shape[1:])} (C, H, W); they must be alike"
            )

    def first(self, count: int) -> "Dataset":
        """Return the data set with its first ``count`` training images and all its test images.

        Raises:
            DataError: ``count`` is below 2, or there are fewer training images.

        """
        if not 2 <= count <= len(self.train_labels):
            raise DataError(
                f"{self.name}: train_images must be from 2 to {len(self.train_labels)}, the number "
                f"of its training images, not {count}"
            )
        return replace(
            self,
            train_images=self.train_images[:count],
            train_labels=self.train_labels[:count],
        )
