"""The executor: it submits Snakemake's jobs to a cluster and reports their ends to Snakemake."""

import os
import shlex
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
"""Least time in seconds to wait, after a job's end, for a result that is missing."""


class RefusedRunError(WorkflowError):
    """A run that is refused; Snakemake prints the message without a traceback."""

    @property
    def __traceback__(self) -> None:
        """Always None, whatever Python and Snakemake set."""

    @__traceback__.setter
    def __traceback__(self, value: TracebackType | None) -> None:
        del value


class Executor(RemoteExecutor):
    """The class that Snakemake calls: it takes jobs and reports what became of them."""

    # workflow and logger are Any: their declared interfaces lack some attributes used here.
    def __init__(self, workflow: Any, logger: Any) -> None:
        """Begin a journal and claim the files of the run.

        All attributes are set before the base class starts its status thread, which uses them.

        Raises:
            RefusedRunError: another controller works on the same files, or a journal or lock that
                would keep others away cannot be made. No file of the run has been touched.
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
        """Claim the files of these jobs, so that no other controller works on them.

        Raises:
            RefusedRunError: another controller works on them. The error is not reported as the
                failure of a job, because Snakemake would then delete the job's outputs, which the
                other controller may be making.
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

    def get_python_executable(self) -> str:
        """Return the Python of the jobs, quoted: Snakemake pastes it into a shell's command."""
        return shlex.quote(super().get_python_executable())

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit all jobs of a scheduling round, and report each as submitted or as failed.

        Raises:
            RefusedRunError: another controller has, or may have, jobs with the same outputs on the
                cluster.
        """
        planned = []
        for job in jobs:
            self.run_job_pre(job)
            try:
                planned.append(plan(job, self._logs, self.format_job_exec(job)))
            except ValueError as error:
                self._refuse([job], str(error))
        # After a checkpoint there are jobs that were not in the DAG when the run began.
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
        """Report jobs that have ended, yield the others, and submit jobs that wait for room."""
        # The first round may come before the base class is ready.
        if not active_jobs and self._submitter.idle:
            return
        watched = [self._watched[str(info.external_jobid)] for info in active_jobs]
        # An exception here would end the run while its jobs go on.
        try:
            async with self.status_rate_limiter:
                ended = self._watch.ended(watched)
        except Exception as error:
            self.logger.warning(f"submitit: status of jobs: {type(error).__name__}: {error}")
            ended = []
        # Jobs that are about to leave the queue are looked at again within a second, so that their
        # end is reported without the delay of a whole round.
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
        """Remove jobs that have ended from the records, and the files of those that succeeded."""
        # If the disk is full, the journal keeps the jobs. The next run finds that no cluster knows
        # them and removes them from it.
        try:
            self._journal.ended([one.submission.job_id for one in ended])
        except OSError as error:
            self.logger.debug(f"submitit: {error}")
        for one in ended:
            del self._watched[one.submission.job_id]
            self._leftovers.remove(one.submission, succeeded=one.failure is None)

    # end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel every job of this run.

        ``active_jobs`` is not used, because during a status query the base class passes no jobs.
        """
        del active_jobs
        self._cancelling = True
        self._submitter.stop()
        # The next run decides on jobs that were taken over and not adopted yet.
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
        """End the status thread, then close the journal."""
        super().shutdown()
        self._journal.close()


def _check_path(path: str) -> None:
    """Refuse a working directory that the shell on the node would read as another path.

    Snakemake writes the path as a Python string into a shell command, and the shell reads some
    characters differently from Python.

    Raises:
        RefusedRunError: the path has such characters.
    """
    # `repr` uses double quotes, inside which the shell expands characters, only if the path has a
    # single quote.
    read = "'" in path and any(character in path for character in '"$`')
    if read or repr(path)[1:-1] != path:
        raise RefusedRunError(
            f"submitit: {path}: the command by which Snakemake starts a job cannot hold this path,"
            " for its quotes, `$` or backslashes; work in a folder without them"
        )


def cluster(settings: ExecutorSettings) -> Cluster:
    """Return the scheduler that the settings name."""
    if settings.cluster == "local":
        return LocalMachine(setup=settings.setup)
    return Slurm(
        setup=settings.setup,
        parallelism=settings.array_parallelism,
        patience=60 * settings.submit_patience,
    )
