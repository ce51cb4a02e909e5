"""Rates of an earlier run: what its jobs took, against what they were planned to take."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kdlm.errors import InputError
from kdlm.planning.jobs import PlannedJob, planned_jobs
from kdlm.study.config import read_study

__all__ = ["Earlier", "read_earlier", "scaled"]

_MOST_BYTES = 10_000
"""Largest size of a benchmark."""


@dataclass(frozen=True)
class Earlier:
    """What an earlier run tells of the speed of the machine that it ran on."""

    factors: Mapping[tuple[str, ...], float]
    """Measured by planned seconds: by rule, and by rule, architecture and precision."""
    jobs: int
    """Number of jobs that were measured."""


def read_earlier(folder: Path) -> Earlier:
    """Return what the benchmarks in a study's folder say of the speed of its machine.

    A job's benchmark is compared with the time on one core that `planned_jobs` gives for the same
    job. The ratio, summed over the jobs of a rule, scales the jobs of another study: those have
    other numbers of images and epochs, and other networks.

    Raises:
        InputError: the folder has no study or no benchmarks, or its trainings ran on a GPU or may
            have, so that their times say nothing of a processor.

    """
    study = read_study(folder)
    took: dict[tuple[str, ...], list[float]] = {}
    planned: dict[tuple[str, ...], list[float]] = {}
    jobs = 0
    for job in planned_jobs(study):
        seconds = _seconds(folder / job.benchmark)
        if seconds is None:
            continue
        if job.on_gpu is not None:
            raise InputError(
                f"--from {folder}: its device is {study.device}, and only times of processors can "
                f"be scaled; name a study with device: cpu"
            )
        jobs += 1
        for key in _keys(job):
            took.setdefault(key, []).append(seconds * job.threads)
            planned.setdefault(key, []).append(job.seconds)
    if not jobs:
        raise InputError(f"--from {folder}: no benchmarks/**.tsv of its jobs is there")
    return Earlier({key: math.fsum(took[key]) / math.fsum(planned[key]) for key in took}, jobs)


def scaled(jobs: Iterable[PlannedJob], earlier: Earlier) -> list[PlannedJob]:
    """Return the jobs with their times on processors scaled by an earlier run's.

    A rule that the earlier run did not have keeps its time.
    """
    found = []
    for job in jobs:
        factor = next((earlier.factors[key] for key in _keys(job) if key in earlier.factors), 1.0)
        found.append(replace(job, seconds=job.seconds * factor))
    return found


def _keys(job: PlannedJob) -> list[tuple[str, ...]]:
    """Return what an earlier job can have in common with ``job``, the closest first."""
    return [(job.rule, *job.kind), (job.rule,)] if job.kind else [(job.rule,)]


def _seconds(path: Path) -> float | None:
    """Return the seconds in a benchmark of Snakemake's; None where there is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        text = path.read_text(encoding="utf-8")
        row = next(csv.DictReader(io.StringIO(text), delimiter="\t"), None)
        seconds = float(row["s"]) if row else math.nan
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None
    return seconds if 0 < seconds < 1e9 else None
