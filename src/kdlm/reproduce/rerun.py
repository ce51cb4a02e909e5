"""L2 and L3: rerunning a sample of the training and initialisation jobs with archived source."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlm.archive.manifest import file_sha256
from kdlm.errors import InputError
from kdlm.reproduce.columns import first_difference
from kdlm.reproduce.machine import differences, here
from kdlm.reproduce.outcome import Level, Outcomes, State
from kdlm.reproduce.told import read_object
from kdlm.reproduce.unpacked import UNTOLD, Unpacked
from kdlm.study.config import DatasetConfig, Study
from kdlm.study.jobs import Job, init_means_jobs, network_jobs
from kdlm.study.specs import BroughtTeacherSpec

__all__ = ["Rerunnable", "draw", "rerun", "rerunnable"]

_NETWORK = ("history.parquet", "logits.parquet", "model.safetensors")


@dataclass(frozen=True)
class Rerunnable:
    """A job to be rerun; folders are relative to the study's folder."""

    command: str
    """The subcommand of kdlm."""
    spec: str
    """The job's spec as canonical JSON."""
    folder: str
    dataset: str
    """Name of the dataset."""
    threads: int
    outputs: tuple[str, ...]
    """Names of the files that are compared."""
    teacher: str | None = None
    """Folder of the student's teacher; None for other jobs."""

    def arguments(self, prefix: str) -> list[str]:
        """Return the arguments of the command line, in a folder that holds ``prefix``.

        They are made from the config; a command recorded in the archive is never run.
        """
        output = f"{prefix}/{self.folder}"
        if self.command == "init-means":
            output += "/means.parquet"
        data = f"{prefix}/data/{self.dataset}.safetensors"
        teacher = ["--teacher", f"{prefix}/{self.teacher}"] if self.teacher else []
        return [self.command, "--spec", self.spec, "--data", data, *teacher, "--output", output]


_COMMANDS = {"teachers": "train-teacher", "students": "distill", "init_means": "init-means"}


def rerunnable(study: Study) -> list[Rerunnable]:
    """Return every job of a study that can be rerun, in the order of the config."""
    trained, untrained = study.dataset.name, study.init_means.dataset.name
    return [
        # A teacher trained elsewhere cannot be rerun.
        *(
            _rerunnable(job, trained, _NETWORK)
            for job in network_jobs(study)
            if not isinstance(job.spec, BroughtTeacherSpec)
        ),
        *(_rerunnable(job, untrained, ("means.parquet",)) for job in init_means_jobs(study)),
    ]


def _rerunnable(job: Job[Any], dataset: str, outputs: tuple[str, ...]) -> Rerunnable:
    return Rerunnable(
        command=_COMMANDS[job.kind],
        spec=job.spec.canonical_json(),
        folder=job.folder.as_posix(),
        dataset=dataset,
        threads=job.spec.threads,
        outputs=outputs,
        teacher=None if job.teacher is None else job.teacher.folder.as_posix(),
    )


def draw(jobs: list[Rerunnable], count: int, seed: int) -> list[Rerunnable]:
    """Return ``count`` of the ``jobs``, drawn without replacement, in the order of ``jobs``.

    Python's generator with the given ``seed`` draws from the jobs sorted by folder.
    """
    ordered = sorted(jobs, key=lambda job: job.folder)
    drawn = random.Random(seed).sample(ordered, min(count, len(ordered)))  # noqa: S311
    return [job for job in jobs if job in drawn]


def rerun(
    unpacked: Unpacked, sample: list[Rerunnable], outcomes: Outcomes, levels: tuple[Level, ...]
) -> Path:
    """Rerun the jobs of ``sample`` and their teachers, and enter ``levels`` of their outputs.

    Args:
        unpacked: the archive.
        sample: the jobs to rerun.
        outcomes: the outcomes to add to.
        levels: L2, L3 or both.

    Returns:
        The folder of the study that the jobs wrote.

    """
    session = _Session(unpacked, outcomes, levels)
    for job in sample:
        session.ensure(job)
    return session.root / unpacked.prefix


