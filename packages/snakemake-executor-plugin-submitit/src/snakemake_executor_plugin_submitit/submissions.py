"""Submit jobs to the cluster as arrays, and hold back those for which its queue has no room."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.cluster import Cluster, NoRoomError, SubmissionError
from snakemake_executor_plugin_submitit.jobs import Planned, arrays
from snakemake_executor_plugin_submitit.journal import Journal, Submission
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.settings import ExecutorSettings

__all__ = ["Reports", "Submitter"]

LONGEST_NAME = 120
"""Largest number of characters in a job's name."""

LONGEST_PAUSE = 60.0
"""Most seconds between two tries to submit waiting jobs while no job of this run ends."""


@dataclass(frozen=True)
class Reports:
    """The functions that report to Snakemake what became of jobs."""

    submitted: Callable[[Planned, Submission], None]
    refused: Callable[[Iterable[JobExecutorInterface], str], None]


class Submitter:
    """Submits jobs as arrays; safe to use from several threads."""

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        settings: ExecutorSettings,
        *,
        folder: Path,
        batches: Path,
        reports: Reports,
        logger: Any,
    ) -> None:
        """Store the parts to work with.

        Args:
            cluster: the scheduler.
            journal: the journal of this controller.
            settings: the options of the run.
            folder: the working directory of jobs.
            batches: the folder below which submitit's files are kept.
            reports: the functions that report to Snakemake.
            logger: Snakemake's logger.
        """
        self._cluster = cluster
        self._journal = journal
        self._settings = settings
        self._folder = folder
        self._batches = batches
        self._reports = reports
        self._logger = logger
        self._turn = threading.Lock()
        self._waiting: list[list[Planned]] = []
        self._said: set[str] = set()
        self._left = 0
        self._pause = 1.0
        self._next_try = 0.0
        self._stopped = False

    @property
    def idle(self) -> bool:
        """Whether no job waits for room."""
        return not self._waiting

    def submit(self, planned: Sequence[Planned]) -> None:
        """Submit jobs in as few arrays as their requests and the cluster's limits allow."""
        if not planned:
            return
        with self._turn:
            try:
                largest = self._cluster.largest_array
            except SubmissionError as error:
                self._reports.refused([one.job for one in planned], str(error))
                return
            for array in arrays(planned, largest):
                if self._waiting:
                    # Jobs that have been waiting for room come first.
                    self._waiting.append(list(array))
                else:
                    self._send(list(array), len(array))

    def try_again(self, left: int) -> None:
        """Submit waiting jobs as far as there may be room.

        `left` is the number of this run's jobs that have left the queue since the last call.
        """
        with self._turn:
            self._left += left
            now = time.monotonic()
            if not self._waiting or (self._left == 0 and now < self._next_try):
                return
            room, self._left = max(1, self._left), 0
            before, self._waiting = self._waiting, []
            for array in before:
                self._send(array, min(room, len(array)))
            still = sum(map(len, self._waiting))
            progress = still < sum(map(len, before))
            self._pause = 1.0 if progress else min(2 * self._pause, LONGEST_PAUSE)
            self._next_try = now + self._pause

    def stop(self) -> None:
        """Submit nothing from now on; return once a submission that is under way is over."""
        self._stopped = True
        self._cluster.stop_waiting()
        with self._turn:
            self._waiting.clear()

    def _send(self, array: list[Planned], size: int) -> None:
        """Submit the array in parts that the queue has room for; the rest waits.

        The first part has at most ``size`` jobs. A refused part is halved, and its size is from
        then on a limit that the parts together must stay below.
        """
        limit: int | None = None
        while array and not self._stopped:
            part = array[:size]
            try:
                self._submit(part)
            except NoRoomError as error:
                limit = size
                if size == 1:
                    self._wait(array, str(error))
                    return
                size //= 2
                continue
            array = array[size:]
            if limit is None:
                size = max(1, min(2 * size, len(array)))
            else:
                limit -= size
                if limit <= 1 and array:
                    self._wait(array, "")
                    return
                size = max(1, min(limit // 2, len(array)))

    def _wait(self, array: list[Planned], reason: str) -> None:
        self._waiting.append(array)
        if reason and reason not in self._said:
            self._said.add(reason)
            self._logger.info(
                f"submitit: Slurm takes no more jobs now ({reason}); {len(array)} wait here and are"
                " submitted as others end"
            )

    def _submit(self, array: Sequence[Planned]) -> None:
        """Submit one array, and report its jobs as submitted or refused.

        Raises:
            NoRoomError: the queue has no room; nothing is submitted or reported.
        """
        tag = uuid.uuid4().hex[:12]
        folder = self._batches / tag
        try:
            commands = [self._command(one, tag) for one in array]
            self._journal.submitting(tag, [one.key for one in array])
            folder.mkdir(parents=True, mode=0o700)
            name = f"{self._settings.jobname_prefix}{_name(array)}"[:LONGEST_NAME]
            ids = self._cluster.submit(folder, array[0].request, name, tag, commands)
            submissions = [
                Submission(
                    job_id=job_id,
                    cluster=self._settings.cluster,
                    folder=str(folder),
                    key=one.key,
                    fingerprint=one.fingerprint,
                    title=one.title,
                    logs=str(one.logs),
                )
                for job_id, one in zip(ids, array, strict=True)
            ]
            self._journal.submitted(tag, submissions)
        except NoRoomError:
            self._journal.submitted(tag, [])
            raise
        # Any exception is caught: a job that is never reported would keep its slot for ever.
        except Exception as error:
            known = isinstance(error, (SubmissionError, OSError))
            self.abandon(tag)
            self._reports.refused(
                [one.job for one in array],
                str(error) if known else f"{type(error).__name__}: {error}",
            )
            return
        for one, submission in zip(array, submissions, strict=True):
            self._reports.submitted(one, submission)

    def _command(self, one: Planned, tag: str) -> JobCommand:
        limit = 60 * one.request.runtime
        # Slurm may send the notice up to a minute early (sbatch, --signal). With a limit of one
        # minute that could be at the start of the job, before any process handles it.
        notice = min(self._settings.notice, limit // 2) if limit > 60 else 0
        return JobCommand(
            command=one.command,
            folder=str(self._folder),
            logs=str(one.logs),
            title=one.title,
            tag=tag,
            runtime=limit,
            notice=notice,
            requeue_at_limit=one.request.requeue,
            max_requeues=self._settings.max_requeues,
        )

    def abandon(self, tag: str) -> None:
        """Cancel jobs that a failed submission may have left on the cluster."""
        with contextlib.suppress(OSError):
            self._cluster.cancel_tagged(tag)
            if tag in self._journal.unfinished:
                self._journal.submitted(tag, [])


def _name(array: Sequence[Planned]) -> str:
    if len(array) == 1:
        return array[0].title
    return "+".join(sorted({one.job.name for one in array}))
