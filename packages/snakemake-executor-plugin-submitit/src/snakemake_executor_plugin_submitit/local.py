"""This machine as a cluster: submitit's local executor."""

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
    """Every job a process at once; Snakemake's `--jobs` is the only queue."""

    largest_array = 1 << 30

    def __init__(self, *, setup: Sequence[str]) -> None:
        """Take the options of the run."""
        self._setup = list(setup)

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        """See `Cluster.submit`."""
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
        """See `Cluster.states`."""
        del finished
        return {
            job_id: State(Phase.ALIVE, "RUNNING")
            for job_id in job_ids
            if _controller(job_id) is not None
        }

    def cancel(self, job_ids: Iterable[str]) -> None:
        """See `Cluster.cancel`."""
        left: list[psutil.Process] = []
        for shell in filter(None, map(_controller, job_ids)):
            with contextlib.suppress(psutil.Error):
                left += shell.children(recursive=True)
                # With setup lines a shell stands before submitit's process.
                for process in (*shell.children(), shell):
                    process.send_signal(signal.SIGINT)
        # submitit gives a task one second to end what it has started
        _, left = psutil.wait_procs(left, timeout=5)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def cancel_tagged(self, tag: str) -> None:
        """See `Cluster.cancel_tagged`: a process without a record cannot be told from others."""

    def stop_waiting(self) -> None:
        """See `Cluster.stop_waiting`: nothing here waits."""


def _controller(job_id: str) -> psutil.Process | None:
    """The process of submitit's that runs this job."""
    try:
        process = psutil.Process(int(job_id))
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)  # a dead child would stay as a zombie
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return process if alive and "submitit" in " ".join(process.cmdline()) else None
    except psutil.Error:
        return None
