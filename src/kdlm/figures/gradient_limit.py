"""Figure: distance of KD's gradient from (7) as printed, from (7) corrected, and from LM's."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.figures.style import share_legend
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study

__all__ = ["READS", "draw"]

READS = ("gradient_limit",)

FORMS = {"printed": "(7) as printed", "corrected": "(7) corrected", "lm": "LM, (2)"}
STYLES = {"printed": ("s", (4, 1)), "corrected": ("o", ""), "lm": ("^", (1, 1))}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw the distances against T on logarithmic axes, with the fitted slope.

    One panel has random logits, the other logits of trained networks.
    """
    table = read_table(folder / "tables/gradient_limit.parquet", "gradient_limit")
    table = table[np.isfinite(table["temperature"])]
    table["form"] = table["form"].map(FORMS)
    random = table["source"].str.startswith("random")
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True, sharex=True)
    for axes, rows, title in (
        (panels[0], table[random], "random logits"),
        (panels[1], table[~random], "logits of trained networks"),
    ):
        _panel(axes, rows, title)
    panels[0].set_ylabel("relative distance of KD's gradient\n(median over samples)")
    share_legend(figure)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    sns.lineplot(
        rows,
        x="temperature_over_rms",
        y="relative_distance",
        hue="form",
        style="form",
        units="source",
        estimator=None,
        hue_order=list(FORMS.values()),
        markers={FORMS[form]: marker for form, (marker, _) in STYLES.items()},
        dashes={FORMS[form]: dashes for form, (_, dashes) in STYLES.items()},
        linewidth=1,
        markersize=4,
        ax=axes,
    )
    axes.set(xscale="log", yscale="log", title=title)
    axes.set_xlabel("temperature / rms of the teacher's centred logits")
    corrected = rows[rows["form"] == FORMS["corrected"]]
    if corrected.empty:
        # with two classes both forms coincide, and no slope is fitted
        axes.annotate("no logits of more than two classes", (0.5, 0.5), xycoords="axes fraction",
                      ha="center")  # fmt: skip
        return
    slope = " to ".join(
        sorted({f"{value:.3f}" for value in corrected["slope"].agg(["min", "max"])})
    )
    middle = np.unique(corrected["temperature"])[-3:][0]
    at = corrected[corrected["temperature"] == middle].iloc[0]
    axes.annotate(
        f"fitted slope\n{slope}",
        (at["temperature_over_rms"], at["relative_distance"]),
        xytext=(0.05, 0.06),
        textcoords="axes fraction",
        arrowprops={"arrowstyle": "-", "color": "0.4"},
    )
