"""Locks that let one process at a time work on a folder.

A lock is ``flock`` on a file made for it. The kernel releases it when the process that holds it
ends, whatever ended the process. The file stays behind; that it exists means nothing.
"""

import contextlib
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from kdlm import signals
from kdlm.errors import InputError
from kdlm.storage.files import refusals

__all__ = ["acquire_folder", "holder_of", "lock_file", "lock_folder"]

logger = logging.getLogger(__name__)

_NAME = ".lock"
_PAUSE = 0.5
"""Seconds between two attempts to take a lock.

A blocking call would go on waiting after a signal, since `kdlm.signals` only records signals.
"""


def _open(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _taken(file: TextIO, folder: Path) -> bool:
    """Try to take the lock on ``file``.

    Returns:
        True if this process holds the lock now, or if the file system of ``folder`` has no locks;
        False if another process holds it.

    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some cluster file systems have no locks; Snakemake's own lock is then all that is left.
        _do_without(folder, error)
    return True


def _do_without(folder: Path, error: OSError) -> None:
    logger.warning(
        "%s: no locks on this file system (%s), so nothing keeps two runs apart;"
        " to test it: flock %s true",
        folder,
        error.strerror,
        folder / _NAME,
    )


def _sign(file: TextIO) -> None:
    os.ftruncate(file.fileno(), 0)
    # Not through the file's buffer: after a failed write it would try again when it is closed.
    os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "another process"


def acquire_folder(folder: Path) -> TextIO:
    """Take the lock on ``folder`` for this process, or fail at once.

    Returns:
        The lock's file. The process holds the lock until it closes this file or ends.

    Raises:
        InputError: another process holds the lock, and the message names it; or the folder cannot
            be written.

    """
    path = folder / _NAME
    with refusals(path):
        file = _open(path)
    if not _taken(file, folder):
        holder = _holder(file)
        file.close()
        raise InputError(f"{folder} is being worked on by {holder}; wait for it, or stop it")
    with refusals(path):
        _sign(file)
    return file


def holder_of(folder: Path) -> str | None:
    """Return the process that holds the lock on ``folder``, in words; None if none does.

    Nothing is written. Where there is no lock file, or a file system without locks, the result is
    None.
    """
    path = folder / _NAME
    # a pipe in its place would be opened for ever
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            # a shared lock is refused only while another process holds the exclusive one
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(file)
        except OSError:
            return None
    return None


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Wait for the lock on ``folder``, and hold it while the context is open.

    Two processes can meet in one folder: if Snakemake alone is killed, its jobs go on, and the next
    run starts the same jobs again. While this process waits, the log names the process that holds
    the lock. Where no lock can be made, the work is done without one.

    Raises:
        SystemExit: a signal asked the process to stop while it was waiting.

    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_open(folder / _NAME))
        except OSError as error:
            # If the folder cannot be written, the work itself fails with a message about it.
            logger.warning("%s: no lock (%s)", folder, error.strerror)
        else:
            _wait(file, folder)
            with contextlib.suppress(OSError):
                _sign(file)
        yield


def _wait(file: TextIO, folder: Path) -> None:
    holder = ""
    while not _taken(file, folder):
        if holder != (holder := _holder(file)):
            logger.info("%s is being worked on by %s; waiting for it to end", folder, holder)
        if signal := signals.received():
            logger.info("%s: stopped while waiting for %s", signal.name, holder)
            raise SystemExit(128 + signal)
        time.sleep(_PAUSE)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Wait for the lock on the file ``path``, and hold it while the context is open.

    On a file system without locks the context opens at once.
    """
    with _open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            _do_without(path.parent, error)
        yield
