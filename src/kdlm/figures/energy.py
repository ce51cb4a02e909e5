"""Figure: the share of the loss of logits matching that is due to the gap, during training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdlm.figures.style import COLOURS, DASHES, LABELS, MARKERS, empty, plot_band
from kdlm.storage.parquet import read_table
from kdlm.study import names
from kdlm.study.config import Study
from kdlm.study.specs import format_number

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("energies",)
TITLE = "Share of the loss of logits matching that is due to the mean gap, during training"
CAPTION = (
    "The share of the loss of logits matching (LM) that is due to the gap g between the mean "
    "logits of student and teacher: half the mean square of g over the loss. This part is the "
    "whole difference between LM and distillation (KD) at infinite temperature. Lines are means "
    "over students, bands reach from the smallest to the largest student. The open markers at "
    "epoch 0 are over the training set, before training; all others are over the test set. Below "
    "the dotted line the two losses count as the same. Under initialisation he-centred each "
    "sample's mean logit is zero, and the share is zero up to rounding. Students of KD at infinite "
    "temperature and of centred LM coincide: the thin line lies on the thick one."
)

NOTHING = 1e-17
"""Where smaller shares, and 0, are drawn: in float64, LM and KD at T = ∞ are then one number."""


def draw(study: Study, folder: Path) -> Figure:
    """Draw a panel for each initialisation of students, with a line for each loss.

    Before training the share is that over the training set; after each epoch, over the test set, so
    no line joins the two. A panel has the students of one teacher, architecture and recipe: those
    with the most losses.
    """
    table = read_table(folder / "tables/energies.parquet", "energies")
    table = table[table["split"].isin(["initial", "test"])].dropna(subset="gap_share_mean")
    panels = [
        (str(initialisation), _chosen(rows))
        for initialisation, rows in table.groupby("initialisation", sort=False)
    ]
    if not panels:
        return empty("no student is finished")
    figure, grid = plt.subplots(
        1, len(panels), figsize=(0.8 + 3.6 * len(panels), 4.4), squeeze=False
    )
    for axes, (initialisation, rows) in zip(grid[0], panels, strict=True):
        lines = list(_lines(rows))
        for number, (label, loss, line) in enumerate(lines):
            # the starts of several losses stand side by side
            shift = (number - (len(lines) - 1) / 2) * 0.02 * rows["epoch"].max()
            _draw_line(axes, f"{label}, n = {_students(line)}", loss, line, shift)
        gap = format_number(float(rows["mean_gap"].iloc[0]))
        margin = study.margins.energy
        axes.axhline(margin, color="0.3", linewidth=1, linestyle=":", label="margin of the claims")
        arm = rows.iloc[0]
        axes.set_title(
            f"initialisation {initialisation}\n{arm['teacher']}\n"
            f"to {arm['architecture']}, {arm['recipe']}",
            fontsize="medium",
        )
        axes.set(yscale="log", xlabel="epoch")
        lowest = rows["gap_share_min"].clip(lower=NOTHING).min()
        axes.set_ylim(min(lowest, margin) / 3, 2)
        if lowest <= NOTHING:
            axes.set_yticks(
                [NOTHING, *np.logspace(-14, 0, 8)],
                ["0", *(f"$10^{{{power}}}$" for power in range(-14, 1, 2))],
            )
        axes.minorticks_off()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize="small",
                    title=f"mean gap {gap} at the start; line: mean, band: all n students",
                    title_fontsize="small")  # fmt: skip
    grid[0, 0].set_ylabel("share of LM due to the gap,\n$\\frac{1}{2}$E[$g^2$] / $L_{LM}$")
    return figure


def _chosen(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one teacher, architecture, recipe, kind of means and mean gap.

    Of those with the smallest gap they have the most losses, and of several the first is chosen.
    """
    gaps = rows["mean_gap"].abs()
    groups = rows[gaps == gaps.min()].groupby(
        ["teacher", "architecture", "recipe", "means", "mean_gap"], sort=False
    )
    losses = groups["loss"].nunique()
    return groups.get_group(losses.idxmax())


def _lines(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield label, loss and rows by epoch of each loss, a tempered one at its largest T."""
    for loss, facts in names.LOSSES.items():
        of_loss = rows[rows["loss"] == loss]
        line = of_loss[of_loss["temperature"] == of_loss["temperature"].max()]
        if not line.empty:
            at = f" at T = {format_number(float(line['temperature'].iloc[0]))}"
            yield (
                LABELS[loss] + (at.replace("inf", "∞") if facts.tempered else ""),
                loss,
                line.sort_values("epoch"),
            )


def _students(line: pd.DataFrame) -> str:
    return format_number(float(line["n"].max()))


def _draw_line(axes: Axes, label: str, loss: str, line: pd.DataFrame, shift: float) -> None:
    """Draw the mean over students and a band over all of them, with a mark at the end.

    The start is a point of its own, with a bar, since it is measured on other images; its x is
    shifted.
    """
    low, mean, high = (
        line[f"gap_share_{which}"].clip(lower=NOTHING) for which in ("min", "mean", "max")
    )
    # KD lies exactly on centred LM where T is infinite
    thick = loss == "kd"
    look: dict[str, Any] = {
        "color": COLOURS[loss], "marker": MARKERS[loss], "markersize": 7 if thick else 4.5,
    }  # fmt: skip
    start = (line["epoch"] == 0).to_numpy()
    ends = np.array([mean - low, high - mean])
    axes.errorbar(
        line["epoch"][start] + shift, mean[start], yerr=ends[:, start], markerfacecolor="white",
        linestyle="none", linewidth=1, capsize=3, **look,
    )  # fmt: skip
    epochs = line["epoch"][~start]
    plot_band(axes, epochs, low[~start], high[~start], COLOURS[loss])
    axes.plot(
        epochs, mean[~start], dashes=DASHES[loss] or (1, 0), markevery=[-1], label=label,
        linewidth=2.6 if thick else 1.3, **look,
    )  # fmt: skip
