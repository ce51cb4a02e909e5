"""Figure: Figure 1 of the paper, the routes from KD to LM, with the measured gap on every arrow."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdlm.figures.style import power
from kdlm.storage.parquet import read_table
from kdlm.study.config import Study

__all__ = ["CAPTION", "READS", "TITLE", "draw"]

READS = ("claims",)
TITLE = "Figure 1 of the paper: the routes from distillation to logits matching, measured"
CAPTION = (
    "The routes from knowledge distillation (KD) to logits matching (LM), which are Figure 1 of "
    "the paper, with the distance that was measured on each arrow and the verdict. z are logits, c "
    "is the mean of one image's logits over the K classes, s stands for the student and t for the "
    "teacher. (2) is the loss of LM. (8) is the term that the paper adds to LM so that it becomes "
    "KD at infinite temperature. The term is here with the means that each image has now, as it "
    "has to be, and with constants fixed at the start of training, as the paper has it; both with "
    "the sign that was printed and with the corrected one. A distance of gradients is relative; a "
    "distance of students is that of their centred test logits, in units of the distance between "
    "two seeds."
)

# x of the centre of each column of boxes, and half of a box's width
_COLUMNS = {"kd": (0.075, 0.07), "limit": (0.345, 0.085), "end": (0.87, 0.125)}
_BOTTOM, _HEIGHT = 0.13, 0.275
_LM = r"$\frac{1}{2K}\,\sum_k\,(z^s_k - z^t_k)^2$"
_TERM = r"LM $\pm\;\frac{c^s - c^t}{K}\,\sum_k\, z^s_k$"
_ENDS = (
    f"LM, eq. (2):\n{_LM}",
    f"LM + term (8):\n{_TERM}\n$c$: each image's mean now",
    f"LM + term (8):\n{_TERM}\n$c$: fixed at the start",
)
"""The boxes on the right, from top to bottom."""
_ROUTES = (
    (0, "logits of zero mean, image by image", "students", "centred-classifier", "corrected"),
    (0, "equal average means at the start", "students", "equal-means", "as stated"),
    (1, "corrected sign, $-$", "gradient", "eq8-corrected", "corrected"),
    (1, "printed sign, $+$", "gradient", "eq8-printed", "printed"),
    (2, "corrected sign, $-$", "students", "eq8-trained", "corrected"),
    (2, "printed sign, $+$", "students", "eq8-trained", "printed"),
)
"""Arrows from KD at infinity: box, condition, what is compared, id and form of the claim."""
_WEIGHT = {"supported": 2.5, "refuted": 1.8, "inconclusive": 1.0}
_DASHES = {"supported": "-", "refuted": (0, (1, 2)), "inconclusive": (0, (6, 3))}
_SIGNS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}
_BLIND = sns.color_palette("colorblind")
_COLOURS = {"supported": _BLIND[0], "refuted": _BLIND[3], "inconclusive": "0.35"}


def draw(study: Study, folder: Path) -> Figure:  # noqa: ARG001
    """Draw the objectives as boxes, and the routes between them as arrows.

    Each arrow has the condition of the route, the measured gap and the verdict. Eq. (8) is there
    twice: with the means that each sample has now, whose gradients are compared, and with constants
    that are fixed at the start, as the paper has it, whose students are compared. Both signs of its
    coefficient are drawn.
    """
    claims = read_table(folder / "claims.parquet", "claims").set_index(["id", "form"])
    figure, axes = plt.subplots(figsize=(10.5, 6))
    axes.set(xlim=(-0.005, 1.005), ylim=(0, 1))
    axes.axis("off")
    rows = [1 - _HEIGHT / 2 - row * (1 - _BOTTOM) / len(_ENDS) for row in range(len(_ENDS))]
    middle = rows[1]
    whole = rows[0] - rows[-1] + 0.8 * _HEIGHT
    _box(axes, "kd", middle, "KD, eq. (3):\n$T^2\\,\\mathrm{KL}$ at\ntemperature $T$")
    limit = "KD at $T=\\infty$\n= centred LM:\nLM of $z^s - c^s$\nand $z^t - c^t$"
    _box(axes, "limit", middle, limit, whole)
    for height, text in zip(rows, _ENDS, strict=True):
        _box(axes, "end", height, text)
    row = claims.loc[("eq7-corrected", "corrected")]
    # this arrow is short, so its text is broken into more lines
    _arrow(axes, ("kd", "limit"), middle, row, "$T\\to\\infty$\ngradient\n", "\n")
    for number, (box, condition, what, *claim) in enumerate(_ROUTES):
        # two arrows a box, each with two lines of text above it
        height = rows[box] + (-0.09 if number % 2 else 0.03)
        _arrow(axes, ("limit", "end"), height, claims.loc[tuple(claim)], f"{condition}\n{what} ")
    axes.text(
        0.0, 0.0,
        "$z^s$, $z^t$: logits of student and teacher;  $c$: mean of one image's logits over the "
        "$K$ classes\n"
        "gradient: largest relative distance;  students: distance of their centred test logits, in "
        "distances of two seeds\n"
        "✓ thick, solid: supported as equal;  ✗ dotted: refuted;  ? thin, dashed: inconclusive",
        fontsize=8.5, va="bottom", linespacing=1.4,
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
            "color": _COLOURS[verdict],
            "shrinkA": 3,
            "shrinkB": 3,
        },
    )
    value = "not measured" if pd.isna(claim["value"]) else _spelt(float(claim["value"]))
    label = f"{text}{value}{separator}{_SIGNS[verdict]} {verdict}"
    axes.text((left + right) / 2, height + 0.012, label, ha="center", va="bottom", fontsize=9.5)


def _spelt(value: float) -> str:
    return power(value) if value > 0 else "0"
