"""The seam between Snakemake's side and a scheduler: what the executor needs of either."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from snakemake_executor_plugin_submitit.payload import JobCommand
from snakemake_executor_plugin_submitit.resources import Request


class Phase(Enum):
    """What a state means for the one who waits."""

    ALIVE = "alive"
    """Pending, running, or about to run again."""
    ENDED = "ended"
    STUCK = "stuck"
    """Pending, and Slurm says that it will never start."""


@dataclass(frozen=True)
class State:
    """State of a job as its scheduler tells it."""

    phase: Phase
    name: str
    """The scheduler's word, such as OUT_OF_MEMORY."""
    detail: str = ""
    """Reason or exit status."""

    def __str__(self) -> str:
        """Both in one."""
        return f"{self.name} ({self.detail})" if self.detail else self.name


class SubmissionError(Exception):
    """The scheduler refused a submission, or could not be reached for too long."""


class NoRoomError(SubmissionError):
    """The scheduler takes no more jobs until others have left it."""


class Cluster(Protocol):
    """A scheduler that submitit submits to."""

    @property
    def largest_array(self) -> int:
        """How many jobs one submission may have.

        Raises:
            SubmissionError: the scheduler cannot be asked.
        """

    def submit(
        self, folder: Path, request: Request, name: str, tag: str, commands: Sequence[JobCommand]
    ) -> list[str]:
        """Submit all commands, as one array where there are several.

        Args:
            folder: where submitit keeps their files; nothing else is in it.
            request: what each of them asks for.
            name: the job's name.
            tag: a word that no other submission has.
            commands: at most `largest_array` of them.

        Returns:
            Their job ids.

        Raises:
            NoRoomError: a limit on the jobs in the queue; nothing is submitted.
            SubmissionError: with nothing submitted.
        """

    def states(self, job_ids: Iterable[str], finished: Collection[str] = ()) -> dict[str, State]:
        """State of each job that the scheduler knows; a job that it does not know is missing.

        Args:
            job_ids: the jobs.
            finished: those of them whose end is known; whether they are queued is all that counts.

        Raises:
            OSError: if the scheduler cannot be asked.
        """

    def stop_waiting(self) -> None:
        """Let a submission that waits for the scheduler give up at once, from another thread."""

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Cancel jobs; those that have ended are passed over.

        Raises:
            OSError: if the scheduler cannot be reached.
        """

    def cancel_tagged(self, tag: str) -> None:
        """Cancel whatever a submission of this tag may have left behind.

        Raises:
            OSError: if the scheduler cannot be reached.
        """
