"""Figure ``distances`` against table ``comparisons``."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlm.figures import distances
from kdlm.study.config import parse
from tests.figures.drawn import bands, closed, line, panels, write  # noqa: F401

INF = math.inf
TEMPERATURES = (1.0, 1e2, 1e4, INF)
PLACES = (0.0, 2.0, 4.0, 5.5)
"""log10 T, and infinity one and a half decades beyond."""
GAPS = (0.0, 5.0)
SEEDS = range(3)
SEED = {"weights_distance": 40.0, "logits_distance": 8.0}
FLOOR = {"weights_distance": 1e-3, "logits_distance": 1e-5}


def distance(measure: str, loss: str, temperature: float, gap: float, seed: int) -> float:
    """A number that no other pair has."""
    at = TEMPERATURES.index(temperature)
    value = 10.0 ** (-at) * (1 + 0.1 * seed**2) * (1 + gap / 10)
    return value * (3 if loss == "lm" else 1) * (100 if measure == "weights_distance" else 1)


def row(kind: str, *, recipe: str = "short", **changes: Any) -> dict[str, Any]:
    side = {"loss": "kd", "temperature": 4.0, "mean_gap": 0.0, "perturbation": 0, "seed": 0}
    return {
        "kind": kind, "teacher": "t", "teacher_seed": 0, "architecture": "resnet8",
        "initialisation": "he", "recipe": recipe, "status": "finished",
        "temperature_over_rms": changes.get("temperature_a", 4.0) / 5,
        **{f"{key}_a": value for key, value in side.items()},
        **{f"{key}_b": value for key, value in side.items()},
        **changes,
    }  # fmt: skip


def scaled(levels: dict[str, float], factor: float) -> dict[str, Any]:
    return {name: factor * value for name, value in levels.items()}


def measured(loss: str, temperature: float, gap: float, seed: int) -> dict[str, Any]:
    """Both distances of a pair."""
    return {name: distance(name, loss, temperature, gap, seed) for name in SEED}


def rows() -> list[dict[str, Any]]:
    found = [
        row(
            "objective", loss_b=loss, temperature_a=t, temperature_b=INF, mean_gap_a=gap,
            mean_gap_b=gap, seed_a=seed, seed_b=seed, **measured(loss, t, gap, seed),
        )
        for loss in ("lm", "centred-lm") for t in TEMPERATURES for gap in GAPS for seed in SEEDS
    ]  # fmt: skip
    for factor in (0.5, 1.5):
        found += [
            row("seed", seed_b=1, **scaled(SEED, factor)),
            row("floor", perturbation_b=1, **scaled(FLOOR, factor)),
        ]
    # none of the figure's business: other losses, unequal gaps, a lost student, another recipe
    far: dict[str, Any] = dict.fromkeys(SEED, 1e6)
    found += [
        row("objective", loss_b="ce", temperature_b=1.0, **far),
        row("objective", loss_b="lm", temperature_b=INF, mean_gap_b=5.0, **far),
        row("objective", loss_a="centred-lm", loss_b="lm", temperature_b=INF, **far),
        row("objective", loss_b="lm", temperature_b=INF) | {"status": "diverged"},
        row("objective", recipe="other", loss_b="lm", temperature_b=INF, **far),
        row("seed", recipe="other", seed_b=1, **far),
        row("floor", recipe="other", perturbation_b=1, **far),
    ]
    return found


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    write(tmp_path, "comparisons", rows())
    return distances.draw(parse(tiny), tmp_path)


CASES = [
    (0, "weights_distance", "centred-lm"),
    (1, "weights_distance", "lm"),
    (2, "logits_distance", "centred-lm"),
    (3, "logits_distance", "lm"),
]


def shares(measure: str, loss: str, gap: float) -> list[list[float]]:
    """By temperature the shares of all seeds."""
    return [
        [distance(measure, loss, t, gap, seed) / SEED[measure] for seed in SEEDS]
        for t in TEMPERATURES
    ]


@pytest.mark.parametrize(("panel", "measure", "loss"), CASES)
def test_each_panel_has_its_measure_and_its_loss(
    figure: Figure, panel: int, measure: str, loss: str
) -> None:
    axes = panels(figure)[panel]
    name = {"weights_distance": "weights", "logits_distance": "centred test logits"}[measure]
    against = {"centred-lm": "centred LM", "lm": "LM"}[loss]
    assert axes.get_title() == f"{name}: KD(T) against {against}"
    found = bands(axes)
    assert len(found) == len(GAPS)
    for gap, band in zip(GAPS, found, strict=True):
        wanted = shares(measure, loss, gap)
        means = [float(np.mean(values)) for values in wanted]
        assert line(axes, f"{gap:g} logits") == [
            pytest.approx(point) for point in zip(PLACES, means, strict=True)
        ]
        # the band is all seeds
        for place, values in zip(PLACES, wanted, strict=True):
            assert band[place] == pytest.approx((min(values), max(values)))


def heights(axes: Axes) -> dict[str, float]:
    """Height by what is written at it."""
    return {text.get_text(): float(text.xy[1]) for text in axes.texts}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("panel", "measure", "loss"), CASES)
def test_the_levels_are_the_distance_of_two_seeds_and_the_floor(
    figure: Figure, panel: int, measure: str, loss: str
) -> None:
    del loss
    axes = panels(figure)[panel]
    floor = FLOOR[measure] / SEED[measure]
    assert heights(axes) == {
        "two seeds": 1.0,
        "one ulp apart at the start": pytest.approx(floor),
    }
    dotted = [np.asarray(one.get_ydata())[0] for one in axes.lines if one.get_linestyle() == ":"]
    assert sorted(dotted) == [pytest.approx(floor), 1.0]


def test_a_distance_of_nothing_is_drawn_where_the_axis_says_0(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    changed = rows()
    for one in changed:
        if one["kind"] == "objective" and one["temperature_a"] == INF:
            one.update(dict.fromkeys(SEED, 0.0))
        if one["kind"] == "floor":
            one.update(dict.fromkeys(SEED, 0.0))
    write(tmp_path, "comparisons", changed)
    figure = distances.draw(parse(tiny), tmp_path)
    for axes in panels(figure):
        assert line(axes, "0 logits")[-1] == pytest.approx((5.5, distances.NOTHING))
        if labels := [label.get_text() for label in axes.get_yticklabels()]:
            ticks = dict(zip(axes.get_yticks(), labels, strict=True))
            assert ticks[distances.NOTHING] == "0"
        # what is not there has no level
        assert "one ulp apart at the start" not in heights(axes)


def test_the_axis_says_which_temperature_is_where(figure: Figure) -> None:
    for axes in panels(figure)[2:]:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert list(axes.get_xticks()) == [*PLACES]
        assert labels == ["1", "100", "$10^{4}$", "∞"]
        assert axes.get_yscale() == "log"


def test_the_legend_says_the_rms_of_the_teacher(figure: Figure) -> None:
    (legend,) = figure.legends
    assert legend.get_title().get_text().endswith("logits: 5")
