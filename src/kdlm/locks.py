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
from kdlm.files import refusals

__all__ = ["hold", "waiting"]

logger = logging.getLogger(__name__)


def _open(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+", encoding="utf-8")


def hold(folder: Path) -> TextIO:
    """Take ``folder`` for this process, which has it until it ends or closes what is returned.

    Raises:
        InputError: another process has it; it is named. Or the folder cannot be written.

    """
    path = folder / ".lock"
    with refusals(path):
        file = _open(path)
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
    with refusals(path):
        os.ftruncate(file.fileno(), 0)
        # not through the buffer, which would try once more when the file is closed
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return file


@contextmanager
def waiting(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, once every other process has let go of it."""
    with _open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
