"""The command ``kdlm table``: a gathered table of a study, or the rows and columns asked for."""

import argparse
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlm.arguments import to_path
from kdlm.errors import InputError
from kdlm.study.schemas import SCHEMAS, TABLES, table_path
from kdlm.tabular import add_format, as_text, console, width
from kdlm.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_table"]

_PLACES = {name: table_path(name) for name in TABLES} | {"claims": Path("claims.parquet")}
"""The tables, and where each stands in a study's folder."""

_FIRST: Mapping[str, tuple[str, ...]] = {
    "runs": ("role", "loss", "temperature", "seed", "last_accuracy", "architecture", "recipe",
             "mean_gap", "status"),
    "histories": ("loss", "temperature", "seed", "epoch", "split", "objective", "accuracy",
                  "architecture", "recipe", "gap_rms"),
    "energies": ("loss", "temperature", "epoch", "split", "gap_share_mean", "n", "architecture",
                 "recipe", "gap_share_max"),
    "comparisons": ("kind", "loss_a", "temperature_a", "loss_b", "logits_share",
                    "accuracy_difference", "temperature_b", "seed_a", "seed_b", "recipe"),
    "layer_means": ("architecture", "initialisation", "seed", "layer", "mean", "batchnorm", "rms"),
    "init_means": ("architecture", "initialisation", "batchnorm", "layer", "mean", "ci_low",
                   "ci_high"),
    "gradient_limit": ("source", "form", "temperature", "relative_distance", "slope"),
    "identities": ("claim", "form", "value", "case"),
    "claims": ("id", "form", "value", "n", "verdict", "ci_low", "ci_high"),
}  # fmt: skip
"""The columns that a terminal shows first; the others follow as far as there is room."""

_MOST_ROWS = 1000
"""Largest number of rows on a terminal. CSV and JSON have all."""

_WIDEST = 18
"""Largest width of a column that was not asked for."""

_MOST_VALUES = 30
"""Largest number of values that a message names."""


def add_table(command: Callable[[str, object, str], argparse.ArgumentParser]) -> None:
    """Add the command ``table``."""
    table = command("table", _table, "print a table of a study, or some of its rows and columns")
    table.add_argument("name", help=f"one of {', '.join(_PLACES)}")
    table.add_argument("folder", type=to_path, help="a study's folder, results/<study>")
    table.add_argument(
        "--columns",
        action="append",
        metavar="NAME,NAME",
        help="these columns, in this order; `all` is every column",
    )
    table.add_argument(
        "--where",
        action="append",
        metavar="KEY=VALUE",
        help="rows with this value; of several with the same key one has to match, and of "
        "different keys all",
    )
    add_format(table)


def _table(arguments: argparse.Namespace) -> None:
    from kdlm.storage.parquet import read_table  # noqa: PLC0415

    name = arguments.name
    if name not in _PLACES:
        raise InputError(f"{name}: no such table; {_nearest(name, list(_PLACES))}")
    path = arguments.folder / _PLACES[name]
    if not path.is_file():
        raise InputError(f"{path} is missing: run snakemake first, or name a study's folder")
    asked = _columns(name, arguments.columns)
    rows = _where(read_table(path, name), name, arguments.where or ())
    if arguments.format != "table":
        columns = asked or list(SCHEMAS[name])
        values = rows[columns].itertuples(index=False, name=None)
        print(as_text(arguments.format, columns, values), end="")
        return
    _print(rows, name, asked)


