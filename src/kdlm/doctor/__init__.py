"""``kdlm doctor``: whether this machine can run a study, and what to do where it cannot.

Every check is guarded: an error in it, or one that takes too long, is a line of the report.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from kdlm.arguments import to_path
from kdlm.doctor.finding import Finding, found_by
from kdlm.errors import InputError
from kdlm.terminal import printable

__all__ = ["add_command"]

_LOOKS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def add_command(
    command: Callable[[str, object, str], argparse.ArgumentParser],
) -> None:
    """Add the command ``doctor`` with its arguments.

    Args:
        command: adds a command of this name, which runs this function, with this description.

    """
    doctor = command("doctor", _run, "check whether this machine can run a study")
    doctor.add_argument(
        "--configfile", type=to_path, help="the study's config; its data and disk are checked too"
    )
    doctor.add_argument("folder", type=to_path, nargs="?", help="a study's folder, results/<study>")


def _run(arguments: argparse.Namespace) -> None:
    findings = list(_findings(arguments.configfile, arguments.folder))
    _print(findings)
    problems = [finding.subject for finding in findings if finding.status == "problem"]
    if problems:
        raise InputError(f"problems with: {', '.join(dict.fromkeys(problems))}")


def _findings(config: Path | None, folder: Path | None) -> Iterable[Finding]:
    """Yield what every check finds, as soon as it has ended."""
    from kdlm.doctor import machine, study  # noqa: PLC0415

    read = study.Asked(config, folder)
    yield from found_by("config", read.check)
    yield from found_by("Python", machine.python)
    yield from found_by("locale", machine.locale)
    yield from found_by("torch", lambda: machine.torch(read.study), seconds=machine.TORCH_SECONDS)
    yield from found_by("Snakemake", machine.snakemake)
    yield from found_by("Slurm", machine.slurm, seconds=4 * machine.PROGRAM_SECONDS)
    yield from found_by("submitit", machine.submitit)
    yield from found_by("locks", read.locks)
    yield from found_by("disk", read.disk, seconds=30)
    yield from found_by("data", read.data)


def _print(findings: Iterable[Finding]) -> None:
    """Print a line for each finding: its status in word and colour, what it is about, the rest."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for finding in findings:
        line = Text.assemble(
            (f"{finding.status:8} ", _LOOKS[finding.status]),
            (f"{finding.subject:10}", "bold"),
            f" {printable(finding.text)}",
            f"; {printable(finding.advice)}" if finding.advice else "",
        )
        console.print(line, soft_wrap=True)
    # what follows on stderr stands below, also where both go into one file
    console.file.flush()
