"""How a job ended, and what to tell of it."""

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from submitit import Job

from snakemake_executor_plugin_submitit.cluster import Phase, State

__all__ = ["Result", "read_result", "tail", "verdict"]

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
    """The result of a job, if it has come.

    submitit unpickles it: its folder is one that only this user may write to.
    """
    if not job.paths.result_pickle.exists():
        return None
    error = job.exception()
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
    if ended:
        return str(state)
    return "lost: the scheduler does not know it any more, and it left no result"


def tail(path: Path, starts: tuple[str, ...] = ("",)) -> list[str]:
    """The last lines of a text that start so; none where it cannot be read."""
    try:
        with path.open(errors="replace") as file:
            lines = (line.rstrip() for line in file)
            return [*deque((line for line in lines if line.startswith(starts)), TAIL)]
    except OSError:
        return []
