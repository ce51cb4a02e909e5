"""Determine how a job ended, and describe failures for the user."""

import logging
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from submitit.core.utils import pickle_load

from snakemake_executor_plugin_submitit.cluster import Phase, State
from snakemake_executor_plugin_submitit.journal import Submission
from snakemake_executor_plugin_submitit.payload import ELSEWHERE, log_path
from snakemake_executor_plugin_submitit.words import OUT_OF_MEMORY, Telling

__all__ = ["Result", "output_path", "read_result", "report", "result_path", "tail", "verdict"]

logger = logging.getLogger(__name__)

TAIL = 20
"""Number of lines of a log that a report shows."""

SLURM_SAYS = ("slurmstepd", "srun:")
"""Beginnings of the lines that Slurm itself writes into a job's output."""


@dataclass(frozen=True)
class Result:
    """The result that the payload wrote: the error, or None after a success."""

    error: str | None

    @property
    def succeeded(self) -> bool:
        """Whether the job's command ended with status 0."""
        return self.error is None


def result_path(folder: str, job_id: str) -> Path:
    """Return the path of a job's result, which submitit writes on the node.

    `folder` is the folder of the job's batch.
    """
    return Path(folder, f"{job_id}_0_result.pkl")


def output_path(folder: str, job_id: str) -> Path:
    """Return the path of the output of submitit's process, which has Slurm's messages too.

    `folder` is the folder of the job's batch.
    """
    return Path(folder, f"{job_id}_0_log.out")


def read_result(path: Path) -> Result | None:
    """Return the result of a job; None if it has not arrived or cannot be read.

    The file is a pickle. Unpickling it is safe because only this user may write to its folder.
    """
    try:
        kind, value = pickle_load(path)
    except FileNotFoundError:
        return None
    except Exception as problem:
        # Unpickling an incomplete file can raise anything; the rest may still arrive.
        logger.debug("%s: %r", path, problem)
        return None
    if kind == "success":
        return Result(None)
    # The last line of a traceback is the exception.
    line = str(value).strip().rpartition("\n")[2]
    return Result(line.rpartition("CommandError: ")[2])


def verdict(
    result: Result | None, state: State | None, waited: float | None, grace: float
) -> str | None:
    """Return why a job has failed; None while it may still succeed.

    Args:
        result: the result that the payload wrote, which is not a success; None if there is none.
        state: the scheduler's state of the job; None if the scheduler does not know the job.
        waited: seconds since the job was first seen to have ended; None if it has not.
        grace: seconds to wait, after the end, for a result that a shared file system shows late,
            or for a state that the scheduler reports later than the result.
    """
    if state is not None and state.phase is Phase.STUCK:
        return f"Slurm will not start it: {state}"
    ended = state is not None and state.phase is Phase.ENDED
    if result is not None and (ended or (waited or 0) >= grace):
        return f"{result.error}; {state}" if ended else result.error
    if waited is None or waited < grace:
        return None
    if state is not None and state.name == "COMPLETED":
        return f"{state}, but it left no result that can be read"
    if ended:
        return str(state)
    return "lost: the scheduler does not know it any more, and it left no result"


def tail(path: Path, starts: tuple[str, ...] = ("",), before: str | None = None) -> list[str]:
    """Return the last `TAIL` informative lines of a file that begin with one of ``starts``.

    `Telling` decides which lines are informative. If the file cannot be read, the list is empty.

    Args:
        path: the file.
        starts: beginnings of the lines to return; by default any line.
        before: reading stops at the first line that begins with this text.
    """
    try:
        with path.open(errors="replace") as file:
            lines = takewhile(
                lambda line: before is None or not line.startswith(before),
                (line.rstrip() for line in file),
            )
            telling = filter(Telling(), lines)
            return [*deque((line for line in telling if line.startswith(starts)), TAIL)]
    except OSError:
        return []


def report(submission: Submission, reason: str) -> str:
    """Return the message on a failed job: reason, last lines of log and output, path of the log."""
    log = log_path(submission.logs, submission.job_id)
    output = output_path(submission.folder, submission.job_id)
    slurm_says = said = tail(output, SLURM_SAYS)
    # submitit's own lines in the output matter only if it left no result.
    if not result_path(submission.folder, submission.job_id).exists():
        said = tail(output)
    elif tail(output, (ELSEWHERE,)):
        said = tail(output, before="submitit ERROR")
    ends = {path: text for path, text in ((log, tail(log)), (output, said)) if text}
    if any(map(OUT_OF_MEMORY.search, [reason, *slurm_says])):
        # Slurm's state of such a job is often only FAILED.
        reason += "; out of memory: give the rule more mem_mb"
    lines = [f"Job {submission.job_id} ({submission.title}) failed: {reason}"]
    for path, text in ends.items():
        lines += [f"{path} ends with:", *(f"    {line}" for line in text)]
    there = output if output.exists() and not log.exists() else log
    return "\n".join([*lines, f"Log: {there}", ""])
