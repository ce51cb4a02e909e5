"""The table that stands at the end of a terminal while a workflow runs, a row for each rule."""

import os
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdlm.terminal import spell_time
from snakemake_logger_plugin_kdlm.bookkeeping import Bookkeeping, Row

__all__ = ["Screen", "chosen"]

_AROUND = 6
"""Lines of the terminal that are not for rules: heading, total, time, and one free for messages."""


def chosen(rows: Sequence[Row], most: int) -> tuple[list[Row], list[Row]]:
    """Return the rows to be drawn, at most ``most``, in their order, and the others.

    A rule of a single job is drawn while that job is running, and where it has failed. Where there
    is not enough room, rules with failed jobs come first, then those with running ones, then those
    with jobs to do.
    """
    worth = [row for row in rows if row.total > 1 or row.running or row.failed]
    ranked = sorted(worth, key=lambda row: (not row.failed, not row.running, row.over))
    drawn = {row.rule for row in ranked[: max(most, 1)]}
    return [row for row in rows if row.rule in drawn], [
        row for row in rows if row.rule not in drawn
    ]


class Screen:
    """Draws the table, once a second; messages are printed above it."""

    def __init__(self, jobs: Bookkeeping, stream: TextIO, *, colour: bool) -> None:
        """Begin to draw.

        Args:
            jobs: what is drawn.
            stream: the terminal.
            colour: whether it takes colours; the environment's NO_COLOR is heeded too.

        """
        self.jobs = jobs
        self.console = Console(
            file=stream,
            no_color=not colour or bool(os.environ.get("NO_COLOR")),
            markup=False,
            highlight=False,
            emoji=False,
        )
        self.live = Live(
            get_renderable=self.table, console=self.console, refresh_per_second=1,
            vertical_overflow="crop",
        )  # fmt: skip
        self.live.start(refresh=True)

    def say(self, lines: Sequence[str], *, failure: bool) -> None:
        """Print lines above the table; of a failure those are red that are not indented."""
        for line in lines:
            style = "red" if failure and not line.startswith(" ") else ""
            self.console.print(Text(line, style), soft_wrap=True)

    def close(self) -> None:
        """Draw the table for the last time, and leave it there."""
        self.live.stop()

    def table(self) -> Table:
        """Return the table as it is now."""
        rows = self.jobs.rows()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("rule", no_wrap=True)
        table.add_column("", width=16)
        for heading in ("done", "running", "failed"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("time left", justify="right", no_wrap=True)
        drawn, others = chosen(rows, self.console.height - _AROUND)
        for row in drawn:
            self._add(table, row, _left(row))
        if others:
            self._add(table, _sum("other rules" if drawn else "rules", others), "")
        whole = _sum("all", rows)
        known = [row.work for row in rows if row.work is not None]
        left = sum(known) / max(whole.running, 1)
        surely = "at least " if len(known) < len(rows) else ""
        # nothing is estimated before the first job of many has been done
        left_in_words = surely + spell_time(left) if left and not whole.over else ""
        self._add(table, whole, left_in_words, style="bold")
        table.add_row("", "", "", "", "", f"{spell_time(self.jobs.seconds())} so far", style="dim")
        return table

    def _add(self, table: Table, row: Row, left: str, style: str = "") -> None:
        bar = ProgressBar(
            total=max(row.total, 1),
            completed=row.done,
            width=16,
            complete_style="cyan",
            finished_style="green",
        )
        table.add_row(
            row.rule,
            bar,
            f"{row.done}/{row.total}",
            str(row.running or ""),
            Text(str(row.failed or ""), "bold red"),
            left,
            style=style or ("dim" if row.over else ""),
        )


def _left(row: Row) -> str:
    """Return the time left for a rule in words; nothing where it is not known, or over."""
    ended = row.done + row.failed >= row.total
    return "" if row.left is None or ended else spell_time(row.left)


def _sum(name: str, rows: Sequence[Row]) -> Row:
    return Row(
        name,
        sum(row.total for row in rows),
        sum(row.done for row in rows),
        sum(row.running for row in rows),
        sum(row.failed for row in rows),
        None,
    )
