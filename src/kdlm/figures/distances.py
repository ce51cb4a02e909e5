"""Figure: distance of KD students from LM and centred LM students, by temperature and mean gap."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.figures.style import LABELS, empty, positions, share_legend, temperature_axis
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.specs import format_number

__all__ = ["READS", "draw"]

READS = ("comparisons",)

NOTHING = 1e-17
"""Where a distance of exactly 0 is drawn on the logarithmic axis."""

MEASURES = {"weights_distance": "weights", "logits_distance": "centred test logits"}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw four panels: distances in weights and in logits, to centred LM and to LM.

    All distances are in units of the mean distance between two seeds.
    """
    table = read_table(folder / "tables/comparisons.parquet", "comparisons")
    table = table[table["status"] == "finished"]
    group = _largest_group(table)
    if group is None:
        return empty("no student of KD is finished beside one of LM or of centred LM")
    table = table[(table["initialisation"] == group[0]) & (table["recipe"] == group[1])]
    pairs = table[
        (table["kind"] == "objective")
        & (table["loss_a"] == "kd")
        & table["loss_b"].isin(["lm", "centred-lm"])
        & (table["mean_gap_a"] == table["mean_gap_b"])
    ]
    levels = {
        measure: (
            table.loc[table["kind"] == "seed", measure].mean(),
            table.loc[table["kind"] == "floor", measure].mean(),
        )
        for measure in MEASURES
    }
    places = sorted(pairs["temperature_a"].unique())
    where = dict(zip(places, positions(places), strict=True))
    gap = "mean gap at the start"
    pairs = pairs.assign(
        place=pairs["temperature_a"].map(where),
        **{gap: pairs["mean_gap_a"].map(lambda value: f"{format_number(value)} logits")},
    )
    figure, grid = plt.subplots(2, 2, figsize=(8, 5.6), sharex=True, sharey=True)
    for row, (measure, name) in zip(grid, MEASURES.items(), strict=True):
        seed, floor = levels[measure]
        for axes, loss in zip(row, ("centred-lm", "lm"), strict=True):
            rows = pairs[pairs["loss_b"] == loss]
            share = (rows[measure] / seed).clip(lower=NOTHING)
            sns.lineplot(rows.assign(share=share), x="place", y="share", hue=gap, style=gap,
                         markers=True, errorbar=("pi", 100), ax=axes)  # fmt: skip
            _level(axes, 1, "two seeds", 0.99, "right")
            if floor > NOTHING * seed:
                _level(axes, floor / seed, "one ulp apart at the start", 0.01, "left")
            axes.set_title(f"{name}: KD(T) against {LABELS[loss]}")
            temperature_axis(axes, places, "")
        row[0].set_ylabel("distance / distance of two seeds")
    for axes in grid.flat:
        # Only after everything is drawn: on a logarithmic axis seaborn would average logarithms.
        axes.set(yscale="log", ylim=(NOTHING / 10, 1000))
        axes.set_yticks([NOTHING, *np.logspace(-15, 0, 6)])
        axes.set_yticklabels(["0", *(f"$10^{{{power}}}$" for power in range(-15, 1, 3))])
        axes.minorticks_off()
    for axes in grid[-1]:
        axes.set_xlabel("temperature")
    rms = (pairs["temperature_a"] / pairs["temperature_over_rms"]).dropna()
    share_legend(
        figure,
        f"{gap}; line: mean, band: all seeds; "
        f"rms of the teacher's centred logits: {rms.mean():.3g}",
    )
    return figure


def _level(axes: Axes, height: float, text: str, at: float, side: str) -> None:
    axes.axhline(height, color="0.3", linewidth=1, linestyle=":")
    axes.annotate(text, (at, height), xycoords=("axes fraction", "data"), xytext=(0, 5),
                  textcoords="offset points", fontsize="small", ha=side)  # fmt: skip


def _largest_group(table: pd.DataFrame) -> tuple[str, str] | None:
    """Initialisation and recipe in which KD was compared at the most temperatures, if any."""
    kd = table[
        (table["kind"] == "objective")
        & (table["loss_a"] == "kd")
        & table["loss_b"].isin(["lm", "centred-lm"])
        & (table["mean_gap_a"] == table["mean_gap_b"])
    ]
    if kd.empty:
        return None
    counts = kd.groupby(["initialisation", "recipe"])["temperature_a"].nunique()
    initialisation, recipe = counts.idxmax()
    return str(initialisation), str(recipe)
