"""The interface between the executor and a scheduler."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import Request


class Phase(Enum):
    """What a job's state means for the executor, which waits for its end."""

    ALIVE = "alive"
    """Pending, running, or about to run again."""
    ENDED = "ended"
    STUCK = "stuck"
    """Pending, and Slurm says that it will never start."""


@dataclass(frozen=True)
class State:
    """State of a job as its scheduler reports it."""

    phase: Phase
    name: str
    """The scheduler's name of the state, such as OUT_OF_MEMORY."""
    detail: str = ""
    """Reason or exit status."""

    def __str__(self) -> str:
        """Return the name, followed by the detail in brackets if there is one."""
        return f"{self.name} ({self.detail})" if self.detail else self.name


class SubmissionError(Exception):
    """The scheduler refused a submission, or could not be reached for too long."""


class NoRoomError(SubmissionError):
    """The queue is at a limit: no more jobs can be submitted until others have left it."""


class Cluster(Protocol):
    """A scheduler that submitit submits to."""

    @property
    def largest_array(self) -> int:
        """The largest number of jobs in one submission.

        Raises:
            SubmissionError: the scheduler cannot be reached.
        """

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        """Submit all commands, as one array if there are several.

        Args:
            folder: an empty folder for submitit's files.
            request: the resources of each job.
            name: name of the jobs.
            tag: a word that no other submission has.
            commands: what the jobs run; at most `largest_array` commands.

        Returns:
            The job ids, in the order of the commands.

        Raises:
            NoRoomError: a limit on the jobs in the queue is reached; nothing is submitted.
            SubmissionError: the scheduler refused, or was unreachable; nothing is submitted.
        """

    def states(self, job_ids: Iterable[str], finished: Collection[str] = ()) -> dict[str, State]:
        """Return the state of each job by id, without the jobs that the scheduler does not know.

        Args:
            job_ids: ids of the jobs.
            finished: ids of those jobs whose end is known already. For these the caller needs to
                know only whether they are still queued, so accounting need not be asked.

        Raises:
            OSError: the scheduler cannot be reached.
        """

    def stop_waiting(self) -> None:
        """Make a submission that waits for the scheduler in another thread give up at once."""

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Cancel jobs; jobs that have ended already are ignored.

        Raises:
            OSError: the scheduler cannot be reached.
        """

    def cancel_tagged(self, tag: str) -> None:
        """Cancel all jobs that were submitted with this tag.

        Raises:
            OSError: the scheduler cannot be reached.
        """
