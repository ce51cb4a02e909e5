"""Figure: distance of KD students from LM and centred LM students, by temperature and mean gap."""

from pathlib import Path
from typing import Any

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
from kdlm.tables.ladder import Ladder, ladders

__all__ = ["READS", "draw"]

READS = ("comparisons",)

NOTHING = 1e-17
"""Where a distance of exactly 0 is drawn on the logarithmic axis."""
TOP = 30
"""Upper end of the logarithmic axis, in distances of two seeds."""

MEASURES = {"weights_share": "weights", "logits_share": "centred test logits"}
GROUP = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]

_STYLES = ("-", (0, (4, 1)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (2, 2)), (0, (8, 2)))
_MARKERS = "osD^vPX<>h"
_ROOM = 50
"""Rungs closer than this ratio of shares have no room for two labels."""


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw four panels: distances in weights and in logits, to centred LM and to LM.

    All distances are in units of the distance between two seeds. The axis on the right is the
    ladder: the relative jitter of initial weights that carries one and the same loss as far. The
    plateau of the ladder, on which a distance has no size, is shaded. Points of neighbouring
    temperatures are joined if these are at most ten times apart: nothing is drawn over temperatures
    at which nothing was measured.
    """
    table = read_table(folder / "tables/comparisons.parquet", "comparisons")
    table = table[table["status"] == "finished"]
    pairs = _pairs(table)
    if pairs.empty:
        return empty("no student of KD is finished beside one of LM or of centred LM, in two seeds")
    group = _largest_group(pairs)
    pairs = pairs[_in(pairs, group)]
    own = (
        ladders(table[_in(table, group)], "weights_share"),
        ladders(table[_in(table, group)], "logits_share"),
    )
    figure, grid = plt.subplots(2, 2, figsize=(9, 6), sharex=True, sharey=True)
    for row, (measure, name), found in zip(grid, MEASURES.items(), own, strict=True):
        ladder = found.get(group)
        for axes, loss in zip(row, ("centred-lm", "lm"), strict=True):
            _draw_shares(axes, pairs, loss, measure)
            _draw_calibration(axes, ladder, labelled=axes is row[-1])
            axes.set_title(f"{name}: KD(T) against {LABELS[loss]}")
            temperature_axis(axes, pairs["temperature_a"], "")
            axes.set(yscale="log", ylim=(NOTHING / 10, TOP))
            axes.set_yticks([NOTHING, *np.logspace(-15, 0, 6)])
            axes.set_yticklabels(["0", *(f"$10^{{{power}}}$" for power in range(-15, 1, 3))])
            axes.minorticks_off()
        row[0].set_ylabel("distance / distance of two seeds")
    for axes in grid[-1]:
        axes.set_xlabel("temperature")
    rms = (pairs["temperature_a"] / pairs["temperature_over_rms"]).dropna()
    share_legend(
        figure,
        f"mean gap at the start; point: mean, bar: all seeds; {group[2]} of {group[0]}, "
        f"{group[4]}; rms of the teacher's centred logits: {rms.mean():.3g}",
    )
    return figure


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the measured pairs of KD and LM or centred LM whose mean gaps are imposed alike."""
    chosen = (table["kind"] == "objective") & (table["loss_a"] == "kd")
    chosen &= table["loss_b"].isin(["lm", "centred-lm"])
    for key in ("mean_gap", "means"):
        chosen &= table[f"{key}_a"] == table[f"{key}_b"]
    return table[chosen].dropna(subset=list(MEASURES))


def _in(table: pd.DataFrame, group: tuple[Any, ...]) -> pd.Series:
    return (table[GROUP] == pd.Series(group, index=GROUP)).all(axis=1)


def _largest_group(pairs: pd.DataFrame) -> tuple[Any, ...]:
    """Return teacher, architecture and so on of the students compared at the most temperatures."""
    counts = pairs.groupby(GROUP)["temperature_a"].nunique()
    group: tuple[Any, ...] = counts.idxmax()
    return group


def _draw_shares(axes: Axes, pairs: pd.DataFrame, loss: str, measure: str) -> None:
    """Draw the shares against temperature, a line for each mean gap and kind of means."""
    palette = sns.color_palette("colorblind")
    temperatures = sorted(set(pairs["temperature_a"]))
    place = dict(zip(temperatures, positions(temperatures), strict=True))
    gaps = sorted(pairs.groupby(["means_a", "mean_gap_a"]).groups, key=_rank)
    for number, (means, gap) in enumerate(gaps):
        rows = pairs[(pairs["loss_b"] == loss) & (pairs["mean_gap_a"] == gap)]
        rows = rows[rows["means_a"] == means]
        if rows.empty:
            continue
        shares = rows[measure].clip(lower=NOTHING).groupby(rows["temperature_a"])
        by = shares.agg(["mean", "min", "max"])
        colour, marker = palette[number % len(palette)], _MARKERS[number % len(_MARKERS)]
        x = np.array([place[temperature] for temperature in by.index])
        bars = np.array([by["mean"] - by["min"], by["max"] - by["mean"]])
        axes.errorbar(x, by["mean"], yerr=bars, fmt="none", ecolor=colour, linewidth=1)
        # NaN between two points interrupts the line
        apart = np.flatnonzero((np.diff(x) > 1 + 1e-9) | np.isinf(by.index[1:])) + 1
        axes.plot(np.insert(x, apart, np.nan), np.insert(by["mean"].to_numpy(), apart, np.nan),
                  color=colour, marker=marker, markersize=5, label=_spelt(means, gap),
                  linestyle=_STYLES[number % len(_STYLES)])  # fmt: skip


def _rank(gap: tuple[str, float]) -> tuple[Any, ...]:
    means, size = gap
    return means != "trained-teacher", means, size


def _spelt(means: str, gap: float) -> str:
    """Return the legend's text for a mean gap and the means that it refers to."""
    if means == "natural":
        return "none imposed"
    return f"{format_number(gap)} logits" + ("" if means == "trained-teacher" else f" ({means})")


def _draw_calibration(axes: Axes, ladder: Ladder | None, *, labelled: bool) -> None:
    """Draw two seeds, the rungs below the plateau, and the plateau; label the last panel's."""
    axes.axhline(1, color="0.3", linewidth=1, linestyle=":")
    axes.annotate("two seeds", (0.01, 1), xycoords=("axes fraction", "data"), xytext=(0, 4),
                  textcoords="offset points", fontsize="small")  # fmt: skip
    if ladder is None:
        return
    texts = {}
    if ladder.flat:
        axes.axhspan(ladder.saturation, TOP, color="0.88", zorder=0, linewidth=0)
        texts[ladder.saturation] = f"saturated: ε ≥ {_power(ladder.plateau_from)}"
    for rung, share in zip(ladder.rungs[::-1], ladder.shares[::-1], strict=True):
        # below the plateau, and where there is room
        if NOTHING < share * _ROOM <= min(texts, default=ladder.saturation * _ROOM):
            texts[float(share)] = f"ε = {_power(rung)}"
    for height, text in texts.items():
        axes.axhline(height, color="0.6", linewidth=0.8, linestyle=(0, (1, 3)), zorder=0)
        if labelled:
            axes.annotate(text, (1.02, height), xycoords=("axes fraction", "data"), va="center",
                          fontsize="small", color="0.3", annotation_clip=False)  # fmt: skip


def _power(number: float) -> str:
    """Return a number as matplotlib sets it, with one digit: ``$10^{-8}$``, ``$3·10^{-8}$``."""
    digit, exponent = f"{number:.0e}".split("e")
    return f"${'' if digit == '1' else digit + '·'}10^{{{int(exponent)}}}$"
