"""How a job ended, and what to tell of it."""

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
"""Lines of a log that are shown."""

SLURM_SAYS = ("slurmstepd", "srun:")
"""How Slurm's own lines in a job's output begin."""


@dataclass(frozen=True)
class Result:
    """What the payload left: nothing that went wrong, or what did."""

    error: str | None

    @property
    def succeeded(self) -> bool:
        """Whether the command ended with 0."""
        return self.error is None


def result_path(folder: str, job_id: str) -> Path:
    """Where submitit's process on the node leaves a job's result; `folder` is its batch's."""
    return Path(folder, f"{job_id}_0_result.pkl")


def output_path(folder: str, job_id: str) -> Path:
    """Where a job's own output goes, and what Slurm says to it; `folder` is its batch's."""
    return Path(folder, f"{job_id}_0_log.out")


def read_result(path: Path) -> Result | None:
    """The result of a job, if it has come and can be read.

    It is unpickled: its folder is one that only this user may write to.
    """
    try:
        kind, value = pickle_load(path)
    except FileNotFoundError:
        return None
    except Exception as problem:
        # whatever unpickling makes of half a file; it may yet become whole
        logger.debug("%s: %r", path, problem)
        return None
    if kind == "success":
        return Result(None)
    # the last line of a traceback is the exception
    line = str(value).strip().rpartition("\n")[2]
    return Result(line.rpartition("CommandError: ")[2])


def verdict(
    result: Result | None, state: State | None, waited: float | None, grace: float
) -> str | None:
    """Why a job has failed; None while it may still succeed.

    Args:
        result: what the payload left; not a success.
        state: what the scheduler says; None where it does not know the job.
        waited: seconds since the job was first seen to have ended; None where it has not.
        grace: seconds that a result may be late, for shared file systems show files late, and that
            the scheduler's word may be later than the result.
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
    """The last telling lines of a text that begin with one of ``starts``.

    Args:
        path: the text; where it cannot be read, there are no lines.
        starts: how the lines begin.
        before: how the first line begins that is not read any more.
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
    """What is told of a job that failed: why, the ends of its log and of its output, where."""
    log = log_path(submission.logs, submission.job_id)
    output = output_path(submission.folder, submission.job_id)
    slurm_says = said = tail(output, SLURM_SAYS)
    # what submitit says there matters only where it could not finish
    if not result_path(submission.folder, submission.job_id).exists():
        said = tail(output)
    elif tail(output, (ELSEWHERE,)):
        said = tail(output, before="submitit ERROR")
    ends = {path: text for path, text in ((log, tail(log)), (output, said)) if text}
    if any(map(OUT_OF_MEMORY.search, [reason, *slurm_says])):
        # the state of the job is often FAILED only
        reason += "; out of memory: give the rule more mem_mb"
    lines = [f"Job {submission.job_id} ({submission.title}) failed: {reason}"]
    for path, text in ends.items():
        lines += [f"{path} ends with:", *(f"    {line}" for line in text)]
    there = output if output.exists() and not log.exists() else log
    return "\n".join([*lines, f"Log: {there}", ""])
