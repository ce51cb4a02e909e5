"""Removing what a finished study no longer needs: teacher's answers, checkpoints and logs.

Claims, tables, figures, networks and the prepared datasets stay, and with them all that an archive
has to hold. What is removed can be made again from what stays.
"""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdlm.errors import InputError
from kdlm.storage.locks import acquire_folder, holder_of
from kdlm.study.config import Study
from kdlm.study.jobs import NETWORK_FILES, init_means_jobs, network_jobs
from kdlm.terminal import printable

__all__ = ["PARTS", "Answers", "Part", "clean", "describe"]

_ANSWERS = "answers"

PARTS = {
    _ANSWERS: "the teachers' logits for the views of each epoch",
    "checkpoints": "of trainings that were stopped",
    "logs": "of every job; archive the study first to keep them",
}
"""Folders of a study that are removed, with what each holds."""

_TOO_DEEP = "{}: folders in it are nested too deeply for Python; remove them by hand"


@dataclass(frozen=True)
class Answers:
    """A file of a teacher's answers."""

    path: Path
    """Relative to the study's folder."""
    bytes: int
    seconds: float | None
    """What its job took, by Snakemake's benchmark; None where there is no benchmark of it."""


@dataclass(frozen=True)
class Part:
    """What one of the folders in `PARTS` held before it was removed."""

    name: str
    files: int
    bytes: int
    """Sum of the files' sizes; a link counts with the size of the link itself."""
    answers: tuple[Answers, ...] = ()
    """The files of teachers' answers among them."""


def clean(
    study: Study, folder: Path, *, unfinished: bool = False, dry_run: bool = False
) -> list[Part]:
    """Remove the folders `PARTS` of the study in ``folder``.

    Args:
        study: the study.
        folder: its folder.
        unfinished: whether the study may be unfinished. Its trainings that were stopped then start
            over, because their checkpoints are removed.
        dry_run: whether to remove nothing, and only to return what would be removed.

    Returns:
        What each folder held, in the order of `PARTS`.

    Raises:
        InputError: the study or one of its jobs is running, or the study is not finished and
            ``unfinished`` is false; ``folder`` is that of another study; a folder to be removed is
            a link or no folder; or the file system refuses.

    """
    if study.study not in (folder.absolute().name, folder.resolve().name):
        raise InputError(f"{folder} is not the folder of study {study.study}, whose config it has")
    if not unfinished and (missing := _first_missing(study, folder)):
        raise InputError(
            f"{missing} is missing: the study is not finished; run snakemake first, or give "
            f"--unfinished, after which trainings that were stopped start over"
        )
    for name in PARTS:
        _refuse_other_than_folder(folder / name)
    with contextlib.nullcontext() if dry_run else acquire_folder(folder):
        _refuse_running_jobs(folder)
        found = [_measure(folder, name) for name in PARTS]
        if not dry_run:
            for name in PARTS:
                _remove(folder / name)
    return found


def _first_missing(study: Study, folder: Path) -> Path | None:
    """Return the first output of the study that is not there; None where it is finished.

    Claims alone do not tell: after a failure they are made from the results that there are.
    """
    paths = [Path("claims.parquet")]
    paths += [job.folder / name for job in network_jobs(study) for name in NETWORK_FILES]
    paths += [job.folder / "means.parquet" for job in init_means_jobs(study)]
    return next((folder / path for path in paths if not (folder / path).is_file()), None)


