"""Figure: how mean logits, and sums over classes of the last layer, drift during training."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdlm.figures.style import (
    COLOURS,
    DASHES,
    LABELS,
    MARKERS,
    empty,
    log_axis,
    plot_band,
    share_legend,
)
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.specs import Recipe, format_number

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("histories", "runs")
TITLE = "Drift of mean logits, and of the last layer's sums over classes, during training"
CAPTION = (
    "Upper row: how far the mean logit of an image moves from its value before training (root mean "
    "square over probe images, in units of the root mean square of the mean logits before "
    "training). Lower row: how far the sum over classes of the last layer's weights W moves, as a "
    "share of what the change of W allows. Columns are recipes: weight decay and Adam break the "
    "conservation of the sums. Lines are means over seeds, bands reach from the smallest to the "
    "largest seed; a line without a band has one seed, or a spread that is thinner than the line. "
    "All students are of one teacher, and have the smallest mean gap that was imposed."
)

DRIFT = "drift of the mean logit\n(in rms before training)"
SUMS = "drift of the class sum of $W$\n(share of what is possible)"
_SHOWN = ("ce", "kd", "lm")


def draw(study: Study, folder: Path) -> Figure:
    """Draw a column of two panels for each recipe: drift of the mean logit, and of Σ_k W_k.

    The recipes differ in weight decay and optimiser. The students are those of one teacher and of
    the architecture that most recipes train.
    """
    table = read_table(folder / "tables/histories.parquet", "histories")
    gaps = table["mean_gap"].fillna(0).abs()
    shown = table[
        (table["role"] == "student")
        & (table["status"] == "finished")
        & (table["split"] == "probe")
        & (table["initialisation"] == "he")
        & (table["perturbation"] == 0)
        & (table["relative_perturbation"] == 0)
        & (table["means"] == "trained-teacher")
        & (gaps == gaps.min())
        & table["loss"].isin(_SHOWN)
        & ((table["loss"] != "kd") | (table["temperature"] == _temperature(study)))
    ].copy()
    if shown.empty:
        return empty("no student of CE, KD or LM that was initialised by he is finished")
    by_architecture = shown.groupby("architecture", sort=False)["recipe"].nunique()
    shown = shown[shown["architecture"] == by_architecture.idxmax()]
    teacher = shown[["teacher", "teacher_seed"]].value_counts().idxmax()
    shown = shown[(shown["teacher"] == teacher[0]) & (shown["teacher_seed"] == teacher[1])].copy()
    change = np.sqrt(_classes(folder)) * shown["classifier_weight_change"]
    arm = [shown[key] for key in ("recipe", "loss", "temperature")]
    at_start = np.square(shown["mean_logit_rms"]).where(shown["epoch"] == 0)
    shown[DRIFT] = shown["mean_logit_drift"] / np.sqrt(at_start.groupby(arm).transform("mean"))
    shown[SUMS] = (shown["classifier_weight_sum"] / change).where(change > 0)
    shown = shown[shown["epoch"] > 0].dropna(subset=[DRIFT, SUMS], how="all")
    recipes = list(shown["recipe"].unique())
    if not recipes:
        return empty("no drift of a student of CE, KD or LM was measured")
    figure, grid = plt.subplots(
        2, len(recipes), figsize=(1 + 2.7 * len(recipes), 5.4), sharex="col", sharey="row",
        squeeze=False,
    )  # fmt: skip
    for column, recipe in zip(grid.T, recipes, strict=True):
        rows = shown[shown["recipe"] == recipe]
        for axes, what in zip(column, (DRIFT, SUMS), strict=True):
            _draw_panel(axes, rows, what)
        counts = rows.groupby("loss")["seed"].nunique()
        seeds = ", ".join(f"{LABELS[loss]} {counts[loss]}" for loss in _SHOWN if loss in counts)
        column[0].set_title(f"{recipe}\n{_spelt(study.recipes[recipe])}\nseeds: {seeds}")
        column[1].set_xlabel("epoch")
    for row, what in zip(grid, (DRIFT, SUMS), strict=True):
        row[0].set_ylabel(what)
        # only after everything is drawn, since the panels of a row share their axis
        log_axis(row[0])
    gap = format_number(float(shown["mean_gap"].iloc[0]))
    temperature = _temperature(study)
    of_kd = "" if np.isnan(temperature) else f"KD at T = {format_number(temperature)}; "
    share_legend(figure, f"{of_kd}mean gap {gap} at the start; line: mean, band: all seeds")
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, what: str) -> None:
    """Draw the means and bands of one statistic, and one recipe, by epoch."""
    for loss in _SHOWN:
        by = rows.loc[rows["loss"] == loss].groupby("epoch")[what].agg(["min", "mean", "max"])
        if by.empty:
            continue
        plot_band(axes, by.index, by["min"], by["max"], COLOURS[loss])
        axes.plot(
            by.index, by["mean"], color=COLOURS[loss], dashes=DASHES[loss] or (1, 0),
            marker=MARKERS[loss], markersize=4, label=LABELS[loss],
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _spelt(recipe: Recipe) -> str:
    mixed = f", {recipe.ce_weight:g} CE" if recipe.ce_weight else ""
    return f"{recipe.optimizer}, weight decay {recipe.weight_decay:g}{mixed}"


def _temperature(study: Study) -> float:
    """Return the temperature that most arms have; of several the smallest, finite if there is one.

    It is NaN where no arm has temperatures.
    """
    shared = [set(arm.temperatures) for arm in study.arms if arm.temperatures]
    counts = Counter(t for temperatures in shared for t in temperatures)
    return max(counts, key=lambda t: (np.isfinite(t), counts[t], -t), default=np.nan)


def _classes(folder: Path) -> int:
    table = read_table(folder / "tables/runs.parquet", "runs")
    return int(table["num_classes"].max())
