"""Figure: Figure 1 of the paper, the routes from KD to LM, with the measured gap on every arrow."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdlm.storage.parquet import read_table
from kdlm.study.config import Study

__all__ = ["READS", "draw"]

READS = ("claims",)

# x of the centre of each column of boxes, and half of a box's width
_COLUMNS = {"kd": (0.08, 0.075), "limit": (0.365, 0.08), "end": (0.895, 0.1)}
_BOTTOM, _HEIGHT = 0.1, 0.28
_ENDS = (
    "LM (2)",
    "LM + (8),\nthe means that each\nsample has now",
    "LM + (8),\nconstants fixed\nat the start",
)
"""The boxes on the right, from top to bottom."""
_ROUTES = (
    (0, "logits of zero mean, sample by sample", "students", "centred-classifier", "corrected"),
    (0, "equal average means at the start", "students", "equal-means", "as stated"),
    (1, "coefficient $c^t - c^s$ (corrected)", "gradient", "eq8-corrected", "corrected"),
    (1, "coefficient $c^s - c^t$ (printed)", "gradient", "eq8-printed", "printed"),
    (2, "coefficient $c^t - c^s$ (corrected)", "students", "eq8-trained", "corrected"),
    (2, "coefficient $c^s - c^t$ (printed)", "students", "eq8-trained", "printed"),
)
"""Arrows from KD at infinity: box, condition, what is compared, id and form of the claim."""
_WEIGHT = {"supported": 2.5, "refuted": 1.8, "inconclusive": 1.0}
_DASHES = {"supported": "-", "refuted": (0, (1, 2)), "inconclusive": (0, (6, 3))}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw the objectives as boxes, and the routes between them as arrows.

    Each arrow has the condition of the route, the measured gap and the verdict. Eq. (8) is there
    twice: with the means that each sample has now, whose gradients are compared, and with constants
    that are fixed at the start, as the paper has it, whose students are compared. Both signs of its
    coefficient are drawn.
    """
    claims = read_table(folder / "claims.parquet", "claims").set_index(["id", "form"])
    figure, axes = plt.subplots(figsize=(10, 5.5))
    axes.set(xlim=(-0.005, 1.005), ylim=(0, 1))
    axes.axis("off")
    rows = [1 - _HEIGHT / 2 - row * (1 - _BOTTOM) / len(_ENDS) for row in range(len(_ENDS))]
    middle = rows[1]
    whole = rows[0] - rows[-1] + 0.8 * _HEIGHT
    _box(axes, "kd", middle, "KD\n$T^2\\,\\mathrm{KL}$ at\ntemperature $T$")
    _box(axes, "limit", middle, "KD at $T=\\infty$\n= centred LM", whole)
    for height, text in zip(rows, _ENDS, strict=True):
        _box(axes, "end", height, text)
    row = claims.loc[("eq7-corrected", "corrected")]
    # this arrow is short, so its text is broken into more lines
    _arrow(axes, ("kd", "limit"), middle, row, "$T\\to\\infty$\ngradient\n", "\n")
    for number, (box, condition, what, *claim) in enumerate(_ROUTES):
        # two arrows a box, each with two lines of text above it
        height = rows[box] + (-0.1 if number % 2 else 0.02)
        _arrow(axes, ("limit", "end"), height, claims.loc[tuple(claim)], f"{condition}\n{what} ")
    axes.text(
        0.0, 0.0,
        "gradient: largest relative distance; students: distance of their centred test logits, in "
        "distances of two seeds\n"
        "thick solid: supported as equal; dotted: refuted; thin dashed: inconclusive",
        fontsize=8, va="bottom",
    )  # fmt: skip
    return figure


def _box(axes: Axes, column: str, height: float, text: str, size: float = 0.8 * _HEIGHT) -> None:
    """Draw a box of a column with its ``text``, centred at ``height`` and ``size`` high."""
    x, half = _COLUMNS[column]
    axes.add_patch(
        Rectangle(
            (x - half, height - size / 2), 2 * half, size, facecolor="white", edgecolor="black"
        )
    )
    axes.text(x, height, text, ha="center", va="center", fontsize=11)


def _arrow(
    axes: Axes,
    columns: tuple[str, str],
    height: float,
    claim: pd.Series,
    text: str,
    separator: str = ", ",
) -> None:
    """Draw a level arrow between two columns of boxes, with its text above it.

    The text ends with the value and the verdict of the ``claim``, a row of table ``claims``, and
    the verdict decides how the arrow looks.
    """
    (before, half), (after, half_after) = (_COLUMNS[column] for column in columns)
    left, right = before + half, after - half_after
    verdict = claim["verdict"]
    axes.annotate(
        "",
        (right, height),
        (left, height),
        arrowprops={
            "arrowstyle": "-|>",
            "linewidth": _WEIGHT[verdict],
            "linestyle": _DASHES[verdict],
            "color": "black",
            "shrinkA": 3,
            "shrinkB": 3,
        },
    )
    value = "not measured" if pd.isna(claim["value"]) else f"{claim['value']:.2g}"
    label = f"{text}{value}{separator}{verdict}"
    axes.text((left + right) / 2, height + 0.012, label, ha="center", va="bottom", fontsize=9.5)
