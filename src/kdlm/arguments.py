"""How the command line reads its arguments: kinds of values, and errors in one line."""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from kdlm.terminal import printable

__all__ = ["Parser", "count_argument", "one_line", "path_argument"]

_MOST = 10_000
"""Characters of a message: enough for the names of a hundred files."""


def one_line(message: str) -> str:
    """A message that may quote a stranger's words, on one line of bounded length."""
    return printable(message[:_MOST])


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one line."""

    def error(self, message: str) -> NoReturn:
        """End with status 2 and the message in one line."""
        self.exit(2, f"{self.prog}: {one_line(message)}; --help tells more\n")


def count_argument(text: str) -> int | None:
    """Parse a number of jobs; ``all`` becomes None.

    >>> count_argument("3"), count_argument("all")
    (3, None)
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0, or all, not {text!r}")
    return int(text)


def path_argument(text: str) -> Path:
    """A path, which no file system could have with these in it."""
    try:
        if b"\0" in os.fsencode(text):
            raise argparse.ArgumentTypeError("a path cannot have a NUL in it")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a path") from None
    return Path(text)
