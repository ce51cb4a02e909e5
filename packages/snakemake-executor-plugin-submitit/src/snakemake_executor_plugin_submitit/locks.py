"""Locks of controllers: take them, and find out which process holds one.

A lock is an `flock`, which the kernel releases however its holder ends. Some file systems have no
locks. On others only the machine that took a lock can see it: to other machines it looks free.
"""

import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["Holder", "LockError", "held_by", "seen_everywhere", "take"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/mountinfo")

_LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "overlay", "f2fs", "squashfs"}
)
"""File systems of a single machine: no other machine can hold a lock there."""

_SHARED = frozenset({"nfs", "nfs4", "lustre", "gpfs", "ceph", "gfs2", "ocfs2", "fuse.glusterfs"})
"""File systems whose locks all machines see, unless a mount option prevents it (`_ALONE`)."""

_ALONE = re.compile(r"(^|,)(local_lock=(all|flock)|nolock|localflock)(,|$)")
"""Mount options with which only the machine that took a lock sees it."""

TEST = "`flock FILE sleep 60` on one machine, `flock -n FILE true` on another, which has to fail"
"""How a user finds out whether all machines see the locks of a file system, for messages."""


class LockError(OSError):
    """The file system has no locks."""


class Holder(str):
    """The name of a process that holds a lock, or may hold it."""

    certain: bool
    """Whether the process certainly holds the lock."""

    def __new__(cls, name: str, *, certain: bool) -> "Holder":
        """Create a holder from the name of a process."""
        holder = super().__new__(cls, name)
        holder.certain = certain
        return holder


def take(file: TextIO) -> None:
    """Take the lock on a file, and write into the file which process on which machine holds it.

    Raises:
        LockError: the file system has no locks; the message says what is needed.
        OSError: another process holds the lock, or the file cannot be written.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}:
            raise
        raise LockError(
            f"{file.name}: this file system has no locks, which keep two controllers apart: mount"
            " it with them (Lustre: -o flock; NFS: a running lockd), or work on another;"
            f" to test it: `flock {file.name} true` ({error.strerror})"
        ) from None
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n{_boot()}\n")
    file.flush()


@contextmanager
def held_by(path: Path) -> Iterator[Holder | None]:
    """Yield the process that holds the lock on a file, or may hold it; None if it has died.

    If it has died, this process holds the lock within the context.
    """
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Holder(_name(file), certain=True)
            return
        text = file.read().splitlines()
        host = text[0].rpartition(" on ")[2] if text else ""
        here = host == socket.gethostname() or _boot() in text[1:2]
        if here or not text or seen_everywhere(path):
            yield None
        else:
            yield Holder(text[0], certain=False)


def _name(file: TextIO) -> str:
    return file.readline().strip() or "another process"


def _boot() -> str:
    """Return a word that identifies the running kernel: its boot id, or else the host's name."""
    return _BOOT.read_text().strip() if _BOOT.exists() else socket.gethostname()


def seen_everywhere(path: Path) -> bool:
    """Return whether all machines see a lock on this file, by the type and options of its mount."""
    place, found = path.resolve(), ("", "", "")
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        # Of several mounts at the same mount point the last one is visible.
        if place.is_relative_to(point) and len(point) >= len(found[0]):
            found = point, kind, f"{fields[5]},{options}"
    _, kind, options = found
    return kind in _LOCAL or (kind in _SHARED and not _ALONE.search(options))
