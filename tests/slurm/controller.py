"""A Snakemake that runs a workflow of named jobs on a cluster, and what it says."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .base import Cluster

__all__ = ["Controller", "Job", "until"]


@dataclass(frozen=True)
class Job:
    """One job: a shell command and what it asks for."""

    command: str = "true"
    threads: int = 1
    resources: Mapping[str, object] = field(default_factory=dict)


SNAKEFILE = """
JOBS = {jobs}

rule all:
    input:
        expand("out/{{job}}/done", job=JOBS),

for name, asked in JOBS.items():
    rule:
        name: f"job_{{name}}"
        output: f"out/{{name}}/done"
        threads: asked["threads"]
        params: command=asked["command"]
        resources: **({{"mem_mb": 300, "runtime": 10}} | asked["resources"])
        shell: "echo $SLURM_JOB_ID >> starts.{{rule}}; {{params.command}}; touch {{output}}"
"""


def until(what: str, check: Callable[[], object], seconds: float = 180) -> None:
    """Wait until ``check`` is true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.2)


class Controller:
    """A workflow in a folder, and the Snakemakes that are started on it one after another."""

    def __init__(self, cluster: Cluster, folder: Path, jobs: Mapping[str, Job]) -> None:
        self.cluster, self.folder = cluster, folder
        self.process: subprocess.Popen[bytes] | None = None
        described = {
            name: {"command": job.command, "threads": job.threads, "resources": dict(job.resources)}
            for name, job in jobs.items()
        }
        (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=described))

    def start(self, *options: str) -> None:
        """Start Snakemake with the plugin; what it says goes to ``output``."""
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                self.cluster.enter([
                    self.cluster.python, "-m", "snakemake", "--executor", "submitit",
                    "--jobs", "100", "--keep-going", "--rerun-incomplete", "--nolock",
                    "--scheduler", "greedy", "--seconds-between-status-checks", "2", *options
                ], self.folder),
                env=self.cluster.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait(self, seconds: float = 300) -> int:
        """Exit status once it has ended."""
        assert self.process is not None
        return self.process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        assert self.process is not None
        self.cluster.leader(self.process.pid).send_signal(number)

    def run(self, *options: str) -> int:
        """Start, and wait for the end."""
        self.start(*options)
        return self.wait()

    @property
    def said(self) -> str:
        """What Snakemake has said since its last start."""
        return (self.folder / "output").read_text(errors="replace")

    @property
    def done(self) -> set[str]:
        """Jobs whose output is there."""
        return {path.parent.name for path in self.folder.glob("out/*/done")}

    def starts(self, job: str) -> int:
        """How often a job's command was started."""
        path = self.folder / f"starts.job_{job}"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def started(self, *jobs: str) -> Callable[[], bool]:
        """Whether all of these have been started."""
        return lambda: all(self.starts(job) for job in jobs)

    def job_id(self, job: str) -> str:
        """The id under which a job was last submitted, such as 17_3."""
        lines = [
            line for line in self.said.splitlines()
            if line.startswith("Submitted job") and f": job_{job} (log:" in line
        ]  # fmt: skip
        return lines[-1].split()[2].removesuffix(":")

    def failure(self, job: str) -> str:
        """The first line of the report that a job failed."""
        return next(
            (line.strip() for line in self.said.splitlines() if f"(job_{job}) failed: " in line), ""
        )

    def slurm(self, *command: str) -> str:
        """Output of one of Slurm's commands."""
        return subprocess.run(
            self.cluster.enter(command),
            env=self.cluster.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def queued(self) -> list[str]:
        """Ids of this folder's jobs on the cluster that have not ended."""
        text = self.slurm("squeue", "--me", "--noheader", "--array", "--format=%i %Z")
        jobs = [line.split(" ", 1) for line in text.splitlines()]
        return [job for job, folder in jobs if Path(folder) == self.folder]

    def node(self, job: str) -> str:
        """Where a job runs."""
        return self.slurm(
            "squeue", "--noheader", f"--jobs={self.job_id(job)}", "--format=%N"
        ).strip()
