"""Tables on a terminal, and the same rows as CSV, JSON or Markdown."""

import argparse
import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kdlm.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["FORMATS", "add_format", "as_text", "console", "width"]

FORMATS = ("table", "csv", "json", "markdown")
"""What the option ``--format`` takes. ``table`` is each command's own, for a terminal."""

_WITHOUT_TERMINAL = 110
"""Number of columns where there is no terminal, as in a log file."""

_WIDEST = 10_000
"""Number of columns from which on COLUMNS is not believed: rich would make lines as long."""


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--format`` to a command."""
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="csv and json have every column, and numbers as they are; default: table",
    )


def width() -> int:
    """Return the number of columns to print to: COLUMNS, that of a terminal, or 110.

    Where the output goes through a pipe to a pager, the terminal is that of another stream.
    """
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and 0 < int(asked) < _WIDEST:
        return int(asked)
    for stream in (1, 2, 0):
        try:
            return os.get_terminal_size(stream).columns or _WITHOUT_TERMINAL
        except OSError:
            continue
    return _WITHOUT_TERMINAL


def console() -> "Console":
    """Return a console that prints text as it is: no markup, emoji or highlighting in it."""
    from rich.console import Console  # noqa: PLC0415

    class Printer(Console):
        """A console that leaves it to `kdlm.streams` to end where its reader has gone."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Printer(width=width(), markup=False, emoji=False, highlight=False)


def as_text(form: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return rows as text that ends with a line break.

    A null, which may be NaN, is empty in CSV and Markdown, and null in JSON. JSON has no infinity,
    so there it is the text ``inf`` or ``-inf``.

    >>> as_text("csv", ["loss", "temperature"], [["kd", math.inf], ["ce", math.nan]])
    'loss,temperature\nkd,inf\nce,\n'

    Args:
        form: csv, json or markdown.
        columns: the names of the columns.
        rows: the values of each row, in the order of the columns.

    """
    plain = [[None if _is_null(value) else value for value in row] for row in rows]
    return _WRITERS[form](columns, plain)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _csv(columns: Sequence[str], rows: list[list[Any]]) -> str:
    import csv  # noqa: PLC0415
    import io  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([printable(v) if isinstance(v, str) else v for v in row] for row in rows)
    return text.getvalue()


def _json(columns: Sequence[str], rows: list[list[Any]]) -> str:
    import json  # noqa: PLC0415

    def finite(value: Any) -> Any:
        return str(value) if isinstance(value, float) and math.isinf(value) else value

    found = [dict(zip(columns, (finite(value) for value in row), strict=True)) for row in rows]
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def _markdown(columns: Sequence[str], rows: list[list[Any]]) -> str:
    def cells(row: Sequence[Any]) -> str:
        written = ("" if value is None else printable(value) for value in row)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in written) + " |"

    return "\n".join([cells(columns), "|" + "---|" * len(columns), *map(cells, rows), ""])


_WRITERS = {"csv": _csv, "json": _json, "markdown": _markdown}
