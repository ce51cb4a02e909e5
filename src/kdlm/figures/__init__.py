"""The study's figures, each in a module of its own and drawn from the tables alone.

A module of this package is a figure if it has the constant ``READS``, the names of the tables that
the figure is drawn from. Its constants ``TITLE`` and ``CAPTION`` say what the figure is and how to
read it; both are written into the figure's files. The constants are read from the module's text,
without importing it: the workflow needs them while Snakemake parses the Snakefile, and must not
import a plotting library for that. A figure's rule depends on the code of that figure and on what
it imports, not on the other figures.
"""

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlm.errors import InputError
from kdlm.study.schemas import table_path

if TYPE_CHECKING:
    from kdlm.study.config import Study

__all__ = ["FIGURES", "caption", "draw", "inputs", "title"]


_CONSTANT = re.compile(r"^(READS|TITLE|CAPTION) = (\(.*?\)|\"[^\n]*\")$", re.MULTILINE | re.DOTALL)
"""A constant in a module's text. To parse all modules takes Snakemake a tenth of a second."""


def _constants(module: Path) -> dict[str, Any]:
    """Return the values of the constants of `_CONSTANT` in a module's file, by their names."""
    found = _CONSTANT.finditer(module.read_text(encoding="utf-8"))
    return {match[1]: ast.literal_eval(match[2]) for match in found}


_MODULES = {
    module.stem: constants
    for module in sorted(Path(__file__).parent.glob("*.py"))
    if "READS" in (constants := _constants(module))
}

FIGURES: dict[str, tuple[str, ...]] = {name: found["READS"] for name, found in _MODULES.items()}
"""By a figure's name, the names of the tables that it is drawn from."""


def title(name: str) -> str:
    """Return what figure ``name`` is, in a few words.

    >>> title("accuracy")
    'Test accuracy of each loss, and of distillation at each temperature'
    """
    return str(_MODULES[name]["TITLE"])


def caption(name: str) -> str:
    """Return the caption of figure ``name``, which says how to read it."""
    return str(_MODULES[name]["CAPTION"])


def inputs(name: str) -> list[Path]:
    """Return the paths, relative to a study's folder, of the tables that figure ``name`` reads.

    >>> [path.as_posix() for path in inputs("training_means")]
    ['tables/histories.parquet', 'tables/runs.parquet']
    """
    return [
        Path("claims.parquet") if table == "claims" else table_path(table)
        for table in FIGURES[name]
    ]


def draw(name: str, study: "Study", folder: Path) -> None:
    """Draw one figure as SVG and PNG.

    Args:
        name: the figure's name.
        study: the study.
        folder: the study's folder. The tables are read from it, and the figure is written to its
            subfolder ``figures``.

    Raises:
        InputError: there is no such figure, or a table is missing or damaged.

    """
    if name not in FIGURES:
        raise InputError(f"unknown figure {name!r}; known: {', '.join(FIGURES)}")
    style = import_module("kdlm.figures.style")
    module = import_module(f"kdlm.figures.{name}")
    style.apply()
    with style.closing():
        style.save(
            module.draw(study, folder), folder / "figures" / name, title(name), caption(name)
        )
