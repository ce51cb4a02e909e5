"""Files of figures: written whole, the same bytes each time, and nothing left open."""

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from kdlm.figures import style


def test_equal_figures_are_equal_bytes(tmp_path: Path) -> None:
    style.apply()
    files = []
    for name in ("one", "other"):
        with style.closing():
            figure, axes = plt.subplots()
            axes.plot([0, 1], [0, 1])
            style.save(figure, tmp_path / name)
        files.append([(tmp_path / f"{name}{suffix}").read_bytes() for suffix in (".svg", ".png")])
    assert files[0] == files[1]


def test_a_figure_that_fails_is_closed_too() -> None:
    kept = plt.figure()
    before = plt.get_fignums()

    def fail() -> None:
        with style.closing():
            plt.subplots()
            raise ValueError("no table")

    with pytest.raises(ValueError, match="no table"):
        fail()
    assert plt.get_fignums() == before
    plt.close(kept)
