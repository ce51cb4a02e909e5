"""Watch jobs on the cluster from their submission until they have left its queue."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from snakemake_executor_plugin_submitit.cluster import Cluster, Phase, State
from snakemake_executor_plugin_submitit.journal import Submission
from snakemake_executor_plugin_submitit.outcome import Result, read_result, result_path, verdict
from snakemake_executor_plugin_submitit.words import ADVICE, ORDINARY

__all__ = ["Delays", "Watch", "Watched"]

SILENCE = 300.0
"""Seconds that jobs wait for a person before the log says so, and between two such messages."""

SOON = 3.0
"""Seconds within which a job that succeeded usually leaves the queue."""

AGAIN = 30.0
"""Seconds after which a cancelled job that is still queued is cancelled again."""


@dataclass
class Watched:
    """A job of this run on the cluster."""

    info: SubmittedJobInfo
    submission: Submission
    ended_since: float | None = None
    """Time at which the job was first seen to have ended without success."""
    decided: float | None = None
    """Time at which it became known how the job ended."""
    failure: str | None = None
    """Why the job failed, once that is decided; None after a success."""
    cancelled: float | None = None
    """Time at which the job was last cancelled because it was still queued after its end."""


class Watch:
    """Finds out how jobs ended, and keeps each job until it has left the scheduler's queue.

    The end of a job is known from its result, which the payload writes; without a result, from one
    query of the scheduler for all jobs. A job that has no result and that the scheduler does not
    know has been lost.

    A job that is still queued after its end could run again and overwrite files that other jobs
    read by then: Slurm 24.11 requeues a preempted job even if it succeeds. Such a job is cancelled
    before its end is reported.
    """

    def __init__(
        self,
        cluster: Cluster,
        grace: float,
        logger: Any,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the parts to work with.

        Args:
            cluster: the scheduler.
            grace: seconds that a result may arrive after the end of its job.
            logger: Snakemake's logger.
            clock: returns the present time in seconds.
        """
        self._cluster = cluster
        self._grace = grace
        self._logger = logger
        self._clock = clock
        self._delays = Delays(logger, clock)
        self._unreachable = False
        self.leaving = False
        """Whether, at the last call of `ended`, jobs that had just ended were still queued."""

    def ended(self, watched: Sequence[Watched]) -> list[Watched]:
        """Return the jobs that have ended and left the queue; `failure` is set if a job failed."""
        results: dict[str, Result | None] = {}
        for one in watched:
            if one.decided is None:
                job_id = one.submission.job_id
                result = read_result(result_path(one.submission.folder, job_id))
                results[job_id] = result
                if result is not None and result.succeeded:
                    one.decided = self._clock()
        states = self._states(watched)
        if states is None:
            return []
        self._delays.look({one.submission.job_id: states.get(one.submission.job_id)
                           for one in watched if one.decided is None})  # fmt: skip
        for one in watched:
            if one.decided is None:
                job_id = one.submission.job_id
                self._decide(one, results[job_id], states.get(job_id))
        decided = [one for one in watched if one.decided is not None]
        queued = [one for one in decided if self._is_queued(one, states)]
        self._cancel([one for one in queued if self._must_go(one, states)])
        soon = self._clock() - SOON
        self.leaving = any(one.decided is not None and one.decided > soon for one in queued)
        still = {id(one) for one in queued}
        return [one for one in decided if id(one) not in still]

    def _decide(self, one: Watched, result: Result | None, state: State | None) -> None:
        now = self._clock()
        if result is None and state is not None and state.phase is Phase.ALIVE:
            one.ended_since = None
        elif one.ended_since is None:
            one.ended_since = now
        waited = None if one.ended_since is None else now - one.ended_since
        one.failure = verdict(result, state, waited, self._grace)
        if one.failure is not None:
            one.decided = now

    def _is_queued(self, one: Watched, states: Mapping[str, State]) -> bool:
        """Return whether the scheduler could still run a job whose end is decided."""
        state = states.get(one.submission.job_id)
        if state is None:
            return False
        if state.phase is Phase.ENDED:
            # A preempted job may still be requeued.
            return state.name == "PREEMPTED" and one.cancelled is None
        if state.name == "COMPLETING" and one.cancelled is not None:
            # A cancelled job is not requeued any more, but a failed one may still be writing files.
            return one.failure is not None and self._clock() - one.cancelled < self._grace
        return True

    def _must_go(self, one: Watched, states: Mapping[str, State]) -> bool:
        """Return whether a job has to be cancelled because it does not leave the queue."""
        now, state = self._clock(), states[one.submission.job_id]
        if one.cancelled is not None:
            return now - one.cancelled >= AGAIN
        if one.failure is None and state.name in {"RUNNING", "COMPLETING"}:
            # After a success it takes a moment until the job leaves the queue.
            return one.decided is not None and now - one.decided >= self._grace
        return True

    def _cancel(self, jobs: Sequence[Watched]) -> None:
        if not jobs:
            return
        ids = [one.submission.job_id for one in jobs]
        try:
            self._cluster.cancel(ids)
        except OSError as error:
            self._logger.warning(f"submitit: {error}; jobs are reported later: {' '.join(ids)}")
            return
        now = self._clock()
        for one in jobs:
            one.cancelled = now

    def _states(self, watched: Iterable[Watched]) -> dict[str, State] | None:
        """Return the states of jobs by id; None while the scheduler cannot be reached."""
        jobs = list(watched)
        if not jobs:
            return {}
        try:
            states = self._cluster.states(
                [one.submission.job_id for one in jobs],
                finished={one.submission.job_id for one in jobs if one.decided is not None},
            )
        except OSError as error:
            if not self._unreachable:
                self._logger.warning(f"submitit: {error}; jobs go on, their state is asked again")
            self._unreachable = True
            return None
        if self._unreachable:
            self._logger.info("submitit: the scheduler answers again")
        self._unreachable = False
        return states


