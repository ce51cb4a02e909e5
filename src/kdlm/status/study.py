"""The state of every job of a study: done, running, failed, stopped or missing.

A job is done if its outputs are there. Whether Snakemake would make them again, because the config
or the code has changed, is not asked here: `snakemake -n` answers that.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdlm.figures import FIGURES
from kdlm.status.signs import LogEnd, holder, modified, read_beginning, read_log, saved_epoch
from kdlm.study.config import Arm, Study
from kdlm.study.jobs import (
    NETWORK_FILES,
    Job,
    answers_jobs,
    init_means_jobs,
    student_jobs,
    teacher_jobs,
)
from kdlm.study.names import LOSSES
from kdlm.study.specs import format_number
from kdlm.terminal import name_job

__all__ = ["QUIET", "STATES", "JobState", "Part", "read_status"]

State = Literal["done", "running", "failed", "stopped", "missing"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stopped", "missing")

QUIET = 3600
"""Seconds without a sign of life after which a job on another machine counts as stopped.

A training saves a checkpoint every ten minutes, and answers are written all the time.
"""

_TABLES = {
    "collect": ("runs", "histories", "energies"),
    "compare": ("comparisons",),
    "summarise_init_means": ("layer_means", "init_means"),
    "theory": ("gradient_limit", "identities"),
}
"""By rule, the tables that it makes."""


@dataclass(frozen=True)
class JobState:
    """What is known of one job. Times are in seconds."""

    name: str
    state: State
    reason: str = ""
    """Why it failed or stopped, or what it waits for; for people."""
    host: str = ""
    """Where it runs or ran; an empty text where that is not known."""
    diverged: bool = False
    """Whether its outputs are those of a training that diverged."""
    epoch: int | None = None
    """The last whole epoch of a training that is not done."""
    epochs: int | None = None
    accuracy: float | None = None
    """On the test images after that epoch."""
    seconds_an_epoch: float | None = None
    """Mean since the training started or resumed, with what comes before its first epoch."""
    seconds_left: float | None = None
    checkpoint: tuple[int, int] | None = None
    """The epoch of its checkpoint, and how many batches of that epoch were done."""
    sign: float | None = None
    """Seconds since the last sign of life."""
    log: str = ""
    """Path of its log, relative to the study's folder."""


@dataclass(frozen=True)
class Part:
    """The jobs of one rule, or of one arm."""

    name: str
    jobs: tuple[JobState, ...]

    def count(self, state: State) -> int:
        """Return how many of the jobs are in this state."""
        return sum(job.state == state for job in self.jobs)


def read_status(study: Study, folder: Path) -> list[Part]:
    """Return the state of every job of the study in ``folder``.

    Nothing in the folder is changed or locked, so the study can run meanwhile, here or elsewhere. A
    file that vanishes while it is read counts as missing.

    Args:
        study: the study.
        folder: its folder.

    """
    now = time.time()
    return [
        Part(name, tuple(_state(folder, one, now) for one in jobs)) for name, jobs in _parts(study)
    ]


@dataclass(frozen=True)
class _Wanted:
    """A job's name and the paths of its files, relative to the study's folder."""

    name: str
    outputs: tuple[Path, ...]
    log: Path
    folder: Path | None = None
    """The folder whose lock the job holds; None for a job without a lock."""
    checkpoint: Path | None = None
    epochs: int | None = None


def _parts(study: Study) -> Iterator[tuple[str, list[_Wanted]]]:
    datasets = dict.fromkeys([study.dataset.name, study.init_means.dataset.name])
    yield (
        "datasets",
        [
            _Wanted(name, (Path("data", f"{name}.safetensors"),), Path("logs/data", f"{name}.log"))
            for name in datasets
        ],
    )
    yield "teachers", [_network(job) for job in teacher_jobs(study)]
    answers = {job.folder: job for job in answers_jobs(study).values()}
    if answers:
        yield "teachers' answers", [_one_file(job, "answers.parquet") for job in answers.values()]
    seen: set[Path] = set()
    for number, arm in enumerate(study.arms):
        alone = study.model_copy(update={"arms": (arm,)})
        jobs = [job for job in student_jobs(alone) if job.folder not in seen]
        seen.update(job.folder for job in jobs)
        if jobs:
            # an arm may ask for nothing but students of arms before it
            yield _describe(number, arm), [_network(job) for job in jobs]
    yield (
        "initialisation means",
        [_one_file(job, "means.parquet") for job in init_means_jobs(study)],
    )
    yield (
        "tables",
        [
            _Wanted(rule, tuple(Path("tables", f"{one}.parquet") for one in made), _log(rule))
            for rule, made in _TABLES.items()
        ],
    )
    yield "claims", [_Wanted("judge", (Path("claims.parquet"),), _log("judge"))]
    yield (
        "figures",
        [
            _Wanted(
                f"figure {name}",
                tuple(Path("figures", f"{name}.{suffix}") for suffix in ("svg", "png")),
                Path("logs/figures", f"{name}.log"),
            )
            for name in FIGURES
        ],
    )
    page = (Path("report.html"), Path("answer.txt"))
    yield "report", [_Wanted("write_report", page, _log("write_report"))]


def _describe(number: int, arm: Arm) -> str:
    """Return a name of an arm of the config; what all arms may share comes last."""
    words = [f"arms[{number}] {arm.architecture} {arm.recipe}"]
    if arm.teacher_seed:
        words.append(f"teacher_seed {arm.teacher_seed}")
    if arm.means != ("trained-teacher",):
        words.append(f"means {' '.join(arm.means)}")
    for key in ("mean_gaps", "perturbations", "relative_perturbations"):
        values = getattr(arm, key)
        if any(values):
            words.append(f"{key} {' '.join(format_number(value) for value in values)}")
    return f"{', '.join(words)}: {' '.join(arm.losses)} from {arm.teacher}"


