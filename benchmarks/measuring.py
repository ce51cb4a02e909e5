"""Measuring commands: seconds, peak memory, and how both grow with the size of a study."""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Cost", "environment", "exponent", "kdlm", "record", "run", "snakemake"]

ROOT = Path(__file__).parents[1]
"""The checkout that is measured."""

_OPTIONS = ("--snakefile", ROOT / "Snakefile", "--nolock", "--profile", "none",
            "--workflow-profile", "none")  # fmt: skip

_LEAST = 0.1
"""Seconds, or megabytes, below which a difference between two sizes is taken for noise."""


@dataclass(frozen=True)
class Cost:
    """What a command costs."""

    seconds: float
    """From its start to its end, by the clock."""
    processor: float
    """Seconds of the processor, which other programs on the machine change little."""
    megabytes: float
    """Peak of the memory of the largest of its processes.

    Linux counts what the process that started the command had, so a benchmark has to stay small.
    """

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of two commands, one after the other."""
        return Cost(
            self.seconds + other.seconds,
            self.processor + other.processor,
            max(self.megabytes, other.megabytes),
        )


def environment() -> dict[str, str]:
    """Return the environment of the commands: they import this checkout, with one thread."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def run(command: Sequence[str | Path], folder: Path) -> Cost:
    """Run a command in ``folder``, and return its cost.

    Raises:
        SystemExit: it failed; the message is the end of its output.

    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        # wait4 tells the memory of this process and of those that it has waited for
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")[-3000:]
            raise SystemExit(f"{' '.join(map(str, command))[:300]}: {process.returncode}\n{said}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def kdlm(folder: Path, *arguments: str | Path) -> Cost:
    """Run ``python -m kdlm`` in ``folder``."""
    return run([sys.executable, "-m", "kdlm", *arguments], folder)


_RECORD = """
import sys
from snakemake.cli import main
from snakemake.executors.touch import Executor
Executor.SLEEPING_TIME = 0
main(sys.argv[1:])
"""


def record(folder: Path, *arguments: str | Path) -> Cost:
    """Let Snakemake record in ``folder`` that outputs are of the present sources and config.

    This is ``snakemake --touch`` without the tenth of a second that Snakemake waits at each job.
    The ``arguments`` say which jobs: ``--forceall``, or ``--force`` and a target.
    """
    options = ("--touch", "--cores", "1")
    return run([sys.executable, "-c", _RECORD, *_OPTIONS, *options, *arguments], folder)


def snakemake(folder: Path, *arguments: str | Path) -> Cost:
    """Run Snakemake on this checkout's workflow in ``folder``, without any profile."""
    return run(
        [sys.executable, "-m", "snakemake", *_OPTIONS, *arguments],
        folder,
    )


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent p of the growth a + b nᵖ through the last three points.

    The constant a is what a command costs whatever the size, such as its imports; the exponent of a
    fit without it would be too small. Of n log n, p is about 1.1 for sizes from 100 to 10,000.

    >>> round(exponent([100, 1000, 10000], [2 + 0.01 * n**1.5 for n in (100, 1000, 10000)]), 6)
    1.5

    Args:
        sizes: at least two, rising; with two of them a is taken for 0.
        values: the cost at each size.

    Returns:
        The exponent, between 0 and 4; 0 where the cost does not grow by more than noise.

    """
    if len(sizes) == 2:
        return math.log(values[1] / values[0]) / math.log(sizes[1] / sizes[0])
    (n1, n2, n3), (v1, v2, v3) = sizes[-3:], values[-3:]
    if v3 - v2 < _LEAST:
        return 0.0
    wanted = (v3 - v2) / max(v2 - v1, _LEAST / 10)

    def excess(power: float) -> float:
        first, second, third = (math.pow(size, power) for size in (n1, n2, n3))
        return (third - second) / (second - first) - wanted

    # by bisection: importing scipy would add to the memory that Linux counts for every command
    least, most = 1e-3, 4.0
    for _ in range(50):
        middle = (least + most) / 2
        least, most = (least, middle) if excess(middle) > 0 else (middle, most)
    return least
