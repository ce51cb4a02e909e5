"""How a job ended, and what to tell of it."""

import logging
import re
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from submitit import Job

from snakemake_executor_plugin_submitit.cluster import Phase, State

__all__ = ["Result", "read_result", "tail", "verdict"]

logger = logging.getLogger(__name__)

TAIL = 20
"""Lines of a log that are shown."""


@dataclass(frozen=True)
class Result:
    """What the payload left: nothing that went wrong, or what did."""

    error: str | None

    @property
    def succeeded(self) -> bool:
        """Whether the command ended with 0."""
        return self.error is None


def read_result(job: Job[None]) -> Result | None:
    """The result of a job, if it has come and can be read.

    submitit unpickles it: its folder is one that only this user may write to.
    """
    if not job.paths.result_pickle.exists():
        return None
    try:
        error = job.exception()
    except Exception as problem:
        # whatever unpickling makes of half a file; it may yet become whole
        logger.debug("%s: %r", job.paths.result_pickle, problem)
        return None
    if error is None:
        return Result(None)
    # submitit frames the traceback with dashes; its last line is the exception
    framed = re.split(r"^-+$", str(error), flags=re.MULTILINE)
    line = framed[min(1, len(framed) - 1)].strip().rpartition("\n")[2]
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
    """The last lines of a text that start so, before the first that starts so; none of no file."""
    try:
        with path.open(errors="replace") as file:
            lines = takewhile(
                lambda line: before is None or not line.startswith(before),
                (line.rstrip() for line in file),
            )
            return [*deque((line for line in lines if line.startswith(starts)), TAIL)]
    except OSError:
        return []
