"""Run jobs on this machine, through submitit's local executor."""

import contextlib
import os
import re
import signal
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import psutil
from submitit import LocalExecutor

from snakemake_executor_plugin_submitit.cluster import Phase, State, SubmissionError
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import Request


class LocalMachine:
    """A `Cluster` that starts every job at once as a process; only `--jobs` limits their number."""

    largest_array = 1 << 30

    def __init__(self, *, setup: Sequence[str]) -> None:
        """Store the shell lines that run before each job."""
        self._setup = list(setup)

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        """See `Cluster.submit`; a folder is refused if its path has a pattern of submitit's."""
        del name, tag
        if match := re.search("%[jtaA]", str(folder)):
            raise SubmissionError(
                f"{folder}: submitit reads {match[0]} as a pattern; work in a folder without it"
            )
        executor = LocalExecutor(folder, max_num_timeout=1 << 30)
        executor.update_parameters(
            timeout_min=request.runtime,
            signal_delay_s=commands[0].notice,
            stderr_to_stdout=True,
            setup=self._setup,
        )
        started: list[str] = []
        try:
            for command in commands:
                started.append(executor.submit(command).job_id)  # noqa: PERF401
        except OSError as error:
            self.cancel(started)
            raise SubmissionError(str(error)) from None
        return started

    def states(self, job_ids: Iterable[str], finished: Collection[str] = ()) -> dict[str, State]:
        """See `Cluster.states`; only running jobs are known."""
        del finished
        return {
            job_id: State(Phase.ALIVE, "RUNNING")
            for job_id in job_ids
            if _controller(job_id) is not None
        }

    def cancel(self, job_ids: Iterable[str]) -> None:
        """See `Cluster.cancel`; processes that ignore SIGINT are killed after five seconds."""
        left: list[psutil.Process] = []
        for shell in filter(None, map(_controller, job_ids)):
            with contextlib.suppress(psutil.Error):
                left += shell.children(recursive=True)
                # If there are setup lines, submitit's process is the child of a shell.
                for process in (*shell.children(), shell):
                    process.send_signal(signal.SIGINT)
        # submitit gives a task one second to end the processes that it has started.
        _, left = psutil.wait_procs(left, timeout=5)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def cancel_tagged(self, tag: str) -> None:
        """Do nothing: a process that was not recorded cannot be told from others."""

    def stop_waiting(self) -> None:
        """Do nothing: submissions to this machine never wait."""


def _controller(job_id: str) -> psutil.Process | None:
    """Return the process of submitit that runs this job; None if it has ended."""
    try:
        process = psutil.Process(int(job_id))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)  # Otherwise a dead child would stay as a zombie.
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return process if alive and "submitit" in " ".join(process.cmdline()) else None
    except psutil.Error:
        return None
