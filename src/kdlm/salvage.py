"""What can be told after a failure: tables, claims and figures of all that is there.

They lie where those of a whole study would, until the next run makes these. What is not finished
is in the tables as such, and no claim that it bears upon is decided.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from kdlm.claims import judge_study
from kdlm.errors import InputError
from kdlm.figures import FIGURES, draw
from kdlm.storage.files import refusals, replacing
from kdlm.storage.parquet import write_tables
from kdlm.study.config import Study
from kdlm.study.schemas import SCHEMAS
from kdlm.tables.comparisons import comparisons
from kdlm.tables.init_means import init_means
from kdlm.tables.networks import Network, networks
from kdlm.tables.runs import histories, runs
from kdlm.tables.theory import theory

__all__ = ["salvage"]

logger = logging.getLogger(__name__)

_MEANS = ("layer_means", "init_means")


def salvage(study: Study, folder: Path) -> list[Path]:
    """Files of a study's ``folder`` that the failure left out of date, and that were replaced.

    A figure that cannot be drawn of what is there is removed.

    They are dated before all that the study's jobs have written, so that Snakemake, once it has
    forgotten what it knew of them, makes them anew.

    Raises:
        InputError: no network of the study is there, or a file cannot be written.

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
        return list(_install(stage, folder))


def _write_tables(study: Study, folder: Path, found: list[Network], stage: Path) -> None:
    missing = {network.folder for network in found if network.status == "missing"}
    limits, identities = theory(study, folder, missing)
    try:
        means, summary = init_means(study, folder)
    except InputError as error:
        logger.warning("no initialisation means: %s", error)
        means, summary = (pd.DataFrame(columns=list(SCHEMAS[t])) for t in _MEANS)
    write_tables(
        stage,
        runs=runs(found),
        histories=histories(found),
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
            # whatever it is that a figure makes of an empty table
            logger.warning("no figure %s of what is there: %s", figure, error)


def _install(stage: Path, folder: Path) -> Iterator[Path]:
    """Move what is new into its place; what equals the file in its place is left alone."""
    # not that of study.json, which a change of the config writes anew
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
