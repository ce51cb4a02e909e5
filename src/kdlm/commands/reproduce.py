"""The command ``kdlm reproduce``: an archive checked, and rebuilt or rerun."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from kdlm.arguments import to_count, to_path
from kdlm.errors import InputError

__all__ = ["add_reproduce"]


def add_reproduce(command: Callable[[str, object, str], argparse.ArgumentParser]) -> None:
    """Add the command ``reproduce``."""
    reproduce = command("reproduce", _reproduce, "check an archive, and rebuild or rerun it")
    reproduce.add_argument("archive", type=to_path)
    reproduce.add_argument(
        "--level", nargs="+", choices=("L0", "L1", "L2", "L3", "L4"), default=["L1", "L4"],
        help="L0 integrity, L1 rebuilt, L2 rerun to the bit, L3 rerun within tolerances, "
        "L4 verdicts; default: L1 L4",
    )  # fmt: skip
    reproduce.add_argument(
        "--jobs",
        type=to_count,
        default=3,
        help="how many jobs L2 and L3 rerun, or all; default: 3",
    )
    reproduce.add_argument("--sample-seed", type=int, default=0, help="which jobs; default: 0")
    reproduce.add_argument("--folder", type=to_path, help="new or empty; <archive>-reproduced")
    reproduce.add_argument("--yes", action="store_true", help="run the archive's code unasked")
    reproduce.add_argument("--json", type=to_path, help="where the outcome goes, name by name")


def _reproduce(arguments: argparse.Namespace) -> None:
    from kdlm.reproduce.check import reproduce  # noqa: PLC0415
    from kdlm.reproduce.outcome import Level  # noqa: PLC0415

    archive = arguments.archive
    outcomes = reproduce(
        archive,
        arguments.folder or Path(f"{archive.stem}-reproduced"),
        [Level(level) for level in arguments.level],
        jobs=arguments.jobs,
        seed=arguments.sample_seed,
        consent=_consent(yes=arguments.yes),
        report=arguments.json,
    )
    print(outcomes.as_table())
    if complaint := outcomes.first_complaint():
        raise InputError(complaint)


def _consent(*, yes: bool) -> Callable[[str], bool] | None:
    """Return a function that asks the user a question and returns whether the answer is yes.

    `kdlm.reproduce` asks through it before it runs the code of an archive. With ``yes`` no question
    is asked; where there is no terminal to ask at, the result is None.
    """
    if yes:
        return lambda _: True
    if not sys.stdin.isatty():
        return None
    return lambda question: input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
