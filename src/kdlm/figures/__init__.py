"""The study's figures: one module each, drawn from the tables alone.

A module of this package with a constant ``READS``, the names of the tables that it draws from, is
a figure. The constant is read without importing the module, so that the workflow, which asks for
it while the Snakefile is parsed, imports no plotting library. Each figure depends on its own code
only.
"""

import ast
from importlib import import_module
from pathlib import Path

from kdlm.errors import InputError
from kdlm.study.config import Study
from kdlm.study.schemas import table_path

__all__ = ["FIGURES", "draw", "inputs"]


def _reads(module: Path) -> tuple[str, ...] | None:
    """Value of the constant ``READS`` of a module; None where the module has none."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="READS")], value=value):
                return tuple(ast.literal_eval(value))
    return None


FIGURES = {
    module.stem: reads
    for module in sorted(Path(__file__).parent.glob("*.py"))
    if (reads := _reads(module)) is not None
}
"""Names of the tables that each figure reads, by the figure's name."""


def inputs(name: str) -> list[Path]:
    """Paths, in the study's folder, of the tables that figure ``name`` reads."""
    return [
        Path("claims.parquet") if table == "claims" else table_path(table)
        for table in FIGURES[name]
    ]


def draw(name: str, study: Study, folder: Path) -> None:
    """Draw one figure from the tables in a study's ``folder`` as SVG and PNG in its figures/.

    Raises:
        InputError: no such figure, or a table is missing.

    """
    if name not in FIGURES:
        raise InputError(f"unknown figure {name!r}; known: {', '.join(FIGURES)}")
    style = import_module("kdlm.figures.style")
    module = import_module(f"kdlm.figures.{name}")
    style.apply()
    style.save(module.draw(study, folder), folder / "figures" / name)
