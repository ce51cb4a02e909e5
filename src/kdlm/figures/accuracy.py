"""Figure: test accuracy of KD students by temperature, beside those of the other losses."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kdlm.figures.style import COLOURS, DASHES, LABELS, empty, positions, temperature_axis
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.specs import format_number

__all__ = ["READS", "draw"]

READS = ("runs",)

_MOST = 12
"""Largest number of panels; an image of a hundred would be wider than any program can write."""


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw a panel for each teacher, student architecture, initialisation and recipe.

    KD's accuracy is drawn against T. Losses without a temperature, and the teacher, are horizontal
    lines. Only students of the same seeds are compared: a temperature, gap or loss that was not run
    with every seed of the panel is left out. Of more than `_MOST` panels those with the most
    temperatures are drawn, and of these the ones with the most students; the title says so.
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
    figure, grid = plt.subplots(
        1, len(panels), figsize=(1.8 + 4.6 * len(panels), 3.8), squeeze=False, sharey=True
    )
    for axes, (key, rows) in zip(grid[0], panels, strict=True):
        temperatures = rows.loc[rows["loss"] == "kd", "temperature"]
        kd = rows[rows["loss"] == "kd"].assign(
            place=lambda frame, t=temperatures: _places(frame["temperature"], t),
            gap=lambda frame: frame["mean_gap"].map(lambda g: f"KD, mean gap {format_number(g)}"),
        )
        sns.lineplot(
            kd, x="place", y="accuracy", hue="gap", style="gap", markers=True,
            errorbar="sd", err_style="bars", err_kws={"capsize": 3}, ax=axes,
        )  # fmt: skip
        smallest = rows["mean_gap"].abs().min()
        for loss in ("ce", "lm", "centred-lm"):
            level = rows[(rows["loss"] == loss) & (rows["mean_gap"].abs() == smallest)]
            if len(level):
                axes.axhline(
                    level["accuracy"].mean(),
                    color=COLOURS[loss],
                    dashes=DASHES[loss] or (1, 0),
                    label=f"{LABELS[loss]}, mean gap {format_number(smallest)}",
                )
        teacher = runs[(runs["role"] == "teacher") & _is_teacher(runs, key)]
        axes.axhline(teacher["accuracy"].mean(), color="black", linewidth=2, label="teacher")
        temperature_axis(axes, temperatures, "temperature")
        axes.set(title=f"{key[0]} → {key[2]}, {key[4]}", ylabel="test accuracy, last epoch (%)")
        axes.legend(title=f"mean, sd (seeds: {rows['seed'].nunique()})", fontsize="small",
                    loc="upper left", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    if len(panels) < len(worthwhile):
        figure.suptitle(f"{len(panels)} of {len(worthwhile)} groups of students")
    return figure


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the students of one panel whose loss, temperature and gap has all of its seeds."""
    seeds = rows.groupby(["loss", "temperature", "mean_gap"])["seed"].transform("nunique")
    return rows[seeds == rows["seed"].nunique()]


def _places(values: pd.Series, all_values: pd.Series) -> list[float]:
    unique = sorted(all_values.unique())
    where = dict(zip(unique, positions(unique), strict=True))
    return [float(where[value]) for value in values]


def _is_teacher(runs: pd.DataFrame, key: tuple[str, ...]) -> pd.Series:
    names = runs["architecture"] + "-" + runs["initialisation"] + "-" + runs["recipe"]
    return (names == key[0]) & (runs["seed"] == key[1])
