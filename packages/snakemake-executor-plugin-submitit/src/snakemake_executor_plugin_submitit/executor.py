"""The executor: Snakemake's jobs out to a cluster, and how they ended back to Snakemake."""

import contextlib
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.cluster import Cluster, Phase, State, SubmissionError
from snakemake_executor_plugin_submitit.jobs import Planned, arrays, plan
from snakemake_executor_plugin_submitit.journal import Journal, Submission
from snakemake_executor_plugin_submitit.local import LocalMachine
from snakemake_executor_plugin_submitit.outcome import read_result, tail, verdict
from snakemake_executor_plugin_submitit.payload import ELSEWHERE, JobCommand, log_path
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.slurm import Slurm

__all__ = ["Executor"]

STORE = Path(".snakemake/submitit")
"""Journals and submitit's files, in the working directory."""

SHORTEST_GRACE = 5.0
"""Seconds for which a job that has ended may be without its result."""

SLURM_SAYS = ("slurmstepd", "srun:")
"""How Slurm's own lines in a job's output begin."""

LONGEST_NAME = 120
"""Characters of a job's name."""


@dataclass
class _Watched:
    """A job of this run on the cluster."""

    info: SubmittedJobInfo
    submission: Submission
    ended_since: float | None = None
    """When it was first seen to have ended without success."""


