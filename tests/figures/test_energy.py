"""Figure ``energy`` against table ``energies``."""

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from kdlm.figures import energy
from kdlm.study.config import parse
from tests.figures.drawn import (  # noqa: F401
    approximately,
    bands,
    bars,
    closed,
    legend_of,
    level,
    line,
    panels,
    write,
)

INF = math.inf
EPOCHS = range(4)
LOSSES = {"ce": ("CE", 1.0), "kd": ("KD at T = ∞", INF), "lm": ("LM", INF)}
INITIALISATIONS = {"he": 1e-2, "he-centred": 1e-14}
"""With the size of the shares."""


def share(initialisation: str, loss: str, epoch: int) -> float:
    """A number that no other row has."""
    return INITIALISATIONS[initialisation] * (1 + [*LOSSES].index(loss) + 0.1 * epoch)


def row(initialisation: str, loss: str, epoch: int, **changes: Any) -> dict[str, Any]:
    mean = share(initialisation, loss, epoch)
    return {
        "teacher": f"resnet20-{initialisation}-long", "architecture": "resnet8",
        "initialisation": initialisation, "recipe": "short", "loss": loss,
        "temperature": LOSSES[loss][1], "means": "trained-teacher", "mean_gap": 0.0,
        "epoch": epoch, "split": "test" if epoch else "initial", "n": 5 if loss == "lm" else 3,
        "gap_share_mean": mean, "gap_share_min": mean / 2, "gap_share_max": 2 * mean,
        **changes,
    }  # fmt: skip


def rows(losses: list[str], **changes: Any) -> list[dict[str, Any]]:
    return [
        row(initialisation, loss, epoch, **changes)
        for initialisation in INITIALISATIONS for loss in losses for epoch in EPOCHS
    ]  # fmt: skip


def drawn(tiny: dict[str, Any], folder: Path, table: list[dict[str, Any]]) -> Figure:
    write(folder, "energies", table)
    return energy.draw(parse(tiny), folder)


@pytest.fixture
def figure(tiny: dict[str, Any], tmp_path: Path) -> Figure:
    far = {"gap_share_mean": 0.9, "gap_share_min": 0.9, "gap_share_max": 0.9}
    return drawn(
        tiny,
        tmp_path,
        [
            # none of the figure's business
            *rows(["kd"], architecture="mlp", **far),
            *rows(["kd"], temperature=4.0, **far),
            *rows([*LOSSES], mean_gap=5.0, **far),
            *rows(["kd", "lm"], means="natural", **far),
            *rows([*LOSSES], split="train", **far),
            *rows([*LOSSES], split="probe", **far),
            *rows([*LOSSES]),
        ],
    )


@pytest.mark.parametrize(("place", "initialisation"), [*enumerate(INITIALISATIONS)])
def test_each_panel_has_the_shares_of_its_initialisation(
    figure: Figure, place: int, initialisation: str
) -> None:
    assert len(panels(figure)) == len(INITIALISATIONS)
    axes = panels(figure)[place]
    assert axes.get_title().splitlines() == [
        f"initialisation {initialisation}", f"resnet20-{initialisation}-long", "to resnet8, short",
    ]  # fmt: skip
    assert axes.get_yscale() == "log"
    found = bands(axes)
    assert len(found) == len(LOSSES)
    for (loss, (label, _)), band in zip(LOSSES.items(), found, strict=True):
        n = 5 if loss == "lm" else 3
        values = [(float(epoch), share(initialisation, loss, epoch)) for epoch in EPOCHS[1:]]
        assert line(axes, f"{label}, n = {n}") == approximately(values)
        for epoch, value in values:
            low, high = max(value / 2, energy.NOTHING), 2 * value
            assert band[epoch] == pytest.approx((low, high))


@pytest.mark.parametrize(("place", "initialisation"), [*enumerate(INITIALISATIONS)])
def test_the_start_is_a_point_with_a_bar_that_no_line_leads_to(
    figure: Figure, place: int, initialisation: str
) -> None:
    """It is over the training set, and all else over the test set."""
    axes = panels(figure)[place]
    shifts = []
    for number, loss in enumerate(LOSSES):
        ((x, low, high),) = bars(axes, number)
        mean = share(initialisation, loss, 0)
        assert (low, high) == pytest.approx((max(mean / 2, energy.NOTHING), 2 * mean))
        shifts.append(x)
    assert shifts == pytest.approx([-0.06, 0, 0.06])


def test_the_end_of_each_line_is_marked(figure: Figure) -> None:
    for axes in panels(figure):
        assert [one.get_markevery() for one in axes.lines if one.get_markevery()] == [[-1]] * 3


def test_the_margin_of_the_claims_is_in_every_panel(
    figure: Figure, tiny: dict[str, Any], tmp_path: Path
) -> None:
    for axes in panels(figure):
        assert level(axes, "margin of the claims") == 1e-4
        low, high = axes.get_ylim()
        assert low < 1e-4 < high
    stricter = tiny | {"margins": tiny["margins"] | {"energy": 1e-5}}
    (axes, _) = panels(drawn(stricter, tmp_path / "stricter", rows(["lm"])))
    assert level(axes, "margin of the claims") == 1e-5


def test_a_legend_says_what_lines_and_bands_are(figure: Figure) -> None:
    for axes in panels(figure):
        assert legend_of(axes).get_title().get_text() == (
            "mean gap 0 at the start; line: mean, band: all n students"
        )


def test_a_share_of_nothing_is_drawn_as_0(tiny: dict[str, Any], tmp_path: Path) -> None:
    nothing = {"gap_share_mean": 0.0, "gap_share_min": 0.0, "gap_share_max": 0.0}
    axes, _ = panels(drawn(tiny, tmp_path, rows(["lm"], **nothing)))
    assert line(axes, "LM, n = 5") == approximately(
        [(float(epoch), energy.NOTHING) for epoch in EPOCHS[1:]]
    )
    assert axes.get_ylim()[0] < energy.NOTHING
    labels = dict(
        zip(axes.get_yticks(), [text.get_text() for text in axes.get_yticklabels()], strict=True)
    )
    assert labels[energy.NOTHING] == "0"


@pytest.mark.parametrize(
    "table",
    [
        pytest.param([], id="nothing"),
        pytest.param(rows(["lm"], split="probe"), id="no share of a whole set"),
        pytest.param(rows(["lm"], gap_share_mean=None), id="no number"),
    ],
)
def test_without_shares_the_figure_says_so(
    tiny: dict[str, Any], tmp_path: Path, table: list[dict[str, Any]]
) -> None:
    figure = drawn(tiny, tmp_path, table)
    assert not figure.axes
    assert "no student is finished" in figure.texts[0].get_text()


@pytest.mark.parametrize(
    "table",
    [
        pytest.param([row("he", "ce", 1)], id="one loss and epoch"),
        pytest.param([row("he", "lm", 1, mean_gap=5.0, n=1)], id="a gap and nothing without it"),
        pytest.param(
            [row("he", "kd", epoch, temperature=4.0) for epoch in (0, 1)],
            id="KD at one temperature",
        ),
    ],
)
def test_little_is_drawn_all_the_same(
    tiny: dict[str, Any], tmp_path: Path, table: list[dict[str, Any]]
) -> None:
    (axes,) = panels(drawn(tiny, tmp_path, table))
    assert len(bands(axes)) == 1
    axes.get_figure().canvas.draw()  # type: ignore[union-attr]
