"""Tables `layer_means` and `init_means`: the mean outputs of untrained networks, and a summary."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from kdlm.storage.parquet import expect_spec, read_table, write_tables
from kdlm.study.config import Study
from kdlm.study.jobs import init_means_jobs

__all__ = ["init_means", "summarise", "summarise_study"]


def summarise_study(study: Study, folder: Path) -> None:
    """Write tables ``layer_means`` and ``init_means`` of the study in ``folder``.

    Raises:
        InputError: the file of a shard is missing or damaged, or belongs to another spec.

    """
    layer_means, summary = init_means(study, folder)
    write_tables(folder, layer_means=layer_means, init_means=summary)


def init_means(study: Study, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Gather the shards of initialisation means of the study in ``folder``.

    Returns:
        Table ``layer_means``, which is all shards with their path keys, and table ``init_means``,
        its summary over seeds.

    Raises:
        InputError: the file of a shard is missing or damaged, or belongs to another spec.

    """
    shards = []
    for job in init_means_jobs(study):
        path, spec = folder / job.folder / "means.parquet", job.spec
        expect_spec(path, spec)
        shards.append(
            read_table(path, "means").assign(
                architecture=spec.architecture,
                initialisation=spec.initialisation,
                batchnorm=spec.batchnorm,
            )
        )
    means = pd.concat(shards, ignore_index=True)
    by = ["architecture", "initialisation", "batchnorm"]
    summaries = [
        summarise(group).assign(**dict(zip(by, values, strict=True)))
        for values, group in means.groupby(by, sort=False)
    ]
    return means, pd.concat(summaries, ignore_index=True)


def summarise(means: pd.DataFrame) -> pd.DataFrame:
    """Summarise the mean outputs of one network and protocol over seeds.

    Args:
        means: rows of table ``means`` of one architecture, initialisation and BatchNorm mode.

    Returns:
        A row for each layer, with the columns of table ``init_means`` except the path keys. Column
        ``seeds`` counts the seeds that recorded the layer, which are fewer for the layers before
        the last. The 95 % confidence interval uses Student's t. With a single seed the standard
        deviation, the standard error and the interval are NaN.

    """
    groups = means.groupby(["layer", "depth", "kind"], sort=False)
    summary = groups["mean"].agg(seeds="size", mean="mean", sd="std").reset_index()
    summary["standard_error"] = summary["sd"] / np.sqrt(summary["seeds"])
    half = stats.t.ppf(0.975, summary["seeds"] - 1) * summary["standard_error"]
    summary["ci_low"], summary["ci_high"] = summary["mean"] - half, summary["mean"] + half
    for column in ("rms", "predicted_sd"):
        squares = means.assign(square=means[column].astype(float).pow(2))
        of_layer = squares.groupby(["layer", "depth", "kind"], sort=False)["square"]
        summary[column] = np.sqrt(of_layer.mean()).to_numpy()
    return summary
