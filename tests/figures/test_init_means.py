"""Figure ``init_means`` against its table and the paper's."""

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from kdlm import published
from kdlm.figures import init_means
from kdlm.study.config import parse
from tests.figures.drawn import bars, closed, panels, write  # noqa: F401

PROTOCOLS = [("he", "train"), ("he", "eval"), ("xavier", "eval")]
NETWORKS = list(published.MEANS)


def mean(protocol: tuple[str, str], network: str) -> float:
    """A number that no other network has."""
    sign = -1.0 if NETWORKS.index(network) % 2 else 1.0
    return sign * 0.01 * (1 + PROTOCOLS.index(protocol)) * (1 + NETWORKS.index(network))


def sd(network: str) -> float:
    return 0.5 + 0.1 * NETWORKS.index(network)


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    rows = []
    for protocol in PROTOCOLS:
        for network in NETWORKS:
            known = {"architecture": network, "initialisation": protocol[0],
                     "batchnorm": protocol[1], "seeds": 100}  # fmt: skip
            of = mean(protocol, network)
            rows += [
                known | {"layer": "conv1", "kind": "convolution", "mean": 7.0, "sd": 1.0,
                         "ci_low": 6.0, "ci_high": 8.0},
                known | {"layer": "classifier", "kind": "linear", "mean": of, "sd": sd(network),
                         "ci_low": of - 0.3, "ci_high": of + 0.3},
            ]  # fmt: skip
    write(tmp_path, "init_means", rows)
    return init_means.draw(parse(tiny), tmp_path)


@pytest.mark.parametrize(("panel", "protocol"), [*enumerate(PROTOCOLS)])
def test_what_is_measured_stands_beside_what_is_published(
    figure: Figure, panel: int, protocol: tuple[str, str]
) -> None:
    axes = panels(figure)[panel]
    initialisation, batchnorm = protocol
    title = f"{initialisation} initialisation, BatchNorm in {batchnorm} mode"
    assert axes.get_title() == title
    # the panels share an axis, which is written below the last
    assert [label.get_text() for label in panels(figure)[-1].get_xticklabels()] == NETWORKS
    ours, theirs = ([*map(float, box[0].get_ydata())] for box in axes.containers)
    means = [mean(protocol, network) for network in NETWORKS]
    assert ours == pytest.approx(means)
    assert theirs == pytest.approx([*published.MEANS.values()])
    assert bars(axes, 0) == [
        pytest.approx((place - 0.12, of - 0.3, of + 0.3)) for place, of in enumerate(means)
    ]
    # 95 % of the means of 6000 seeds, at the spread that was measured
    half = [1.96 * sd(network) / math.sqrt(6000) for network in NETWORKS]
    assert bars(axes, 1) == [
        pytest.approx((place + 0.12, of - spread, of + spread))
        for place, (of, spread) in enumerate(zip(published.MEANS.values(), half, strict=True))
    ]


def test_labels_say_which_is_which(figure: Figure) -> None:
    for axes in panels(figure):
        ours, theirs = (str(box.get_label()) for box in axes.containers)
        assert ours.startswith("measured here: mean over 100 seeds")
        assert theirs.startswith("Table 1")
