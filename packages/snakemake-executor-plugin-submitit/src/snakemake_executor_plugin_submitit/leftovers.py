"""Remove the logs, batch folders and journals of jobs that have ended."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from snakemake_executor_plugin_submitit.journal import Submission, forget
from snakemake_executor_plugin_submitit.payload import log_path

__all__ = ["STORE", "Leftovers", "clean"]

STORE = Path(".snakemake/submitit")
"""Folder of journals and of submitit's files, relative to the working directory."""


class Leftovers:
    """Removes the files of this run's jobs as soon as they are no longer needed."""

    def __init__(self, logdir: Path, *, keep_logs: bool) -> None:
        """Store the folder of all logs, and whether logs of successful jobs are kept."""
        self._logdir = logdir
        self._keep_logs = keep_logs
        self._open: Counter[str] = Counter()
        self._failed: set[str] = set()

    def expect(self, submission: Submission) -> None:
        """Count a submitted job, so that its batch folder is kept until the job has ended."""
        self._open[submission.folder] += 1

    def remove(self, submission: Submission, *, succeeded: bool) -> None:
        """Remove the log of a job that succeeded, and its batch folder once all its jobs have."""
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
    """Remove the files that finished runs left; return how many logs and batch folders.

    Batch folders of jobs that may still run are kept, and while there are any, so are all logs.

    Args:
        store: the plugin's folder in a working directory.
        logdir: the folder of all logs.
        gone: returns the ids of those of the given jobs that are known to have ended.

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
    """Remove a folder, and its parents below ``top``, up to the first that is not empty."""
    with contextlib.suppress(OSError):
        while folder != top and top in folder.parents:
            folder.rmdir()
            folder = folder.parent
