"""Figure ``published_accuracies`` against the table and the published numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from kdlm import published
from kdlm.figures import published_accuracies
from kdlm.study.config import parse
from tests.figures.drawn import bars, closed, panels, write  # noqa: F401

PAIR = ("wrn-40-2", "wrn-16-2")


def drawn(tiny: dict[str, Any], folder: Path, dataset: dict[str, Any]) -> Figure:
    """Two students of KD and one teacher of one pair were measured."""
    recipe = {"status": "finished", "epochs": 240, "optimizer": "sgd", "weight_decay": 5e-4,
              "mean_gap": 0.0, "perturbation": 0, "relative_perturbation": 0.0,
              "initialisation": "he"}  # fmt: skip
    student = recipe | {
        "role": "student", "teacher": f"{PAIR[0]}-he-standard", "teacher_seed": 0,
        "architecture": PAIR[1], "loss": "kd", "temperature": 4.0, "ce_weight": 0.1,
    }  # fmt: skip
    write(
        folder,
        "runs",
        [
            recipe | {"role": "teacher", "architecture": PAIR[0], "last_accuracy": 0.76},
            student | {"seed": 0, "last_accuracy": 0.74},
            student | {"seed": 1, "last_accuracy": 0.75},
        ],
    )
    return published_accuracies.draw(parse(tiny | {"dataset": dataset}), folder)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(figure: Figure) -> list[float]:
    """Heights of the open markers."""
    (axes,) = panels(figure)
    return [
        float(np.asarray(line.get_ydata())[0])
        for line in axes.lines
        if line.get_markerfacecolor() == "white"
    ]


def test_every_published_number_is_drawn(tiny: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(tiny, tmp_path, {"name": "cifar100", "root": "data"})
    known = published.ACCURACIES.values()
    expected = [number for one in known for number in (one.teacher, one.ce, one.kd)]
    assert sorted(points(figure)) == pytest.approx(sorted(expected))
    assert [label.get_text() for label in panels(figure)[0].get_xticklabels()] == [
        f"{teacher}\nto {student}" for teacher, student in published.ACCURACIES
    ]


def test_measured_ones_stand_beside_them(tiny: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(tiny, tmp_path, {"name": "cifar100", "root": "data"})
    (axes,) = panels(figure)
    place = list(published.ACCURACIES).index(PAIR)
    found = [bars(axes, number)[0] for number in range(len(axes.containers))]
    assert found == [
        pytest.approx((place - 0.2, 0.76, 0.76)),
        pytest.approx((place + 0.3, 0.74, 0.75)),
    ]
    assert legend(figure) == [
        "teacher, published", "teacher, measured here", "CE, published", "KD, published",
        "KD, measured here",
    ]  # fmt: skip
    assert not axes.get_title()


def test_a_study_of_other_images_says_that_nothing_was_measured(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    figure = drawn(tiny, tmp_path, {"name": "digits"})
    assert len(points(figure)) == 18
    assert all(label.endswith("published") for label in legend(figure))
    assert panels(figure)[0].get_title().startswith("published only")
