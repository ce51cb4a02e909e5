"""Reading a folder of the user's own images, each converted to 8-bit RGB of equal size."""

import logging
import os
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from kdlm.data.dataset import DataError, Dataset, Source
from kdlm.data.idx import one_line
from kdlm.data.listing import SPLITS, Listing, list_images
from kdlm.errors import InputError
from kdlm.storage.files import reading

__all__ = ["imagefolder"]

logger = logging.getLogger(__name__)

# The errors that pillow's decoders raise for a damaged file.
_IMAGE_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, struct.error,
)  # fmt: skip

_FORMATS = (
    "PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF",
)  # fmt: skip
"""Formats that pillow recognises by the first bytes of a file, without its suffix."""

_NOT_READ = (".heic", ".heif", ".jxl", ".svg")
"""Suffixes of image formats that pillow cannot read; such a file is refused, not skipped."""

_NAMED = 5
"""Largest number of files that the log names for each reason."""


class _UnfitError(ValueError):
    """An image cannot be converted to 8-bit RGB; the message says why."""


def _eight_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    """Return an image with 8 bits per channel: levels x in 0..65535 become ⌊x/257⌉.

    Images that have 8 bits already are returned unchanged.

    Raises:
        _UnfitError: levels are floats or 32-bit integers, so the level of white is unknown, or the
            colours are LAB or HSV.

    """
    wide = image.mode.startswith("I;16")
    # Pillow uses mode I for 16 bits in a PGM, scaled to 65535.
    if wide or (image.mode == "I" and file_format in ("PPM", "PNG")):
        levels = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        kind = "floats" if image.mode == "F" else "integers of more than 16 bits"
        raise _UnfitError(f"its levels are {kind}, whose white is not known; save it with 8 bits")
    if image.mode in ("LAB", "HSV"):
        raise _UnfitError(f"its colours are {image.mode}; save it as RGB")
    return image