def _refuse_other_than_folder(path: Path) -> None:
    """Check that ``path`` is a folder, or not there.

    Raises:
        InputError: it is a link, and what it leads to may not be the study's; or it is a file.

    """
    if path.is_symlink():
        raise InputError(
            f"{path} is a link, which is not followed; remove what it leads to by hand"
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is no folder; move it away")


def _refuse_running_jobs(folder: Path) -> None:
    """Check that no job of the study is running; jobs can outlive the Snakemake that started them.

    Raises:
        InputError: a job holds the lock of its own folder, or a folder cannot be read.

    """
    for place, _, names in _walk(folder):
        if place != folder and ".lock" in names and (holder := holder_of(place)):
            raise InputError(f"{place} is being worked on by {holder}; wait for it, or stop it")


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below ``folder``, and itself, with the names of its folders and files.

    Links to folders are not followed.

    Raises:
        InputError: a folder cannot be read, or is nested too deeply.

    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror})") from error

    try:
        for place, folders, files in os.walk(folder, onerror=refuse):
            yield Path(place), folders, files
    except RecursionError:
        raise InputError(_TOO_DEEP.format(folder)) from None


def _measure(folder: Path, name: str) -> Part:
    """Return what the folder ``name`` of the study's ``folder`` holds."""
    files, total = 0, 0
    answers: list[Answers] = []
    for place, folders, names in _walk(folder / name) if (folder / name).exists() else ():
        links = [one for one in folders if (place / one).is_symlink()]
        for path in (place / one for one in [*names, *links]):
            size = path.lstat().st_size
            files, total = files + 1, total + size
            if name == _ANSWERS and path.suffix == ".parquet":
                answers.append(Answers(path.relative_to(folder), size, _seconds(folder, place)))
    return Part(name, files, total, tuple(sorted(answers, key=lambda one: one.path)))


def _seconds(folder: Path, place: Path) -> float | None:
    """Return the seconds that the job took whose outputs are in ``place``; None if not known."""
    table = folder / "benchmarks" / place.relative_to(folder).with_name(f"{place.name}.tsv")
    try:
        heading, values, *_ = table.read_text(encoding="utf-8").splitlines()
        return float(dict(zip(heading.split("\t"), values.split("\t"), strict=True))["s"])
    except (OSError, ValueError, KeyError):
        return None


def _remove(path: Path) -> None:
    """Remove a folder with all that is in it; a link in it is removed, and not followed.

    Raises:
        InputError: the file system refuses; what was removed before that stays removed.

    """
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except RecursionError:
        raise InputError(_TOO_DEEP.format(path)) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be removed ({error.strerror}: {error.filename}); allow writing there, "
            f"and clean again"
        ) from error


def describe(found: list[Part], study: Study, *, dry_run: bool = False) -> str:
    """Return what was removed, a line for each part, and what an added student would then cost.

    Args:
        found: what `clean` returned.
        study: the study.
        dry_run: whether nothing was removed.

    """
    lines = [
        f"{part.name + '/':<13} {part.bytes:>16,} bytes in {part.files:,} files: {PARTS[part.name]}"
        for part in found
    ]
    total = sum(part.bytes for part in found)
    lines.append(f"{total:,} bytes {'would be removed' if dry_run else 'removed'}")
    answers = [one for part in found for one in part.answers]
    return "\n".join([*lines, "", _cost(answers, Path("results", study.study))])


def _cost(answers: list[Answers], place: Path) -> str:
    """Return in words what a student costs that is added to the study without its ``answers``.

    Args:
        answers: the files of answers that the study had.
        place: the study's folder, relative to that of Snakemake.

    """
    if not answers:
        return "The study had no teacher's answers: a student added later costs no more for that."
    largest = max(one.bytes for one in answers)
    known = [one.seconds for one in answers if one.seconds is not None]
    time = f", made in up to {max(known):,.0f} s" if known else ""
    target = printable(shlex.quote((place / answers[0].path).as_posix()))
    config = shlex.quote(f"{place.as_posix()}/study.json")
    return (
        f"A student added later needs its teacher's answers for its seed again: a file of up to "
        f"{largest:,} bytes{time}. Make it first, in a run of its own; otherwise the finished "
        f"students of that seed are trained again with the new one (docs/reruns.md). For example:\n"
        f"  snakemake --cores all --configfile {config} -- {target}"
    )
