"""Slurm: sbatch through submitit; squeue, sacct, scancel and scontrol by themselves."""

import contextlib
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from submitit import Job, SlurmExecutor, SlurmJob
from submitit.core.utils import FailedJobError, FailedSubmissionError

from snakemake_executor_plugin_submitit.cluster import Phase, State, SubmissionError
from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import Request

logger = logging.getLogger(__name__)

ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"}
    | {"PREEMPTED", "REVOKED", "TIMEOUT"}
)
"""States of a job that will not run again. One that was preempted and is requeued is PENDING at
once."""

HELD = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT"})
"""States that only a person ends."""

NEVER = re.compile(
    "BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS|JobHoldMaxRequeue"
    "|launch.failed.requeued.held|PartitionTimeLimit|PartitionNodeLimit|(QOS|Assoc)Max\\w+PerJob\\w*"
)
"""Reasons for which a pending job never starts."""

TRANSIENT = re.compile(
    "unable to contact slurm controller|connect failure|connection (refused|timed out|reset)"
    "|socket timed out|temporarily unable|resource temporarily unavailable|zero bytes were"
    "|slurm(ctld)? .*(busy|standby)|communication connection failure|try again"
    "|(assoc|qos)\\w*submit\\w*limit|insane message length"
    "|protocol authentication|did not answer within",
    re.IGNORECASE,
)
"""What sbatch says when the same request can succeed later."""

INHERITED = frozenset({"account", "constraint", "partition", "qos", "reservation"})
"""Options that SBATCH_… variables of the user may give where a job does not ask for them. Others
would silently beat what it asks for: to sbatch, variables count more than a script's lines."""

COLUMNS = {"JobArrayID": 40, "State": 20, "Reason": 60, "exit_code": 12}
"""Columns of squeue and their widths; a width is the one way that every version has to cut them."""


class Slurm:
    """The cluster that SLURM_CONF, or Slurm's own default, names."""

    def __init__(self, *, setup: Sequence[str], parallelism: int | None, patience: float) -> None:
        """Take the options of the run; `patience` is in seconds."""
        self._setup = list(setup)
        self._parallelism = parallelism
        self._patience = patience
        self._accounting = True

    @cached_property
    def largest_array(self) -> int:
        """MaxArraySize; Slurm's indices end one below it, and submitit's begin at 0."""
        pauses = self._pauses()
        while True:
            try:
                text = command("scontrol", "show", "config")
                break
            except OSError as error:
                _wait_or_raise(pauses, str(error))
        match = re.search(r"MaxArraySize\s*=\s*(\d+)", text)
        return max(1, int(match[1])) if match else 1001

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        """See `Cluster.submit`; tries again with growing pauses while the controller is away."""
        pauses = self._pauses()
        while True:
            try:
                return self._submit(folder, request, name, tag, commands)
            except (FailedJobError, FailedSubmissionError) as error:
                message = _message(error)
            _wait_or_raise(pauses, message)
            # The controller may have taken the jobs although its answer was lost.
            with contextlib.suppress(OSError):
                self.cancel_tagged(tag)
            shutil.rmtree(folder, ignore_errors=True)

    def _pauses(self) -> Iterator[float]:
        """Growing pauses between tries, for as long as patience lasts."""
        end = time.monotonic() + self._patience
        pause = 1.0
        while time.monotonic() + pause <= end:
            yield pause
            pause = min(2 * pause, 60)

    def _submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        executor = SlurmExecutor(folder, max_num_timeout=1 << 30)
        executor.update_parameters(
            job_name=name,
            comment=f"{commands[0].title if len(commands) == 1 else name} {tag}",
            time=request.runtime,
            cpus_per_task=request.cpus,
            signal_delay_s=commands[0].notice,
            setup=self._setup or None,
            array_parallelism=self._parallelism or len(commands),
            stderr_to_stdout=True,
            # Of several tasks one starts Snakemake; the rule's command gets all of them by srun,
            # for which the step of the first must not keep its CPUs to itself.
            srun_args=["--ntasks=1", "--nodes=1", f"--cpus-per-task={request.cpus}", "--overlap"],
            additional_parameters={"export": "ALL", "requeue": True, **dict(request.options)},
        )
        with _own_environment(dict(request.options)):
            jobs = executor.submit_array([*commands])
        return [job.job_id for job in jobs]

    def job(self, folder: Path, job_id: str) -> Job[None]:
        """See `Cluster.job`."""
        return SlurmJob(folder=folder, job_id=job_id, tasks=[0])

    def states(self, job_ids: Iterable[str]) -> dict[str, State]:
        """See `Cluster.states`: one squeue, then one sacct for what that does not know."""
        wanted = set(job_ids)
        states = {
            job: state for job, state in _parse_squeue(self._squeue()).items() if job in wanted
        }
        if missing := wanted - states.keys():
            states.update(self._sacct(missing))
        return states

    def _squeue(self) -> str:
        columns = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())
        return command("squeue", "--me", "--noheader", "--array", "--states=all", "-O", columns)

    def _sacct(self, job_ids: set[str]) -> dict[str, State]:
        arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
        try:
            text = command(
                *("sacct", "--allocations", "--noheader", "--parsable2", "--array"),
                *("--format=JobID,State,ExitCode", f"--jobs={','.join(arrays)}"),
            )
        except OSError as error:
            # A cluster without accounting, or whose accounting is away: squeue has to do.
            if self._accounting:
                logger.debug("sacct: %s", error)
            self._accounting = False
            return {}
        self._accounting = True
        return {job: state for job, state in _parse_sacct(text).items() if job in job_ids}

    def cancel(self, job_ids: Iterable[str]) -> None:
        """See `Cluster.cancel`."""
        ids = list(job_ids)
        for start in range(0, len(ids), 500):
            command("scancel", "--quiet", *ids[start : start + 500])

    def cancel_tagged(self, tag: str) -> None:
        """See `Cluster.cancel_tagged`."""
        text = command("squeue", "--me", "--noheader", "--format=%F %k")
        jobs = {line.split()[0] for line in text.splitlines() if line.endswith(tag)}
        if jobs:
            self.cancel(jobs)


