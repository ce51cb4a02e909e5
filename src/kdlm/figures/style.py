"""The look that all figures share, and writing them so that equal figures are equal bytes.

Lines can be told apart in greyscale and by colour-blind readers. A file contains the figure's title
and caption, for programs that read figures aloud.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from kdlm.storage.files import replacing
from kdlm.study import names
from kdlm.study.specs import format_number

__all__ = [
    "COLOURS",
    "DASHES",
    "GAP_LOOKS",
    "LABELS",
    "MARKERS",
    "apply",
    "closing",
    "empty",
    "log_axis",
    "plot_band",
    "plot_points",
    "positions",
    "power",
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

GAP_LOOKS = [
    {"color": _BLIND[number % len(_BLIND)], "marker": marker, "linestyle": line}
    for number, (marker, line) in enumerate(
        zip(
            "osD^vPX<>h",
            cycle(["-", (0, (4, 1)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (2, 2)), (0, (8, 2))]),
            strict=False,
        )
    )
]
"""Colour, marker and dashes of mean gaps, in figures whose axes tell the losses apart."""


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


def save(figure: Figure, stem: Path, title: str, caption: str) -> None:
    """Write the figure as ``stem``.svg and ``stem``.png, without dates or versions in the files.

    Args:
        figure: the figure.
        stem: path of both files, without suffix.
        title: what the figure is. It becomes the SVG's ``<title>`` and the PNG's ``Title``.
        caption: how to read the figure. It becomes the SVG's ``<desc>`` and the PNG's
            ``Description``. A figure without axes is described by the reason that it shows instead.

    """
    if not figure.axes:
        caption = figure.texts[0].get_text()
    with replacing(stem.with_suffix(".svg")) as temporary:
        figure.savefig(
            temporary, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight"
        )
        text = temporary.read_text(encoding="utf-8")
        temporary.write_text(_described(text, stem.name, title, caption), encoding="utf-8")
    described = {"Software": None, "Title": title, "Description": caption}
    with replacing(stem.with_suffix(".png")) as temporary:
        figure.savefig(temporary, format="png", metadata=described, dpi=150, bbox_inches="tight")


def _described(svg: str, name: str, title: str, caption: str) -> str:
    """Return an SVG's text with title and description as the first children of its root.

    Screen readers announce an SVG of ``role="img"`` as one image with these two texts. The ids
    contain the figure's name, so that several figures can stand in one HTML page.
    """
    start = svg.index("<svg")
    end = svg.index(">", start)
    root = f'{svg[start:end]} role="img" aria-labelledby="{name}-title {name}-desc">'
    children = (
        f'\n <title id="{name}-title">{escape(title)}</title>'
        f'\n <desc id="{name}-desc">{escape(caption)}</desc>'
    )
    return f"{svg[:start]}{root}{children}{svg[end + 1 :]}"


_MOST_COLUMNS = 5
"""Largest number of entries of a shared legend that stand side by side."""


def share_legend(figure: Figure, title: str | None = None) -> None:
    """Replace the legends of all panels by one legend below them, with every entry once."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
        if legend := axes.get_legend():
            legend.remove()
    legend = figure.legend(
        entries.values(), entries.keys(), title=title,
        loc="outside lower center", ncols=min(len(entries), _MOST_COLUMNS) or 1,
    )  # fmt: skip
    legend.get_title().set_multialignment("center")


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


def plot_points(
    axes: Axes,
    places: Iterable[float],
    points: Sequence[tuple[float, float, float]],
    look: dict[str, Any],
    *,
    label: str,
    joined: Iterable[bool],
    shift: float = 0.0,
) -> None:
    """Draw points with bars, and lines between some neighbours.

    Args:
        axes: where to draw.
        places: x of each point, from left to right.
        points: of each point the lower end of its bar, its height, and the bar's upper end. The
            ends are NaN where there is no bar.
        look: colour, marker and line style.
        label: the legend's entry.
        joined: of each point whether a line leads from it to the next one.
        shift: added to every place, so that points of several series do not hide each other.

    """
    x = np.asarray(list(places), dtype=np.float64) + shift
    low, height, high = np.asarray(points, dtype=np.float64).reshape(-1, 3).T
    bar = ~np.isnan(low)
    ends = np.array([height[bar] - low[bar], high[bar] - height[bar]]).clip(min=0)
    axes.errorbar(
        x[bar], height[bar], yerr=ends, fmt="none", ecolor=look["color"], linewidth=1, capsize=3
    )
    # NaN between two points interrupts the line
    apart = np.flatnonzero(~np.asarray(list(joined), dtype=bool)[: max(len(x) - 1, 0)]) + 1
    axes.plot(
        np.insert(x, apart, np.nan), np.insert(height, apart, np.nan), markersize=5, label=label,
        **look,
    )  # fmt: skip


def plot_band(
    axes: Axes, x: Iterable[float], low: Iterable[float], high: Iterable[float], colour: Any
) -> None:
    """Draw a band between two curves; its edge can be seen where the band itself is too thin."""
    axes.fill_between(
        list(x), list(low), list(high), facecolor=(*colour, 0.15), edgecolor=(*colour, 0.6),
        linewidth=0.6,
    )  # fmt: skip


def power(number: float) -> str:
    """Return a positive number as matplotlib sets it, as a power of ten if it is far from 1.

    >>> power(1e-8), power(2.5e4), power(0.31), power(1678.0)
    ('$10^{-8}$', '$2.5·10^{4}$', '0.31', '1700')
    """
    if 1e-2 <= number < 1e4:
        return f"{number:.2g}" if number < 100 else f"{float(f'{number:.2g}'):.0f}"
    digits, exponent = f"{number:.1e}".split("e")
    factor = "" if digits == "1.0" else f"{digits.removesuffix('.0')}·"
    return f"${factor}10^{{{int(exponent)}}}$"


def log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, with ticks such as 10⁻³; within two decades 0.2, 0.5, 1.

    Where nothing above 0 is drawn, the axis stays as it is.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if low <= 0:
        axes.set_yscale("linear")
        return
    few = high < 100 * low
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    if few:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def temperature_axis(axes: Axes, temperatures: Iterable[float], label: str) -> None:
    """Label the x axis of a plot whose points are at `positions` with the temperatures."""
    values = sorted(set(temperatures))
    texts = ["∞" if np.isinf(v) else power(v) if v >= 1e4 else format_number(v) for v in values]
    axes.set_xticks(positions(values), texts)
    axes.set_xlabel(label)