class Executor(RemoteExecutor):
    """Submits every job of a scheduling round in as few arrays as their requests allow.

    How a job ended is told by its result, which the payload writes; where there is none, by one
    query of the scheduler for all jobs; and where that does not know it either, by its absence.
    """

    # the base class's interface of workflow and logger does not name all that is used of them
    def __init__(self, workflow: Any, logger: Any) -> None:
        """Begin a journal. All state stands before the base class starts its status thread."""
        self._settings: ExecutorSettings = workflow.executor_settings or ExecutorSettings()
        self._folder = Path(workflow.workdir_init)
        self._store = self._folder / STORE
        self._grace = max(SHORTEST_GRACE, workflow.execution_settings.latency_wait)
        self._cluster = _cluster(self._settings)
        self._watched: dict[str, _Watched] = {}
        self._failed_batches: set[str] = set()
        self._cancelling = False
        self._unreachable = False
        try:
            self._store.mkdir(parents=True, exist_ok=True)
            self._store.chmod(0o700)
            self._journal = Journal(self._store / "controllers")
        except OSError as error:
            raise WorkflowError(
                f"submitit: the journal of submitted jobs cannot be kept in {self._store}: {error}"
            ) from None
        super().__init__(workflow, logger)

    # submission

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit all jobs of a scheduling round; each is reported as submitted or as failed."""
        planned = []
        for job in jobs:
            self.run_job_pre(job)
            try:
                planned.append(plan(job, self._folder / self._settings.logdir))
            except ValueError as error:
                self._refuse([job], str(error))
        try:
            self._take_over(planned)
            largest = self._cluster.largest_array if planned else 1
        except (OSError, SubmissionError) as error:
            self._refuse([one.job for one in planned], str(error))
            return
        for array in arrays(planned, largest):
            self._submit(array)

    def _refuse(self, jobs: Iterable[JobExecutorInterface], reason: str) -> None:
        for job in jobs:
            self.report_job_error(SubmittedJobInfo(job), msg=f"Not submitted: {reason}\n")

    def _take_over(self, planned: list[Planned]) -> None:
        """Leave in the list the jobs that no other controller, dead or alive, has on the cluster.

        Raises:
            OSError: the scheduler cannot be asked, or a file cannot be read or written.
        """
        took = self._journal.take({one.key for one in planned})
        for tag in took.unfinished:
            self._abandon(tag)
        alive = self._alive(took.orphans)
        finished = {one.key: one for one in took.orphans if self._just_finished(one)}
        for one in list(planned):
            orphan = alive.get(one.key) or finished.get(one.key)
            if rival := took.rivals.get(one.key):
                planned.remove(one)
                self._refuse([one.job], f"the snakemake of {rival} has a job that makes {one.key}")
            elif orphan is not None and orphan.fingerprint == one.fingerprint:
                planned.remove(one)
                what = "still runs" if one.key in alive else "has just finished"
                self.logger.info(f"Adopted job {orphan.job_id}, which {what}: {orphan.title}")
                self._watch(one, orphan)
        others = [one for one in took.orphans if one.job_id not in self._watched]
        self._end([one for one in others if one in alive.values()])
        self._journal.ended(one.job_id for one in others)

    def _just_finished(self, orphan: Submission) -> bool:
        """Whether a job succeeded after this run of Snakemake had looked at what there is."""
        job = self._cluster.job(Path(orphan.folder), orphan.job_id)
        with contextlib.suppress(OSError):
            if job.paths.result_pickle.stat().st_mtime > self._journal.begun:
                result = read_result(job)
                return result is not None and result.succeeded
        return False

    def _alive(self, orphans: Sequence[Submission]) -> dict[str, Submission]:
        """By key: the jobs of controllers that died which are still on the cluster."""
        mine = [one for one in orphans if one.cluster == self._settings.cluster]
        if not mine:
            return {}
        states = self._cluster.states([one.job_id for one in mine])
        return {
            one.key: one
            for one in mine
            if (state := states.get(one.job_id)) and state.phase is Phase.ALIVE
        }

    def _end(self, outdated: Sequence[Submission]) -> None:
        """Cancel jobs that make otherwise what is about to be made; wait until they are gone."""
        if not outdated:
            return
        ids = [one.job_id for one in outdated]
        self.logger.info(f"Cancelling jobs whose outputs are asked for anew: {', '.join(ids)}")
        self._cluster.cancel(ids)
        end = time.monotonic() + 60
        while self._alive(outdated) and time.monotonic() < end:
            time.sleep(1)

    def _submit(self, array: Sequence[Planned]) -> None:
        tag = uuid.uuid4().hex[:12]
        folder = self._store / "batches" / tag
        try:
            commands = [self._command(one, tag) for one in array]
            self._journal.submitting(tag, [one.key for one in array])
            folder.mkdir(parents=True, mode=0o700)
            ids = self._cluster.submit(folder, array[0].request, _name(array), tag, commands)
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
        # whatever it is, a job that is not reported would keep its slot for ever
        except Exception as error:
            known = isinstance(error, (SubmissionError, OSError))
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            self._abandon(tag)
            self._refuse((one.job for one in array), reason)
            return
        for one, submission in zip(array, submissions, strict=True):
            self._watch(one, submission)

    def _command(self, one: Planned, tag: str) -> JobCommand:
        limit = 60 * one.request.runtime
        # Slurm may send it a minute early (sbatch, --signal): of a limit of a minute that is at the
        # start, before anything listens.
        notice = min(self._settings.notice, limit // 2) if limit > 60 else 0
        return JobCommand(
            command=self.format_job_exec(one.job),
            folder=str(self._folder),
            logs=str(one.logs),
            title=one.title,
            tag=tag,
            runtime=limit,
            notice=notice,
            requeue_at_limit=one.request.requeue,
            max_requeues=self._settings.max_requeues,
        )

    def _watch(self, one: Planned, submission: Submission) -> None:
        info = SubmittedJobInfo(one.job, external_jobid=submission.job_id)
        self._watched[submission.job_id] = _Watched(info, submission)
        self.logger.info(
            f"Submitted job {submission.job_id}: {submission.title}"
            f" (log: {log_path(submission.logs, submission.job_id)})"
        )
        self.report_job_submission(info)

    def _abandon(self, tag: str) -> None:
        """Cancel what a submission that failed may have left on the cluster."""
        with contextlib.suppress(OSError):
            self._cluster.cancel_tagged(tag)
            if tag in self._journal.unfinished:
                self._journal.submitted(tag, [])

    # status

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report jobs that have ended; yield the others."""
        watched = [self._watched[str(info.external_jobid)] for info in active_jobs]
        # an exception here would end the run and leave its jobs to themselves
        try:
            async with self.status_rate_limiter:
                failures = self._failures(watched)
        except Exception as error:
            self.logger.warning(f"submitit: status of jobs: {type(error).__name__}: {error}")
            failures = {}
        for one in watched:
            job_id = one.submission.job_id
            if self._cancelling or job_id not in failures:
                yield one.info
                continue
            reason = failures[job_id]
            self._close(one, succeeded=reason is None)
            if reason is None:
                self.report_job_success(one.info)
            else:
                self.report_job_error(one.info, msg=self._message(one, reason))

    def _failures(self, watched: Sequence[_Watched]) -> dict[str, str | None]:
        """By id, for jobs that have ended: why they failed, or None where they did not."""
        ended: dict[str, str | None] = {}
        results = {}
        for one in watched:
            job_id = one.submission.job_id
            result = read_result(self._cluster.job(Path(one.submission.folder), job_id))
            if result is not None and result.succeeded:
                ended[job_id] = None
            else:
                results[job_id] = result
        states = self._states(results)
        if states is None:
            return ended
        for one in watched:
            job_id = one.submission.job_id
            if job_id in ended:
                continue
            state, result = states.get(job_id), results[job_id]
            if result is None and state is not None and state.phase is Phase.ALIVE:
                one.ended_since = None
            elif one.ended_since is None:
                one.ended_since = time.monotonic()
            waited = None if one.ended_since is None else time.monotonic() - one.ended_since
            reason = verdict(result, state, waited, self._grace)
            if reason is None:
                continue
            if state is not None and state.phase is not Phase.ENDED:
                # It must not make later, beside the next attempt, what is reported as failed now.
                try:
                    self._cluster.cancel([job_id])
                except OSError as error:
                    self.logger.warning(f"submitit: {error}; job {job_id} is reported later")
                    continue
            ended[job_id] = reason
        return ended

    def _states(self, job_ids: Iterable[str]) -> dict[str, State] | None:
        """States of jobs; None while the scheduler cannot be asked."""
        ids = list(job_ids)
        if not ids:
            return {}
        try:
            states = self._cluster.states(ids)
        except OSError as error:
            if not self._unreachable:
                self.logger.warning(f"submitit: {error}; jobs go on, their state is asked again")
            self._unreachable = True
            return None
        if self._unreachable:
            self.logger.info("submitit: the scheduler answers again")
        self._unreachable = False
        return states

    def _message(self, one: _Watched, reason: str) -> str:
        submission = one.submission
        log = log_path(submission.logs, submission.job_id)
        paths = self._cluster.job(Path(submission.folder), submission.job_id).paths
        slurm_says = said = tail(paths.stdout, SLURM_SAYS)
        # what submitit says there matters only where it could not finish
        if not paths.result_pickle.exists():
            said = tail(paths.stdout)
        elif tail(paths.stdout, (ELSEWHERE,)):
            said = tail(paths.stdout, before="submitit ERROR")
        ends = {path: text for path, text in ((log, tail(log)), (paths.stdout, said)) if text}
        if any("oom-kill" in line for line in slurm_says):
            # the state of the job is often FAILED only
            reason += "; out of memory: give the rule more mem_mb"
        lines = [f"Job {submission.job_id} ({submission.title}) failed: {reason}"]
        for path, text in ends.items():
            lines += [f"{path} ends with:", *(f"    {line}" for line in text)]
        there = paths.stdout if paths.stdout.exists() and not log.exists() else log
        return "\n".join([*lines, f"Log: {there}", ""])

    def _close(self, one: _Watched, *, succeeded: bool) -> None:
        """Forget a job that has ended, and what a success leaves behind."""
        submission = one.submission
        del self._watched[submission.job_id]
        # On a full disk the next run finds a job that no cluster knows, and forgets it then.
        with contextlib.suppress(OSError):
            self._journal.ended([submission.job_id])
        if not succeeded:
            self._failed_batches.add(submission.folder)
        elif not self._settings.keep_logs:
            log = log_path(submission.logs, submission.job_id)
            with contextlib.suppress(OSError):
                log.unlink()
            _remove_empty(log.parent, self._folder / self._settings.logdir)
        if submission.folder not in self._failed_batches and not any(
            # a copy, for jobs are submitted meanwhile, by another thread
            other.submission.folder == submission.folder
            for other in list(self._watched.values())
        ):
            shutil.rmtree(submission.folder, ignore_errors=True)

    # end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel every job of this run; during a status query the base class knows of none."""
        del active_jobs
        self._cancelling = True
        ids = list(self._journal.live)
        try:
            for tag in list(self._journal.unfinished):
                self._cluster.cancel_tagged(tag)
                self._journal.submitted(tag, [])
            self._cluster.cancel(ids)
        except OSError as error:
            self.logger.warning(
                f"submitit: jobs cannot be cancelled, so go on: {error}. The next run of Snakemake"
                f" adopts them; or cancel them yourself: {' '.join(ids)}"
            )
        else:
            self.logger.info(f"Cancelled {len(ids)} jobs.")
            self._journal.ended(ids)

    def shutdown(self) -> None:
        """End the status thread, then this controller's part in the journals."""
        super().shutdown()
        self._journal.close()


def _cluster(settings: ExecutorSettings) -> Cluster:
    if settings.cluster == "local":
        return LocalMachine(setup=settings.setup)
    return Slurm(
        setup=settings.setup,
        parallelism=settings.array_parallelism,
        patience=60 * settings.submit_patience,
    )


def _name(array: Sequence[Planned]) -> str:
    if len(array) == 1:
        return array[0].title[:LONGEST_NAME]
    return "+".join(sorted({one.job.name for one in array}))[:LONGEST_NAME]


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder and those above it below ``top``, as far as they are empty."""
    with contextlib.suppress(OSError):
        while folder != top and top in folder.parents:
            folder.rmdir()
            folder = folder.parent
