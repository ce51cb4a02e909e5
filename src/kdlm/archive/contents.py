"""Which of a study's files an archive holds, and of which it holds the digest alone."""

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
    """Paths relative to the folder Snakemake ran in: ``results/<study>/…``."""

    archived: tuple[Path, ...]
    left_out: tuple[Path, ...]

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All outputs of the DAG."""
        return (*self.archived, *self.left_out)


def root_of(folder: Path) -> Path:
    """The folder that Snakemake ran in, for whose results/<study> ``folder`` is another name.

    A ``results`` that is a link to another disk lies elsewhere than it is found, so the path is
    taken as it is written, and where that leads to no record of Snakemake's, as links resolve it.

    Raises:
        InputError: neither is a study's folder.

    """
    written, resolved = folder.absolute(), folder.resolve()
    roots = [path.parents[1] for path in (written, resolved) if path.parent.name == "results"]
    if not roots:
        raise InputError(f"{folder} is no results/<study>, the folder of a study")
    return next((root for root in roots if (root / ".snakemake").is_dir()), roots[0])


def expected(study: Study, figures: Iterable[str] = FIGURES) -> tuple[str, ...]:
    """All outputs of the DAG by name within the study's folder, whether they are there or not."""
    datasets = {study.dataset.name, study.init_means.dataset.name}
    networks = [job.folder.as_posix() for job in network_jobs(study)]
    shards = [job.folder.as_posix() for job in init_means_jobs(study)]
    return (
        "study.json",
        "report.html",
        "claims.parquet",
        *(f"data/{name}.safetensors" for name in sorted(datasets)),
        *(table_path(name).as_posix() for name in TABLES),
        *(f"figures/{name}.{suffix}" for name in figures for suffix in ("svg", "png")),
        *(f"{network}/{name}" for network in networks for name in NETWORK_FILES),
        *(f"{shard}/means.parquet" for shard in shards),
    )


def results(study: Study, root: Path, *, weights: bool, small: bool) -> Results:
    """The outputs of the study whose Snakemake ran in ``root``.

    Left out are the prepared datasets (no data are archived) and, unless asked for, weights; of a
    small archive also the bulk of what jobs leave, logits and initialisation means, and the
    figures' PNG files, which the report has.

    Raises:
        InputError: the study is not finished.

    """
    place = Path("results", study.study)
    paths = sorted(place / name for name in expected(study))
    if missing := [path for path in paths if not (root / path).is_file()]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        # without a target Snakemake looks at what is final only, and finds nothing to be done
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
