"""Listing the files of a folder of images without opening them. Imports no torch.

Snakemake uses the list at each start to find whether a folder has changed, and the loader uses it
to find the files to decode.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kdlm.errors import InputError
from kdlm.storage.files import reading

__all__ = ["SPLITS", "Listing", "fingerprint", "list_images"]

SPLITS = ("train", "test")

_FOREIGN = {
    "@eadir", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found",
    "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",
}  # fmt: skip
"""Names of thumbnails, snapshots and trash that systems put into folders without hiding them."""


@dataclass
class Listing:
    """The paths of the files of one split of a data set."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    """Sorted paths of the files of each class, images or not, by the sorted names of classes."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Paths that are not to be read, by the reason."""

    def leave_out(self, reason: str, path: str) -> None:
        """Add a path that is not to be read, with the reason."""
        self.left_out.setdefault(reason, []).append(path)


@dataclass(frozen=True)
class _Folder:
    """A folder that is still to be listed."""

    path: str
    above: frozenset[tuple[int, int]]
    """Identities of all folders on the way to it."""
    link: str
    """The last symbolic link on the way to it, for messages."""


def _identity(path: str | Path) -> tuple[int, int]:
    """Return device and inode of a folder, equal for all paths that lead to it."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _enter(folder: _Folder) -> frozenset[tuple[int, int]]:
    """Return the identities of the folder and of all folders on the way to it.

    Raises:
        InputError: the folder is on the way to itself, so listing it would never end.

    """
    own = _identity(folder.path)
    if own in folder.above:
        raise InputError(f"{folder.link} links to a folder that it is in; remove the link")
    return folder.above | {own}


def _walk(top: Path, listing: Listing) -> Iterator[tuple[str, str, int]]:
    """Yield folder, name and size in bytes of each file below ``top``.

    Symbolic links are followed, also out of ``top``; a broken link has the size -1. Paths that are
    not to be read are added to ``listing``.

    Raises:
        InputError: a folder cannot be read, or a link leads to a folder that contains it.

    """
    resolved = top.parent.resolve()
    above = frozenset(_identity(path) for path in (resolved, *resolved.parents))
    waiting = [_Folder(os.fspath(top), above, os.fspath(top))]
    while waiting:
        folder = waiting.pop()
        with reading(Path(folder.path)):
            inside = _enter(folder)
            entries = list(os.scandir(folder.path))
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _FOREIGN:
                listing.leave_out("hidden, or of the system", entry.path)
            elif entry.is_dir():
                link = entry.path if entry.is_symlink() else folder.link
                waiting.append(_Folder(entry.path, inside, link))
            elif entry.is_file():
                yield folder.path, entry.name, entry.stat().st_size
            elif entry.is_symlink():
                # A broken link is listed, so that opening it raises an error.
                yield folder.path, entry.name, -1
            else:
                listing.leave_out("neither a file nor a folder", entry.path)


def _sorted_files(top: Path, listing: Listing) -> list[tuple[str, str, int]]:
    return sorted(_walk(top, listing))


def list_images(root: Path, split: str) -> Listing:
    """Return the files of one split, ``root``/``split``/<class>/**.

    Each folder in ``root``/``split`` is a class, also if it has no file. Hidden files and folders
    are left out, and so are files outside the class folders.

    Raises:
        InputError: a folder cannot be read, or a link leads to a folder that contains it.
        FileNotFoundError: the split is missing.

    """
    listing = Listing()
    top = root / split
    with os.scandir(top) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    files = _sorted_files(top, listing)
    hidden = {path for paths in listing.left_out.values() for path in paths}
    listing.classes = {name: [] for name in names if os.fspath(top / name) not in hidden}
    start = len(os.fspath(top)) + 1
    for folder, name, _ in files:
        path = os.path.join(folder, name)  # noqa: PTH118 - a Path for each of 100,000 takes seconds
        if folder == os.fspath(top):
            listing.leave_out("in no class's folder", path)
        else:
            listing.classes[path[start:].split(os.sep, 1)[0]].append(path)
    return listing


def fingerprint(root: Path) -> str | None:
    """Return a digest of paths and sizes of all files below ``root``; None without the folder.

    The files are those that `list_images` finds. Their contents are not read.

    Raises:
        InputError: a folder cannot be read, or a link leads to a folder that contains it.

    """
    if not root.is_dir():
        return None
    total = hashlib.sha256()
    for split in SPLITS:
        top = root / split
        files = _sorted_files(top, Listing()) if top.is_dir() else []
        start = len(os.fspath(root))
        for folder, name, size in files:
            total.update(os.fsencode(f"{folder[start:]}\0{name}\0{size}\0"))
    return total.hexdigest()[:16]
