"""Figure: test accuracy of KD students by temperature, beside those of the other losses."""

from collections.abc import Sequence
from itertools import pairwise
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
    share_legend,
    temperature_axis,
)
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.specs import format_number

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("runs",)
TITLE = "Test accuracy of each loss, and of distillation at each temperature"
CAPTION = (
    "Test accuracy after the last epoch. Left of the grey line: students of knowledge distillation "
    "(KD), by temperature; neighbouring temperatures are joined if they are at most ten times "
    "apart. Right of it: students of the losses without a temperature. Points are means over "
    "seeds, bars one standard deviation to either side; all students of a panel have the same "
    "seeds. The black line is the teacher, a single network. The mean gap is the difference of "
    "mean logits, student minus teacher, that was imposed before training, in logits."
)

_MOST = 12
"""Largest number of panels; of a hundred none could be read."""
_ACROSS = 3
"""Panels side by side."""
_OTHERS = ("ce", "lm", "centred-lm")
"""Losses beside KD, from left to right."""


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw a panel for each teacher, student architecture, initialisation and recipe.

    KD's accuracy is drawn against T, and those of losses without a temperature beside it. Only
    students of the same seeds are compared: a temperature, gap or loss that was not run with every
    seed of the panel is left out. Of more than `_MOST` panels those with the most temperatures are
    drawn, and of these the ones with the most students; the title says so.
    """
    runs = read_table(folder / "tables/runs.parquet", "runs")
    runs = runs[runs["status"] == "finished"].copy()
    runs["accuracy"] = 100 * runs["last_accuracy"]
    students = runs[
        (runs["role"] == "student")
        & (runs["perturbation"] == 0)
        & (runs["relative_perturbation"] == 0)
        & (runs["means"] == "trained-teacher")
    ]
    keys = ["teacher", "teacher_seed", "architecture", "initialisation", "recipe"]
    groups = [
        (rows.loc[rows["loss"] == "kd", "temperature"].nunique(), key, rows)
        for key, rows in ((key, _paired(rows)) for key, rows in students.groupby(keys, sort=False))
    ]
    # one temperature is drawn where there are no others
    least = min(2, max((count for count, *_ in groups), default=0))
    if not least:
        return empty("no student of KD is finished")
    worthwhile = [group for group in groups if group[0] >= least]
    ranked = sorted(worthwhile, key=lambda group: (-group[0], -len(group[2])))
    chosen = {key for _, key, _ in ranked[:_MOST]}
    panels = [(key, rows) for _, key, rows in worthwhile if key in chosen]
    across = min(len(panels), _ACROSS)
    down = -(-len(panels) // across)
    figure, grid = plt.subplots(
        down, across, figsize=(1 + 5 * across, 0.8 + 3.6 * down), squeeze=False, sharey=True
    )
    for unused in grid.flat[len(panels) :]:
        unused.remove()
    gaps = sorted(set().union(*(set(rows["mean_gap"]) for _, rows in panels)), key=_by_size)
    for axes, (key, rows) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, rows, gaps)
        teacher = runs[(runs["role"] == "teacher") & _is_teacher(runs, key)]
        axes.axhline(
            teacher["accuracy"].mean(), color="black", linewidth=2, label="teacher", zorder=1
        )
        seeds = rows["seed"].nunique()
        seed = f" (seed {key[1]:g})" if len({key[1] for key, _ in panels}) > 1 else ""
        axes.set_title(
            f"{key[0]}{seed} → {key[2]}\n{key[3]}, recipe {key[4]}, {seeds} seed{'s'[: seeds > 1]}"
        )
    for row in grid:
        row[0].set_ylabel("test accuracy, last epoch (%)")
    share_legend(figure, "point: mean over seeds, bar: ± one standard deviation")
    if len(panels) < len(worthwhile):
        figure.suptitle(f"{len(panels)} of {len(worthwhile)} groups of students")
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, gaps: Sequence[float]) -> None:
    """Draw KD against temperature, and the losses without one right of it."""
    temperatures = sorted(rows.loc[rows["loss"] == "kd", "temperature"].unique())
    others = [loss for loss in _OTHERS if (rows["loss"] == loss).any()]
    left = positions(temperatures)
    # narrow enough for three losses, and wide enough for their names
    step = 0.13 * max(left[-1] - left[0], 2.0)
    right = left[-1] + step * np.arange(1.2, len(others) + 1)
    for number, gap in enumerate(gaps):
        here = rows[rows["mean_gap"] == gap]
        shift = (number - (len(gaps) - 1) / 2) * step / 6
        look = GAP_LOOKS[number % len(GAP_LOOKS)]
        found: list[tuple[float, tuple[float, float, float], bool]] = []
        for place, temperature in zip(left, temperatures, strict=True):
            of_kd = here[(here["loss"] == "kd") & (here["temperature"] == temperature)]
            found += [(place, _spread(of_kd["accuracy"]), True)] if len(of_kd) else []
        for place, loss in zip(right, others, strict=True):
            of_loss = here[here["loss"] == loss]
            found += [(place, _spread(of_loss["accuracy"]), False)] if len(of_loss) else []
        joined = [
            of_kd and also_kd and after - before <= 1 + 1e-9 and after != _infinity(temperatures)
            for (before, _, of_kd), (after, _, also_kd) in pairwise(found)
        ]
        plot_points(
            axes, [place for place, *_ in found], [points for _, points, _ in found], look,
            label=f"mean gap {format_number(gap).replace('-', '−')}", joined=joined, shift=shift,
        )  # fmt: skip
    temperature_axis(axes, temperatures, "temperature of KD")
    if others:
        axes.axvline(left[-1] + 0.6 * step, color="0.6", linewidth=1)
        axes.set_xticks(
            [*axes.get_xticks(), *right],
            [*(label.get_text() for label in axes.get_xticklabels()),
             *(LABELS[loss].replace(" ", "\n") for loss in others)],
        )  # fmt: skip
        # below KD's part of the axis; the other losses' names stand below theirs
        start, end = axes.get_xlim()
        middle = ((left[0] + left[-1]) / 2 - start) / (end - start)
        axes.set_xlabel("temperature of KD", x=middle)


def _by_size(gap: float) -> tuple[float, float]:
    return abs(gap), gap


def _infinity(temperatures: Sequence[float]) -> float:
    """Return the place of T = ∞ on the axis; NaN if it is not among the temperatures."""
    return float(positions(temperatures)[-1]) if np.isinf(temperatures[-1]) else np.nan


def _spread(values: pd.Series) -> tuple[float, float, float]:
    """Return mean − sd, mean and mean + sd; the ends are NaN for a single value."""
    mean, sd = float(values.mean()), float(values.std())
    return mean - sd, mean, mean + sd


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the students of one panel whose loss, temperature and gap has all of its seeds."""
    seeds = rows.groupby(["loss", "temperature", "mean_gap"])["seed"].transform("nunique")
    return rows[seeds == rows["seed"].nunique()]


def _is_teacher(runs: pd.DataFrame, key: tuple[Any, ...]) -> pd.Series:
    names = runs["architecture"] + "-" + runs["initialisation"] + "-" + runs["recipe"]
    return (names == key[0]) & (runs["seed"] == key[1])
