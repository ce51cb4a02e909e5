"""Figures: drawn by the tiny study, and drawn again to the same bytes."""

import shutil
from pathlib import Path

import pytest

from kdlm.config import parse
from kdlm.errors import InputError
from kdlm.figures import FIGURES, draw

pytestmark = pytest.mark.xdist_group("study")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_function_of_the_tables(
    name: str, finished: Path, tiny: dict[str, object], tmp_path: Path
) -> None:
    drawn = finished / "results/tiny"
    shutil.copytree(drawn / "tables", tmp_path / "tables")
    shutil.copy(drawn / "claims.parquet", tmp_path)
    draw(name, parse(tiny), tmp_path)
    for suffix in ("svg", "png"):
        again = (tmp_path / f"figures/{name}.{suffix}").read_bytes()
        assert again == (drawn / f"figures/{name}.{suffix}").read_bytes()


def test_an_unknown_figure_lists_the_known(tiny: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'nothing'.*gradient_limit"):
        draw("nothing", parse(tiny), tmp_path)
