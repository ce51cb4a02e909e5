"""Figure: mean logits of untrained networks beside the four values of Table 1."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import SymmetricalLogLocator

from kdlm import published
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("init_means",)
TITLE = "Mean logit of untrained networks, beside the four values of Table 1"
CAPTION = (
    "Mean logit of untrained networks with 95 % confidence intervals over seeds (filled), beside "
    "the four values of Table 1 (open), whose bars are what means over 6000 seeds would scatter by "
    "at the standard deviation measured here. The axis is linear near zero and logarithmic beyond."
)


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw a panel for each initialisation and BatchNorm mode, which decides the scale."""
    table = read_table(folder / "tables/init_means.parquet", "init_means")
    logits = table[table["kind"] == "linear"]
    panels = list(logits.groupby(["initialisation", "batchnorm"], sort=False))
    across = min(len(panels), 2)
    down = -(-len(panels) // across)
    figure, grid = plt.subplots(
        down, across, figsize=(0.5 + 5 * across, 1.2 + 2.3 * down), sharex=True, squeeze=False
    )
    for unused in grid.flat[len(panels) :]:
        unused.remove()
        # the panel above is then the lowest of its column, and has the names of the networks
        grid[-2, -1].tick_params(labelbottom=True)
    for axes, ((initialisation, batchnorm), rows) in zip(grid.flat, panels, strict=False):
        _panel(axes, rows, f"{initialisation} initialisation, BatchNorm in {batchnorm} mode")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    seeds = int(rows["seeds"].max())
    place = np.arange(len(rows))
    axes.axhline(0, color="0.6", linewidth=1, zorder=0)
    half = (rows["ci_high"] - rows["ci_low"]) / 2
    axes.errorbar(
        place - 0.12,
        rows["mean"],
        half,
        fmt="o",
        capsize=4,
        color="C0",
        label=f"measured here: mean over {seeds} seeds, 95 % CI",
    )
    theirs = rows["architecture"].map(published.MEANS)
    axes.errorbar(
        place + 0.12,
        theirs,
        1.96 * rows["sd"] / np.sqrt(published.SEEDS),
        fmt="D",
        capsize=4,
        color="C1",
        markerfacecolor="white",
        label=f"Table 1; bar: 95 % of means over {published.SEEDS} seeds at the sd measured here",
    )
    # The axis is linear near zero and logarithmic beyond, so that the sign of a mean can be seen
    # whether it is 1e-5 or 40.
    resolution = float(rows["sd"].min()) / np.sqrt(seeds)
    # he-centred logits do not vary over seeds; any small number will do for the linear part then
    linear = 10 ** np.ceil(np.log10(resolution)) if resolution > 0 else 1e-12
    axes.set_yscale("symlog", linthresh=linear)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear))
    axes.set_xticks(place, rows["architecture"])
    axes.set(title=title, ylabel="mean logit")
    axes.margins(x=0.12)
