"""One process at a time: locks that the kernel lets go of when their holder ends, however it does.

A lock is ``flock`` on a file of its own. The file stays behind, and means nothing by itself.
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

__all__ = ["hold", "in_turn", "waiting"]

logger = logging.getLogger(__name__)

_NAME = ".lock"
_PAUSE = 0.5
"""Seconds between two tries: a call that blocks would not heed a signal that is only noted."""


def _open(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def _taken(file: TextIO, folder: Path) -> bool:
    """Whether the lock is this process's from now on, or there are no locks to be had."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # some cluster file systems have none; Snakemake's own lock is then what there is
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
    # not through the buffer, which would try once more when the file is closed
    os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "another process"


def hold(folder: Path) -> TextIO:
    """Take ``folder`` for this process, which has it until it ends or closes what is returned.

    Raises:
        InputError: another process has it; it is named. Or the folder cannot be written.

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


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Work on ``folder`` once every other process that does so is done; the log says who it is.

    A job outlives the Snakemake that started it if that one alone is killed, and the next run
    starts the same job again. Where there can be no lock the work is done without.

    Raises:
        SystemExit: a signal that was noted asked to stop while it waited.

    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_open(folder / _NAME))
        except OSError as error:
            # if nothing can be written there, the work itself will say what to do
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
def waiting(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, once every other process has let go of it.

    Where there can be no lock the work is done without.
    """
    with _open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            _do_without(path.parent, error)
        yield
