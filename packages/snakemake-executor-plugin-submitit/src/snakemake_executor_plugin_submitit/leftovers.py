"""Files of jobs that have ended: kept while someone may read them, then removed."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from snakemake_executor_plugin_submitit.journal import Submission, forget
from snakemake_executor_plugin_submitit.payload import log_path

__all__ = ["STORE", "Leftovers", "clean"]

STORE = Path(".snakemake/submitit")
"""Journals and submitit's files, in the working directory."""


class Leftovers:
    """Removes what jobs of this run leave behind, as soon as nobody needs it."""

    def __init__(self, logdir: Path, *, keep_logs: bool) -> None:
        """Take the folder of all logs, and whether those of successful jobs stay."""
        self._logdir = logdir
        self._keep_logs = keep_logs
        self._open: Counter[str] = Counter()
        self._failed: set[str] = set()

    def expect(self, submission: Submission) -> None:
        """Count a job that will leave something."""
        self._open[submission.folder] += 1

    def remove(self, submission: Submission, *, succeeded: bool) -> None:
        """Remove the log of a success, and the folder of a batch of which all jobs succeeded."""
        folder = submission.folder
        self._open[folder] -= 1
        if not succeeded:
            self._failed.add(folder)
        elif not self._keep_logs:
            log = log_path(submission.logs, submission.job_id)
            with contextlib.suppress(OSError):
                log.unlink()
            _remove_empty(log.parent, self._logdir)
        if self._open[folder] == 0:
            del self._open[folder]
            if folder not in self._failed:
                shutil.rmtree(folder, ignore_errors=True)


def clean(store: Path, logdir: Path, gone: Callable[[list[Submission]], set[str]]) -> int:
    """Remove what runs have left that are over; how many files and folders of theirs.

    Args:
        store: the plugin's folder in a working directory.
        logdir: the folder of its logs. Logs of jobs that may still run stay.
        gone: tells the ids of those jobs of dead controllers that have ended.

    Raises:
        RivalError: a controller lives there, or may live.
    """
    needed = forget(store / "controllers", gone)
    removed = 0
    for batch in store.glob("batches/*"):
        if batch.name not in needed:
            shutil.rmtree(batch, ignore_errors=True)
            removed += 1
    if not needed:
        for log in list(logdir.rglob("*.log")):
            log.unlink(missing_ok=True)
            _remove_empty(log.parent, logdir)
            removed += 1
    return removed


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder and those above it below ``top``, as far as they are empty."""
    with contextlib.suppress(OSError):
        while folder != top and top in folder.parents:
            folder.rmdir()
            folder = folder.parent
