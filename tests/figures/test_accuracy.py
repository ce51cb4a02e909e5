"""Figure ``accuracy`` against table ``runs``."""

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from kdlm.figures import accuracy
from kdlm.study.config import parse
from tests.figures.drawn import bars, closed, level, line, panels, write  # noqa: F401

INF = math.inf
TEMPERATURES = (1.0, 4.0, 1e4, INF)
PLACES = (0.0, math.log10(4), 4.0, 5.5)
GAPS = (0.0, 5.0)
SEEDS = range(3)
RECIPES = ("short", "long")
LOSSES = [*(("kd", t) for t in TEMPERATURES), ("ce", 1.0), ("lm", INF), ("centred-lm", INF)]


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


@pytest.mark.parametrize(("panel", "recipe"), [*enumerate(RECIPES)])
def test_kd_is_mean_and_sd_over_seeds_of_the_last_accuracy(
    figure: Figure, panel: int, recipe: str
) -> None:
    axes = panels(figure)[panel]
    assert axes.get_title() == f"resnet20-he-big → resnet8, {recipe}"
    for number, gap in enumerate(GAPS):
        values = [per_cent(recipe, "kd", t, gap) for t in TEMPERATURES]
        assert line(axes, f"KD, mean gap {gap:g}") == [
            pytest.approx(point) for point in zip(PLACES, map(statistics.mean, values), strict=True)
        ]
        wanted = [
            (
                place,
                statistics.mean(v) - statistics.stdev(v),
                statistics.mean(v) + statistics.stdev(v),
            )
            for place, v in zip(PLACES, values, strict=True)
        ]
        assert bars(axes, number) == [pytest.approx(bar) for bar in wanted]


@pytest.mark.parametrize(("panel", "recipe"), [*enumerate(RECIPES)])
def test_the_others_are_levels_without_a_gap(figure: Figure, panel: int, recipe: str) -> None:
    axes = panels(figure)[panel]
    for label, loss, temperature in (
        ("CE, mean gap 0", "ce", 1.0),
        ("LM, mean gap 0", "lm", INF),
        ("centred LM, mean gap 0", "centred-lm", INF),
    ):
        mean = statistics.mean(per_cent(recipe, loss, temperature, 0.0))
        assert level(axes, label) == pytest.approx(mean)
    # its own teacher, of its own seed
    assert level(axes, "teacher") == pytest.approx(91)


def test_there_is_a_panel_for_each_recipe_with_several_temperatures(figure: Figure) -> None:
    assert len(panels(figure)) == len(RECIPES)
    for axes in panels(figure):
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert list(axes.get_xticks()) == [pytest.approx(place) for place in PLACES]
        assert labels == ["1", "4", "$10^{4}$", "∞"]
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_title().get_text() == "mean, sd (seeds: 3)"


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
    # the first ten of the others, and the two with four temperatures behind them
    assert ticks == [2] * 10 + [4, 4]
    assert drawn.get_suptitle() == "12 of 100 groups of students"
    plt.close(drawn)


def test_without_too_many_groups_there_is_no_title(figure: Figure) -> None:
    assert figure.get_suptitle() == ""
