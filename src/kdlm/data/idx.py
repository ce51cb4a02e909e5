"""Reading the idx files of the MNIST family, plain or gzipped."""

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from kdlm.data.dataset import DataError
from kdlm.errors import InputError
from kdlm.storage.files import reading, refusals

__all__ = ["one_line", "read_split"]

# The errors that gzip and torchvision's reader raise for a damaged file.
_ERRORS = (
    OSError, EOFError, zlib.error, AssertionError, KeyError, TypeError, ValueError, RuntimeError,
)  # fmt: skip

_SPLITS = {"train": "train", "test": "t10k"}
"""Names of the two splits in the names of idx files."""

_SCRATCH = Path("the folder for temporary files (TMPDIR)")
"""Stands for the temporary folder in messages, since Python chooses the folder."""


def one_line(error: Exception) -> str:
    """Return type and message of ``error`` on a single line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _read(stem: Path, read: Callable[[str], Tensor]) -> Tensor:
    """Return the content of the idx file ``stem`` or ``stem``.gz.

    Args:
        stem: path of the file, without .gz.
        read: torchvision's reader for this kind of idx file, which takes a path.

    Raises:
        DataError: the file is missing or damaged.
        InputError: the file cannot be read, or there is no room to unpack it.

    """
    path = stem if stem.is_file() else stem.with_name(f"{stem.name}.gz")
    if not path.is_file():
        raise DataError(
            f"{stem}[.gz] is missing; put it there, or name an empty folder as root and allow "
            f"the download"
        )
    try:
        with reading(path):
            if path == stem:
                return read(os.fspath(path))
            with gzip.open(path) as file:
                content = file.read()
        with refusals(_SCRATCH), TemporaryDirectory() as scratch:
            plain = Path(scratch, stem.name)
            plain.write_bytes(content)
            return read(os.fspath(plain))
    except InputError:
        # An error of the operating system says nothing about the content, so it is not damage.
        raise
    except _ERRORS as error:
        raise DataError(
            f"{path}: not a whole idx file ({one_line(error)}); delete it and fetch it again"
        ) from error


def read_split(folder: Path, split: str, side: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, side, side) and labels (N,) of one split, read from ``folder``.

    Raises:
        DataError: a file is missing or damaged, or images and labels do not fit together.
        InputError: a file cannot be read, or there is no room to unpack it.

    """
    from kdlm.data._torchvision import datasets  # noqa: PLC0415

    files = [f"{_SPLITS[split]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    images = _read(folder / files[0], datasets.mnist.read_image_file)
    labels = _read(folder / files[1], datasets.mnist.read_label_file)
    fits = images.shape == (len(labels), side, side)
    if not fits or int(labels.max()) >= num_classes:
        raise DataError(
            f"{folder}: {files[0]} and {files[1]} should hold as many {side}×{side} images as "
            f"labels below {num_classes}, but hold {' × '.join(map(str, images.shape))} pixels "
            f"and {len(labels)} labels up to {int(labels.max())}; fetch both again"
        )
    return images[:, None], labels
