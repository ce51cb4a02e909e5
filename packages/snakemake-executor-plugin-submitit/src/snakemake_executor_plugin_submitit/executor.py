"""The executor: Snakemake's jobs out to a cluster, and how they ended back to Snakemake."""

import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_submitit.adoption import Adoption
from snakemake_executor_plugin_submitit.cluster import Cluster
from snakemake_executor_plugin_submitit.jobs import Planned, plan
from snakemake_executor_plugin_submitit.journal import Journal, RivalError, Submission
from snakemake_executor_plugin_submitit.leftovers import STORE, Leftovers
from snakemake_executor_plugin_submitit.local import LocalMachine
from snakemake_executor_plugin_submitit.locks import LockError
from snakemake_executor_plugin_submitit.outcome import report
from snakemake_executor_plugin_submitit.payload import log_path
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.slurm import Slurm
from snakemake_executor_plugin_submitit.submissions import Reports, Submitter
from snakemake_executor_plugin_submitit.watch import Watch, Watched

__all__ = ["Executor"]

SHORTEST_GRACE = 5.0
"""Seconds for which a job that has ended may be without its result."""


class RefusedRunError(WorkflowError):
    """A run that is refused: Snakemake says why, without the lines of code that led to it."""

    @property
    def __traceback__(self) -> None:
        """None, whatever Python and Snakemake set."""

    @__traceback__.setter
    def __traceback__(self, value: TracebackType | None) -> None:
        del value


