"""The files of a folder of images, found without opening one. Imports no torch.

Snakemake asks at each start whether a folder has changed, the loader which files it is to decode:
both go by the same list.
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
"""What systems put into folders and do not call hidden: thumbnails, copies, what was deleted."""


@dataclass
class Listing:
    """Paths below a split of a data set's folder.

    ``classes`` has the sorted paths of each class, whatever kinds of files they are, the classes
    sorted too. ``left_out`` has the paths that are not to be read, by the reason.
    """

    classes: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, path: str) -> None:
        """Note a path that is not to be read."""
        self.left_out.setdefault(reason, []).append(path)


@dataclass(frozen=True)
class _Folder:
    """A folder on the way, the identities of all folders it is in, and the last link to it."""

    path: str
    above: frozenset[tuple[int, int]]
    link: str


def _identity(path: str | Path) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _enter(folder: _Folder) -> frozenset[tuple[int, int]]:
    """Identities of the folder and all it is in; a link to one of them would never end."""
    own = _identity(folder.path)
    if own in folder.above:
        raise InputError(f"{folder.link} links to a folder that it is in; remove the link")
    return folder.above | {own}


def _walk(top: Path, listing: Listing) -> Iterator[tuple[str, str, int]]:
    """Folder, name and size of each file below ``top``; links are followed, also out of it."""
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
                # to nothing: whoever opens it will say so
                yield folder.path, entry.name, -1
            else:
                listing.leave_out("neither a file nor a folder", entry.path)


def _sorted_files(top: Path, listing: Listing) -> list[tuple[str, str, int]]:
    return sorted(_walk(top, listing))


def list_images(root: Path, split: str) -> Listing:
    """The files in the classes' folders of one split, ``root``/``split``/<class>/**.

    Classes are the folders there, those without a file too. Hidden files and folders are left out,
    and so are files beside the classes.

    Raises:
        InputError: a folder may not be read, or is linked to from within.
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
    """Digest of names and sizes of all files that `list_images` finds; None where there is no root.

    What is in the files is not looked at.

    Raises:
        InputError: as `list_images`.

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
