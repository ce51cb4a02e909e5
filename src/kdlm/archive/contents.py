"""The study's files that an archive holds, and those of which it holds only the SHA-256."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdlm.errors import InputError
from kdlm.figures import FIGURES
from kdlm.study.config import Study
from kdlm.study.jobs import NETWORK_FILES, init_means_jobs, network_jobs
from kdlm.study.schemas import TABLES, table_path

__all__ = ["Results", "expected", "results", "root_of"]

_LEFT_OUT_OF_SMALL = ("logits.parquet", "means.parquet")


@dataclass(frozen=True)
class Results:
    """Outputs of a study, as paths ``results/<study>/…`` relative to Snakemake's folder."""

    archived: tuple[Path, ...]
    """Outputs whose files the archive holds."""
    left_out: tuple[Path, ...]
    """Outputs of which the archive holds only size and SHA-256."""

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All outputs of the DAG."""
        return (*self.archived, *self.left_out)


def root_of(folder: Path) -> Path:
    """Return the folder that Snakemake ran in, two levels above the study's ``folder``.

    ``results`` may be a symbolic link to another disk. The path is therefore first used as it is
    written. If the folder found in this way has no ``.snakemake``, the resolved path is used.

    Raises:
        InputError: neither path has the form ``results/<study>``.

    """
    written, resolved = folder.absolute(), folder.resolve()
    roots = [path.parents[1] for path in (written, resolved) if path.parent.name == "results"]
    if not roots:
        raise InputError(f"{folder} is no results/<study>, the folder of a study")
    return next((root for root in roots if (root / ".snakemake").is_dir()), roots[0])


def expected(study: Study, figures: Iterable[str] = FIGURES) -> tuple[str, ...]:
    """Return the paths of all outputs of the DAG in the study's folder, existing or not."""
    datasets = {study.dataset.name, study.init_means.dataset.name}
    networks = [job.folder.as_posix() for job in network_jobs(study)]
    shards = [job.folder.as_posix() for job in init_means_jobs(study)]
    return (
        "study.json",
        "answer.txt",
        "claims.parquet",
        "report.html",
        "snakemake-report.html",
        *(f"data/{name}.safetensors" for name in sorted(datasets)),
        *(table_path(name).as_posix() for name in TABLES),
        *(f"figures/{name}.{suffix}" for name in figures for suffix in ("svg", "png")),
        *(f"{network}/{name}" for network in networks for name in NETWORK_FILES),
        *(f"{shard}/means.parquet" for shard in shards),
    )


def results(study: Study, root: Path, *, weights: bool, small: bool) -> Results:
    """Return the outputs of the study, archived and left out.

    The prepared datasets are always left out, because no data are archived. A small archive also
    leaves out the largest files, logits and initialisation means, and the figures' PNG files, which
    Snakemake's report contains.

    Args:
        study: the study.
        root: the folder that Snakemake ran in.
        weights: whether the networks' weights are archived.
        small: whether the archive is to be small.

    Raises:
        InputError: the study is not finished.

    """
    place = Path("results", study.study)
    paths = sorted(place / name for name in expected(study))
    if missing := [path for path in paths if not (root / path).is_file()]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        # Without a target, Snakemake checks only the final outputs and reports nothing to do.
        raise InputError(
            f"{root / missing[0]} is missing{more}: the study is not finished; run snakemake "
            f"--cores all {shlex.quote(missing[0].as_posix())}, with the study's config, and then "
            f"archive again"
        )
    data = place / "data"
    left_out = {
        path
        for path in paths
        if path.parent == data
        or (path.suffix == ".safetensors" and not weights)
        or ((path.name in _LEFT_OUT_OF_SMALL or path.suffix == ".png") and small)
    }
    return Results(
        archived=tuple(path for path in paths if path not in left_out),
        left_out=tuple(sorted(left_out)),
    )