class Executor(RemoteExecutor):
    """Snakemake's side of the plugin: what it is told, and what it tells."""

    # the base class's interface of workflow and logger does not name all that is used of them
    def __init__(self, workflow: Any, logger: Any) -> None:
        """Begin a journal. All state stands before the base class starts its status thread.

        Raises:
            RefusedRunError: another controller is at work on the same files, or none can be kept
                away from them; before anything is touched.
        """
        self._settings: ExecutorSettings = workflow.executor_settings or ExecutorSettings()
        folder = Path(workflow.workdir_init)
        _check_path(str(folder))
        store = folder / STORE
        self._logs = folder / self._settings.logdir
        self._cluster = cluster(self._settings)
        self._watched: dict[str, Watched] = {}
        self._cancelling = False
        try:
            store.mkdir(parents=True, exist_ok=True)
            store.chmod(0o700)
            self._journal = Journal(store / "controllers")
        except LockError as error:
            raise RefusedRunError(f"submitit: {error}") from None
        except OSError as error:
            raise RefusedRunError(
                f"submitit: the journal of submitted jobs cannot be kept in {store}: {error}"
            ) from None
        try:
            self._claim(workflow.dag.needrun_jobs())
        except RefusedRunError:
            self._journal.close()
            raise
        self._submitter = Submitter(
            self._cluster,
            self._journal,
            self._settings,
            folder=folder,
            batches=store / "batches",
            reports=Reports(self._submitted, self._refuse),
            logger=logger,
        )
        self._adoption = Adoption(
            self._cluster,
            self._journal,
            name=self._settings.cluster,
            abandon=self._submitter.abandon,
            patience=60 * self._settings.submit_patience,
            logger=logger,
        )
        grace = max(SHORTEST_GRACE, workflow.execution_settings.latency_wait)
        self._watch = Watch(self._cluster, grace, logger)
        self._leftovers = Leftovers(self._logs, keep_logs=self._settings.keep_logs)
        super().__init__(workflow, logger)

    def _claim(self, jobs: Iterable[Any]) -> None:
        """Keep other controllers away from the files of these jobs.

        Raises:
            RefusedRunError: another one works on them. As the error of a job it would have
                Snakemake delete its outputs, which may be in the making.
        """
        made: set[str] = set()
        read: set[str] = set()
        for job in jobs:
            made.update(os.path.normpath(str(path)) for path in job.output)
            read.update(os.path.normpath(str(path)) for path in job.input)
        try:
            self._journal.claim(made, read - made)
        except (RivalError, OSError) as error:
            raise RefusedRunError(f"submitit: {error}") from None

    # submission

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit all jobs of a scheduling round; each is reported as submitted or as failed.

        Raises:
            RefusedRunError: jobs that make the same are, or may be, on the cluster already.
        """
        planned = []
        for job in jobs:
            self.run_job_pre(job)
            try:
                planned.append(plan(job, self._logs, self.format_job_exec(job)))
            except ValueError as error:
                self._refuse([job], str(error))
        # after a checkpoint there are jobs that nobody knew of at the start
        self._claim(jobs)
        try:
            adopted = self._adoption.take(planned)
        except (RivalError, OSError) as error:
            raise RefusedRunError(f"submitit: {error}") from None
        for one, submission in adopted:
            self._submitted(one, submission)
        known = {id(one) for one, _ in adopted}
        self._submitter.submit([one for one in planned if id(one) not in known])

    def _refuse(self, jobs: Iterable[JobExecutorInterface], reason: str) -> None:
        for job in jobs:
            self.report_job_error(SubmittedJobInfo(job), msg=f"Not submitted: {reason}\n")

    def _submitted(self, one: Planned, submission: Submission) -> None:
        info = SubmittedJobInfo(one.job, external_jobid=submission.job_id)
        self._watched[submission.job_id] = Watched(info, submission)
        self._leftovers.expect(submission)
        self.logger.info(
            f"Submitted job {submission.job_id}: {submission.title}"
            f" (log: {log_path(submission.logs, submission.job_id)})"
        )
        self.report_job_submission(info)

    # status

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report jobs that have ended; yield the others; submit what has been waiting for room."""
        # the first round may come before the base class is ready
        if not active_jobs and self._submitter.idle:
            return
        watched = [self._watched[str(info.external_jobid)] for info in active_jobs]
        # an exception here would end the run and leave its jobs to themselves
        try:
            async with self.status_rate_limiter:
                ended = self._watch.ended(watched)
        except Exception as error:
            self.logger.warning(f"submitit: status of jobs: {type(error).__name__}: {error}")
            ended = []
        # what has ended need not wait for a whole round until it is reported
        usual = self.workflow.remote_execution_settings.seconds_between_status_checks
        self.next_seconds_between_status_checks = min(1, usual) if self._watch.leaving else None
        if self._cancelling:
            ended = []
        self._close(ended)
        done = {id(one) for one in ended}
        for one in watched:
            if id(one) not in done:
                yield one.info
            elif one.failure is None:
                self.report_job_success(one.info)
            else:
                self.report_job_error(one.info, msg=report(one.submission, one.failure))
        try:
            self._submitter.try_again(len(ended))
        except Exception as error:
            self.logger.warning(f"submitit: submission: {type(error).__name__}: {error}")

    def _close(self, ended: Sequence[Watched]) -> None:
        """Forget jobs that have ended, and what a success leaves behind."""
        # On a full disk the next run finds jobs that no cluster knows, and forgets them then.
        try:
            self._journal.ended([one.submission.job_id for one in ended])
        except OSError as error:
            self.logger.debug(f"submitit: {error}")
        for one in ended:
            del self._watched[one.submission.job_id]
            self._leftovers.remove(one.submission, succeeded=one.failure is None)

    # end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel every job of this run; during a status query the base class knows of none."""
        del active_jobs
        self._cancelling = True
        self._submitter.stop()
        # what was taken over but not adopted is for the next run to decide on
        ids = [job_id for job_id in self._journal.live if job_id not in self._adoption.undecided]
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


def _check_path(path: str) -> None:
    """Refuse a working directory that would not come through to the node.

    Raises:
        RefusedRunError: Snakemake writes it as a Python string into a command for the shell, which
            reads some characters in another way.
    """
    # without a single quote it is written in single quotes
    read = "'" in path and any(character in path for character in '"$`')
    if read or repr(path)[1:-1] != path:
        raise RefusedRunError(
            f"submitit: {path}: the command by which Snakemake starts a job cannot hold this path,"
            " for its quotes, `$` or backslashes; work in a folder without them"
        )


def cluster(settings: ExecutorSettings) -> Cluster:
    """The scheduler that the settings name."""
    if settings.cluster == "local":
        return LocalMachine(setup=settings.setup)
    return Slurm(
        setup=settings.setup,
        parallelism=settings.array_parallelism,
        patience=60 * settings.submit_patience,
    )
