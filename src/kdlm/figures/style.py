"""The look that all figures share, and writing them so that equal figures are equal bytes.

Lines can be told apart in greyscale and by colour-blind readers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.storage.files import replacing
from kdlm.study import names
from kdlm.study.specs import format_number

__all__ = [
    "COLOURS",
    "DASHES",
    "LABELS",
    "MARKERS",
    "apply",
    "closing",
    "empty",
    "positions",
    "save",
    "share_legend",
    "temperature_axis",
]

LABELS = {name: facts.label for name, facts in names.LOSSES.items()}
# Losses also differ in their dashes and markers, so that no line is known by its colour alone.
_LOOKS: dict[str, tuple[int, str | tuple[int, ...], str]] = {
    "ce": (7, "", "s"),
    "kd": (0, (4, 1), "o"),
    "lm": (3, (1, 1), "^"),
    "centred-lm": (2, (6, 2, 1, 2), "D"),
    "regularised-lm-corrected": (1, (2, 2), "v"),
    "regularised-lm-printed": (4, (8, 2), "P"),
}
"""By loss: place in the palette, dashes and marker."""
_FURTHER = ((5, (3, 3), "X"), (6, (1, 3), "<"), (8, (5, 1, 1, 1), ">"), (9, (9, 1), "h"))
"""Palette place, dashes and marker of the losses that `_LOOKS` does not name, in their order."""


def _looks() -> dict[str, tuple[int, str | tuple[int, ...], str]]:
    others = (name for name in LABELS if name not in _LOOKS)
    return _LOOKS | dict(zip(others, cycle(_FURTHER), strict=False))


_BLIND = sns.color_palette("colorblind")
COLOURS = {name: _BLIND[place] for name, (place, _, _) in _looks().items()}
DASHES = {name: dashes for name, (_, dashes, _) in _looks().items()}
MARKERS = {name: marker for name, (_, _, marker) in _looks().items()}


def apply() -> None:
    """Set the theme of all figures that are drawn from now on."""
    mpl.use("agg")
    # the user's own matplotlibrc must not change a figure
    mpl.rcdefaults()
    sns.set_theme(
        context="paper",
        style="ticks",
        palette="colorblind",
        rc={
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "font.family": "DejaVu Sans",
            "grid.alpha": 0.4,
            "legend.frameon": False,
            # without a salt the ids in an SVG file are random
            "svg.hashsalt": "kdlm",
        },
    )


def empty(reason: str) -> Figure:
    """A figure without axes that says why there is nothing to draw.

    Every figure is an output of the study, whatever the config asks for.
    """
    figure = plt.figure(figsize=(6, 1.5))
    figure.text(0.5, 0.5, reason, ha="center", va="center")
    return figure


@contextmanager
def closing() -> Iterator[None]:
    """Close the figures that are opened inside, whether or not they could be drawn.

    pyplot keeps every open figure, and a hundred of them would fill the memory.
    """
    before = set(plt.get_fignums())
    try:
        yield
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def save(figure: Figure, stem: Path) -> None:
    """Write the figure as ``stem``.svg and ``stem``.png, without dates or versions in the files."""
    for suffix, metadata in (
        (".svg", {"Date": None, "Creator": None}),
        (".png", {"Software": None}),
    ):
        with replacing(stem.with_suffix(suffix)) as temporary:
            figure.savefig(
                temporary, format=suffix[1:], metadata=metadata, dpi=150, bbox_inches="tight"
            )


def share_legend(figure: Figure, title: str | None = None) -> None:
    """Replace the legends of all panels by one legend below them, with every entry once."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
        if legend := axes.get_legend():
            legend.remove()
    figure.legend(
        entries.values(), entries.keys(), title=title,
        loc="outside lower center", ncols=len(entries),
    )  # fmt: skip


def positions(temperatures: Iterable[float]) -> npt.NDArray[np.float64]:
    """Return the places of temperatures on an axis: their log10, and a place for infinity.

    Infinity stands one and a half decades beyond the largest finite temperature.

    >>> positions([1, 100, float("inf")]).tolist()
    [0.0, 2.0, 3.5]
    """
    values = np.asarray(list(temperatures), dtype=np.float64)
    finite = np.log10(values[np.isfinite(values)])
    beyond = (finite.max() if finite.size else 0.0) + 1.5
    return np.where(np.isfinite(values), np.log10(np.where(np.isfinite(values), values, 1)), beyond)


def temperature_axis(axes: Axes, temperatures: Iterable[float], label: str) -> None:
    """Label the x axis of a plot whose points are at `positions` with the temperatures."""
    values = sorted(set(temperatures))
    texts = [format_number(v) if v < 1e4 else f"$10^{{{np.log10(v):.3g}}}$" for v in values[:-1]]
    last = values[-1]
    texts.append("∞" if np.isinf(last) else format_number(last))
    axes.set_xticks(positions(values), texts)
    axes.set_xlabel(label)
