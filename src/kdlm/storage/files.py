"""Files on disk: whole or absent, and sealed by a checksum of their every byte.

A seal is 64 hexadecimal digits inside the file, where its format keeps facts about it: the SHA-256
of the file with these digits set to 0. Equal contents have equal seals, and any reader of the
format can still read the file.
"""

import contextlib
import errno
import hashlib
import mmap
import os
import platform
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdlm.errors import InputError

__all__ = [
    "OPEN_SEAL",
    "read_sealed",
    "reading",
    "refusals",
    "replaceable",
    "replacing",
    "sealed",
    "verify",
]

_MARK = b"kdlm-sha256:"
_SEAL = re.compile(_MARK + rb"([0-9a-f]{64})")
_ZEROS = b"0" * 64

OPEN_SEAL = (_MARK + _ZEROS).decode()
"""What a writer puts once into a file that `sealed` then closes."""

_REMEDIES = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EACCES: "allow writing to that folder",
    errno.EPERM: "allow writing to that folder",
    errno.EROFS: "results have to be on a disk that can be written",
    errno.ENOTDIR: "move the file away that is in the place of a folder",
    errno.EEXIST: "move the file away that is in the place of a folder",
    errno.EISDIR: "move the folder away that is in the place of the file",
}


_KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a disk",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def _digest(content: "bytes | mmap.mmap", start: int, end: int) -> str:
    view = memoryview(content)
    total = hashlib.sha256(view[:start])
    total.update(_ZEROS)
    total.update(view[end:])
    view.release()
    return total.hexdigest()


def sealed(content: bytes) -> bytes:
    """``content`` with the one open seal that it holds closed."""
    start = content.index(OPEN_SEAL.encode()) + len(_MARK)
    end = start + len(_ZEROS)
    return content[:start] + _digest(content, start, end).encode() + content[end:]


def verify(path: Path) -> str:
    """SHA-256 in the seal of ``path``, once it is found to be that of its bytes.

    Raises:
        InputError: the file is missing, cannot be read, or is not whole; the message names it.

    """
    try:
        with reading(path), path.open("rb") as file:
            # an empty file cannot be mapped
            empty = os.fstat(file.fileno()).st_size == 0
            content = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run snakemake again") from None
    found = _SEAL.search(content)
    if found is None:
        raise InputError(
            f"{path}: no file of this study, or only a part of one: it bears no checksum; "
            f"delete it and run snakemake again"
        )
    stated, actual = found[1].decode(), _digest(content, *found.span(1))
    if actual != stated:
        raise InputError(
            f"{path} is damaged: its SHA-256 is {actual}, not the {stated} that was written; "
            f"delete it and run snakemake again"
        )
    return stated


def _refuse_devices(path: Path) -> None:
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is no file but a pipe or a device; name a file")


def read_sealed(path: Path) -> bytes:
    """Bytes of a file, verified; errors as `verify`."""
    verify(path)
    return path.read_bytes()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the file system refuses while ``path`` is read, as one line.

    A pipe or a device is refused too: it may give nothing, or never end.

    A missing file is left to the caller, and so is what a decoder finds wrong in a file: its errors
    are OSErrors too, but bear no number.

    Raises:
        InputError: the file cannot be read.

    """
    try:
        _refuse_devices(path)
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(
            f"{path} cannot be read ({error.strerror}); see to that and run snakemake again"
        ) from error


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """What the file system refuses while ``path`` is written, as one line with the remedy.

    Raises:
        InputError: the file system refuses, being full, read-only or forbidden.

    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "see to that")
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); "
            f"{remedy} and run snakemake again"
        ) from error


def replaceable(path: Path) -> Path:
    """Where the file is, or will be, that a writer of ``path`` replaces: behind symbolic links.

    Raises:
        InputError: there is something else than a regular file, such as a device, which a rename
            would remove; or it is where this process prints; or as `refusals`.

    """
    with refusals(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return Path(os.path.realpath(path)) if path.is_symlink() else path
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"{path} is no file but {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, "
            f"which is not replaced; name a file"
        )
    for descriptor in (0, 1, 2):
        # /dev/stdout and its like, where they lead to a file
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                raise InputError(f"{path} is what this process reads or prints to; name a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` once written and flushed.

    A reader sees the old file or the whole new one, also after a loss of power. After an error
    neither name is left behind; what a killed process left is removed by the next one. Where
    ``path`` is a symbolic link, the link stays, and the file behind it is replaced.

    Raises:
        InputError: as `refusals` and `replaceable`.

    """
    if not Path(path).name:
        raise InputError(f"{path} is no name of a file; give one")
    path = replaceable(Path(path))
    ours = f".{path.name}.{platform.node()}."
    temporary = path.with_name(f"{ours}{os.getpid()}.part")
    with refusals(path):
        _make_folder(path.parent)
        _remove_abandoned(path.parent, ours)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder whose emptied parents another job may be removing at this moment."""
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove temporary files of processes of this machine that are no more."""
    for file in folder.iterdir():
        process = file.name.removeprefix(prefix).removesuffix(".part")
        if file.name.startswith(prefix) and process.isdecimal():
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                file.unlink(missing_ok=True)
            except PermissionError:
                # somebody else's process, so it lives
                continue


def _flush_folder(folder: Path) -> None:
    """Make a rename outlast a loss of power, where the file system knows how to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
