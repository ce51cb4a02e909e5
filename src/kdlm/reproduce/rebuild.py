"""L1: rebuilding tables, claims, figures and report from archived files, with archived source."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdlm.archive.manifest import file_sha256
from kdlm.reproduce.outcome import Level, Outcomes, State
from kdlm.reproduce.unpacked import UNTOLD, Unpacked
from kdlm.study.jobs import init_means_jobs, student_jobs, teacher_jobs, theory_jobs
from kdlm.study.schemas import TABLES, table_path

__all__ = ["Step", "rebuild", "remake", "steps"]


@dataclass(frozen=True)
class Step:
    """A command of kdlm on a study's folder; paths are relative to the folder."""

    command: tuple[str, ...]
    """The subcommand, and its arguments after the folder."""
    needs: tuple[str, ...]
    """Files that the command reads."""
    makes: tuple[str, ...]
    """Files that the command writes."""

    def arguments(self, folder: str) -> list[str]:
        """Return the arguments of the command line for the study in ``folder``."""
        return [self.command[0], folder, *self.command[1:]]


def steps(unpacked: Unpacked) -> Iterator[Step]:
    """Yield the steps from tables to the report, in an order in which they can run."""
    study = unpacked.study
    teachers = [job.folder.as_posix() for job in teacher_jobs(study)]
    students = [job.folder.as_posix() for job in student_jobs(study)]
    shards = [job.folder.as_posix() for job in init_means_jobs(study)]
    theory = [
        one.folder.as_posix()
        for job in theory_jobs(study)
        for one in (job, job.teacher)
        if one is not None
    ]
    yield Step(
        ("collect",),
        _files([*teachers, *students], "history.parquet", "logits.parquet"),
        _tables("runs", "histories", "energies"),
    )
    yield Step(
        ("compare",),
        (*_files(teachers, "logits.parquet"),
         *_files(students, "model.safetensors", "logits.parquet")),
        _tables("comparisons"),
    )  # fmt: skip
    yield Step(
        ("summarise",), _files(shards, "means.parquet"), _tables("layer_means", "init_means")
    )
    yield Step(
        ("theory",), _files(theory, "logits.parquet"), _tables("gradient_limit", "identities")
    )
    yield Step(("judge",), _tables(*TABLES), ("claims.parquet",))
    for name in unpacked.figures:
        yield Step(
            ("figure", name),
            (*_tables(*TABLES), "claims.parquet"),
            tuple(f"figures/{name}.{suffix}" for suffix in ("svg", "png")),
        )
    # The archive may come from a version whose report.html was Snakemake's.
    if unpacked.digest(f"{unpacked.prefix}/snakemake-report.html"):
        yield Step(
            ("report",),
            (
                *_tables(*TABLES),
                "claims.parquet",
                *(f"figures/{name}.svg" for name in unpacked.figures),
            ),
            ("report.html", "answer.txt"),
        )


def _files(folders: list[str], *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for folder in folders for name in names)


def _tables(*names: str) -> tuple[str, ...]:
    return tuple(table_path(name).as_posix() for name in names)


def rebuild(unpacked: Unpacked, outcomes: Outcomes) -> Path:
    """Rebuild every table, the claims, every figure and the report, and enter L1 of them.

    A table of which the archive lacks an input is copied from the archive's ``tables/``, and its
    outcome says so. All else is rebuilt, from rebuilt files where there are some.

    Returns:
        The folder of the rebuilt study.

    """
    root = unpacked.folder / "rebuilt"
    folder = root / unpacked.prefix
    names = [name for name in unpacked.digests if name.startswith(f"{unpacked.prefix}/")]
    for name in names:
        inner = name.removeprefix(f"{unpacked.prefix}/")
        if inner.split("/")[0] in ("study.json", "teachers", "students", "init_means"):
            _copy(unpacked, inner, folder)
    planned, made = [], set()
    for step in steps(unpacked):
        missing = [n for n in step.needs if n not in made and not (folder / n).is_file()]
        if missing and step.makes[0].startswith("tables/"):
            _take(unpacked, step, missing, folder, outcomes)
        else:
            # The rest is never copied: the question is whether it can be rebuilt.
            planned.append(step)
            made |= set(step.makes)
    _make(unpacked, planned, root, outcomes, Level.REBUILT)
    return folder


def remake(unpacked: Unpacked, folder: Path, outcomes: Outcomes) -> None:
    """Make tables, claims, figures and the report from rerun jobs, and enter L2 of them.

    Args:
        unpacked: the archive.
        folder: folder of the study whose jobs were all rerun.
        outcomes: the outcomes to add to.

    """
    _copy(unpacked, "study.json", folder)
    _make(unpacked, list(steps(unpacked)), folder.parents[1], outcomes, Level.RERUN)


def _make(
    unpacked: Unpacked, planned: list[Step], root: Path, outcomes: Outcomes, level: Level
) -> None:
    folder = root / unpacked.prefix
    ends = unpacked.run_all([step.arguments(unpacked.prefix) for step in planned], root)
    for step, end in zip(planned, ends, strict=True):
        lost = next((need for need in step.needs if not (folder / need).is_file()), None)
        failure = f"{lost} could not be made anew" if lost else end
        for name in (f"{unpacked.prefix}/{made}" for made in step.makes):
            if level in outcomes.asked:
                difference = _difference(root / name, unpacked.digest(name))
                outcomes.judge(name, level, failure or difference)


def _copy(unpacked: Unpacked, inner: str, folder: Path) -> None:
    target = folder / inner
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(unpacked.results / inner, target)


def _take(
    unpacked: Unpacked, step: Step, lacking: list[str], folder: Path, outcomes: Outcomes
) -> None:
    untold = [name for name in lacking if unpacked.digest(f"{unpacked.prefix}/{name}") is None]
    missing = (untold or lacking)[0]
    for made in step.makes:
        if (unpacked.results / made).is_file():
            _copy(unpacked, made, folder)
            state, reason = (
                (State.FAILED, f"made from {missing}: {UNTOLD}")
                if untold
                else (
                    State.NOT_DONE,
                    f"starts from {made}: the archive holds no {Path(missing).name}",
                )
            )
            outcomes.add(f"{unpacked.prefix}/{made}", Level.REBUILT, state, reason)
        else:
            reason = f"neither it nor {missing}, which it is made from, is in the archive"
            outcomes.add(f"{unpacked.prefix}/{made}", Level.REBUILT, State.FAILED, reason)


def _difference(path: Path, wanted: str | None) -> str | None:
    if wanted is None:
        return UNTOLD
    if not path.is_file():
        return "was not made"
    return None if file_sha256(path) == wanted else "other bytes"
