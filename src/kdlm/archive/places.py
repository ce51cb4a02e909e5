"""Folders of a machine in a log, which often bear the name of the person at it."""

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
"""A path of at least two parts from the root or a home on, as a text has it; its last part."""

_LEFT = b"..."


def without_places(log: bytes) -> bytes:
    """A log in which of every absolute path only the last part stands, and no login name."""
    for place in sorted(_places(), key=len, reverse=True):
        # still a path from the root on, of which the next line leaves the last part
        log = log.replace(place, b"/" + _LEFT)
    log = _ABSOLUTE.sub(rb".../\1", log)
    for name in _logins():
        log = re.sub(rb"(?<![\w-])%s(?![\w-])" % re.escape(name), _LEFT, log)
    return log


def _places() -> set[bytes]:
    """Folders of this machine; their names may have spaces, which end a path in a text."""
    folders = {
        Path.home(), Path.cwd(), checkout(), Path(sys.prefix), Path(tempfile.gettempdir()),
        Path(sysconfig.get_path("stdlib")),
    }  # fmt: skip
    named = {os.fsencode(one) for folder in folders for one in (folder, folder.resolve())}
    # those that everybody has, such as / and /tmp, say nothing
    return {name for name in named if name.count(b"/") > 1}


def _logins() -> set[bytes]:
    """Names of the account; that of root is nobody's own."""
    try:
        return {os.fsencode(getpass.getuser())} - {b"root"}
    except (KeyError, OSError):
        # an account without an entry, as in a container
        return set()
