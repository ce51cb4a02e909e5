"""Locks of controllers: who holds one, and whether that can be told from this machine at all.

A lock is `flock`, which the kernel lets go of however its holder ends. Some file systems have none,
and some keep it to the machine that took it: from another one it then looks free.
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
"""File systems of one machine: nobody else can hold a lock there."""

_SHARED = frozenset({"nfs", "nfs4", "lustre", "gpfs", "ceph", "gfs2", "ocfs2", "fuse.glusterfs"})
"""File systems whose locks all machines see, unless they are mounted with other options."""

_ALONE = re.compile(r"(^|,)(local_lock=(all|flock)|nolock|localflock)(,|$)")
"""Options of a mount with which a lock is seen by the machine that took it alone."""

TEST = "`flock FILE sleep 60` on one machine, `flock -n FILE true` on another, which has to fail"
"""How to find out whether a file system's locks are seen everywhere."""


class LockError(OSError):
    """A file system without locks."""


class Holder(str):
    """The process that holds a lock, or may hold it."""

    certain: bool
    """Whether it does for certain."""

    def __new__(cls, name: str, *, certain: bool) -> "Holder":
        """Name a process."""
        holder = super().__new__(cls, name)
        holder.certain = certain
        return holder


def take(file: TextIO) -> None:
    """Take the lock on a file, and write into it who has it.

    Raises:
        LockError: the file system has no locks; the message says what is needed.
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
    """Hold the lock of a process that died; or say which process lives, or may live."""
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
    """A word that all processes under one running kernel have in common."""
    return _BOOT.read_text().strip() if _BOOT.exists() else socket.gethostname()


def seen_everywhere(path: Path) -> bool:
    """Whether all machines see a lock on this file, as far as its mount tells."""
    place, found = path.resolve(), ("", "", "")
    for line in _MOUNTS.read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        # of mounts at one place the last one counts
        if place.is_relative_to(point) and len(point) >= len(found[0]):
            found = point, kind, f"{fields[5]},{options}"
    _, kind, options = found
    return kind in _LOCAL or (kind in _SHARED and not _ALONE.search(options))