def command(*words: str) -> str:
    """Output of one of Slurm's commands.

    Raises:
        OSError: if it fails, or takes more than a minute.
    """
    try:
        done = subprocess.run(  # noqa: S603
            words, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{words[0]} did not answer within a minute") from None
    if done.returncode != 0:
        raise OSError(f"{words[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def _wait_or_raise(pauses: Iterator[float], message: str) -> None:
    """Wait for the next try, if there is one and it can succeed."""
    pause = next(pauses, None) if TRANSIENT.search(message) else None
    if pause is None:
        raise SubmissionError(message)
    logger.warning("Slurm: %s; next try in %.0f s", message, pause)
    time.sleep(pause)


@contextlib.contextmanager
def _own_environment(options: Mapping[str, object]) -> Iterator[None]:
    """Hide from sbatch the variables that would change what is asked for.

    They are those of the job in which the controller itself may run, and the user's own defaults
    for sbatch but for those that a job leaves open.
    """
    kept = {"SLURM_CONF"} | {f"SBATCH_{name.upper()}" for name in INHERITED - options.keys()}
    inherited = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM_", "SLURMD_", "SBATCH_")) and name not in kept
    }
    try:
        yield
    finally:
        os.environ.update(inherited)


def _message(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line.startswith("sbatch:")]
    return "; ".join(said or [line for line in lines if line][-1:])


def _parse_squeue(text: str) -> dict[str, State]:
    states = {}
    for line in text.splitlines():
        cells, start = [], 0
        for width in COLUMNS.values():
            cells.append(line[start : start + width].strip())
            start += width
        job, name, reason, status = cells
        if name in ENDED:
            state = State(Phase.ENDED, name, _exit(status))
        elif name in HELD or (name == "PENDING" and NEVER.fullmatch(reason)):
            state = State(Phase.STUCK, name, reason)
        else:
            state = State(Phase.ALIVE, name, "" if reason == "None" else reason)
        states[job] = state
    return states


def _parse_sacct(text: str) -> dict[str, State]:
    states = {}
    for line in text.splitlines():
        job, name, status = line.split("|")
        name, _, by = name.partition(" ")  # CANCELLED by 1000
        # Accounting lags behind: only what it knows to have ended is news.
        if name in ENDED:
            states[job] = State(Phase.ENDED, name, " ".join([*by.split(), f"exit {status}"]))
    return states


def _exit(status: str) -> str:
    """`wait` status as the exit code and signal that sacct prints."""
    if not status.isdigit():
        return ""
    return f"exit {int(status) >> 8}:{int(status) & 127}"
