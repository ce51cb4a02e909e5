"""Figure ``training_means`` against table ``histories``."""

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from kdlm.figures import training_means
from kdlm.study.config import parse
from tests.figures.drawn import bands, closed, line, panels, write  # noqa: F401

RECIPES = ("short", "decayed")
LOSSES = {"ce": ("CE", 1.0), "kd": ("KD", 4.0), "lm": ("LM", math.inf)}
SEEDS = range(3)
EPOCHS = (1, 2, 3)
CLASSES = 10


def drift(recipe: str, loss: str, epoch: int, seed: int) -> float:
    """A number that no other student has."""
    at = [*LOSSES].index(loss) + 3 * RECIPES.index(recipe)
    return 0.01 * epoch * (1 + at) * (1 + 0.1 * seed**2)


def row(recipe: str, loss: str, epoch: int, seed: int, **changes: Any) -> dict[str, Any]:
    value = drift(recipe, loss, epoch, seed)
    return {
        "role": "student", "teacher": "t", "teacher_seed": 0, "architecture": "resnet8",
        "initialisation": "he", "recipe": recipe, "loss": loss, "temperature": LOSSES[loss][1],
        "mean_gap": 0.0, "perturbation": 0, "seed": seed, "status": "finished", "epoch": epoch,
        "means": "trained-teacher", "relative_perturbation": 0.0,
        "split": "probe", "mean_logit_drift": 4 * value,
        # at the start: 4 is the root mean square over the seeds
        "mean_logit_rms": 77.0 if epoch else 4 * math.sqrt((1, 1.5, 0.5)[seed]),
        # the sum is a tenth of the drift's number, of a change of 2
        "classifier_weight_sum": value / 10 * 2 * math.sqrt(CLASSES),
        "classifier_weight_change": 2.0 if epoch else 0.0, "classifier_bias_sum": 50.0,
        **changes,
    }  # fmt: skip


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    rows = [
        row(recipe, loss, epoch, seed)
        for recipe in RECIPES for loss in LOSSES for epoch in (0, *EPOCHS) for seed in SEEDS
    ]  # fmt: skip
    far = {"mean_logit_drift": 1e6, "classifier_weight_sum": 1e6}
    rows += [
        # none of the figure's business
        row("short", "kd", 1, 0, temperature=16.0, **far),
        row("short", "kd", 1, 0, mean_gap=5.0, **far),
        row("short", "kd", 1, 0, perturbation=1, **far),
        row("short", "kd", 1, 0, relative_perturbation=1e-6, **far),
        row("short", "kd", 1, 0, means="natural", **far),
        row("short", "kd", 1, 0, teacher_seed=1, **far),
        row("short", "kd", 1, 0, architecture="mlp", **far),
        row("short", "kd", 1, 0, split="train", **far),
        row("short", "kd", 1, 0, initialisation="he-centred", **far),
        row("short", "kd", 1, 0, status="diverged", **far),
        row("short", "kd", 1, 0, role="teacher", **far),
    ]
    write(tmp_path, "histories", rows)
    write(tmp_path, "runs", [{"num_classes": CLASSES}])
    config = tiny | {
        "recipes": tiny["recipes"] | {"decayed": tiny["recipes"]["short"] | {"weight_decay": 0.25}}
    }
    return training_means.draw(parse(config), tmp_path)


@pytest.mark.parametrize(("column", "recipe"), [*enumerate(RECIPES)])
@pytest.mark.parametrize(("above", "share"), [(True, 1.0), (False, 0.1)])
def test_each_panel_has_its_statistic_and_its_recipe(
    figure: Figure, column: int, recipe: str, above: bool, share: float
) -> None:
    axes = panels(figure)[column + (0 if above else len(RECIPES))]
    top = panels(figure)[column]
    decay = {"short": "0", "decayed": "0.25"}[recipe]
    assert top.get_title() == (f"{recipe}\nsgd, weight decay {decay}\nseeds: CE 3, KD 3, LM 3")
    assert axes.get_yscale() == "log"
    found = bands(axes)
    assert len(found) == len(LOSSES)
    for (loss, (label, _)), band in zip(LOSSES.items(), found, strict=True):
        values = {
            epoch: [share * drift(recipe, loss, epoch, seed) for seed in SEEDS] for epoch in EPOCHS
        }
        assert line(axes, label) == [
            pytest.approx((epoch, sum(each) / len(each))) for epoch, each in values.items()
        ]
        for epoch, each in values.items():
            assert band[epoch] == pytest.approx((min(each), max(each)))


def test_the_axes_say_which_is_which(figure: Figure) -> None:
    above, below = panels(figure)[0], panels(figure)[len(RECIPES)]
    assert "mean logit" in above.get_ylabel()
    assert "class sum" in below.get_ylabel()
    (legend,) = figure.legends
    assert legend.get_title().get_text() == (
        "KD at T = 4; mean gap 0 at the start; line: mean, band: all seeds"
    )
