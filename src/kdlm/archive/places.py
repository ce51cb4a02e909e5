"""Removing folders of the machine from logs, because they often contain the user's name."""

import getpass
import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

from kdlm.archive.source import checkout

__all__ = ["without_places"]

_ABSOLUTE = re.compile(
    rb"(?<![\w.~/-])(?<!http:)(?<!https:)~?/[^\s:;,'\"()<>\[\]{}|]*/([^\s:;,'\"()<>\[\]{}|/]*)"
)
"""An absolute path, or one that starts with ~, of at least two parts; group 1 is the last part."""

_LEFT = b"..."
"""Replaces the folders of a path and the login name."""


def without_places(log: bytes) -> bytes:
    """Return a log with only the last part of every absolute path, and without login names."""
    for place in sorted(_places(), key=len, reverse=True):
        # The slash keeps it an absolute path, which the substitution below then shortens.
        log = log.replace(place, b"/" + _LEFT)
    log = _ABSOLUTE.sub(rb".../\1", log)
    for name in _logins():
        log = re.sub(rb"(?<![\w-])%s(?![\w-])" % re.escape(name), _LEFT, log)
    return log


def _places() -> set[bytes]:
    """Return known folders of this machine.

    They are replaced literally: `_ABSOLUTE` ends a path at a space, which their names may contain.
    """
    folders = {
        Path.home(), Path.cwd(), checkout(), Path(sys.prefix), Path(tempfile.gettempdir()),
        Path(sysconfig.get_path("stdlib")),
    }  # fmt: skip
    named = {os.fsencode(one) for folder in folders for one in (folder, folder.resolve())}
    # Folders such as / and /tmp exist on every machine and reveal nothing.
    return {name for name in named if name.count(b"/") > 1}


def _logins() -> set[bytes]:
    """Return the login name as a set; empty if it is root, which identifies nobody, or unknown."""
    try:
        return {os.fsencode(getpass.getuser())} - {b"root"}
    except (KeyError, OSError):
        # The account has no entry in the password database, as in some containers.
        return set()
