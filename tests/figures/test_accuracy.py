"""Figure ``accuracy`` against table ``runs``."""

import math
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kdlm.figures import accuracy
from kdlm.study.config import parse
from tests.figures.drawn import (  # noqa: F401
    Points,
    bars,
    closed,
    legend_of,
    level,
    line,
    panels,
    write,
)

INF = math.inf
TEMPERATURES = (1.0, 4.0, 1e4, INF)
PLACES = (0.0, math.log10(4), 4.0, 5.5)
GAPS = (0.0, 5.0)
SEEDS = range(3)
RECIPES = ("short", "long")
LOSSES = [*(("kd", t) for t in TEMPERATURES), ("ce", 1.0), ("lm", INF), ("centred-lm", INF)]


ORDER = [
    *(("kd", t) for t in TEMPERATURES), ("ce", 1.0), ("lm", INF), ("centred-lm", INF),
]  # fmt: skip
"""From left to right."""


def reached(recipe: str, loss: str, temperature: float, gap: float, seed: int) -> float:
    """An accuracy that no other student has."""
    at = LOSSES.index((loss, temperature))
    return 0.2 + 0.07 * at + 0.003 * seed**2 + 0.001 * gap + 0.01 * RECIPES.index(recipe)


def row(role: str, recipe: str, loss: str, temperature: float, **changes: Any) -> dict[str, Any]:
    return {
        "role": role, "teacher": "resnet20-he-big", "teacher_seed": 0, "architecture": "resnet8",
        "initialisation": "he", "recipe": recipe, "loss": loss, "temperature": temperature,
        "mean_gap": 0.0, "perturbation": 0, "seed": 0, "status": "finished", "best_accuracy": 0.99,
        "means": "trained-teacher", "relative_perturbation": 0.0,
        **changes,
    }  # fmt: skip


def teacher(value: float, seed: int = 0, architecture: str = "resnet20") -> dict[str, Any]:
    return row(
        "teacher", "big", "", math.nan, last_accuracy=value, seed=seed, architecture=architecture,
        teacher="", mean_gap=math.nan,
    )  # fmt: skip


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    rows = [
        row("student", recipe, loss, t, mean_gap=gap, seed=seed,
            last_accuracy=reached(recipe, loss, t, gap, seed))
        for recipe in RECIPES for loss, t in LOSSES for gap in GAPS for seed in SEEDS
    ]  # fmt: skip
    rows += [teacher(0.91), teacher(0.5, seed=1), teacher(0.6, architecture="resnet32")]
    rows += [
        # neither a perturbed nor a lost student, nor recipes with one temperature
        row("student", "short", "kd", 4.0, perturbation=1, last_accuracy=0.01),
        row("student", "short", "kd", 4.0, relative_perturbation=1e-6, last_accuracy=0.01),
        row("student", "short", "kd", 4.0, means="natural", last_accuracy=0.01),
        # what was run with some of the seeds alone
        *(row("student", "short", "kd", 1e6, seed=seed, last_accuracy=0.01) for seed in (0, 2)),
        row("student", "short", "kd", 4.0, mean_gap=1.0, last_accuracy=0.01),
        row("student", "short", "kd", 4.0, seed=9, last_accuracy=0.01, status="diverged"),
        *(row("student", "alone", "kd", 4.0, seed=seed, last_accuracy=0.01) for seed in SEEDS),
    ]
    write(tmp_path, "runs", rows)
    return accuracy.draw(parse(tiny), tmp_path)


def per_cent(recipe: str, loss: str, temperature: float, gap: float) -> list[float]:
    return [100 * reached(recipe, loss, temperature, gap, seed) for seed in SEEDS]


def drawn_at(figure: Figure, panel: int, gap: float) -> Points:
    """The points of a gap: those of KD from left to right, then those of the other losses."""
    points = line(panels(figure)[panel], f"mean gap {gap:g}")
    return [point for point in points if not math.isnan(point[1])]


