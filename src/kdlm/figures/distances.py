"""How far a student of KD(T) is from the students of LM and of centred LM, for each mean gap."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from kdlm.config import Study
from kdlm.figures.style import LABELS, positions, temperature_axis
from kdlm.specs import spell
from kdlm.tables import read_table

__all__ = ["draw"]

MEASURES = {"weights_distance": "weights", "logits_distance": "centred test logits"}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001  # noqa: ARG001
    """Rows: weights, logits; columns: against LM, against centred LM; in distances of two seeds."""
    table = read_table(folder / "tables/comparisons.parquet", "comparisons")
    group = _largest_group(table)
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
    frames = [
        pairs.assign(
            measure=name,
            share=pairs[measure] / levels[measure][0],
        )
        for measure, name in MEASURES.items()
    ]
    long = pd.concat(frames)
    places = sorted(long["temperature_a"].unique())
    where = dict(zip(places, positions(places), strict=True))
    long["place"] = long["temperature_a"].map(where)
    long["mean gap at the start"] = long["mean_gap_a"].map(lambda g: f"{spell(g)} logits")
    long["against"] = long["loss_b"].map(LABELS)
    grid = sns.relplot(
        long, x="place", y="share", row="measure", col="against", hue="mean gap at the start",
        style="mean gap at the start", kind="line", markers=True, errorbar=("pi", 100),
        height=2.6, aspect=1.4,
    )  # fmt: skip
    grid.set_titles("{row_name}: KD(T) against {col_name}")
    rms = (long["temperature_a"] / long["temperature_over_rms"]).dropna()
    for row, measure in zip(grid.axes, MEASURES, strict=True):
        seed, floor = levels[measure]
        for axes in row:
            axes.axhline(1, color="0.3", linewidth=1)
            axes.annotate("two seeds", (0.01, 1), xycoords=("axes fraction", "data"),
                          xytext=(2, 3), textcoords="offset points")  # fmt: skip
            axes.axhline(floor / seed, color="0.3", linewidth=1, linestyle=":")
            axes.annotate("one ulp apart", (0.01, floor / seed),
                          xycoords=("axes fraction", "data"),
                          xytext=(2, 3), textcoords="offset points")  # fmt: skip
            axes.set_yscale("log")
            temperature_axis(axes, places, "temperature")
        row[0].set_ylabel("distance / distance of two seeds")
    for axes in grid.axes[-1]:
        axes.set_xlabel(f"temperature (rms of the teacher's centred logits: {rms.mean():.3g})")
    sns.move_legend(grid, "upper center", bbox_to_anchor=(0.5, 0.0), ncols=4)
    figure: Figure = grid.figure
    return figure


def _largest_group(table: pd.DataFrame) -> tuple[str, str]:
    """Initialisation and recipe in which KD was compared at the most temperatures."""
    kd = table[(table["kind"] == "objective") & (table["loss_a"] == "kd")]
    counts = kd.groupby(["initialisation", "recipe"])["temperature_a"].nunique()
    initialisation, recipe = counts.idxmax()
    return str(initialisation), str(recipe)
