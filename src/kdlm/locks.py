"""One process at a time: locks that the kernel lets go of when their holder ends, however it does.

A lock is ``flock`` on a file of its own. The file stays behind, and means nothing by itself.
"""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from kdlm.errors import InputError

__all__ = ["hold", "waiting"]

logger = logging.getLogger(__name__)


def _open(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def hold(folder: Path) -> TextIO:
    """Take ``folder`` for this process, which has it until it ends or closes what is returned.

    Raises:
        InputError: another process has it; it is named. Or the folder cannot be written to.

    """
    try:
        file = _open(folder / ".lock")
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; make it a folder to write to") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise InputError(
            f"{folder} is being worked on by {holder}; wait for it, or stop it"
        ) from None
    except OSError as error:
        # some cluster file systems have none; Snakemake's own lock is then what there is
        logger.warning("%s: no locks on this file system (%s)", folder, error.strerror)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, once every other process has let go of it."""
    with _open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
