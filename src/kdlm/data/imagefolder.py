"""A folder of images of the user's own: what each file is, and how it becomes 8-bit RGB."""

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

# what pillow's decoders raise for bytes that are not what they should be
_IMAGE_ERRORS = (
    OSError, EOFError, SyntaxError, ValueError, struct.error,
)  # fmt: skip

_FORMATS = (
    "PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF",
)  # fmt: skip
"""Formats of pillow that are told by their first bytes, so that a suffix is not needed."""

_NOT_READ = (".heic", ".heif", ".jxl", ".svg")
"""Suffixes of images that pillow does not know."""

_NAMED = 5
"""As many files of a kind are named in a log."""


class _UnfitError(ValueError):
    """An image whose levels cannot be brought to 8 bits; the message says why."""


def _eight_bits(image: Image.Image, file_format: str | None) -> Image.Image:
    """Levels 0..65535 as ⌊x/257⌉ in 8 bits; all other images as they are.

    Raises:
        _UnfitError: levels without a known white, as floats and 32-bit integers are.

    """
    wide = image.mode.startswith("I;16")
    # pillow's name for 16 bits in a PGM, which it scales to 65535
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
    """Decodes images to uint8 (3, side, side), and notes what was met on the way."""

    side: int
    noted: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: list[str] = field(default_factory=list)

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
        """The image; None where the file is none, or is refused.

        Raises:
            InputError: the file may not be read.

        """
        try:
            with reading(Path(path)), Image.open(path, formats=self.formats) as image:
                pixels: Tensor = self.square(self._rgb(image, path))
                return pixels
        except InputError:
            # a good file, for all that is known
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
        """The image upright, in 8 bits, on white where it is transparent."""
        long, short = max(image.size), min(image.size)
        if Image.MAX_IMAGE_PIXELS and self.side**2 * long > Image.MAX_IMAGE_PIXELS * short:
            raise _UnfitError(f"{image.size[0]} × {image.size[1]} pixels are too long a strip")
        # a phone's photograph may have a second, smaller picture in it
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
        try:
            upright = ImageOps.exif_transpose(image)
        except _IMAGE_ERRORS:
            self.noted["whose EXIF cannot be read, taken as they lie"].append(path)
            return image
        if image.getexif().get(0x0112, 1) != 1:
            self.noted["turned upright as their EXIF says"].append(path)
        return upright


def _say(root: Path, noted: dict[str, list[str]]) -> None:
    """Log in one line what was not read as it lies there, and why."""
    parts = []
    for reason, paths in noted.items():
        shown = [repr(os.path.relpath(path, root)) for path in paths[:_NAMED]]
        shown += ["…"] * (len(paths) > _NAMED)
        parts.append(f"{len(paths)} {reason} ({', '.join(shown)})")
    if parts:
        logger.warning("%s: %s", root, "; ".join(parts))


def _listed(root: Path) -> dict[str, Listing]:
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
    """Images (N, 3, side, side) and labels (N,) of one split; empty where all were refused."""
    images, labels = [], []
    for label, (name, paths) in enumerate(listing.classes.items()):
        found = [image for path in paths if (image := reader.read(path)) is not None]
        if not found and not reader.refused:
            raise DataError(f"{root / split / name} has no image; put some there, or remove it")
        images += found
        labels += [label] * len(found)
    return torch.stack(images) if images else torch.empty(0), torch.tensor(labels)


def imagefolder(source: Source) -> Dataset:
    """Any tree of images ``train/<class>/**``, ``test/<class>/**`` below ``root``.

    Each image is turned upright as its EXIF says, laid on white where it is transparent, brought
    from 16 bits to 8 and to RGB, scaled bilinearly until its shorter side has ``image_side``
    pixels, and cut to the central ``image_side`` × ``image_side``. What a file is, its first bytes
    say and not its suffix. Classes are the sorted folder names. Symbolic links are followed,
    wherever they lead. The log says in one line what was left out, and why: hidden files and
    folders, files beside the classes, files that are no images.

    Raises:
        DataError: there is no class or no image in one, an image is damaged, or its levels have no
            known white (floats, 32-bit integers); the message names each.
        InputError: a file or a folder may not be read, or a link leads to a folder that it is in.

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
