"""Files of figures: written whole, the same bytes each time, and nothing left open."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from kdlm.figures import FIGURES, caption, style, title


def test_equal_figures_are_equal_bytes(tmp_path: Path) -> None:
    style.apply()
    files = []
    for _ in range(2):
        with style.closing():
            figure, axes = plt.subplots()
            axes.plot([0, 1], [0, 1])
            style.save(figure, tmp_path / "same", "A line", "Rises.")
        files.append([(tmp_path / f"same{suffix}").read_bytes() for suffix in (".svg", ".png")])
    assert files[0] == files[1]


def test_a_figure_that_fails_is_closed_too() -> None:
    kept = plt.figure()
    before = plt.get_fignums()

    def fail() -> None:
        with style.closing():
            plt.subplots()
            raise ValueError("no table")

    with pytest.raises(ValueError, match="no table"):
        fail()
    assert plt.get_fignums() == before
    plt.close(kept)


TEXT = 'How to read it: a < b & c, "quoted", T² → ∞.'


def test_files_say_what_they_show(tmp_path: Path) -> None:
    style.apply()
    with style.closing():
        figure, _ = plt.subplots()
        style.save(figure, tmp_path / "energy", "A title", TEXT)
    root = ElementTree.parse(tmp_path / "energy.svg").getroot()  # noqa: S314 - our own file
    first, second = root[:2]
    svg = "{http://www.w3.org/2000/svg}"
    assert [(one.tag, one.text) for one in (first, second)] == [
        (f"{svg}title", "A title"), (f"{svg}desc", TEXT),
    ]  # fmt: skip
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{first.get('id')} {second.get('id')}"
    with Image.open(tmp_path / "energy.png") as image:
        image.load()
        assert image.text == {"Title": "A title", "Description": TEXT}  # type: ignore[attr-defined]


def test_a_figure_that_shows_nothing_is_described_by_the_reason(tmp_path: Path) -> None:
    style.apply()
    with style.closing():
        style.save(style.empty("no student is finished"), tmp_path / "energy", "A title", TEXT)
    assert "no student is finished</desc>" in (tmp_path / "energy.svg").read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_title_and_a_caption(name: str) -> None:
    assert 20 < len(title(name)) < 100
    assert caption(name).endswith(".")
    assert len({title(name) for name in FIGURES}) == len(FIGURES)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.3, 3, ["0.5", "1", "2"]),
        (1e-4, 2, ["$10^{-3}$", "$10^{-2}$", "$10^{-1}$"]),
        (2e-6, 7e-6, ["$5·10^{-6}$"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_powers_of_ten(
    low: float, high: float, ticks: list[str]
) -> None:
    style.apply()
    with style.closing():
        figure, axes = plt.subplots()
        axes.set_ylim(low, high)
        style.log_axis(axes)
        figure.draw_without_rendering()
        shown = [one.get_text().replace("\\mathdefault{", "").replace("}}$", "}$")
                 for one in axes.get_yticklabels()]  # fmt: skip
    assert set(ticks) <= set(shown)
    assert not any("\\times" in text for text in shown)


def test_only_points_that_are_joined_share_a_line() -> None:
    with style.closing():
        _, axes = plt.subplots()
        points = [(0.0, 1.0, 2.0), (np.nan, 3.0, np.nan), (4.0, 5.0, 6.0)]
        look = style.GAP_LOOKS[1]
        style.plot_points(axes, [1, 2, 3], points, look, label="x", joined=[True, False], shift=0.5)
        (line,) = [one for one in axes.lines if one.get_label() == "x"]
        assert np.array_equal(
            np.asarray(line.get_data()),
            [[1.5, 2.5, np.nan, 3.5], [1, 3, np.nan, 5]],
            equal_nan=True,
        )
        # a single seed has no bar
        (segments,) = axes.containers[0][2]
        assert [np.asarray(one)[:, 1].tolist() for one in segments.get_segments()] == [
            [0, 2], [4, 6],
        ]  # fmt: skip
