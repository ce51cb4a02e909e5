"""Figure ``gradient_limit`` against its table."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from kdlm.figures import gradient_limit
from kdlm.study.config import parse
from tests.figures.drawn import closed, lines, panels, write  # noqa: F401

FORMS = {"printed": "(7) as printed", "corrected": "(7) corrected", "lm": "LM, (2)"}
SOURCES = {
    "random": ["random, K = 10", "random, K = 100"],
    "trained": ["student of kd, T = 4, gap 0", "student of lm, T = inf, gap 5"],
}
TEMPERATURES = (1.0, 1e2, 1e4, 1e6, math.inf)


def distance(source: str, form: str, temperature: float) -> float:
    """A number that no other point has."""
    every = [*SOURCES["random"], *SOURCES["trained"]]
    return (1 + every.index(source)) * (2 + [*FORMS].index(form)) / (3 + math.log10(temperature))


def rms(source: str) -> float:
    return 2.0 + len(source)


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    rows = [
        {"source": source, "form": form, "temperature": t,
         "temperature_over_rms": t / rms(source),
         "relative_distance": distance(source, form, t) if math.isfinite(t) else 77.0,
         "relative_distance_max": 99.0,
         "slope": {"printed": 0.0, "corrected": -1 - 0.01 * len(source), "lm": 0.0}[form]}
        for sources in SOURCES.values() for source in sources for form in FORMS
        for t in TEMPERATURES
    ]  # fmt: skip
    write(tmp_path, "gradient_limit", rows)
    return gradient_limit.draw(parse(tiny), tmp_path)


@pytest.mark.parametrize(("panel", "sources"), [*enumerate(SOURCES)])
@pytest.mark.parametrize("form", FORMS)
def test_each_panel_has_its_sources(figure: Figure, panel: int, sources: str, form: str) -> None:
    axes = panels(figure)[panel]
    title = {"random": "random logits", "trained": "logits of trained networks"}[sources]
    assert axes.get_title() == title
    drawn = lines(axes, FORMS[form])
    wanted = [
        [(t / rms(source), distance(source, form, t)) for t in TEMPERATURES[:-1]]
        for source in SOURCES[sources]
    ]
    assert sorted(drawn) == [
        [pytest.approx(point) for point in points] for points in sorted(wanted)
    ]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_nothing_else_is_drawn(figure: Figure) -> None:
    for axes in panels(figure)[:2]:
        assert sum(len(one.get_xdata()) > 0 for one in axes.lines) == 2 * len(FORMS)  # type: ignore[arg-type]


@pytest.mark.parametrize(("panel", "sources"), [*enumerate(SOURCES)])
def test_the_slope_is_that_of_the_corrected_form_and_points_at_its_line(
    figure: Figure, panel: int, sources: str
) -> None:
    (note,) = [one for one in panels(figure)[panel].texts if "slope" in one.get_text()]
    slopes = sorted({-1 - 0.01 * len(source) for source in SOURCES[sources]})
    spelt = " to ".join(f"−{-slope:.3f}" for slope in slopes)
    assert note.get_text() == f"fitted slope\n{spelt}"
    # where the line falls: at the third largest finite temperature
    points = [
        (TEMPERATURES[-4] / rms(source), distance(source, "corrected", TEMPERATURES[-4]))
        for source in SOURCES[sources]
    ]
    assert any(tuple(note.xy) == pytest.approx(point) for point in points)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("panel", "sources"), [*enumerate(SOURCES)])
def test_a_label_at_the_end_of_each_line_of_lm_says_its_gap(
    figure: Figure, panel: int, sources: str
) -> None:
    labels = {
        one.get_text(): tuple(one.xy)  # type: ignore[attr-defined]
        for one in panels(figure)[panel].texts
        if "slope" not in one.get_text()
    }
    right = max(TEMPERATURES[-2] / rms(source) for source in SOURCES[sources])
    said = {
        "random, K = 10": "random, K = 10", "random, K = 100": "random, K = 100",
        "student of kd, T = 4, gap 0": "KD at T = 4, gap 0",
        "student of lm, T = inf, gap 5": "LM, gap 5",
    }  # fmt: skip
    assert labels == {
        said[source]: pytest.approx((right, distance(source, "lm", TEMPERATURES[-2])))
        for source in SOURCES[sources]
    }


def test_labels_do_not_touch(figure: Figure) -> None:
    figure.draw_without_rendering()
    for axes in panels(figure):
        boxes = [one.get_window_extent() for one in axes.texts if "slope" not in one.get_text()]
        heights = sorted((box.y0, box.y1) for box in boxes)
        assert all(a[1] <= b[0] for a, b in pairwise(heights))
