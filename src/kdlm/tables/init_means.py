"""Tables `layer_means` and `init_means`: the mean outputs of untrained networks, and a summary."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from kdlm.networks.depth import blocks, expected_sd
from kdlm.storage.parquet import expect_spec, read_table, write_tables
from kdlm.study import names
from kdlm.study.config import InitMeans, Study
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
        summarise(group, study.init_means.images).assign(
            **dict(zip(by, values, strict=True)),
            blocks=blocks(values[0]),
            expected_sd=_expected_sd(study.init_means, *values),
        )
        for values, group in means.groupby(by, sort=False)
    ]
    summary = pd.concat(summaries, ignore_index=True)
    summary.loc[summary["kind"] != "linear", "expected_sd"] = np.nan
    return means, summary


def _expected_sd(config: InitMeans, architecture: str, initialisation: str, mode: str) -> float:
    """Return the sd of the mean logit that theory gives a network; NaN if it gives none."""
    found = expected_sd(
        architecture,
        initialisation,
        mode,
        image_side=config.dataset.side,
        in_channels=names.DATASETS[config.dataset.name].channels,
        num_classes=config.num_classes,
    )
    return np.nan if found is None else found


def summarise(means: pd.DataFrame, images: int) -> pd.DataFrame:
    """Summarise the mean outputs of one network and protocol over seeds.

    Column ``image_share`` is a decomposition of the variance. Let the mean output of seed s for
    image i be a_s + e_si, with independent e_si of mean 0 (for logits it is exactly 0, by the
    symmetry of the last layer). The variance over seeds of the mean over N images is then
    Var(a) + Var(e)/N, in which Var(e) is estimated by the mean over seeds of ``sd_over_images``²,
    and ``image_share`` is the second term's share. With N' images the sd would be about
    sd·√(1 − share + share·N/N'), which tells how many images are enough. In mode ``train``
    BatchNorm makes the images of a batch depend on each other, which this leaves out.

    Args:
        means: rows of table ``means`` of one architecture, initialisation and BatchNorm mode.
        images: N, the number of images behind each mean.

    Returns:
        A row for each layer, with the columns of table ``init_means`` except the path keys. Column
        ``seeds`` counts the seeds that recorded the layer, which are fewer for the layers before
        the last. The 95 % confidence interval uses Student's t. With a single seed the standard
        deviation, the standard error, the interval and the share are NaN.

    """
    groups = means.groupby(["layer", "depth", "kind"], sort=False)
    summary = groups["mean"].agg(seeds="size", mean="mean", sd="std").reset_index()
    summary["standard_error"] = summary["sd"] / np.sqrt(summary["seeds"])
    half = stats.t.ppf(0.975, summary["seeds"] - 1) * summary["standard_error"]
    summary["ci_low"], summary["ci_high"] = summary["mean"] - half, summary["mean"] + half
    for column in ("rms", "predicted_sd", "sd_over_images"):
        squares = means.assign(square=means[column].astype(float).pow(2))
        of_layer = squares.groupby(["layer", "depth", "kind"], sort=False)["square"]
        summary[column] = np.sqrt(of_layer.mean()).to_numpy()
    # where all means are equal, as under he-centred, there is no variance to decompose
    variance = summary["sd"].pow(2).replace(0, np.nan)
    summary["image_share"] = summary["sd_over_images"].pow(2) / images / variance
    return summary
