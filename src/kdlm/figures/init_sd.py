"""Figure: how the mean logit of untrained ResNets scatters over seeds, by depth, and theory."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdlm.figures.style import empty
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("init_means",)
TITLE = "Standard deviation of an untrained ResNet's mean logit, by depth"
CAPTION = (
    "Standard deviation over seeds of the mean logit of untrained ResNets against their number of "
    "residual blocks, for each mode of BatchNorm: measured (filled), predicted from the features "
    "of the same networks (open), and from theory alone, in the limit of many channels (line). In "
    "mode train it grows as the root of the depth, and he and default coincide, since BatchNorm "
    "removes the scale of the weights before it; in mode eval it grows by a factor a block."
)

LOOKS = {"he": ("C0", "o", "-"), "xavier": ("C1", "^", ":"), "default": ("C2", "s", "--")}
"""By initialisation, colour, marker and dashes; theory gives no others an sd above 0."""


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw a panel for each mode of BatchNorm, with points and a line for each initialisation."""
    table = read_table(folder / "tables/init_means.parquet", "init_means")
    known = table["blocks"].notna() & table["initialisation"].isin(LOOKS)
    rows = table[(table["kind"] == "linear") & known & (table["expected_sd"] > 0)]
    if rows.empty:
        return empty("no untrained ResNet in this study")
    panels = list(rows.groupby("batchnorm", sort=False))
    figure, grid = plt.subplots(
        1, len(panels), figsize=(0.8 + 3.8 * len(panels), 4.4), squeeze=False
    )
    for axes, (mode, members) in zip(grid[0], panels, strict=True):
        _panel(axes, members, str(mode))
    grid[0, 0].set_ylabel("sd over seeds of the mean logit")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LOOKS))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, mode: str) -> None:
    """Draw one mode: points at the measured and the predicted sds, a line through theory's."""
    for initialisation, members in rows.groupby("initialisation", sort=False):
        colour, marker, dashes = LOOKS[str(initialisation)]
        of = members.sort_values("blocks")
        blocks = of["blocks"].astype(float)
        theory = f"{initialisation}: theory"
        axes.plot(blocks, of["expected_sd"], dashes, color=colour, label=theory)
        axes.plot(
            blocks, of["predicted_sd"], marker, color=colour, markersize=9, linestyle="none",
            markerfacecolor="none", label="predicted from the features",
        )  # fmt: skip
        axes.plot(
            blocks, of["sd"], marker, color=colour, markersize=4.5, linestyle="none",
            label="measured",
        )  # fmt: skip
    axes.set_yscale("log")
    # within two decades 0.03 reads better than 3 × 10⁻²
    if rows["expected_sd"].max() < 100 * rows["expected_sd"].min():
        for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            which(FuncFormatter(lambda value, _place: f"{value:.2g}"))
    axes.set_xticks(sorted(rows["blocks"].astype(int).unique()))
    axes.set(title=f"BatchNorm in {mode} mode", xlabel="residual blocks")
