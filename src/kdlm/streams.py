"""Standard output that its reader may close: `kdlm claims … | head` ends quietly."""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["BROKEN_PIPE", "drop_unwritten", "reader_is_gone", "standard_streams"]

BROKEN_PIPE = 141
"""Exit status of a program whose reader has gone: 128 + SIGPIPE, as a shell reports it."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make the standard streams fit to print to, and flush standard output at the end.

    - A stream that was closed before Python started is opened on the null device. Else the next
      file that is opened would get its number, and what a library prints would end in that file.
    - Characters that the locale does not know are printed as escapes.
    - What is still in the buffer when the reader of standard output has gone is dropped.

    Raises:
        SystemExit: standard output cannot be written to. The status is `BROKEN_PIPE` where its
            reader has gone, and 1 otherwise, after a line that says why.

    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        _flush()


def reader_is_gone() -> bool:
    """Return whether standard output is a pipe that nobody reads from any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except OSError:
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def drop_unwritten() -> None:
    """Drop what is still in standard output's buffer if it cannot be written.

    For a caller that has told the reason: Python would try again at its exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere()


def _to_nowhere() -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        # the buffer is still full, and Python would try again at its exit and print a traceback
        _to_nowhere()
        if isinstance(error, BrokenPipeError):
            raise SystemExit(BROKEN_PIPE) from None
        print(f"kdlm: standard output: {error}", file=sys.stderr)
        raise SystemExit(1) from None
