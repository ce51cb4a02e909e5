"""Figure ``distances`` against table ``comparisons``."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdlm.figures import distances
from kdlm.study.config import parse
from tests.figures.drawn import bars, closed, line, panels, write  # noqa: F401

INF = math.inf
TEMPERATURES = (1.0, 10.0, 1e4, 1e5, INF)
PLACES = (0.0, 1.0, 4.0, 5.0, 6.5)
"""log10 T, and infinity one and a half decades beyond."""
GAPS = (0.0, 5.0)
SEEDS = range(3)
MEASURES = ("weights_share", "logits_share")
LADDER = {1e-14: 1e-12, 1e-12: 3e-12, 1e-10: 2e-8, 1e-8: 1e-4, 1e-6: 0.5, 1e-4: 0.6}
"""Share of test logits by rung; that of weights is a tenth."""


def share(measure: str, loss: str, temperature: float, gap: float, seed: int) -> float:
    """A number that no other pair has."""
    at = TEMPERATURES.index(temperature)
    value = 10.0 ** (-at) * (1 + 0.1 * seed**2) * (1 + gap / 10)
    return value * (3 if loss == "lm" else 1) * (0.01 if measure == "weights_share" else 1)


def row(kind: str, *, recipe: str = "short", **changes: Any) -> dict[str, Any]:
    side = {"loss": "kd", "temperature": INF, "means": "trained-teacher", "mean_gap": 0.0,
            "perturbation": 0, "relative_perturbation": 0.0, "seed": 0}  # fmt: skip
    return {
        "kind": kind, "teacher": "t", "teacher_seed": 0, "architecture": "resnet8",
        "initialisation": "he", "recipe": recipe, "status": "finished",
        "temperature_over_rms": changes.get("temperature_a", 4.0) / 5,
        **{f"{key}_a": value for key, value in side.items()},
        **{f"{key}_b": value for key, value in side.items()},
        **changes,
    }  # fmt: skip


def objective(loss: str, t: float, gap: float, seed: int, **changes: Any) -> dict[str, Any]:
    measured = {measure: share(measure, loss, t, gap, seed) for measure in MEASURES}
    return row("objective", loss_b=loss, temperature_a=t, mean_gap_a=gap, mean_gap_b=gap,
               seed_a=seed, seed_b=seed, **{**measured, **changes})  # fmt: skip


def ladder() -> list[dict[str, Any]]:
    """Two seeds a rung, whose mean is `LADDER`."""
    return [
        row("rung", relative_perturbation_b=size, seed_a=seed, seed_b=seed,
            weights_share=factor * level / 10, logits_share=factor * level)
        for size, level in LADDER.items() for seed, factor in ((0, 0.9), (1, 1.1))
    ]  # fmt: skip


def rows() -> list[dict[str, Any]]:
    found = [
        objective(loss, t, gap, seed)
        for loss in ("lm", "centred-lm") for t in TEMPERATURES for gap in GAPS for seed in SEEDS
    ]  # fmt: skip
    far: dict[str, Any] = dict.fromkeys(MEASURES, 1e6)
    none: dict[str, Any] = dict.fromkeys(MEASURES)
    return [
        *found,
        *ladder(),
        # none of the figure's business: other losses, unequal gaps or means, a lost student, a
        # student without a distance between seeds, another recipe and its ladder
        row("objective", loss_b="ce", temperature_b=1.0, **far),
        row("objective", loss_b="lm", mean_gap_b=5.0, **far),
        row("objective", loss_b="lm", means_b="natural", **far),
        row("objective", loss_a="centred-lm", loss_b="lm", **far),
        row("objective", loss_b="lm", **none) | {"status": "diverged"},
        row("objective", loss_b="lm", temperature_a=77.0, **none),
        row("objective", recipe="other", loss_b="lm", **far),
        row("rung", recipe="other", relative_perturbation_b=1e-9, **far),
    ]


def drawn(tiny: dict[str, Any], folder: Path, table: list[dict[str, Any]]) -> Figure:
    write(folder, "comparisons", table)
    return distances.draw(parse(tiny), folder)


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    return drawn(tiny, tmp_path, rows())


CASES = [
    (0, "weights_share", "centred-lm"),
    (1, "weights_share", "lm"),
    (2, "logits_share", "centred-lm"),
    (3, "logits_share", "lm"),
]


@pytest.mark.parametrize(("panel", "measure", "loss"), CASES)
def test_each_panel_has_its_measure_and_its_loss(
    figure: Figure, panel: int, measure: str, loss: str
) -> None:
    axes = panels(figure)[panel]
    name = {"weights_share": "weights", "logits_share": "centred test logits"}[measure]
    against = {"centred-lm": "centred LM", "lm": "LM"}[loss]
    assert axes.get_title() == f"{name}: KD(T) against {against}"
    for number, gap in enumerate(GAPS):
        wanted = [[share(measure, loss, t, gap, seed) for seed in SEEDS] for t in TEMPERATURES]
        # beside the points of the gap before, not on them
        places = [place + number * 0.02 * PLACES[-1] for place in PLACES]
        points = [point for point in line(axes, f"mean gap {gap:g}") if not math.isnan(point[1])]
        assert points == [
            pytest.approx((place, float(np.mean(values))))
            for place, values in zip(places, wanted, strict=True)
        ]
        # a bar from the smallest to the largest seed
        assert bars(axes, number) == [
            pytest.approx((place, min(values), max(values)))
            for place, values in zip(places, wanted, strict=True)
        ]


def test_no_line_is_drawn_where_nothing_was_measured(figure: Figure) -> None:
    """Temperatures at most ten times apart are joined; none is joined to infinity."""
    for axes in panels(figure):
        x, y = zip(*line(axes, "mean gap 0"), strict=True)
        runs: list[list[float]] = []
        run: list[float] = []
        for place, height in zip(x, y, strict=True):
            if math.isnan(height):
                runs.append(run)
                run = []
            else:
                run.append(place)
        assert [*runs, run] == [[0.0, 1.0], [4.0, 5.0], [6.5]]


def heights(axes: Axes) -> dict[str, float]:
    """Height by what is written at it."""
    return {
        text.get_text(): float(text.xy[1])  # type: ignore[attr-defined]
        for text in axes.texts
        if not text.get_text().startswith("jitter")
    }


def shaded(axes: Axes) -> list[tuple[float, float]]:
    return [
        (float(patch.get_y()), float(patch.get_y() + patch.get_height()))
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    ]


@pytest.mark.parametrize(("panel", "measure", "loss"), CASES)
def test_the_ladder_is_the_scale_on_the_right(
    figure: Figure, panel: int, measure: str, loss: str
) -> None:
    axes, unit = panels(figure)[panel], 0.1 if measure == "weights_share" else 1.0
    saturated = 0.6 / 2 * unit
    assert shaded(axes) == [pytest.approx((saturated, distances.TOP))]
    # 1e-14 has no room beside 1e-12
    rungs = {"$10^{-8}$": 1e-4, "$10^{-10}$": 2e-8, "$10^{-12}$": 3e-12}
    levels = {f"ε = {text}": unit * height for text, height in rungs.items()}
    levels |= {"saturated: ε ≥ $10^{-6}$": saturated}
    dotted = sorted(
        float(np.asarray(one.get_ydata())[0]) for one in axes.lines
        if to_hex(one.get_color()) == to_hex("0.6")
    )  # fmt: skip
    assert dotted == pytest.approx(sorted(levels.values()))
    # the labels stand at the right edge, once for both panels of a row
    labels = levels if loss == "lm" else {}
    assert heights(axes) == pytest.approx(labels | {"two seeds": 1.0})


def test_without_a_ladder_there_is_no_scale(tiny: dict[str, Any], tmp_path: Path) -> None:
    table = [one for one in rows() if one["kind"] != "rung"]
    for axes in panels(drawn(tiny, tmp_path, table)):
        assert heights(axes) == {"two seeds": 1.0}
        assert shaded(axes) == []


def test_a_ladder_that_ends_before_its_plateau_shades_nothing(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    table = [
        one for one in rows() if one["kind"] != "rung" or one["relative_perturbation_b"] <= 1e-10
    ]
    axes = panels(drawn(tiny, tmp_path, table))[3]
    assert shaded(axes) == []
    assert heights(axes) == pytest.approx(
        {"two seeds": 1.0, "ε = $10^{-10}$": 2e-8, "ε = $10^{-12}$": 3e-12}
    )


def test_a_distance_of_nothing_is_drawn_where_the_axis_says_0(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    changed = rows()
    for one in changed:
        if one["kind"] == "objective" and one["temperature_a"] == INF and one["status"]:
            one.update(dict.fromkeys(MEASURES, 0.0))
    for axes in panels(drawn(tiny, tmp_path, changed)):
        assert line(axes, "mean gap 0")[-1] == pytest.approx((6.5, distances.NOTHING))
        if labels := [label.get_text() for label in axes.get_yticklabels()]:
            ticks = dict(zip(axes.get_yticks(), labels, strict=True))
            assert ticks[distances.NOTHING] == "0"


def test_the_axis_says_which_temperature_is_where(figure: Figure) -> None:
    for axes in panels(figure)[2:]:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert list(axes.get_xticks()) == [*PLACES]
        assert labels == ["1", "10", "$10^{4}$", "$10^{5}$", "∞"]
        assert axes.get_yscale() == "log"


def test_the_legend_says_whose_students_they_are(figure: Figure) -> None:
    (legend,) = figure.legends
    title = legend.get_title().get_text()
    assert title.startswith("t → resnet8, short; ")
    assert title.endswith("logits: 5")


def test_means_that_are_not_the_trained_teachers_are_named(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    kinds = ("trained-teacher", "untrained-teacher", "natural")
    table = [
        objective("lm", t, 0.0, seed, means_a=means, means_b=means)
        for means in kinds for t in TEMPERATURES for seed in SEEDS
    ]  # fmt: skip
    figure = drawn(tiny, tmp_path, table)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["mean gap 0", "no mean gap imposed", "mean gap 0 (untrained-teacher)"]


@pytest.mark.parametrize("temperatures", [(4.0,), (INF,), (1.0, INF)])
def test_a_study_of_little_has_a_figure(
    tiny: dict[str, Any], tmp_path: Path, temperatures: tuple[float, ...]
) -> None:
    table = [row("objective", loss_b="lm", temperature_a=t, weights_share=0.5, logits_share=0.5)
             for t in temperatures]  # fmt: skip
    assert len(panels(drawn(tiny, tmp_path, table))) == 4


def test_one_seed_has_no_distance_between_seeds_to_compare_with(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    table = [row("objective", loss_b="lm", temperature_a=4.0)]
    figure = drawn(tiny, tmp_path, table)
    assert panels(figure) == []
    assert "in two seeds" in figure.texts[0].get_text()


def test_students_of_other_means_are_a_line_of_their_own(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Of the same gap, and further apart by a factor."""
    factors = {"trained-teacher": 1.0, "natural": 7.0}
    table = [
        objective("lm", t, 0.0, seed, means_a=means, means_b=means)
        | {measure: factor * share(measure, "lm", t, 0.0, seed) for measure in MEASURES}
        for means, factor in factors.items() for t in TEMPERATURES for seed in SEEDS
    ]  # fmt: skip
    axes = panels(drawn(tiny, tmp_path, table))[3]
    beside = 0.02 * PLACES[-1]
    for label, factor, shift in (("mean gap 0", 1.0, 0.0), ("no mean gap imposed", 7.0, beside)):
        points = [point for point in line(axes, label) if not math.isnan(point[1])]
        assert points == [
            pytest.approx(
                (
                    place + shift,
                    factor * np.mean([share("logits_share", "lm", t, 0.0, s) for s in SEEDS]),
                )
            )
            for place, t in zip(PLACES, TEMPERATURES, strict=True)
        ]
