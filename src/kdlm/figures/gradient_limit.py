"""Figure: distance of KD's gradient from (7) as printed, from (7) corrected, and from LM's."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.figures.style import COLOURS, LABELS, log_axis, share_legend
from kdlm.storage.parquet import read_table
from kdlm.study import names
from kdlm.study.config import Study

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("gradient_limit",)
TITLE = "Distance of distillation's gradient from three closed forms, by temperature"
CAPTION = (
    "Relative distance between the gradient of distillation, weighted by the square of the "
    "temperature T, with respect to the student's logits, and three closed forms: equation (7) as "
    "printed, (7) with its sign corrected, and the gradient of logits matching (LM). There is a "
    "line for each form and each set of logits; the labels on the right say the mean gap, student "
    "minus teacher, of random logits, and of trained students the loss and the gap that was "
    "imposed before their training. The corrected form is the limit, at a rate of 1/T, which is a "
    "slope of -1. The other two stay away from it unless the gap is zero; the printed form is then "
    "twice as far away as LM."
)

FORMS = {"printed": "(7) as printed", "corrected": "(7) corrected", "lm": "LM, (2)"}
_STYLES = {
    "printed": ("regularised-lm-printed", "s", (4, 1)), "corrected": ("centred-lm", "o", (1, 0)),
    "lm": ("lm", "^", (1, 1)),
}  # fmt: skip
"""By form: the loss whose colour it has, marker and dashes."""
_LABELS = 12
"""Largest number of labels beside a panel."""
_APART = 0.042
"""Distance between two labels, as a share of the panel's height."""


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw the distances against T on logarithmic axes, with the fitted slope.

    One panel has random logits, the other logits of trained networks.
    """
    table = read_table(folder / "tables/gradient_limit.parquet", "gradient_limit")
    table = table[np.isfinite(table["temperature"])]
    random = table["source"].str.startswith("random")
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, sharex=True)
    for axes, rows, title in (
        (panels[0], table[random], "random logits"),
        (panels[1], table[~random], "logits of trained networks"),
    ):
        _panel(axes, rows, title)
    log_axis(panels[0])
    panels[0].set_xscale("log")
    panels[0].minorticks_off()
    panels[1].minorticks_off()
    for axes, rows in ((panels[0], table[random]), (panels[1], table[~random])):
        _label_gaps(axes, rows)
    panels[0].set_ylabel("relative distance of KD's gradient\n(median over samples)")
    share_legend(figure)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    for form, (loss, marker, dashes) in _STYLES.items():
        of_form = rows[rows["form"] == form].sort_values("temperature")
        for number, (_, line) in enumerate(of_form.groupby("source", sort=False)):
            axes.plot(
                line["temperature_over_rms"], line["relative_distance"], color=COLOURS[loss],
                marker=marker, dashes=dashes, linewidth=1, markersize=4, markeredgecolor="white",
                label=FORMS[form] if number == 0 else None,
            )  # fmt: skip
    axes.set_title(title)
    axes.set_xlabel("temperature / rms of the teacher's centred logits")
    corrected = rows[rows["form"] == "corrected"]
    if corrected.empty:
        # with two classes both forms coincide, and no slope is fitted
        axes.annotate("no logits of more than two classes", (0.5, 0.5), xycoords="axes fraction",
                      ha="center")  # fmt: skip
        return
    # smallest first, as far as the digits tell
    slopes = dict.fromkeys(f"{value:.3f}" for value in corrected["slope"].agg(["min", "max"]))
    slope = " to ".join(slopes).replace("-", "−")
    middle = np.unique(corrected["temperature"])[-3:][0]
    at = corrected[corrected["temperature"] == middle].iloc[0]
    axes.annotate(
        f"fitted slope\n{slope}",
        (at["temperature_over_rms"], at["relative_distance"]),
        xytext=(0.05, 0.06),
        textcoords="axes fraction",
        arrowprops={"arrowstyle": "-", "color": "0.4"},
    )


def _label_gaps(axes: Axes, rows: pd.DataFrame) -> None:
    """Write right of a panel, at the end of each line of LM, which gap the logits have.

    Sets of logits with equal labels share one. Labels that would touch are moved apart.
    """
    ends = rows[(rows["form"] == "lm") & (rows["temperature"] == rows["temperature"].max())]
    heights = ends.groupby(ends["source"].map(_spelt))["relative_distance"].median()
    heights = heights[heights > 0].sort_values()
    if not 0 < len(heights) <= _LABELS:
        return
    right = float(ends["temperature_over_rms"].max())
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    at = [float(to_axes((right, height))[1]) for height in heights]
    for label, height, place in zip(heights.index, heights, _apart(at), strict=True):
        axes.annotate(
            label, (right, height), xytext=(1.03, place), textcoords="axes fraction", va="center",
            fontsize="x-small", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 1,
                        "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip


def _apart(places: list[float]) -> Iterator[float]:
    """Yield rising places, moved so that neighbours are at least `_APART` from each other.

    >>> [round(place, 3) for place in _apart([0.1, 0.5, 0.51])]
    [0.1, 0.484, 0.526]
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        # a group that reaches into the one below it becomes part of it
        while len(groups) > 1 and _span(groups[-1])[0] < _span(groups[-2])[1] + _APART:
            group = groups.pop()
            groups[-1] += group
    for group in groups:
        lowest, _ = _span(group)
        yield from (lowest + _APART * number for number in range(len(group)))


def _span(group: list[float]) -> tuple[float, float]:
    """Return the lowest and highest place of a group whose members stand `_APART` apart."""
    middle, half = sum(group) / len(group), _APART * (len(group) - 1) / 2
    return middle - half, middle + half


def _spelt(source: str) -> str:
    """Return what a label says about a set of logits.

    >>> _spelt("random, K = 10, c^t = 0, c^s - c^t = -4")
    'gap −4'
    >>> _spelt("student of kd, T = 4, gap 5")
    'KD at T = 4, gap 5'
    """
    if of_random := re.fullmatch(r"random, .*c\^s - c\^t = (\S+)", source):
        return f"gap {of_random[1].replace('-', '−')}"
    if of_student := re.fullmatch(r"student of (\S+), T = (\S+), gap (\S+)", source):
        loss, temperature, gap = of_student.groups()
        tempered = loss in names.LOSSES and names.LOSSES[loss].tempered
        at = f" at T = {temperature.replace('inf', '∞')}" if tempered else ""
        return f"{LABELS.get(loss, loss)}{at}, gap {gap.replace('-', '−')}"
    return source
