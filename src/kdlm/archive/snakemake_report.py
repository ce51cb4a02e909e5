"""Making Snakemake's report on a finished study, a file of its archive."""

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

__all__ = ["render_snakemake_report"]

logger = logging.getLogger(__name__)


def render_snakemake_report(folder: Path, output: Path) -> None:
    """Write Snakemake's report on the study in ``folder`` to ``output``.

    The report covers all jobs up to claims, figures and the study's own page. A job of the DAG
    cannot make a report on that DAG, so this runs another Snakemake. It takes no lock, which the
    Snakemake that runs the job holds; making a report only reads.

    Raises:
        InputError: Snakemake failed.

    """
    with TemporaryDirectory() as scratch:
        # Snakemake chooses the format by the suffix.
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
