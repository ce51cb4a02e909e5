"""A folder with a Snakefile, and Snakemake in it with this plugin."""

import contextlib
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 120.0
"""Seconds after which a test gives up; nothing is expected to take nearly as long."""

BASE = (
    *("-m", "snakemake", "--executor", "submitit", "--jobs", "20"),
    *("--seconds-between-status-checks", "1", "--latency-wait", "2", "--nocolor"),
)


@dataclass
class Run:
    """A controller that was started."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def submitted(self) -> dict[str, str]:
        """Job ids by title."""
        found = re.findall(r"Submitted job (\S+): (.*) \(log: ", self.text)
        return {title: job_id for job_id, title in found}

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait for something that has to happen while this controller runs."""
        wait_for(lambda: happened() or self.ended, lambda: f"it goes on:\n{self.text}")
        assert happened(), self.text

    def says(self, text: str) -> None:
        self.until(lambda: text in self.text)

    def end(self) -> int:
        wait_for(lambda: self.ended, lambda: f"it goes on:\n{self.text}")
        return self.process.wait()

    def succeed(self) -> str:
        assert self.end() == 0, self.text
        return self.text

    def fail(self) -> str:
        assert self.end() != 0, self.text
        return self.text


@dataclass
class Study:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def write(self, snakefile: str) -> None:
        (self.folder / "Snakefile").write_text(textwrap.dedent(snakefile))

    def start(self, *arguments: str, python: str = sys.executable) -> Run:
        log = self.folder / f"controller{len(self.runs)}.txt"
        with log.open("w") as file:
            process = subprocess.Popen(
                [python, *BASE, *arguments],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.runs.append(Run(process, log))
        return self.runs[-1]

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run.process.pid, 9)
            run.process.wait()

    def files(self, pattern: str) -> Iterator[Path]:
        return (path for path in self.folder.glob(pattern) if path.is_file())


def wait_for(happened: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.1)
