"""What was drawn: the numbers behind lines, bands and bars of a matplotlib figure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from kdlm.storage.parquet import write_table
from kdlm.study.schemas import SCHEMAS

Points = list[tuple[float, float]]


def write(folder: Path, name: str, rows: list[dict[str, Any]] | pd.DataFrame) -> None:
    """One table of a study's folder."""
    frame = pd.DataFrame(rows).reindex(columns=list(SCHEMAS[name]))
    path = folder / "claims.parquet" if name == "claims" else folder / f"tables/{name}.parquet"
    write_table(name, frame, path)


def legend_of(axes: Axes) -> Legend:
    """The legend that says what is what in a panel: its own, or the figure's."""
    own = axes.get_legend()
    if own is not None:
        return own
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    (shared,) = figure.legends
    return shared


def _look(line: Any) -> tuple[Any, ...]:
    """What tells a line from others."""
    dashes = tuple(np.round(line._unscaled_dash_pattern[1] or (), 3))
    return (colors.to_hex(line.get_color()), str(line.get_marker()), dashes)


def handle(axes: Axes, label: str) -> Line2D:
    """The legend's entry of this name."""
    legend = legend_of(axes)
    entries = zip(legend.get_texts(), legend.legend_handles, strict=True)
    (found,) = [one for text, one in entries if text.get_text() == label]
    assert isinstance(found, Line2D)
    return found


def _data(line: Line2D) -> Points:
    x, y = (np.asarray(data, dtype=float) for data in line.get_data())
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def lines(axes: Axes, label: str) -> list[Points]:
    """The points of every line that looks like the legend's entry."""
    look = _look(handle(axes, label))
    return [_data(line) for line in axes.lines if len(line.get_xdata()) and _look(line) == look]  # type: ignore[arg-type]


def line(axes: Axes, label: str) -> Points:
    """The points of the one line that looks like the legend's entry."""
    (found,) = lines(axes, label)
    return found


def level(axes: Axes, label: str) -> float:
    """Height of the level line that bears this label itself."""
    (found,) = [_data(one) for one in axes.lines if one.get_label() == label]
    heights = {y for _, y in found}
    assert len(heights) == 1
    return heights.pop()


def bands(axes: Axes) -> list[dict[float, tuple[float, float]]]:
    """Lower and upper end by place of each band, in the order they were drawn."""
    found = []
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            ends: dict[float, list[float]] = {}
            for x, y in np.asarray(collection.get_paths()[0].vertices).tolist():
                ends.setdefault(x, []).append(y)
            found.append({x: (min(ys), max(ys)) for x, ys in ends.items()})
    return found


def bars(axes: Axes, number: int) -> list[tuple[float, float, float]]:
    """Place, lower and upper end of each error bar of one of the panel's containers."""
    (segments,) = axes.containers[number][2]
    return [(float(low[0]), float(low[1]), float(high[1])) for low, high in segments.get_segments()]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No figure is left behind."""
    yield
    plt.close("all")


def panels(figure: Figure) -> list[Axes]:
    """The figure's axes, row by row."""
    return list(figure.axes)


def approximately(points: Points) -> Any:
    """Points to compare drawn ones with."""
    return [pytest.approx(point) for point in points]
