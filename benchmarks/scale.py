"""How the workflow's own work grows with the number of students, on made-up results.

For each number of students a study is made up, without training. Building the DAG, gathering,
claims, figures, report and archive are then run as Snakemake runs them, one after the other. The
seconds are those of the processor, so that other work on the machine changes them little. The
exponent p is that of a + b nᵖ through the three largest sizes (`benchmarks.measuring.exponent`).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from benchmarks.made_up_config import made_up
from benchmarks.measuring import Cost, exponent, kdlm, record, run, snakemake
from kdlm.figures import FIGURES
from kdlm.study.config import parse
from kdlm.study.jobs import student_jobs

__all__ = ["add_options", "main"]

BAR = 30
"""Seconds within which ``snakemake -n`` of the largest study has to end."""
MOST = 1.2
"""Largest exponent that counts as n log n."""

_DRY_RUN = "snakemake -n, nothing made"

STUDENTS = (100, 1_000, 10_000)
SEEDS = (16, 64, 256)

Rows = dict[str, list[Cost]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--students", type=int, nargs="+", default=STUDENTS, metavar="N", help="sizes, rising"
    )
    parser.add_argument(
        "--seeds", action="store_true", help="grow by the seeds of one arm, and only gather"
    )
    parser.add_argument("--figure", type=Path, help="file that a figure of the times is drawn to")


def main(*, students: Sequence[int], seeds: bool, figure: Path | None) -> int:
    """Measure and print the table; the last line is the ratio of the bar to the seconds of ``-n``.

    Returns:
        The exit status: 1 if anything grows faster than n log n.

    """
    sizes: Sequence[int] = SEEDS if seeds else students
    costs: Rows = {}
    files: dict[str, list[int]] = {}
    count = []
    for size in sizes:
        config = made_up(0, size) if seeds else made_up(size)
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            stages = _gathering(root) if seeds else _everything(root)
            count.append(_prepare(root, config))
            for stage, measured in stages:
                costs.setdefault(stage, []).append(measured())
            for part, number in _files(root).items():
                files.setdefault(part, []).append(number)
    print(_table(count, costs, files))
    if figure is not None:
        _draw(count, costs, figure)
    above = [
        f"{stage} ({what})"
        for stage, found in costs.items()
        for what, values in _both(found)
        if len(found) > 1 and exponent(count, values) > MOST
    ]
    print(f"above n log n: {', '.join(above) or 'nothing'}")
    if found := costs.get(_DRY_RUN):
        print(f"{_DRY_RUN}, {count[-1]:,} students: {found[-1].seconds:.1f} s by the clock")
        print(f"ratio {BAR / found[-1].seconds:.2f}")
    return int(bool(above))


def _both(costs: Sequence[Cost]) -> tuple[tuple[str, list[float]], tuple[str, list[float]]]:
    """Return the processor's seconds and the megabytes of the same stage at all sizes."""
    return (
        ("seconds", [cost.processor for cost in costs]),
        ("megabytes", [cost.megabytes for cost in costs]),
    )


def _prepare(root: Path, config: dict[str, Any]) -> int:
    """Write the config of a study to ``root``, and return the number of its students."""
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return len(list(student_jobs(parse(config))))


Stage = tuple[str, Callable[[], Cost]]


def _everything(root: Path) -> Iterator[Stage]:
    """Yield the stages of a study in ``root``, in the order in which they have to run."""
    snake = ("--configfile", "config.yaml", "--cores", "1")
    yield _DRY_RUN, lambda: snakemake(root, "-n", *snake)
    yield from _gathering(root)
    folder = Path("results/made-up")
    yield "claims (judge)", lambda: kdlm(root, "judge", folder)
    yield "figures", lambda: _sum(kdlm(root, "figure", folder, name) for name in FIGURES)
    yield "report", lambda: kdlm(root, "report", folder)
    yield "records (--touch)", lambda: record(root, "--forceall", *snake[:2])
    yield "snakemake, nothing to do", lambda: snakemake(root, *snake)
    rendered = ("--output", folder / "snakemake-report.html")
    yield "snakemake-report", lambda: kdlm(root, "snakemake-report", folder, *rendered)
    yield (
        "snakemake --touch, snakemake-report",
        lambda: snakemake(
            root, "--touch", "--forceall", *snake, "--", folder / "snakemake-report.html"
        ),
    )
    yield "archive", lambda: kdlm(root, "archive", folder, "--include-diff")


def _gathering(root: Path) -> Iterator[Stage]:
    """Yield the stages that gather the tables of a study in ``root``, made up for that."""
    folder = Path("results/made-up")
    snake = ("--configfile", "config.yaml", "--cores", "1")
    yield "resolve", lambda: snakemake(root, *snake, "--", folder / "study.json")
    yield "(making the study up)", lambda: _make_up(root)
    yield "collect", lambda: kdlm(root, "collect", folder)
    yield "compare", lambda: kdlm(root, "compare", folder)
    yield "summarise", lambda: kdlm(root, "summarise", folder)
    yield "theory", lambda: kdlm(root, "theory", folder)


def _make_up(root: Path) -> Cost:
    return run([sys.executable, "-m", "benchmarks.made_up", "results/made-up"], root)


def _sum(costs: Iterator[Cost]) -> Cost:
    total = Cost(0.0, 0.0, 0.0)
    for cost in costs:
        total += cost
    return total


def _draw(sizes: Sequence[int], costs: Rows, path: Path) -> None:
    """Draw the processor's seconds of each stage that takes a second, against the students."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for stage, found in costs.items():
        seconds = [cost.processor for cost in found]
        if seconds[-1] >= 1 and not stage.startswith("("):
            axes.plot(sizes, seconds, marker="o", label=stage)
    least = axes.get_ylim()[0]
    linear = [max(least, 0.1) * size / sizes[0] for size in sizes]
    axes.plot(sizes, linear, color="grey", linestyle=":", label="proportional to the students")
    axes.set(xscale="log", yscale="log", xlabel="students", ylabel="processor time [s]")
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=150, metadata={"Software": None})


def _files(root: Path) -> dict[str, int]:
    """Return the number of files in the study's folder, and of Snakemake's records."""
    return {
        name: sum(not path.is_dir() for path in (root / name).rglob("*"))
        for name in ("results", ".snakemake")
    }


def _table(sizes: Sequence[int], costs: Rows, files: dict[str, list[int]]) -> str:
    """Return the table: a line for each stage, with seconds, megabytes and both exponents."""
    heading = "".join(f"{size:>10,} s" for size in sizes) + "     p"
    heading += "".join(f"{size:>9,} MB" for size in sizes) + "     p"
    lines = [f"{'students':<27}{heading}"]
    for stage, found in costs.items():
        line = f"{stage:<27}"
        for (_, values), places in zip(_both(found), (1, 0), strict=True):
            line += "".join(f"{value:>12,.{places}f}" for value in values)
            line += f"{exponent(sizes, values):>6.2f}" if len(values) > 1 else ""
        lines.append(line)
    for part, numbers in files.items():
        lines.append(f"{'files in ' + part:<27}" + "".join(f"{number:>12,}" for number in numbers))
    return "\n".join(lines)