@dataclass
class _Reader:
    """Decodes images to uint8 (3, side, side), and records files that were not read as they are."""

    side: int
    noted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Paths of files that were left out or changed, by the reason, for the log."""
    refused: list[str] = field(default_factory=list)
    """Paths of images that cannot be read; they are an error."""

    def __post_init__(self) -> None:
        from kdlm.data._torchvision import transforms  # noqa: PLC0415

        Image.init()
        self.formats = [name for name in _FORMATS if name in Image.OPEN]
        self.suffixes = {*Image.registered_extensions(), *_NOT_READ}
        self.square = transforms.Compose(
            [
                transforms.Resize(self.side),
                transforms.CenterCrop(self.side),
                transforms.PILToTensor(),
            ]
        )

    def read(self, path: str) -> Tensor | None:
        """Return the image; None if the file is not an image, or is refused.

        Raises:
            InputError: the operating system refuses to read the file.

        """
        try:
            with reading(Path(path)), Image.open(path, formats=self.formats) as image:
                pixels: Tensor = self.square(self._rgb(image, path))
                return pixels
        except InputError:
            # An error of the operating system says nothing about the image.
            raise
        except UnidentifiedImageError:
            if Path(path).suffix.lower() in self.suffixes:
                self.refused.append(path)
            else:
                self.noted["left out, being no images"].append(path)
        except (Image.DecompressionBombError, _UnfitError) as error:
            reason = str(error) if isinstance(error, _UnfitError) else one_line(error)
            self.refused.append(f"{path} ({reason})")
        except _IMAGE_ERRORS:
            self.refused.append(path)
        return None

    def _rgb(self, image: Image.Image, path: str) -> Image.Image:
        """Return the image as RGB in 8 bits, upright, with white behind transparent pixels.

        Raises:
            _UnfitError: the image is too elongated to be resized, or has levels that cannot be
                converted.

        """
        long, short = max(image.size), min(image.size)
        if Image.MAX_IMAGE_PIXELS and self.side**2 * long > Image.MAX_IMAGE_PIXELS * short:
            raise _UnfitError(f"{image.size[0]} × {image.size[1]} pixels are too long a strip")
        # An MPO file, a photograph of a phone, may contain a second, smaller picture.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            self.noted["of several frames, the first was taken"].append(path)
        image.load()
        upright = _eight_bits(self._upright(image, path), image.format)
        if upright.has_transparency_data:
            self.noted["with transparency, laid on white"].append(path)
            colours = upright.convert("RGBA")
            white = Image.new("RGBA", colours.size, "white")
            upright = Image.alpha_composite(white, colours)
        return upright.convert("RGB")

    def _upright(self, image: Image.Image, path: str) -> Image.Image:
        """Return the image turned as its EXIF data say; unchanged if they cannot be read."""
        try:
            upright = ImageOps.exif_transpose(image)
        except _IMAGE_ERRORS:
            self.noted["whose EXIF cannot be read, taken as they lie"].append(path)
            return image
        if image.getexif().get(0x0112, 1) != 1:
            self.noted["turned upright as their EXIF says"].append(path)
        return upright


def _say(root: Path, noted: dict[str, list[str]]) -> None:
    """Log in one line the files that were left out or changed, by the reason."""
    parts = []
    for reason, paths in noted.items():
        shown = [repr(os.path.relpath(path, root)) for path in paths[:_NAMED]]
        shown += ["…"] * (len(paths) > _NAMED)
        parts.append(f"{len(paths)} {reason} ({', '.join(shown)})")
    if parts:
        logger.warning("%s: %s", root, "; ".join(parts))


def _listed(root: Path) -> dict[str, Listing]:
    """Return the listing of each split, after a check that both have the same classes.

    Raises:
        DataError: a split is missing, a class has no file, or the splits have different classes.
        InputError: a folder cannot be read, or a link leads to a folder that contains it.

    """
    listings = {}
    for split in SPLITS:
        try:
            listings[split] = list_images(root, split)
        except OSError as error:
            raise DataError(
                f"{root / split}: {error.strerror}; imagefolder reads images in train/<class>/ and "
                f"test/<class>/ below {root}"
            ) from error
        for name, paths in listings[split].classes.items():
            if not paths:
                raise DataError(f"{root / split / name} has no image; put some there, or remove it")
    train, test = (list(listing.classes) for listing in listings.values())
    if train != test:
        lone = ", ".join(sorted(set(train) ^ set(test)))
        raise DataError(f"{root}: train and test must have the same classes; in one only: {lone}")
    return listings


def _decode(root: Path, split: str, listing: Listing, reader: _Reader) -> tuple[Tensor, Tensor]:
    """Return images (N, 3, side, side) and labels (N,) of one split; empty if all are refused.

    Raises:
        DataError: a class has no image.
        InputError: a file cannot be read.

    """
    images, labels = [], []
    for label, (name, paths) in enumerate(listing.classes.items()):
        found = [image for path in paths if (image := reader.read(path)) is not None]
        if not found and not reader.refused:
            raise DataError(f"{root / split / name} has no image; put some there, or remove it")
        images += found
        labels += [label] * len(found)
    return torch.stack(images) if images else torch.empty(0), torch.tensor(labels)


def imagefolder(source: Source) -> Dataset:
    """Read the images ``train/<class>/**`` and ``test/<class>/**`` below ``root``.

    Each image is turned upright by its EXIF data, put on white if it is transparent, converted to
    8 bits and RGB, scaled bilinearly until its shorter side has ``image_side`` pixels, and cropped
    to the central ``image_side`` × ``image_side``. The format of a file is recognised by its first
    bytes, not by its suffix. Classes are the sorted folder names. Symbolic links are followed, also
    out of ``root``. A line in the log lists the files that were left out, by the reason: hidden
    files and folders, files outside the class folders, and files that are not images.

    Raises:
        DataError: there is no class, a class has no image, an image is damaged, or the level of
            white in an image is unknown (floats, 32-bit integers); the message names each file.
        InputError: a file or a folder cannot be read, or a link leads to a folder that contains it.

    """
    root = source.folder("imagefolder")
    reader = _Reader(source.image_side or 0)
    listings = _listed(root)
    decoded = {split: _decode(root, split, found, reader) for split, found in listings.items()}
    if reader.refused:
        named = ", ".join(reader.refused)
        raise DataError(f"not readable as images: {named}; repair or remove them")
    for listing in listings.values():
        for reason, paths in listing.left_out.items():
            reader.noted[f"left out, being {reason}"] += paths
    beside = [
        os.fspath(path)
        for path in root.iterdir()
        if path.name not in SPLITS and not path.name.startswith(".")
    ]
    if beside:
        reader.noted["left out, being neither in train nor in test"] += beside
    _say(root, reader.noted)
    (train_images, train_labels), (test_images, test_labels) = decoded.values()
    return Dataset(
        "imagefolder",
        train_images,
        train_labels,
        test_images,
        test_labels,
        tuple(listings["train"].classes),
    )