@pytest.mark.parametrize(("panel", "recipe"), [*enumerate(RECIPES)])
@pytest.mark.parametrize("gap", GAPS)
def test_every_loss_is_mean_and_sd_over_seeds_of_the_last_accuracy(
    figure: Figure, panel: int, recipe: str, gap: float
) -> None:
    axes = panels(figure)[panel]
    assert axes.get_title() == f"resnet20-he-big → resnet8\nhe, recipe {recipe}, 3 seeds"
    values = [per_cent(recipe, loss, t, gap) for loss, t in ORDER]
    found = drawn_at(figure, panel, gap)
    assert [y for _, y in found] == pytest.approx([statistics.mean(v) for v in values])
    wanted = [
        (x, statistics.mean(v) - statistics.stdev(v), statistics.mean(v) + statistics.stdev(v))
        for (x, _), v in zip(found, values, strict=True)
    ]
    assert bars(axes, GAPS.index(gap)) == [pytest.approx(bar) for bar in wanted]


def test_points_stand_at_their_temperature_or_at_the_name_of_their_loss(figure: Figure) -> None:
    for panel, axes in enumerate(panels(figure)):
        ticks = list(axes.get_xticks())
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == ["1", "4", "$10^{4}$", "∞", "CE", "LM", "centred\nLM"]
        assert ticks[: len(PLACES)] == [pytest.approx(place) for place in PLACES]
        both = [[x for x, _ in drawn_at(figure, panel, gap)] for gap in GAPS]
        # one left and one right of the tick
        shift = (both[1][0] - both[0][0]) / 2
        assert 0 < shift < min(b - a for a, b in pairwise(ticks)) / 4
        assert both[0] == pytest.approx([tick - shift for tick in ticks])
        assert both[1] == pytest.approx([tick + shift for tick in ticks])


def test_no_line_is_drawn_where_nothing_was_measured(figure: Figure) -> None:
    """Temperatures at most ten times apart are joined, and neither infinity nor other losses."""
    for axes in panels(figure):
        apart = [math.isnan(y) for _, y in line(axes, "mean gap 0")]
        assert apart == [False, False, *([True, False] * 5)]


def test_a_panel_names_its_own_teacher(figure: Figure) -> None:
    for axes in panels(figure):
        # of its own seed
        assert level(axes, "teacher") == pytest.approx(91)


def test_there_is_a_panel_for_each_recipe_with_several_temperatures(figure: Figure) -> None:
    assert len(panels(figure)) == len(RECIPES)
    legend = legend_of(panels(figure)[0])
    assert legend.get_title().get_text() == "point: mean over seeds, bar: ± one standard deviation"
    assert [text.get_text() for text in legend.get_texts()] == [
        "mean gap 0", "mean gap 5", "teacher",
    ]  # fmt: skip


def test_one_seed_has_no_bar(tiny: dict[str, Any], tmp_path: Path) -> None:
    rows = [row("student", "short", "kd", t, last_accuracy=0.5) for t in TEMPERATURES]
    write(tmp_path, "runs", [*rows, teacher(0.9)])
    (axes,) = panels(accuracy.draw(parse(tiny), tmp_path))
    assert axes.get_title().endswith(", 1 seed")
    assert bars(axes, 0) == []
    assert [y for _, y in line(axes, "mean gap 0") if not math.isnan(y)] == [50.0] * 4


def test_of_many_groups_those_with_the_most_temperatures_are_drawn(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    """A panel for each would be an image that is too wide to be written."""
    rows = [teacher(0.9, seed) for seed in range(100)]
    rows += [
        row("student", "short", "kd", t, teacher_seed=number, seed=seed, last_accuracy=0.5)
        for number in range(100)
        for seed in range(3 if number == 60 else 2)
        for t in (TEMPERATURES if number in (60, 70) else TEMPERATURES[:2])
    ]
    write(tmp_path, "runs", rows)
    drawn = accuracy.draw(parse(tiny), tmp_path)
    assert len(drawn.axes) == 12
    ticks = [len(axes.get_xticks()) for axes in drawn.axes]
    # four rows of three panels: as wide as a page
    assert drawn.get_figwidth() < 20
    titles = [axes.get_title().splitlines()[0] for axes in drawn.axes]
    assert titles[0] == "resnet20-he-big (seed 0) → resnet8"
    assert len(set(titles)) == 12
    # the first ten of the others, and the two with four temperatures behind them
    assert ticks == [2] * 10 + [4, 4]
    assert drawn.get_suptitle() == "12 of 100 groups of students"
    plt.close(drawn)


def test_without_too_many_groups_there_is_no_title(figure: Figure) -> None:
    assert figure.get_suptitle() == ""
