"""Snakemake's report on a finished study, which is part of its archive."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kdlm.archive.contents import root_of
from kdlm.archive.source import checkout
from kdlm.errors import InputError
from kdlm.storage.files import replacing

__all__ = ["render_report"]

logger = logging.getLogger(__name__)


def render_report(folder: Path, output: Path) -> None:
    """Snakemake's report on the study in ``folder``, of the jobs up to claims and figures.

    It is a command of its own, since Snakemake makes reports of a DAG, not in one; the controller
    that runs it as a job holds the lock, and it only reads.

    Raises:
        InputError: Snakemake could make none.

    """
    with TemporaryDirectory() as scratch:
        # Snakemake chooses the format by the name's end
        made = Path(scratch, "report.html")
        run = subprocess.run(  # noqa: S603
            [
                sys.executable, "-m", "snakemake",
                "--snakefile", str(checkout() / "Snakefile"),
                "--configfile", str((folder / "study.json").absolute()),
                "--cores", "1", "--nolock", "--profile", "none", "--workflow-profile", "none",
                "--report", str(made),
            ],
            cwd=root_of(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )  # fmt: skip
        if run.returncode:
            said = run.stdout.strip() or f"status {run.returncode}"
            logger.error("%s", said[-2000:])
            raise InputError(f"snakemake --report failed: {said.splitlines()[-1]}")
        with replacing(output) as temporary:
            shutil.copyfile(made, temporary)
