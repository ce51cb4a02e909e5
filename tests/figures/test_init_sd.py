"""Figure ``init_sd`` against its table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from kdlm.figures import init_sd
from kdlm.study.config import parse
from tests.figures.drawn import closed, panels, write  # noqa: F401

NETWORKS = {"resnet8": 3, "resnet20": 9, "resnet44": 21}
MODES = ("train", "eval")


def sd(mode: str, initialisation: str, network: str, column: str) -> float:
    """A number that no other point has."""
    place = list(init_sd.LOOKS).index(initialisation), ("sd", "predicted_sd", "expected_sd")
    scale = 1.0 if mode == "train" else 100.0
    return scale * (1 + place[0] + 0.1 * place[1].index(column) + 0.01 * NETWORKS[network])


def rows() -> list[dict[str, Any]]:
    columns = ("sd", "predicted_sd", "expected_sd")
    return [
        {"architecture": network, "initialisation": name, "batchnorm": mode, "kind": "linear",
         "layer": "classifier", "blocks": blocks}
        | {column: sd(mode, name, network, column) for column in columns}
        for mode in MODES
        for name in init_sd.LOOKS
        for network, blocks in reversed(NETWORKS.items())
    ]  # fmt: skip


def drawn(tiny: dict[str, Any], folder: Path, table: list[dict[str, Any]]) -> Figure:
    write(folder, "init_means", table)
    return init_sd.draw(parse(tiny), folder)


@pytest.mark.parametrize("place", [0, 1])
def test_points_and_lines_are_those_of_the_table(
    tiny: dict[str, Any], tmp_path: Path, place: int
) -> None:
    axes = panels(drawn(tiny, tmp_path, rows()))[place]
    assert axes.get_title() == f"BatchNorm in {MODES[place]} mode"
    expected = [
        [(blocks, sd(MODES[place], name, network, column)) for network, blocks in NETWORKS.items()]
        for name in init_sd.LOOKS
        for column in ("expected_sd", "predicted_sd", "sd")
    ]
    found = [
        list(map(tuple, np.transpose(np.asarray(line.get_data())).tolist())) for line in axes.lines
    ]
    assert [[pytest.approx(point) for point in line] for line in expected] == found


def test_networks_without_theory_are_left_out(tiny: dict[str, Any], tmp_path: Path) -> None:
    other = [row | {"architecture": "mlp", "blocks": None, "expected_sd": None} for row in rows()]
    figure = drawn(tiny, tmp_path, other)
    assert not panels(figure)
    assert "no untrained ResNet" in figure.texts[0].get_text()
