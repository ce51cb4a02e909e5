"""Which of a study's files an archive holds, and of which it holds the digest alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdlm.config import Study
from kdlm.errors import InputError
from kdlm.layout import init_means_directory, student_directory, teacher_directory

__all__ = ["Results", "job_folders", "results"]


@dataclass(frozen=True)
class Results:
    """Paths relative to the folder Snakemake ran in: ``results/<study>/…``."""

    archived: tuple[Path, ...]
    left_out: tuple[Path, ...]

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All outputs of the DAG."""
        return (*self.archived, *self.left_out)


def job_folders(study: Study) -> Iterator[Path]:
    """Folder, within the study's, of each training and initialisation job."""
    for keys, _ in study.teacher_jobs():
        yield teacher_directory(keys)
    for keys, _ in study.student_jobs():
        yield student_directory(keys)
    for keys, _ in study.init_means_jobs():
        yield init_means_directory(keys)


def results(study: Study, root: Path, *, weights: bool, small: bool) -> Results:
    """The outputs of the study whose Snakemake ran in ``root``.

    Left out are the prepared datasets (no data are archived), the figures' PNG files, which the
    report has, and unless asked for, weights; of a small archive also the bulk of what jobs leave,
    logits and initialisation means.

    Raises:
        InputError: the study is not finished.

    """
    folder = root / "results" / study.study
    expected = [
        "study.json",
        "report.html",
        "claims.parquet",
        *(path.relative_to(folder).as_posix()
          for kind in ("tables/*.parquet", "figures/*.svg") for path in folder.glob(kind)),
        *(f"{job}/{name}" for job in job_folders(study) for name in _outputs(folder / job)),
    ]  # fmt: skip
    dropped = {
        *(() if weights else ("model.safetensors",)),
        *(("logits.parquet", "means.parquet") if small else ()),
    }
    paths = sorted(folder / name for name in expected)
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path} is missing: the study is not finished, run snakemake archive")
    aside = [*folder.glob("data/*.safetensors"), *folder.glob("figures/*.png")]
    return Results(
        archived=tuple(path.relative_to(root) for path in paths if path.name not in dropped),
        left_out=tuple(
            path.relative_to(root)
            for path in sorted([*aside, *(path for path in paths if path.name in dropped)])
        ),
    )


def _outputs(job: Path) -> list[str]:
    """Names of the files a job left."""
    found = [path.name for path in job.glob("*") if path.is_file() and path.name[0] != "."]
    if not found:
        raise InputError(f"{job} is empty: the study is not finished, run snakemake archive")
    return found
