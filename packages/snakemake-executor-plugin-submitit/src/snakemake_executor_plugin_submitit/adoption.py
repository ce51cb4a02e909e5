"""Jobs of controllers that died: followed where they make what is asked for, ended where not."""

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
"""Seconds after which it is said that jobs which were cancelled are still there."""


class Adoption:
    """Takes over what controllers that died have on the cluster."""

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
        """Take what it works with: `name` is the cluster's, `patience` is in seconds."""
        self._cluster = cluster
        self._journal = journal
        self._name = name
        self._abandon = abandon
        self._patience = patience
        self._logger = logger
        self.undecided: set[str] = set()
        """Jobs that were taken over and of which it is open what becomes of them."""

    def take(self, planned: Sequence[Planned]) -> list[tuple[Planned, Submission]]:
        """Jobs that need not be submitted, with those that make the same already.

        Raises:
            RivalError: another controller has jobs of these on the cluster.
            OSError: the scheduler cannot be asked for all our patience.
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
        """Whether a job succeeded after this run of Snakemake had looked at what there is."""
        path = result_path(orphan.folder, orphan.job_id)
        with contextlib.suppress(OSError):
            if path.stat().st_mtime > self._journal.begun:
                result = read_result(path)
                return result is not None and result.succeeded
        return False

    def _patiently(self, orphans: Sequence[Submission]) -> dict[str, Submission]:
        """`_alive`, asked again while the scheduler is away: to go on without would harm jobs."""
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
        """By key: the jobs of controllers that died which are still on the cluster.

        Raises:
            OSError: the scheduler cannot be asked.
        """
        mine = [one for one in orphans if one.cluster == self._name]
        if not mine:
            return {}
        states = self._cluster.states([one.job_id for one in mine])
        return {one.key: one for one in mine if _is_queued(states.get(one.job_id))}

    def _end(self, outdated: Sequence[Submission]) -> None:
        """Cancel jobs whose outputs are about to be made in another way; wait until they are gone.

        Raises:
            OSError: the scheduler cannot be asked.
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
    # also one that never starts is in the way
    return state is not None and state.phase is not Phase.ENDED


def _growing() -> Iterator[float]:
    pause = 1.0
    while True:
        yield pause
        pause = min(2 * pause, 60)
