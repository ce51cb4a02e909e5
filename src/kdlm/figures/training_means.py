"""Figure: how mean logits, and sums over classes of the last layer, drift during training."""

from collections import Counter
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdlm.figures.style import COLOURS, DASHES, LABELS, MARKERS, empty, share_legend
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.study.specs import format_number

__all__ = ["READS", "draw"]

READS = ("histories", "runs")

DRIFT = "drift of the mean logit\n(rms over probe images, in\nrms of mean logits at the start)"
SUMS = "drift of the class sum of $W$\n(1: all that its change\nallows)"


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
        & table["loss"].isin(["ce", "kd", "lm"])
        & ((table["loss"] != "kd") | (table["temperature"] == _temperature(study)))
    ].copy()
    if shown.empty:
        return empty("no student of CE, KD or LM that was initialised by he is finished")
    by_architecture = shown.groupby("architecture", sort=False)["recipe"].nunique()
    shown = shown[shown["architecture"] == by_architecture.idxmax()]
    teacher = shown[["teacher", "teacher_seed"]].value_counts().idxmax()
    shown = shown[(shown["teacher"] == teacher[0]) & (shown["teacher_seed"] == teacher[1])].copy()
    shown["recipe"] = shown["recipe"].map(
        {
            name: f"{name}\n{r.optimizer}, weight decay {r.weight_decay:g}"
            for name, r in study.recipes.items()
        }
    )
    change = np.sqrt(_classes(folder)) * shown["classifier_weight_change"]
    arm = [shown[key] for key in ("recipe", "loss", "temperature")]
    at_start = np.square(shown["mean_logit_rms"]).where(shown["epoch"] == 0)
    shown[DRIFT] = shown["mean_logit_drift"] / np.sqrt(at_start.groupby(arm).transform("mean"))
    shown[SUMS] = (shown["classifier_weight_sum"] / change).where(change > 0)
    shown["loss"] = shown["loss"].map(LABELS)
    shown = shown[shown["epoch"] > 0]
    recipes = list(shown["recipe"].unique())
    if not recipes:
        return empty("no student of CE, KD or LM has finished an epoch")
    order = [LABELS[loss] for loss in ("ce", "kd", "lm")]
    figure, grid = plt.subplots(
        2, len(recipes), figsize=(1 + 2.6 * len(recipes), 5), sharex="col", sharey="row",
        squeeze=False,
    )  # fmt: skip
    for row, what in zip(grid, (DRIFT, SUMS), strict=True):
        for axes, recipe in zip(row, recipes, strict=True):
            sns.lineplot(
                shown[shown["recipe"] == recipe],
                x="epoch",
                y=what,
                hue="loss",
                style="loss",
                errorbar=("pi", 100),
                markers={LABELS[loss]: marker for loss, marker in MARKERS.items()},
                dashes={LABELS[loss]: dashes for loss, dashes in DASHES.items()},
                palette={LABELS[loss]: colour for loss, colour in COLOURS.items()},
                hue_order=order,
                # The same in every panel, also where a loss is absent: the panels share a legend.
                style_order=order,
                ax=axes,
            )
            axes.set_ylabel(what)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid.flat:
        # Only after everything is drawn: on a logarithmic axis seaborn would average logarithms.
        axes.set_yscale("log")
    for axes, recipe in zip(grid[0], recipes, strict=True):
        axes.set_title(recipe)
    temperature = _temperature(study)
    share_legend(
        figure,
        "band: all seeds"
        if np.isnan(temperature)
        else f"KD at T = {format_number(temperature)}; band: all seeds",
    )
    return figure


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
