"""Files that are either complete or absent, and that carry a checksum of all their bytes.

The checksum is called the file's seal: 64 hexadecimal digits in the file's metadata, which are the
SHA-256 of the file with these digits set to 0. Files with equal contents have equal seals, and
other programs can read a sealed file as usual.
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
"""The open seal, all zeros: a writer puts it into the file's metadata, `sealed` fills it in."""

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
    """Return ``content`` with its open seal replaced by the checksum.

    >>> len(sealed(b"before " + OPEN_SEAL.encode() + b" after"))
    89

    Args:
        content: the bytes of a file, which contain `OPEN_SEAL` exactly once.

    Raises:
        ValueError: there is no open seal in it.

    """
    start = content.index(OPEN_SEAL.encode()) + len(_MARK)
    end = start + len(_ZEROS)
    return content[:start] + _digest(content, start, end).encode() + content[end:]


def verify(path: Path) -> str:
    """Check the seal of the file ``path`` and return it, 64 hexadecimal digits.

    Raises:
        InputError: the file is missing, cannot be read, has no seal, or its bytes do not match the
            seal; the message names the file.

    """
    try:
        with reading(path), path.open("rb") as file:
            # mmap refuses an empty file
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
    """Return the bytes of the file ``path`` after checking its seal; raises as `verify` does."""
    verify(path)
    return path.read_bytes()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of the file system, while ``path`` is read, into an error of one line.

    Two errors pass unchanged, for the caller to handle: that the file is missing, and what a
    decoder finds wrong in its contents. Decoders raise OSErrors too, but without an error number.

    A pipe or a device is refused too, because it may contain nothing, or never end.

    Raises:
        InputError: the file system does not let the file be read.

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
    """Turn an error of the file system, while ``path`` is written, into a line with its remedy.

    Raises:
        InputError: the file system refuses, because it is full or read-only, or because the user
            must not write there.

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
    """Replace the file ``path`` as a whole.

    Yields a temporary path in the same folder. The caller writes the new file there; when the
    context closes it is flushed to disk and renamed to ``path``. A reader therefore sees either the
    old file or the complete new one, also after a loss of power.

    If the context closes with an error, the temporary file is removed and ``path`` is left as it
    was. A temporary file that a killed process has left is removed by the next call for ``path``.

    Where ``path`` is a symbolic link, the link stays, and the file that it names is replaced.

    Raises:
        InputError: as in `refusals` and `replaceable`.

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
    """Make ``folder`` and its parents, though another job may be removing empty parents now."""
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove temporary files, named ``prefix`` and process id, of processes that have ended."""
    for file in folder.iterdir():
        process = file.name.removeprefix(prefix).removesuffix(".part")
        if file.name.startswith(prefix) and process.isdecimal():
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                file.unlink(missing_ok=True)
            except PermissionError:
                # the process exists but belongs to another user
                continue


def _flush_folder(folder: Path) -> None:
    """Flush a rename in ``folder`` to disk, on file systems that can flush a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
