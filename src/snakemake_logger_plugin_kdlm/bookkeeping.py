"""What is known of a running workflow: jobs done, running and failed by rule, and the time left."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kdlm.terminal import spell_time

__all__ = ["Bookkeeping", "Job", "Row", "clock", "last_lines"]

_LINES = 15
"""Lines of a failed job's log that are printed."""
_BYTES = 64_000
"""Bytes at the end of a log in which these lines are looked for."""


def clock() -> str:
    """Return the time of day, hours to seconds."""
    return time.strftime("%H:%M:%S")


def last_lines(path: str) -> list[str]:
    """Return a heading and the last lines of a failed job's log, indented."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - a pipe would be waited for
            return [f"  {path} is missing"]
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            text = file.read(_BYTES).decode(errors="replace")
    except OSError as error:
        return [f"  {path} cannot be read ({error.strerror})"]
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return [f"  {path} is empty"]
    heading = f"  {path} ends:" if len(lines) > _LINES else f"  {path}:"
    return [heading, *(f"    {line}" for line in lines[-_LINES:])]


@dataclass
class Job:
    """A job that was started."""

    rule: str
    name: str
    started: float
    ended: float | None = None

    def took(self) -> str:
        """Return in words how long the job took."""
        return spell_time((self.ended or self.started) - self.started)


@dataclass(frozen=True)
class Row:
    """What is known of one rule at one moment."""

    rule: str
    total: int
    done: int
    running: int
    failed: int
    work: float | None
    """Seconds of work left, of one job after the other; None while no job has been finished."""

    @property
    def left(self) -> float | None:
        """Seconds left, if as many jobs as now run at a time."""
        return None if self.work is None else self.work / max(self.running, 1)

    @property
    def over(self) -> bool:
        """Whether every job has been done."""
        return self.done >= self.total


@dataclass
class _Rule:
    total: int = 0
    done: int = 0
    failed: set[int] = field(default_factory=set)
    seconds: float = 0.0
    """Sum over the jobs that were done."""


class Bookkeeping:
    """Counts the jobs of a workflow. Its methods can be called from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Begin with no jobs.

        Args:
            now: function that returns the time in seconds; a test has one of its own.

        """
        self._now, self._lock = now, threading.Lock()
        self._rules: dict[str, _Rule] = {}
        self._running: dict[int, Job] = {}
        self.began = now()

    def expect(self, counts: Mapping[str, int]) -> None:
        """Take note of how many jobs each rule has."""
        with self._lock:
            for rule, count in counts.items():
                self._rules.setdefault(rule, _Rule()).total = count

    @property
    def total(self) -> int:
        """Number of all jobs."""
        return sum(rule.total for rule in self._rules.values())

    @property
    def done(self) -> int:
        """Number of jobs that were done."""
        return sum(rule.done for rule in self._rules.values())

    def described(self) -> str:
        """Return the number of jobs of each rule in words, the largest first."""
        counts = sorted(((rule.total, name) for name, rule in self._rules.items()), reverse=True)
        several = [f"{count} {name}" for count, name in counts if count > 1]
        single = len(counts) - len(several)
        return ", ".join([*several, f"{single} of one job each"] if single else several)

    def start(self, number: int, rule: str, name: str) -> None:
        """Take note that a job has been started, or started again after a failure."""
        with self._lock:
            known = self._rules.setdefault(rule, _Rule())
            known.failed.discard(number)
            self._running[number] = Job(rule, name, self._now())
            under_way = sum(job.rule == rule for job in self._running.values())
            known.total = max(known.total, known.done + len(known.failed) + under_way)

    def finish(self, number: int) -> Job | None:
        """Take note that a job was done, and return it; None if its start was not seen."""
        with self._lock:
            job = self._running.pop(number, None)
            if job:
                job.ended = self._now()
                rule = self._rules[job.rule]
                rule.done += 1
                rule.seconds += job.ended - job.started
            return job

    def fail(self, number: int) -> Job | None:
        """Take note that a job failed, and return it; None if it was not running."""
        with self._lock:
            job = self._running.pop(number, None)
            if job:
                job.ended = self._now()
                self._rules[job.rule].failed.add(number)
            return job

    def rows(self) -> list[Row]:
        """Return what is known of each rule, in the order that Snakemake gives."""
        with self._lock:
            now = self._now()
            return [self._row(name, rule, now) for name, rule in self._rules.items()]

    def _row(self, name: str, rule: _Rule, now: float) -> Row:
        running = [job for job in self._running.values() if job.rule == name]
        work = None
        if rule.done:
            mean = rule.seconds / rule.done
            waiting = rule.total - rule.done - len(rule.failed) - len(running)
            under_way = (max(0.0, mean - (now - job.started)) for job in running)
            work = mean * waiting + sum(under_way)
        elif rule.total == len(rule.failed):
            work = 0.0
        return Row(name, rule.total, rule.done, len(running), len(rule.failed), work)

    def seconds(self) -> float:
        """Return the seconds since the workflow began."""
        return self._now() - self.began
