"""Figure: published accuracies on CIFAR-100, and what was measured beside them."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm import published
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study
from kdlm.tables.published_rows import DATASET, published_rows

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("runs",)
TITLE = "Published accuracies on CIFAR-100, and those measured here"
CAPTION = (
    "Test accuracy on CIFAR-100 after the last of 240 epochs, by pair of networks: published "
    "values (open) of the teacher, of the student trained without it (CE), and of the student "
    "trained with KD at T = 4 and a tenth of CE; beside them the means measured here (filled) with "
    "the range over seeds. Source of the published values: Tian, Krishnan, Isola, arXiv "
    "1910.10699. A study of other images has no measured values; its figure shows the published "
    "ones alone."
)

LOOKS = {"teacher": ("C7", "s", -0.25), "CE": ("C1", "^", 0.0), "KD": ("C0", "o", 0.25)}
"""By what was trained: colour, marker, and place beside the pair's."""


def draw(study: Study, folder: Path) -> Figure:
    """Draw the published accuracy of each pair, with the measured ones beside it if there are any.

    Only a study of CIFAR-100 is compared.
    """
    runs = read_table(folder / "tables/runs.parquet", "runs")
    if study.dataset.name != DATASET:
        runs = runs.iloc[:0]
    pairs = list(published.ACCURACIES)
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    for place, (pair, accuracies) in enumerate(published.ACCURACIES.items()):
        teachers = (runs["role"] == "teacher") & (runs["architecture"] == pair[0])
        teachers &= runs["epochs"] == 240
        _beside(axes, place, "teacher", accuracies.teacher, runs[teachers])
    for pair, what, accuracy, rows in published_rows(runs):
        _beside(axes, pairs.index(pair), what, accuracy, rows)
    axes.set_xticks(range(len(pairs)), [f"{teacher}\nto {student}" for teacher, student in pairs])
    axes.set_ylabel("test accuracy, last epoch")
    axes.grid(visible=False, axis="x")
    axes.margins(x=0.03)
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    # a column of the legend has what was published of a network and what was measured of it
    order = sorted(entries, key=lambda label: list(LOOKS).index(label.split(",")[0]))
    figure.legend(
        [entries[label] for label in order], order, loc="outside lower center", ncols=len(LOOKS)
    )
    if not any(label.endswith("here") for label in entries):
        axes.set_title("published only: this study trains nothing on CIFAR-100 by that recipe")
    return figure


def _beside(axes: Axes, place: int, what: str, accuracy: float, rows: pd.DataFrame) -> None:
    """Draw a published accuracy, and to its right mean and range of those in ``rows``."""
    colour, marker, shift = LOOKS[what]
    axes.plot(
        [place + shift - 0.05], [accuracy], marker, color=colour, markerfacecolor="white",
        markersize=7, label=f"{what}, published",
    )  # fmt: skip
    measured = rows["last_accuracy"].dropna()
    if measured.empty:
        return
    mean = float(measured.mean())
    ends = np.array([[mean - measured.min()], [measured.max() - mean]])
    axes.errorbar(
        [place + shift + 0.05], [mean], ends, fmt=marker, color=colour, capsize=3, markersize=7,
        label=f"{what}, measured here",
    )  # fmt: skip
