"""Trivial jobs on Slurm through this project's plugin and through snakemake-executor-plugin-slurm.

It needs a Slurm that ``sbatch`` reaches. The other plugin costs each start of Snakemake half a
second, so it has an environment of its own, made at the first run in ``build/benchmark-cluster``.
It drops SLURM_CONF inside a job, so the file that this names is also linked to where Slurm looks
without it, for as long as the measurement takes.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

__all__ = ["add_options", "main"]

BUILD = Path("build/benchmark-cluster")
OTHER = "snakemake-executor-plugin-slurm==2.8.0"
DEFAULT_CONF = Path("/etc/slurm/slurm.conf")
FEW, MANY = 24, 500

# one output folder each: jobs that share one lose it under each other's feet when one fails
SNAKEFILE = """
rule all:
    input:
        expand("out/{{i}}/done", i=range({jobs})),
rule trivial:
    output:
        "out/{{i}}/done",
    resources:
        mem_mb=300,
        runtime=10,
    shell:
        "touch {{output}}"
"""


@dataclass(frozen=True)
class Row:
    """One measurement."""

    plugin: str
    jobs: int
    what: str
    seconds: float
    sbatch: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option of this benchmark."""
    parser.add_argument(
        "--other",
        type=Path,
        metavar="PYTHON",
        help="of an environment with the other plugin; default: one is made, with pip",
    )


def main(other: Path | None = None) -> int:
    """Measure, print the table; 1 if a run failed.

    ``other`` is the Python of an environment with the other plugin; without one it is made.
    """
    if shutil.which("sbatch") is None:
        print("benchmarks cluster: no sbatch here; see docs/cluster.md", file=sys.stderr)
        return 1
    # what a script starts in the background ignores Ctrl-C, and so would the Snakemake started here
    signal.signal(signal.SIGINT, signal.default_int_handler)
    other = other or _environment()
    with _reachable_conf():
        ours = _finish("submitit", Path(sys.executable), FEW)
        theirs = _finish("slurm", other, FEW)
        many = _submit(Path(sys.executable), MANY)
    print(f"{'plugin':<10} {'jobs':>5} {'until':<10} {'seconds':>8} {'sbatch':>7}")
    for row in (ours, theirs, many):
        print(f"{row.plugin:<10} {row.jobs:>5} {row.what:<10} {row.seconds:>8.1f} {row.sbatch:>7}")
    print(f"ratio {theirs.seconds / ours.seconds:.2f}")
    return 0


def _environment() -> Path:
    """Python of the environment with the other plugin and the Snakemake that runs here."""
    python = BUILD / "venv/bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", BUILD / "venv"], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check",
             f"snakemake=={version('snakemake')}", OTHER],
            check=True,
        )  # fmt: skip
    return python.absolute()


@contextmanager
def _reachable_conf() -> Iterator[None]:
    conf = os.environ.get("SLURM_CONF")
    if conf is None or DEFAULT_CONF.exists():
        yield
        return
    made = not DEFAULT_CONF.parent.exists()
    DEFAULT_CONF.parent.mkdir(parents=True, exist_ok=True)
    links = [DEFAULT_CONF.with_name(path.name) for path in Path(conf).parent.glob("*.conf")]
    for link in links:
        link.symlink_to(Path(conf).with_name(link.name))
    try:
        yield
    finally:
        for link in links:
            link.unlink()
        if made:
            DEFAULT_CONF.parent.rmdir()


@contextmanager
def _workflow(jobs: int) -> Iterator[Path]:
    """A folder with a workflow of ``jobs`` jobs and a ``bin/sbatch`` that counts its calls."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, ignore_cleanup_errors=True) as name:
        folder = Path(name).absolute()
        (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
        counting = folder / "bin/sbatch"
        counting.parent.mkdir()
        counting.write_text(
            f"#!/bin/sh\necho >> '{folder}/sbatch.calls'\nexec '{shutil.which('sbatch')}' \"$@\"\n"
        )
        counting.chmod(0o755)
        yield folder


def _start(folder: Path, python: Path, executor: str, jobs: int) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    if executor != "submitit":
        # it may lead to this project's plugin, whose packages the other environment lacks
        environment.pop("PYTHONPATH", None)
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [python, "-m", "snakemake", "--executor", executor, "--jobs", str(jobs),
             "--scheduler", "greedy", "--seconds-between-status-checks", "5"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip


def _calls(folder: Path) -> int:
    calls = folder / "sbatch.calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def _finish(executor: str, python: Path, jobs: int) -> Row:
    """Run all jobs to their end."""
    with _workflow(jobs) as folder:
        started = time.monotonic()
        status = _start(folder, python, executor, jobs).wait()
        seconds = time.monotonic() - started
        done = len(list(folder.glob("out/*/done")))
        if status != 0 or done != jobs:
            raise SystemExit(
                f"{executor}: {done} of {jobs} jobs, exit status {status}\n"
                + (folder / "output").read_text(errors="replace")[-3000:]
            )
        return Row(executor, jobs, "finished", seconds, _calls(folder))


def _submit(python: Path, jobs: int) -> Row:
    """Run until all jobs are on the cluster, then cancel them."""
    with _workflow(jobs) as folder:
        started = time.monotonic()
        controller = _start(folder, python, "submitit", jobs)
        output = folder / "output"
        while output.read_text(errors="replace").count("Submitted job ") < jobs:
            if controller.poll() is not None or time.monotonic() - started > 300:
                controller.kill()
                raise SystemExit(output.read_text(errors="replace")[-3000:])
            time.sleep(0.2)
        seconds = time.monotonic() - started
        controller.send_signal(signal.SIGINT)
        controller.wait()
        return Row("submitit", jobs, "submitted", seconds, _calls(folder))