def _nearest(asked: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def _columns(name: str, asked: Sequence[str] | None) -> list[str]:
    """Return the columns that the options ``--columns`` name; none where there is no option.

    Raises:
        InputError: the table has no such column.

    """
    known = list(SCHEMAS[name])
    found: list[str] = []
    for column in ",".join(asked or ()).split(","):
        if column == "all":
            found += known
        elif column in known:
            found.append(column)
        elif column or asked:
            raise InputError(
                f"--columns: table {name} has no column {column!r}; {_nearest(column, known)}"
            )
    return list(dict.fromkeys(found))


def _where(rows: "pd.DataFrame", name: str, conditions: Sequence[str]) -> "pd.DataFrame":
    """Return the rows that the options ``--where`` ask for.

    Raises:
        InputError: a condition has no equals sign, or names an unknown column, or a value that no
            row of the table has.

    """
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise InputError(f"--where {condition}: write it as key=value")
        if key not in SCHEMAS[name]:
            known = _nearest(key, list(SCHEMAS[name]))
            raise InputError(f"--where: table {name} has no column {key!r}; {known}")
        wanted.setdefault(key, []).append(value)
    chosen = rows.index >= 0
    for key, values in wanted.items():
        column = rows[key]
        matches = column.index < 0
        for value in values:
            of_value = _equals(column, key, value, number=SCHEMAS[name][key][0] != "text")
            if not of_value.any():
                raise InputError(f"--where {key}={value}: no such row; {_values(column)}")
            matches |= of_value
        chosen &= matches
    return rows[chosen]


def _equals(column: "pd.Series", key: str, value: str, *, number: bool) -> "pd.Series":
    """Return which rows have ``value``; an empty one is null.

    Raises:
        InputError: the column has numbers and the value is none.

    """
    if value == "":
        return column.isna()
    if not number:
        return column == value
    try:
        return column == float(value)
    except ValueError:
        raise InputError(f"--where {key}={value}: {key} is a number") from None


def _values(column: "pd.Series") -> str:
    known = [_cell(value) for value in sorted(column.dropna().unique())]
    more = f" and {len(known) - _MOST_VALUES} more" if len(known) > _MOST_VALUES else ""
    return f"known: {', '.join(known[:_MOST_VALUES])}{more}"


def _cell(value: Any) -> str:
    """Return a value as a terminal shows it: floats to four digits, and nothing for null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def _print(rows: "pd.DataFrame", name: str, asked: Sequence[str]) -> None:
    """Print rows as wide as the terminal is.

    Where no columns are asked for, one whose value is the same in all rows is named below, and
    those that are left are shown as far as there is room.
    """
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = rows.head(_MOST_ROWS)
    columns, same = list(asked), {}
    cells = {column: [_cell(v) for v in shown[column]] for column in asked or SCHEMAS[name]}
    left_out: list[str] = []
    if not asked:
        order = dict.fromkeys((*_FIRST.get(name, ()), *SCHEMAS[name]))
        if len(rows) > 1:
            same = {c: cells[c][0] for c in order if rows[c].nunique(dropna=False) == 1}
        columns = _fitting([column for column in order if column not in same], cells)
        left_out = [column for column in order if column not in same and column not in columns]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        kind = SCHEMAS[name][column][0]
        table.add_column(
            Text(column),
            justify="left" if kind == "text" else "right",
            max_width=None if asked else _width(column, cells[column]),
            overflow="fold",
        )
    for row in zip(*(cells[column] for column in columns), strict=True):
        table.add_row(*map(Text, row))
    out = console()
    out.print(table)
    notes = [f"{len(rows)} rows of table {name}"]
    if len(shown) < len(rows):
        notes.append(f"the first {len(shown)} are shown; --where chooses, --format csv has all")
    out.print(Text("; ".join(notes)))
    if constant := [f"{column} {value}" for column, value in same.items() if value]:
        out.print(Text(f"the same in all: {', '.join(constant)}"))
    if left_out:
        out.print(Text(f"not shown (--columns): {', '.join(left_out)}"))


def _width(column: str, cells: Sequence[str]) -> int:
    """Return how wide a column is shown: as its longest cell, which wraps beyond `_WIDEST`."""
    return max(len(column), min(_WIDEST, max(map(len, cells), default=0)))


def _fitting(columns: Sequence[str], cells: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the first columns that fit side by side on the terminal; at least one."""
    room, found = width() - 2, list[str]()
    for column in columns:
        room -= _width(column, cells[column]) + 2
        if room < 0 and found:
            break
        found.append(column)
    return found