class Delays:
    """Logs which jobs will not start until a person does something."""

    def __init__(self, logger: Any, clock: Callable[[], float]) -> None:
        """Store Snakemake's logger, and a function that returns the present time in seconds."""
        self._logger = logger
        self._clock = clock
        self._since: dict[str, tuple[str, float]] = {}
        self._said: dict[str, tuple[int, float]] = {}

    def look(self, states: Mapping[str, State | None]) -> None:
        """Log a line for each reason for which jobs have waited longer than `SILENCE`.

        The line is repeated when the number of these jobs changes, at most once in `SILENCE`.

        Args:
            states: states of all jobs that have not ended, by id.
        """
        now = self._clock()
        reasons = {job_id: reason for job_id, state in states.items() if (reason := _reason(state))}
        before, self._since = self._since, {}
        for job_id, reason in reasons.items():
            known, since = before.get(job_id, ("", now))
            self._since[job_id] = reason, since if known == reason else now
        waiting: dict[str, list[str]] = {}
        for job_id, (reason, since) in self._since.items():
            if now - since >= SILENCE:
                waiting.setdefault(reason, []).append(job_id)
        self._said = {reason: said for reason, said in self._said.items() if reason in waiting}
        for reason, ids in waiting.items():
            count, when = self._said.get(reason, (0, now - SILENCE))
            if count != len(ids) and now - when >= SILENCE:
                self._said[reason] = len(ids), now
                self._say(reason, ids)

    def _say(self, reason: str, ids: Sequence[str]) -> None:
        advice = next((text for start, text in ADVICE.items() if reason.startswith(start)), "")
        names = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
        jobs = f"{len(ids)} jobs wait" if len(ids) > 1 else "1 job waits"
        self._logger.info(
            f"submitit: {jobs} for more than {SILENCE / 60:.0f} minutes: {reason}"
            f"{f'; {advice}' if advice else ''} ({names})"
        )


def _reason(state: State | None) -> str:
    """Return the reason for which a job waits until a person acts; empty if there is none."""
    if state is None or state.phase is not Phase.ALIVE:
        return ""
    if state.name in {"SUSPENDED", "STOPPED", "REQUEUE_HOLD", "RESV_DEL_HOLD"}:
        return state.name
    if state.name == "PENDING" and not ORDINARY.fullmatch(state.detail):
        # The text after the first comma names nodes or explains the reason.
        return state.detail.partition(",")[0].strip("() ")
    return ""
