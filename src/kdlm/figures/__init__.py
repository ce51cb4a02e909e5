"""The study's figures: one module each, drawn from the tables alone.

A figure's module is found by its name, so that each figure depends on its own code only.
"""

from importlib import import_module
from pathlib import Path

from kdlm.config import Study
from kdlm.errors import InputError

__all__ = ["FIGURES", "draw"]

FIGURES = (
    "accuracy",
    "distances",
    "gradient_limit",
    "init_means",
    "routes",
    "training_means",
)


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
