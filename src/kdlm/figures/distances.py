"""Figure: distance of KD students from LM and centred LM students, by temperature and mean gap."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.figures.style import (
    GAP_LOOKS,
    LABELS,
    empty,
    plot_points,
    positions,
    power,
    share_legend,
    temperature_axis,
)
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.specs import format_number
from kdlm.tables.ladder import Ladder, ladders

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("comparisons",)
TITLE = "Distance of distillation's students from those of logits matching, by temperature"
CAPTION = (
    "Distance between the student of knowledge distillation (KD) at temperature T and the student "
    "of centred LM (left) or of LM (right) with the same seed, in weights (top) and in centred "
    "test logits (bottom). The unit is the distance between two seeds. Points are means over "
    "seeds, bars reach from the smallest to the largest seed; bars of nearly equal seeds are "
    "hidden by their points. Neighbouring temperatures are joined if they are at most ten times "
    "apart. The scale on the right is a ladder: the relative jitter ε of all initial weights that "
    "carries one and the same student as far. In the shaded band a distance has no size: every "
    "jitter from there on does as much. KD reaches centred LM as T grows, but it leaves the band "
    "only at temperatures so large that the loss differs from its limit by less than such a "
    "jitter. The mean gap is the difference of mean logits, student minus teacher, that was "
    "imposed before training, in logits."
)

NOTHING = 1e-17
"""Where a distance of exactly 0 is drawn on the logarithmic axis."""
TOP = 300
"""Upper end of the logarithmic axis, in distances of two seeds."""

MEASURES = {"weights_share": "weights", "logits_share": "centred test logits"}
GROUP = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]

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
            axes.set_yticklabels(["0", *(f"$10^{{{exponent}}}$" for exponent in range(-15, 1, 3))])
            axes.minorticks_off()
        row[0].set_ylabel("distance / distance of two seeds")
    for axes in grid[-1]:
        axes.set_xlabel("temperature")
    rms = (pairs["temperature_a"] / pairs["temperature_over_rms"]).dropna()
    share_legend(
        figure,
        f"{group[0]} → {group[2]}, {group[4]}; point: mean over seeds, bar: all seeds\n"
        f"rms of the teacher's centred logits: {rms.mean():.3g}",
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
    temperatures = sorted(set(pairs["temperature_a"]))
    place = dict(zip(temperatures, positions(temperatures), strict=True))
    gaps = sorted(pairs.groupby(["means_a", "mean_gap_a"]).groups, key=_rank)
    width = max(place.values()) - min(place.values())
    for number, (means, gap) in enumerate(gaps):
        rows = pairs[(pairs["loss_b"] == loss) & (pairs["mean_gap_a"] == gap)]
        rows = rows[rows["means_a"] == means]
        if rows.empty:
            continue
        shares = rows[measure].clip(lower=NOTHING).groupby(rows["temperature_a"])
        by = shares.agg(["min", "mean", "max"])
        x = np.array([place[temperature] for temperature in by.index])
        plot_points(
            axes, x, by.to_numpy(), GAP_LOOKS[number % len(GAP_LOOKS)], label=_spelt(means, gap),
            joined=(np.diff(x) <= 1 + 1e-9) & np.isfinite(by.index[1:]),
            # points of several gaps stand side by side
            shift=number * 0.02 * width,
        )  # fmt: skip


def _rank(gap: tuple[str, float]) -> tuple[Any, ...]:
    means, size = gap
    return means != "trained-teacher", means, abs(size), size


def _spelt(means: str, gap: float) -> str:
    """Return the legend's text for a mean gap and the means that it refers to."""
    if means == "natural":
        return "no mean gap imposed"
    spelt = format_number(gap).replace("-", "−")
    return f"mean gap {spelt}" + ("" if means == "trained-teacher" else f" ({means})")


def _draw_calibration(axes: Axes, ladder: Ladder | None, *, labelled: bool) -> None:
    """Draw two seeds, the rungs below the plateau, and the plateau; label the last panel's."""
    axes.axhline(1, color="0.3", linewidth=1, linestyle=":")
    axes.annotate("two seeds", (0.01, 1), xycoords=("axes fraction", "data"), xytext=(0, 8),
                  textcoords="offset points", fontsize="small")  # fmt: skip
    if ladder is None:
        return
    if labelled:
        axes.annotate("jitter ε of the weights\nthat carries as far", (1.02, 1.02),
                      xycoords="axes fraction", va="bottom", fontsize="small", color="0.3",
                      annotation_clip=False)  # fmt: skip
    texts = {}
    if ladder.flat:
        axes.axhspan(ladder.saturation, TOP, color="0.88", zorder=0, linewidth=0)
        texts[ladder.saturation] = f"saturated: ε ≥ {power(ladder.plateau_from)}"
    for rung, share in zip(ladder.rungs[::-1], ladder.shares[::-1], strict=True):
        # below the plateau, and where there is room
        if NOTHING < share * _ROOM <= min(texts, default=ladder.saturation * _ROOM):
            texts[float(share)] = f"ε = {power(rung)}"
    for height, text in texts.items():
        axes.axhline(height, color="0.6", linewidth=0.8, linestyle=(0, (1, 3)), zorder=0)
        if labelled:
            axes.annotate(text, (1.02, height), xycoords=("axes fraction", "data"), va="center",
                          fontsize="small", color="0.3", annotation_clip=False)  # fmt: skip
