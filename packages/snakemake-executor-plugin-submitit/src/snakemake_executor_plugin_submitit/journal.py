"""Which jobs are on the cluster, on disk, so that another controller can follow one that died.

Each controller has a folder of its own, with a lock that the kernel lets go of whatever kills the
process, and a journal: a line of JSON before a submission (`{"submitting": tag, "keys": […]}`), one
after it (`{"submitted": tag, "jobs": […]}`), and one once Snakemake knows how jobs ended
(`{"ended": […]}`). A folder whose lock is free is that of a controller that died; what it had on
the cluster can be taken over.
"""

import fcntl
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

__all__ = ["Journal", "Submission", "Took"]

_LOCK, _JOURNAL = "lock", "journal.jsonl"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One Snakemake job that was handed to a cluster."""

    job_id: str
    cluster: str
    """Which cluster: `slurm` or `local`."""
    folder: str
    """Where submitit keeps the files of its batch."""
    key: str
    """What the job makes; no two jobs may make it at the same time."""
    fingerprint: str
    """How it makes it."""
    title: str
    logs: str
    """Folder of its log."""


@dataclass
class _Entries:
    """What a journal comes to."""

    live: dict[str, Submission]
    unfinished: dict[str, list[str]]
    """By tag: what submissions were to make in whose midst the controller died, or is."""

    @classmethod
    def read(cls, path: Path) -> "_Entries":
        entries = cls({}, {})
        if path.exists():
            for line in path.read_text().splitlines():
                entries._apply(line)
        return entries

    def _apply(self, line: str) -> None:
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            return  # the line that was being written when the controller died
        if "submitting" in entry:
            self.unfinished[entry["submitting"]] = entry.get("keys", [])
        elif "submitted" in entry:
            self.unfinished.pop(entry["submitted"], None)
            self.live |= {job["job_id"]: Submission(**job) for job in entry["jobs"]}
        else:
            for job_id in entry["ended"]:
                self.live.pop(job_id, None)


@dataclass(frozen=True)
class Took:
    """What other controllers have to do with the jobs that are about to be submitted."""

    orphans: list[Submission]
    """Jobs of controllers that died, now this controller's."""
    rivals: dict[str, str]
    """By key: the living controller that has a job of it on the cluster."""
    unfinished: list[str]
    """Tags of submissions in whose midst controllers died; to be cancelled."""


class Journal:
    """The submissions of this controller; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Begin a journal among those in ``folder``, which is made if need be.

        Raises:
            OSError: it cannot be written, or its file system has no locks.
        """
        self._folder = folder / f"{time.time_ns():x}-{os.getpid()}"
        self._folder.mkdir(parents=True, mode=0o700)
        self._guard = threading.Lock()
        self.live: dict[str, Submission] = {}
        self.unfinished: set[str] = set()
        self._lock = (self._folder / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()
        # by the clock of the file system, which is that of the results of jobs
        self.begun = (self._folder / _LOCK).stat().st_mtime
        self._file = (self._folder / _JOURNAL).open("a")

    def submitting(self, tag: str, keys: Collection[str]) -> None:
        """A submission of this tag, of jobs that make these, is about to begin."""
        with self._guard:
            self.unfinished.add(tag)
            _write(self._file, {"submitting": tag, "keys": [*keys]})

    def submitted(self, tag: str, submissions: Sequence[Submission]) -> None:
        """It is over; without submissions, nothing of it is left on the cluster."""
        with self._guard:
            self.unfinished.discard(tag)
            self.live |= {submission.job_id: submission for submission in submissions}
            _write(self._file, {"submitted": tag, "jobs": [asdict(one) for one in submissions]})

    def ended(self, job_ids: Iterable[str]) -> None:
        """These jobs need nobody's attention any more."""
        with self._guard:
            ended = [job_id for job_id in job_ids if self.live.pop(job_id, None) is not None]
            if ended:
                _write(self._file, {"ended": ended})

    def take(self, keys: Collection[str]) -> Took:
        """Take over what controllers that died have on the cluster of these keys.

        What was taken over before, and of which nothing has come since, is given once more.
        """
        took = Took([one for one in list(self.live.values()) if one.key in keys], {}, [])
        for folder in self._folder.parent.iterdir():
            if folder == self._folder or not (folder / _LOCK).is_file():
                continue
            with _try_lock(folder / _LOCK) as owner:
                entries = _Entries.read(folder / _JOURNAL)
                wanted = [one for one in entries.live.values() if one.key in keys]
                if owner is not None:
                    theirs = {one.key for one in wanted}.union(*entries.unfinished.values())
                    took.rivals.update(dict.fromkeys(theirs & {*keys}, owner))
                    continue
                # First written here, then struck out there: dying in between loses nothing.
                self._inherit(wanted, entries.unfinished)
                took.orphans.extend(wanted)
                took.unfinished.extend(entries.unfinished)
                if len(wanted) == len(entries.live):
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    _strike_out(folder / _JOURNAL, wanted, entries.unfinished)
        return took

    def _inherit(
        self, submissions: Sequence[Submission], unfinished: Mapping[str, Sequence[str]]
    ) -> None:
        for tag, keys in unfinished.items():
            self.submitting(tag, keys)
        if submissions:
            tag = "taken over"
            self.submitting(tag, [one.key for one in submissions])
            self.submitted(tag, submissions)

    def close(self) -> None:
        """End this controller's part: what is still on the cluster can be taken over."""
        with self._guard:
            if not self.live and not self.unfinished:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._file.close()
            self._lock.close()


def _strike_out(path: Path, submissions: Sequence[Submission], unfinished: Iterable[str]) -> None:
    with path.open("a") as file:
        file.write("\n")  # ends the line in whose midst the controller may have died
        _write(file, {"ended": [submission.job_id for submission in submissions]})
        for tag in unfinished:
            _write(file, {"submitted": tag, "jobs": []})


def _write(file: TextIO, entry: dict[str, Any]) -> None:
    file.write(json.dumps(entry) + "\n")
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _try_lock(path: Path) -> Iterator[str | None]:
    """Hold the lock of a controller that died; give the name of one that lives."""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield file.read().strip() or "another process"
        else:
            yield None
