"""Signs of life that a job leaves in a study's folder, read without disturbing it.

Nothing is written and no lock is tried for: a test of a lock would take it for a moment, in which
another process could be refused. Files may be half written, vanish while they are read, or hold
anything at all.
"""

import json
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Epoch",
    "Holder",
    "LogEnd",
    "holder",
    "modified",
    "read_beginning",
    "read_log",
    "saved_epoch",
]

_TAIL = 64_000
"""Bytes at the end of a log that are read."""
_HEAD = 4_000
"""Bytes at its beginning, where a training says that it was resumed."""
_LARGEST_HEADER = 64_000_000
"""Bytes of a checkpoint's metadata that are read at most; the history is a part of it."""

_SIGNED = re.compile(r"^process (\d{1,10}) on (\S+)")
_EPOCH = re.compile(
    r"^epoch (\d{1,9})/(\d{1,9})  objective \S+  train accuracy \S+  test accuracy (\d\.\d+|nan)$"
)
_RESUMED = re.compile(r"^resumed from .* \(epoch (\d{1,9}), (\d{1,9}) batches of it done\)$")


def read_beginning(path: Path, most: int) -> bytes | None:
    """Return the first ``most`` bytes of a regular file, or fewer; None if it cannot be read.

    A pipe is not waited for.
    """
    return _read(path, most, end=False)


def _read(path: Path, most: int, *, end: bool) -> bytes | None:
    """Return at most ``most`` bytes at the beginning or at the end of a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        first = max(0, found.st_size - most) if end else 0
        return os.pread(descriptor, most, first)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def modified(path: Path) -> float | None:
    """Return when a file was last written, in seconds since 1970; None where there is none."""
    try:
        return path.stat().st_mtime
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Holder:
    """The process that has signed the lock of a folder, whether or not it still holds it."""

    process: int
    host: str
    since: float
    """When the process signed, in seconds since 1970 by the clock of the file system."""
    alive: bool | None
    """Whether it still holds the lock; None where that cannot be seen, as from another machine."""


def holder(folder: Path) -> Holder | None:
    """Return the process that last took the lock on ``folder``; None if none has signed it."""
    path = folder / ".lock"
    signed = _SIGNED.match((read_beginning(path, 1000) or b"").decode(errors="replace"))
    if signed is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    process, host = int(signed[1]), signed[2]
    alive = None
    if host == socket.gethostname():
        held = _held()
        alive = _exists(process) if held is None else found.st_ino in held
    return Holder(process, host, found.st_mtime, alive)


def _held() -> frozenset[int] | None:
    """Return the numbers of the files on which this machine's processes hold an exclusive lock.

    Devices are left out: on stacked file systems a file's device is not that of its lock. The
    result is None where the kernel has no such list.
    """
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    # 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
    words = [line.split() for line in lines]
    return frozenset(
        int(one[5].rpartition(":")[2])
        for one in words
        if len(one) > 5 and one[1] == "FLOCK" and one[3] == "WRITE"
    )


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True)
class Epoch:
    """A whole epoch that a training has logged."""

    number: int
    epochs: int
    accuracy: float
    """On the test images."""


@dataclass(frozen=True)
class LogEnd:
    """What the end of a job's log says."""

    last: str
    """The last line that is not empty; an empty text where there is none."""
    ended: str
    """``finished``, ``failed`` or ``stopped``; an empty text where the log does not say."""
    first: int
    """The epoch that the logged part began with: 1, or the one that the training resumed in."""
    epoch: Epoch | None
    """The last epoch logged."""


def read_log(path: Path) -> LogEnd | None:
    """Return what the end of the log at ``path`` says; None if there is no log."""
    content = _read(path, _TAIL, end=True)
    if content is None:
        return None
    # what follows the last line break may be half of a line
    lines = [line for line in content.decode(errors="replace").split("\n") if line.strip()]
    epochs = [found for line in lines if (found := _EPOCH.match(line))]
    beginning = (read_beginning(path, _HEAD) or b"").decode(errors="replace").split("\n")
    resumed = [found for line in beginning if (found := _RESUMED.match(line))]
    last = lines[-1].strip() if lines else ""
    epoch = Epoch(int(epochs[-1][1]), int(epochs[-1][2]), float(epochs[-1][3])) if epochs else None
    return LogEnd(last, _ending(lines), int(resumed[-1][1]) if resumed else 1, epoch)


def _ending(lines: list[str]) -> str:
    last = lines[-1] if lines else ""
    if last.startswith("finished on "):
        return "finished"
    if last.startswith("kdlm: ") or any(one.startswith("Traceback (most") for one in lines):
        return "failed"
    if re.match(r"SIG\w+: stopped ", last):
        return "stopped"
    return ""


def saved_epoch(path: Path) -> tuple[int, int] | None:
    """Return the epoch that a checkpoint was saved in, and how many of its batches were done.

    Only the metadata at the file's beginning are read, and no checksum. The result is None where
    there is no checkpoint, or none that can be read.
    """
    size = read_beginning(path, 8)
    if size is None or len(size) < 8:
        return None
    length = int.from_bytes(size, "little")
    if length > _LARGEST_HEADER:
        return None
    header = read_beginning(path, 8 + length)
    try:
        kept: Any = json.loads(json.loads((header or b"")[8:])["__metadata__"]["kdlm.checkpoint"])
        epoch, batch = kept["epoch"], kept["batch"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(type(one) is int and 0 <= one < 10**9 for one in (epoch, batch)):
        return None
    return epoch, batch
