"""The command ``kdlm status``: how far a study has come, from the files in its folder."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from kdlm.tabular import console
from kdlm.terminal import printable, spell_time

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from kdlm.status.signs import Holder
    from kdlm.status.study import JobState, Part

__all__ = ["add_status"]

_MOST = 12
"""Number of running jobs, and of failed or stopped ones, that a terminal shows; JSON has all."""


def add_status(folder_command: Callable[[str, object, str], argparse.ArgumentParser]) -> None:
    """Add the command ``status``."""
    status = folder_command("status", _status, "print how far a study has come; it may be running")
    status.add_argument(
        "--format", choices=("table", "json"), default="table", help="json has every job"
    )


def _status(arguments: argparse.Namespace) -> None:
    from kdlm.status.signs import holder  # noqa: PLC0415
    from kdlm.status.study import read_status  # noqa: PLC0415
    from kdlm.study.config import read_study  # noqa: PLC0415

    folder: Path = arguments.folder
    study = read_study(folder)
    controller, parts = holder(folder), read_status(study, folder)
    if arguments.format == "json":
        found = {
            "study": study.study,
            "controller": asdict(controller) if controller else None,
            "parts": [
                {"name": part.name, "jobs": [asdict(job) for job in part.jobs]} for part in parts
            ],
        }
        print(json.dumps(found, indent=1))
        return
    screen = console()
    screen.print(f"study {study.study} in {printable(folder)}")
    screen.print(_controller(controller))
    _print_parts(screen, parts)
    jobs = [job for part in parts for job in part.jobs]
    _print_running(screen, [job for job in jobs if job.state == "running"])
    _print_ended(screen, [job for job in jobs if job.state in ("failed", "stopped")])


def _controller(found: "Holder | None") -> str:
    """Return in words whether a Snakemake is at work on the study."""
    if found is None:
        return "no Snakemake has begun it yet"
    process = f"process {found.process} on {printable(found.host)}"
    if found.alive is None:
        return f"the last Snakemake was {process}; whether it still runs is not seen from here"
    return f"Snakemake runs: {process}" if found.alive else "no Snakemake is running"


def _print_parts(screen: "Console", parts: "Sequence[Part]") -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from kdlm.status.study import STATES, Part  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    headings = (*STATES, "of")
    table.add_column("part", max_width=_room(screen, headings), no_wrap=True, overflow="ellipsis")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    whole = Part("all", tuple(job for part in parts for job in part.jobs))
    for part in (*parts, whole):
        counts = {state: part.count(state) for state in STATES}
        colours = {"running": "cyan", "failed": "bold red", "stopped": "yellow"}
        table.add_row(
            printable(part.name),
            *(Text(str(counts[state] or ""), colours.get(state, "")) for state in STATES),
            str(len(part.jobs)),
            style="bold" if part is whole else "dim" if counts["done"] == len(part.jobs) else "",
        )
    screen.print()
    screen.print(table)
    diverged = sum(job.diverged for job in whole.jobs)
    if diverged:
        screen.print(f"{diverged} of those done diverged; `kdlm claims` says where")


def _room(screen: "Console", headings: Sequence[str]) -> int:
    """Return the columns that are left for names beside columns with these headings."""
    return max(12, screen.width - sum(len(heading) + 2 for heading in headings) - 2)


def _print_running(screen: "Console", jobs: "Sequence[JobState]") -> None:
    from rich.table import Table  # noqa: PLC0415

    if not jobs:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    headings = ("epoch", "accuracy", "an epoch", "time left", "last sign", "on")
    room = _room(screen, (*headings, " " * 8))
    table.add_column("running", max_width=room, no_wrap=True, overflow="ellipsis")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for job in jobs[:_MOST]:
        each = job.seconds_an_epoch
        table.add_row(
            printable(job.name),
            f"{job.epoch or 0}/{job.epochs}" if job.epochs else "",
            "" if job.accuracy is None else f"{job.accuracy:.4f}",
            "" if each is None else f"{each:.1f} s" if each < 60 else spell_time(each),
            "" if job.seconds_left is None else spell_time(job.seconds_left),
            "" if job.sign is None else f"{spell_time(job.sign)} ago",
            printable(job.host),
        )
    screen.print()
    screen.print(table)
    _more(screen, len(jobs))


def _print_ended(screen: "Console", jobs: "Sequence[JobState]") -> None:
    for job in jobs[:_MOST]:
        screen.print()
        screen.print(f"{job.state}: {printable(job.name)}", style="bold", soft_wrap=True)
        screen.print(f"  {printable(job.reason)}", soft_wrap=True)
        if job.checkpoint:
            epoch, batches = job.checkpoint
            screen.print(f"  it goes on from epoch {epoch}, {batches} batches of it done")
        screen.print(f"  {printable(job.log)}", style="dim", soft_wrap=True)
    _more(screen, len(jobs))


def _more(screen: "Console", number: int) -> None:
    if number > _MOST:
        screen.print(f"and {number - _MOST} more; --format json has them all")