class _Session:
    """Runs each job at most once, after preparing its dataset and its teacher."""

    def __init__(self, unpacked: Unpacked, outcomes: Outcomes, levels: tuple[Level, ...]) -> None:
        self.unpacked = unpacked
        self.outcomes = outcomes
        self.levels = levels
        self.root = unpacked.folder / "rerun"
        self.root.mkdir(exist_ok=True)
        self.teachers = {job.folder: job for job in rerunnable(unpacked.study)}
        self.done: dict[str, str | None] = {}
        """The failure of each job by folder, and of each dataset by name; None for a success."""
        self.installed = read_object(unpacked.folder / "environment/installed.json")
        self.present = here(unpacked.study.device)

    def ensure(self, job: Rerunnable) -> str | None:
        """Run ``job`` unless that was done before; return its failure, or None."""
        if job.folder not in self.done:
            self.done[job.folder] = self._run(job)
        return self.done[job.folder]

    def _run(self, job: Rerunnable) -> str | None:
        refused = self._mismatch(job) if Level.RERUN in self.levels else None
        if refused and self.levels == (Level.RERUN,):
            self._enter(job, Level.RERUN, State.REFUSED, refused)
            return refused
        failure = self._dataset(job.dataset) or (
            self._teacher(job.teacher) if job.teacher else None
        )
        failure = failure or self.unpacked.run(
            job.arguments(self.unpacked.prefix), self.root, job.threads
        )
        for level in self.levels:
            if level == Level.RERUN and refused:
                self._enter(job, level, State.REFUSED, refused)
            elif failure:
                self._enter(job, level, State.FAILED, failure)
            else:
                self._judge(job, level)
        return failure

    def _mismatch(self, job: Rerunnable) -> str | None:
        """Return the reason why equal bytes cannot be expected here; None if they can."""
        own = self.unpacked.results / job.folder / "run.json"
        # Initialisation means have no run.json. They may have run on any machine of the study, so
        # all of these must match.
        runs = [own] if own.is_file() else sorted(self.unpacked.results.rglob("run.json"))
        for path in runs:
            try:
                found = differences(read_object(path), self.present, self.installed)
            except (AttributeError, TypeError):
                raise InputError(f"{path}: not what a job says of its machine") from None
            if found:
                return "; ".join(found)
        return None if runs else "the archive does not say what it ran on"

    def _dataset(self, name: str) -> str | None:
        """Prepare a dataset and compare it with the study's; return the failure, or None."""
        if name not in self.done:
            output = f"{self.unpacked.prefix}/data/{name}.safetensors"
            study = self.unpacked.study
            config = next(
                one for one in (study.dataset, study.init_means.dataset) if one.name == name
            )
            failure = self.unpacked.run(
                ["prepare", "--name", name, *_options(config), "--output", output], self.root
            )
            wanted = self.unpacked.digest(output)
            if failure is None and file_sha256(self.root / output) != wanted:
                failure = f"dataset {name} is not the one the study was run on: another SHA-256"
            self.done[name] = failure
        return self.done[name]

    def _teacher(self, folder: str) -> str | None:
        """Copy the archived teacher, or rerun it if its weights are missing; return the failure."""
        archived = self.unpacked.results / folder
        target = self.root / self.unpacked.prefix / folder
        if folder not in self.done and (archived / "model.safetensors").is_file():
            shutil.copytree(archived, target, dirs_exist_ok=True)
            return None
        if folder not in self.teachers:
            return f"{folder} was brought along, and its weights are not in the archive"
        return self.ensure(self.teachers[folder])

    def _judge(self, job: Rerunnable, level: Level) -> None:
        for name in job.outputs:
            output = f"{self.unpacked.prefix}/{job.folder}/{name}"
            path = self.root / output
            wanted = self.unpacked.digest(output)
            if wanted is None:
                self.outcomes.judge(output, level, UNTOLD)
            elif level == Level.RERUN:
                difference = None if file_sha256(path) == wanted else "other bytes"
                self.outcomes.judge(output, level, difference)
            elif output in self.unpacked.digests and path.suffix == ".parquet":
                archived = self.unpacked.folder / output
                tolerances = self.unpacked.study.tolerances
                difference = first_difference(archived, path, path.stem, tolerances)
                self.outcomes.judge(output, level, difference)

    def _enter(self, job: Rerunnable, level: Level, state: State, reason: str) -> None:
        for name in job.outputs:
            self.outcomes.add(f"{self.unpacked.prefix}/{job.folder}/{name}", level, state, reason)


def _options(dataset: DatasetConfig) -> list[str]:
    options = [] if dataset.root is None else ["--root", dataset.root]
    options += [] if dataset.download else ["--no-download"]
    options += [] if dataset.image_side is None else ["--image-side", str(dataset.image_side)]
    return options + (
        [] if dataset.train_images is None else ["--train-images", str(dataset.train_images)]
    )