def _name_student(keys: Mapping[str, str]) -> str:
    """Return a short name of a student: its loss and its seed, then its networks."""
    told = {key: keys[key] for key in ("loss", "temperature", "means")}
    if not LOSSES[keys["loss"]].tempered:
        del told["temperature"]
    if told["means"] == "trained-teacher":
        del told["means"]
    told |= {
        key: keys[key] for key in ("mean_gap", "perturbation", "relative_perturbation", "seed")
    }
    teacher = {key: keys[key] for key in ("teacher", "teacher_seed")}
    if keys["teacher_seed"] == "0":
        del teacher["teacher_seed"]
    network = " ".join(keys[key] for key in ("architecture", "initialisation", "recipe"))
    return f"{name_job('student', told)}, {network}, {name_job('from', teacher)}"


def _log(rule: str) -> Path:
    return Path("logs", f"{rule}.log")


def _log_of(job: Job[Any]) -> Path:
    folder = Path("logs") / job.folder
    return folder.with_name(f"{folder.name}.log")


def _network(job: Job[Any]) -> _Wanted:
    recipe = getattr(job.spec, "recipe", None)
    return _Wanted(
        name_job("teacher", job.keys) if job.kind == "teachers" else _name_student(job.keys),
        tuple(job.folder / name for name in NETWORK_FILES),
        _log_of(job),
        job.folder,
        Path("checkpoints") / job.folder / "checkpoint.safetensors",
        recipe.epochs if recipe else None,
    )


def _one_file(job: Job[Any], name: str) -> _Wanted:
    kind = "answers" if job.kind == "answers" else "init-means"
    return _Wanted(name_job(kind, job.keys), (job.folder / name,), _log_of(job), job.folder)


def _state(folder: Path, wanted: _Wanted, now: float) -> JobState:
    """Return the state of one job."""
    if all((folder / path).is_file() for path in wanted.outputs):
        return JobState(wanted.name, "done", diverged=_diverged(folder, wanted))
    log = read_log(folder / wanted.log)
    held = holder(folder / wanted.folder) if wanted.folder else None
    if log is None and held is None:
        return JobState(wanted.name, "missing")
    signs = [modified(folder / path) for path in (wanted.log, *_growing(folder, wanted))]
    sign = max((one for one in signs if one is not None), default=held.since if held else now)
    age = max(0.0, now - sign)
    alive = held.alive if held else None
    if alive is None:
        # seen from another machine, or without a lock: whoever ends says so in the log
        alive = age < QUIET and (log is None or not log.ended)
    details: dict[str, Any] = {
        "host": held.host if held else "",
        "log": wanted.log.as_posix(),
        "sign": age,
        "checkpoint": saved_epoch(folder / wanted.checkpoint) if wanted.checkpoint else None,
        **_progress(wanted, log, held.since if held else None, sign, age if alive else 0.0),
    }
    if alive:
        return JobState(wanted.name, "running", **details)
    return _ended(wanted, log, details)


def _ended(wanted: _Wanted, log: LogEnd | None, details: dict[str, Any]) -> JobState:
    """Return the state of a job that is neither done nor running, but was started once."""
    if log is None:
        return JobState(wanted.name, "missing", "its log and outputs are gone", **details)
    if log.ended == "failed":
        return JobState(wanted.name, "failed", log.last.removeprefix("kdlm: "), **details)
    if log.ended == "finished":
        return JobState(wanted.name, "missing", "it was done once; its outputs are gone", **details)
    said = log.last if log.ended else "it ended without a word, as after a kill"
    return JobState(wanted.name, "stopped", said, **details)


def _progress(
    wanted: _Wanted, log: LogEnd | None, since: float | None, written: float, age: float
) -> dict[str, Any]:
    """Return how far a training has come, as attributes of `JobState`.

    Args:
        wanted: the job.
        log: what its log says.
        since: when it was started, in seconds since 1970.
        written: when it last gave a sign of life, by the same clock.
        age: seconds from then to now.

    """
    if wanted.epochs is None:
        return {}
    done = log.epoch if log else None
    if done is None:
        return {"epochs": wanted.epochs}
    found: dict[str, Any] = {
        "epoch": done.number, "epochs": wanted.epochs, "accuracy": done.accuracy,
    }  # fmt: skip
    since_start = done.number - (log.first if log else 1) + 1
    if since is not None and since_start > 0 and written > since:
        each = (written - since) / since_start
        left = each * (wanted.epochs - done.number) - age
        found |= {"seconds_an_epoch": each, "seconds_left": max(0.0, left)}
    return found


def _growing(folder: Path, wanted: _Wanted) -> list[Path]:
    """Return what a running job writes besides its log: its checkpoint, and unfinished files."""
    paths = [wanted.checkpoint] if wanted.checkpoint else []
    with contextlib.suppress(OSError):
        # a training writes its files at its end, answers are written all the time
        places = {path.parent for path in wanted.outputs} if wanted.folder else set()
        paths += [
            place / name
            for place in places
            for name in os.listdir(folder / place)  # noqa: PTH208 - names, and no path for each
            if name.endswith(".part")
        ]
    return paths


def _diverged(folder: Path, wanted: _Wanted) -> bool:
    """Return whether a training that is done has recorded that it diverged."""
    path = next((folder / one for one in wanted.outputs if one.name == "run.json"), None)
    if path is None:
        return False
    try:
        return bool(json.loads(read_beginning(path, 1_000_000) or b"")["diverged"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
