"""Making tables, claims, figures and the report after a failed run, from what there is.

They are written to the places of those of a complete study, and the next run replaces them.
Networks that diverged or are missing are in the tables with their status, and every claim that
needs one of them is inconclusive.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from kdlm.claims import judge_study
from kdlm.errors import InputError
from kdlm.figures import FIGURES, draw
from kdlm.report import write_report
from kdlm.storage.files import refusals, replacing
from kdlm.storage.parquet import write_tables
from kdlm.study.config import Study
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.comparisons import comparisons
from kdlm.tables.energies import energies
from kdlm.tables.init_means import init_means
from kdlm.tables.networks import Network, networks
from kdlm.tables.runs import histories, runs
from kdlm.tables.theory import theory

__all__ = ["salvage"]

logger = logging.getLogger(__name__)

_MEANS = ("layer_means", "init_means")


def salvage(study: Study, folder: Path) -> list[Path]:
    """Rewrite the tables, claims, figures and report of ``folder`` from the results that there are.

    A figure that cannot be drawn from them is removed. New files get a time before that of all
    other files of the study, so that Snakemake makes them again in its next run; for that, the
    caller has to delete what Snakemake has recorded about them.

    Returns:
        The files that were replaced or removed. A file whose contents stay the same is not touched.

    Raises:
        InputError: no network of the study is finished, or a file cannot be written.

    """
    found = networks(study, folder)
    lost = [network for network in found if network.status != "finished"]
    if len(lost) == len(found):
        raise InputError(f"{folder}: no network of this study is there; nothing to tell")
    for network in lost:
        logger.warning("%s: %s", network.status, network.reason)
    with (
        refusals(folder),
        TemporaryDirectory(dir=folder, prefix=".salvage-", ignore_cleanup_errors=True) as name,
    ):
        stage = Path(name)
        _write_tables(study, folder, found, stage)
        judge_study(study, stage)
        _draw_figures(study, stage)
        shutil.copyfile(folder / "study.json", stage / "study.json")
        write_report(study, stage)
        (stage / "study.json").unlink()
        return list(_install(stage, folder))


def _write_tables(study: Study, folder: Path, found: list[Network], stage: Path) -> None:
    missing = {network.folder for network in found if network.status == "missing"}
    limits, identities = theory(study, folder, missing)
    try:
        means, summary = init_means(study, folder)
    except InputError as error:
        logger.warning("no initialisation means: %s", error)
        means, summary = (pd.DataFrame(columns=list(SCHEMAS[t])) for t in _MEANS)
    by_epoch = histories(found)
    write_tables(
        stage,
        runs=runs(found),
        histories=by_epoch,
        energies=energies(by_epoch),
        comparisons=comparisons(found),
        gradient_limit=limits,
        identities=identities,
        layer_means=means,
        init_means=summary,
    )


def _draw_figures(study: Study, stage: Path) -> None:
    for figure in FIGURES:
        try:
            draw(figure, study, stage)
        except Exception as error:
            # a figure may fail in any way on a table that lacks rows
            logger.warning("no figure %s of what is there: %s", figure, error)


def _install(stage: Path, folder: Path) -> Iterator[Path]:
    """Move the files of ``stage`` to ``folder``, and remove figures that ``stage`` does not have.

    Yields:
        Each file that is replaced or removed; a file with the same contents is left alone.

    """
    # The oldest time of all files, and not that of study.json, which is written anew whenever the
    # config changes.
    before = min(path.stat().st_mtime for path in folder.rglob("*") if path.is_file()) - 1
    for new in sorted(path for path in stage.rglob("*") if path.is_file()):
        old = folder / new.relative_to(stage)
        content = new.read_bytes()
        if old.is_file() and old.read_bytes() == content:
            continue
        with replacing(old) as temporary:
            temporary.write_bytes(content)
            os.utime(temporary, (before, before))
        yield old
    for figure in FIGURES:
        for suffix in ("svg", "png"):
            old = folder / f"figures/{figure}.{suffix}"
            if old.exists() and not (stage / f"figures/{figure}.{suffix}").exists():
                old.unlink()
                yield old
