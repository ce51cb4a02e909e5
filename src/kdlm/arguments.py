"""Parsing the command line: types of arguments, and errors in one line."""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from kdlm.terminal import printable

__all__ = ["Parser", "shown", "to_count", "to_number_of", "to_path"]

_MOST = 10_000
"""Largest number of characters of a message, enough for the names of a hundred files."""


def shown(message: str) -> str:
    """Return a message as one printable line of bounded length; it may quote untrusted text."""
    return printable(message[:_MOST])


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` and end the process with status 2."""
        self.exit(2, f"{self.prog}: {shown(message)}; --help tells more\n")


def to_count(text: str) -> int | None:
    """Return a number of jobs parsed from ``text``; None for ``all``.

    >>> to_count("3"), to_count("all")
    (3, None)

    Raises:
        argparse.ArgumentTypeError: the text is neither a positive integer nor ``all``.

    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0, or all, not {text!r}")
    return int(text)


def to_number_of(text: str) -> int:
    """Return a positive number of things parsed from ``text``.

    >>> to_number_of("12")
    12

    Raises:
        argparse.ArgumentTypeError: the text is no whole number from 1 to 1,000,000.

    """
    if not (text.isdecimal() and len(text) < 8 and 1 <= int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"a whole number above 0, not {text!r}")
    return int(text)


def to_path(text: str) -> Path:
    """Return the path in ``text``.

    Raises:
        argparse.ArgumentTypeError: the text has a NUL or cannot be encoded, so it is no path on any
            file system.

    """
    try:
        if b"\0" in os.fsencode(text):
            raise argparse.ArgumentTypeError("a path cannot have a NUL in it")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a path") from None
    return Path(text)
