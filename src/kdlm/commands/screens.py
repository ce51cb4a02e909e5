"""What `plan` and `status` print with: a console that takes all text as it is."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console"]

_WITHOUT_TERMINAL = 100
"""Number of columns where there is no terminal, as in a pipe."""


def console() -> "Console":
    """Return a console on standard output, without markup, emoji and highlighting.

    It is as wide as COLUMNS says, or as the terminal, or 100 columns.
    """
    from rich.console import Console  # noqa: PLC0415

    asked = os.environ.get("COLUMNS", "")
    width = int(asked) if asked.isdecimal() and 0 < int(asked) < 10_000 else 0
    if not width:
        try:
            width = os.get_terminal_size(1).columns or _WITHOUT_TERMINAL
        except OSError:
            width = _WITHOUT_TERMINAL
    return Console(width=width, markup=False, emoji=False, highlight=False)
