"""The command ``kdlm plan``: what a study will cost, before it is run."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdlm.arguments import to_number_of, to_path
from kdlm.tabular import console
from kdlm.terminal import printable, spell_time

if TYPE_CHECKING:
    from rich.console import Console

    from kdlm.planning.jobs import PlannedJob

__all__ = ["RulePlan", "add_plan", "by_rule"]


def add_plan(command: Callable[[str, object, str], argparse.ArgumentParser]) -> None:
    """Add the command ``plan``."""
    plan = command("plan", _plan, "print the jobs, hours, files and disk that a config asks for")
    plan.add_argument("config", type=to_path, help="a config file, as config.yaml")
    plan.add_argument(
        "--from",
        dest="measured_in",
        metavar="FOLDER",
        type=to_path,
        help="a study's folder whose benchmarks tell how fast this machine is",
    )
    plan.add_argument(
        "--cores",
        type=to_number_of,
        help="processor cores to be used; default: those of here, or enough for the GPUs",
    )
    plan.add_argument("--gpus", type=to_number_of, default=1, help="GPUs to be used; default: 1")


@dataclass(frozen=True)
class RulePlan:
    """What all jobs of one rule cost together."""

    rule: str
    jobs: int
    core_seconds: float
    gpu_seconds: float
    files: int
    bytes: int


def by_rule(jobs: "Sequence[PlannedJob]") -> list[RulePlan]:
    """Return the sums over the jobs of each rule, in the order in which rules first occur."""
    rules: dict[str, list[PlannedJob]] = {}
    for job in jobs:
        rules.setdefault(job.rule, []).append(job)
    return [_sum(rule, of) for rule, of in rules.items()]


def _sum(rule: str, jobs: "Sequence[PlannedJob]") -> RulePlan:
    return RulePlan(
        rule,
        len(jobs),
        sum(job.seconds if job.on_gpu is None else job.on_gpu * job.threads for job in jobs),
        sum(job.on_gpu or 0.0 for job in jobs),
        sum(job.files for job in jobs),
        sum(job.bytes for job in jobs),
    )


def _plan(arguments: argparse.Namespace) -> None:
    from kdlm.planning.earlier import read_earlier, scaled  # noqa: PLC0415
    from kdlm.planning.jobs import planned_jobs  # noqa: PLC0415
    from kdlm.planning.rates import CUDA, ONE_CORE  # noqa: PLC0415
    from kdlm.study.config import read_config  # noqa: PLC0415

    study = read_config(arguments.config)
    jobs = list(planned_jobs(study))
    source = f"{ONE_CORE.source}, by docs/performance; within a third there, slower elsewhere"
    if arguments.measured_in is not None:
        earlier = read_earlier(arguments.measured_in)
        jobs = scaled(jobs, earlier)
        source = f"measured in {arguments.measured_in}, {earlier.jobs} jobs, scaled by the work"
    gpu = any(job.on_gpu is not None for job in jobs)
    screen = console()
    screen.print(f"study {study.study}: {_count(len(jobs), 'job')}, {_networks(jobs)}")
    screen.print()
    _print_rules(screen, jobs, gpu=gpu)
    screen.print()
    # a job on a GPU needs its cores too, and a cluster's nodes have them
    beside = arguments.gpus * study.threads if gpu else 1
    cores = arguments.cores or max(len(os.sched_getaffinity(0)), beside)
    wall = _wall(jobs, cores, arguments.gpus)
    on = _count(cores, "core") + (f" and {_count(arguments.gpus, 'GPU')}" if gpu else "")
    lines = [f"wall time on {on}: at least {spell_time(wall)}, if nothing else runs there"]
    if gpu:
        alone = sum(job.seconds for job in jobs) / 3600
        lines.append(f"without a GPU: {_number(alone)} core-hours")
    outputs = sum(_outputs(job) for job in jobs)
    lines.append(f"Snakemake keeps {outputs:,} more files in .snakemake/metadata, one an output")
    lines.append(f"times on processors: {source}")
    if gpu:
        lines.append(f"times on GPUs: {CUDA.source}")
    for line in lines:
        screen.print(printable(line))


def _networks(jobs: "Sequence[PlannedJob]") -> str:
    students = sum(job.rule == "distill" for job in jobs)
    teachers = sum(job.rule in ("train_teacher", "bring_teacher") for job in jobs)
    return f"{_count(teachers, 'teacher')}, {_count(students, 'student')}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _print_rules(screen: "Console", jobs: "Sequence[PlannedJob]", *, gpu: bool) -> None:
    from rich.table import Table  # noqa: PLC0415

    whole = _sum("all", jobs)
    # a small study takes minutes
    unit, name = (60, "minutes") if whole.core_seconds < 10 * 3600 else (3600, "hours")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("rule", no_wrap=True)
    headings = ["jobs", f"core-{name}", *([f"GPU-{name}"] if gpu else []), "files", "disk"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    shown = [job for job in jobs if job.rule.startswith(("figure_", "write_report"))]
    rows = by_rule([job for job in jobs if job not in shown])
    rows.append(_sum("figure_…, write_report", shown))
    for row in (*rows, whole):
        times = [row.core_seconds / unit, *([row.gpu_seconds / unit] if gpu else [])]
        table.add_row(
            row.rule,
            f"{row.jobs:,}",
            *(_number(each) for each in times),
            f"{row.files:,}",
            _bytes(row.bytes),
            style="bold" if row is whole else "",
        )
    screen.print(table)


def _number(time: float) -> str:
    """Return hours or minutes to two digits; nothing for none.

    >>> [_number(time) for time in (0, 0.0012, 0.456, 7.89, 1234.5)]
    ['', '<0.01', '0.46', '7.9', '1,234']
    """
    if time == 0:
        return ""
    if time < 0.01:
        return "<0.01"
    return f"{time:.2g}" if time < 10 else f"{time:,.0f}"


def _bytes(size: int) -> str:
    """Return a size in the largest unit of which there is one.

    >>> [_bytes(size) for size in (900, 12_345, 3.2e9)]
    ['0.9 kB', '12.3 kB', '3.2 GB']
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.1f} kB"


_STAGES = (
    ("prepare_dataset",),
    ("train_teacher", "bring_teacher"),
    ("answers",),
    ("distill",),
    ("collect",),
    ("compare",),
    ("judge",),
)
"""Rules of which one needs the one before it."""


def _wall(jobs: "Sequence[PlannedJob]", cores: int, gpus: int) -> float:
    """Return the seconds below which the jobs cannot be done: by work, or by the longest chain."""

    def took(job: "PlannedJob") -> float:
        return job.seconds / job.threads if job.on_gpu is None else job.on_gpu

    work = sum(took(job) * job.threads for job in jobs) / cores
    on_gpus = sum(job.on_gpu or 0.0 for job in jobs) / gpus
    chain = sum(max((took(job) for job in jobs if job.rule in of), default=0.0) for of in _STAGES)
    return max(work, on_gpus, chain)


def _outputs(job: "PlannedJob") -> int:
    """Return how many files of a job are outputs: all but its lock, log and benchmark."""
    locked = job.rule in ("train_teacher", "bring_teacher", "distill", "answers", "init_means")
    return job.files - 2 - locked
