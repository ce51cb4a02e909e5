"""Take over the jobs of controllers that died.

A job is adopted if this run would submit it unchanged. Otherwise it is cancelled before its outputs
are made anew.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from snakemake_executor_plugin_submitit.cluster import Cluster, Phase, State
from snakemake_executor_plugin_submitit.jobs import Planned
from snakemake_executor_plugin_submitit.journal import Journal, Submission
from snakemake_executor_plugin_submitit.outcome import read_result, result_path

__all__ = ["Adoption"]

SLOW = 60.0
"""Seconds after which the log says that cancelled jobs are still on the cluster."""


class Adoption:
    """Decides which jobs of dead controllers are adopted, and cancels the others."""

    def __init__(
        self,
        cluster: Cluster,
        journal: Journal,
        *,
        name: str,
        abandon: Callable[[str], None],
        patience: float,
        logger: Any,
    ) -> None:
        """Store the parts to work with.

        Args:
            cluster: the scheduler.
            journal: the journal of this controller.
            name: name of the cluster, as in `Submission.cluster`.
            abandon: cancels the jobs of an unfinished submission, given its tag.
            patience: seconds for which an unreachable scheduler is asked again.
            logger: Snakemake's logger.
        """
        self._cluster = cluster
        self._journal = journal
        self._name = name
        self._abandon = abandon
        self._patience = patience
        self._logger = logger
        self.undecided: set[str] = set()
        """Ids of jobs that were taken over and are neither adopted nor cancelled yet."""

    def take(self, planned: Sequence[Planned]) -> list[tuple[Planned, Submission]]:
        """Adopt orphaned jobs that do the work of planned ones, and cancel outdated orphans.

        Returns:
            The planned jobs that need not be submitted, each with the job adopted in its place.

        Raises:
            RivalError: another controller has jobs with the same outputs on the cluster.
            OSError: the scheduler was not reachable for as long as `patience` lasts.
        """
        took = self._journal.take({one.key for one in planned})
        for tag in took.unfinished:
            self._abandon(tag)
        self.undecided = {one.job_id for one in took.orphans}
        alive = self._patiently(took.orphans)
        finished = {one.key: one for one in took.orphans if self._just_finished(one)}
        adopted = []
        for one in planned:
            orphan = alive.get(one.key) or finished.get(one.key)
            if orphan is not None and orphan.fingerprint == one.fingerprint:
                what = "still runs" if one.key in alive else "has just finished"
                self._logger.info(f"Adopted job {orphan.job_id}, which {what}: {orphan.title}")
                adopted.append((one, orphan))
        ids = {orphan.job_id for _, orphan in adopted}
        others = [one for one in took.orphans if one.job_id not in ids]
        self._end([one for one in others if one in alive.values()])
        self._journal.ended(one.job_id for one in others)
        self.undecided = set()
        return adopted

    def _just_finished(self, orphan: Submission) -> bool:
        """Return whether a job succeeded since this run began.

        Snakemake had looked at the outputs before that, so the job is still in its DAG.
        """
        path = result_path(orphan.folder, orphan.job_id)
        with contextlib.suppress(OSError):
            if path.stat().st_mtime > self._journal.begun:
                result = read_result(path)
                return result is not None and result.succeeded
        return False

    def _patiently(self, orphans: Sequence[Submission]) -> dict[str, Submission]:
        """Return `_alive`, asking again with growing pauses while the scheduler is unreachable.

        Without its answer a job could be submitted a second time.

        Raises:
            OSError: the scheduler was not reachable for as long as `patience` lasts.
        """
        end = time.monotonic() + self._patience
        for pause in _growing():
            try:
                return self._alive(orphans)
            except OSError as error:
                if time.monotonic() + pause > end:
                    raise
                self._logger.warning(
                    f"submitit: {error}; whether jobs of an earlier run are still there is asked"
                    f" again in {pause:.0f} s"
                )
                time.sleep(pause)
        raise AssertionError("pauses do not end")

    def _alive(self, orphans: Collection[Submission]) -> dict[str, Submission]:
        """Return the orphans that are still on the cluster, by key.

        Raises:
            OSError: the scheduler cannot be reached.
        """
        mine = [one for one in orphans if one.cluster == self._name]
        if not mine:
            return {}
        states = self._cluster.states([one.job_id for one in mine])
        return {one.key: one for one in mine if _is_queued(states.get(one.job_id))}

    def _end(self, outdated: Sequence[Submission]) -> None:
        """Cancel outdated jobs and wait until they have left the cluster.

        Raises:
            OSError: the scheduler cannot be reached.
        """
        if not outdated:
            return
        ids = [one.job_id for one in outdated]
        self._logger.info(f"Cancelling jobs whose outputs are asked for anew: {', '.join(ids)}")
        self._cluster.cancel(ids)
        say_so = time.monotonic() + SLOW
        while left := self._patiently(outdated):
            if time.monotonic() > say_so:
                names = ", ".join(one.job_id for one in left.values())
                self._logger.info(f"submitit: waiting for cancelled jobs to end: {names}")
                self._cluster.cancel([one.job_id for one in left.values()])
                say_so = time.monotonic() + SLOW
            time.sleep(1)


def _is_queued(state: State | None) -> bool:
    # A job in phase STUCK counts too: it would start if its obstacle were removed.
    return state is not None and state.phase is not Phase.ENDED


def _growing() -> Iterator[float]:
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, 60)
