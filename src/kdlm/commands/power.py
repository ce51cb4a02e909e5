"""The command ``kdlm power``: what difference each claim can decide with a config."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from kdlm.arguments import to_path

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["add_power"]


def add_power(command: Callable[[str, object, str], argparse.ArgumentParser]) -> None:
    """Add the command ``power``."""
    power = command("power", _power, "print what difference each claim can decide with a config")
    power.add_argument("config", type=to_path, help="a config file, as config.yaml")
    power.add_argument(
        "--from",
        dest="measured_in",
        metavar="FOLDER",
        type=to_path,
        help="a finished study's folder, for the standard deviations",
    )


def _power(arguments: argparse.Namespace) -> None:
    from kdlm.study.config import read_config, read_study  # noqa: PLC0415

    study = read_config(arguments.config)
    measured_in: Path | None = arguments.measured_in
    if measured_in is not None:
        read_study(measured_in)
    from kdlm.claims import CLAIMS, equations  # noqa: PLC0415
    from kdlm.claims.evidence import Evidence  # noqa: PLC0415
    from kdlm.claims.planned import planned  # noqa: PLC0415
    from kdlm.claims.power import format_powers, powers  # noqa: PLC0415

    measured = None
    if measured_in is not None:
        measured = Evidence.read(measured_in / "tables", study.margins, study.dataset.name)
    # equations hold or fail without any seed
    sampled = [claim for claim in CLAIMS if claim not in equations.CLAIMS]
    print(format_powers(powers(sampled, planned(study), measured), measured_in))
