"""Record on disk which jobs are on the cluster, so that a later controller can take them over.

Each controller has a folder of its own with three files: a lock, which the kernel releases however
the process ends; the list of files that the run makes and reads; and a journal. The journal has a
line of JSON before each submission (`{"submitting": tag, "keys": […]}`), a line after it
(`{"submitted": tag, "jobs": […]}`), and a line once Snakemake knows how jobs ended
(`{"ended": […]}`). If the lock of a folder is free, its controller has died, and its jobs can be
taken over.
"""

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from snakemake_executor_plugin_submitit.locks import TEST, Holder, held_by, take

__all__ = ["Journal", "RivalError", "Submission", "Took", "forget"]

_LOCK, _JOURNAL, _FILES = "lock", "journal.jsonl", "files.json"


class RivalError(Exception):
    """Another controller makes or reads files of this run; the message names it and a file."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One Snakemake job that was submitted to a cluster."""

    job_id: str
    cluster: str
    """Name of the cluster: `slurm` or `local`."""
    folder: str
    """Folder of submitit's files for the job's batch."""
    key: str
    """What the job makes, as in `Planned.key`; no two jobs may make it at the same time."""
    fingerprint: str
    """How the job makes it, as in `Planned.fingerprint`."""
    title: str
    logs: str
    """Folder of the job's log."""


@dataclass
class _Entries:
    """The content of a journal: jobs on the cluster, and submissions without a known result."""

    live: dict[str, Submission]
    unfinished: dict[str, list[str]]
    """Keys of the jobs of each submission that began and is not recorded as over, by its tag.

    Either the submission is under way, or its controller died during it.
    """

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
            return  # The controller died while it wrote this line.
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
    """Jobs and submissions taken over from controllers that died."""

    orphans: list[Submission]
    """Jobs of dead controllers, which now belong to this controller."""
    unfinished: list[str]
    """Tags of submissions during which controllers died; their jobs have to be cancelled."""


class Journal:
    """The submissions of this controller; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Begin a journal in a new folder below ``folder``, which is made if necessary.

        Raises:
            OSError: the journal cannot be written.
            LockError: the file system has no locks.
        """
        self._folder = folder / f"{time.time_ns():x}-{os.getpid()}"
        self._folder.mkdir(parents=True, mode=0o700)
        self._guard = threading.Lock()
        self.live: dict[str, Submission] = {}
        self.unfinished: set[str] = set()
        self._lock = (self._folder / _LOCK).open("w")
        try:
            take(self._lock)
        except OSError:
            self._lock.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._outputs: set[str] = set()
        self._inputs: set[str] = set()
        # Taken from a file's time, so that it and the times of results come from the same clock.
        self.begun = (self._folder / _LOCK).stat().st_mtime
        self._file = (self._folder / _JOURNAL).open("a")

    def claim(self, outputs: Collection[str], inputs: Collection[str]) -> None:
        """Record which files this run makes and reads, unless another controller uses them.

        Raises:
            RivalError: another controller, which lives or may live, makes one of these files, or
                reads one of the outputs. Nothing was claimed.
        """
        if self._outputs.issuperset(outputs) and not {*inputs} - self._inputs - self._outputs:
            return
        made, read = {*outputs}, {*inputs}
        with self._folder.parent.with_suffix(".lock").open("w") as turn:
            # Only one controller at a time may compare its files with those of the others.
            fcntl.flock(turn, fcntl.LOCK_EX)
            for folder in self._others():
                with held_by(folder / _LOCK) as holder:
                    if holder is not None:
                        makes, reads = _claimed(folder)
                        shared = (made & makes) | (made & reads) | (read & makes)
                        if shared:
                            raise RivalError(_refusal(folder, holder, min(shared)))
            self._outputs |= made
            self._inputs |= read
            files = {"makes": sorted(self._outputs), "reads": sorted(self._inputs)}
            new = self._folder / f"{_FILES}.new"
            new.write_text(json.dumps(files))
            new.replace(self._folder / _FILES)

    def _others(self) -> Iterator[Path]:
        for folder in sorted(self._folder.parent.iterdir()):
            if folder != self._folder and (folder / _LOCK).is_file():
                yield folder

    def submitting(self, tag: str, keys: Collection[str]) -> None:
        """Record that a submission with this tag, of jobs with these keys, is about to begin."""
        with self._guard:
            self.unfinished.add(tag)
            _write(self._file, {"submitting": tag, "keys": [*keys]})

    def submitted(self, tag: str, submissions: Sequence[Submission]) -> None:
        """Record the jobs of a submission that is over; an empty list if no jobs are left of it."""
        with self._guard:
            self.unfinished.discard(tag)
            self.live |= {submission.job_id: submission for submission in submissions}
            _write(self._file, {"submitted": tag, "jobs": [asdict(one) for one in submissions]})

    def ended(self, job_ids: Iterable[str]) -> None:
        """Record that these jobs have ended, so that no controller has to follow them."""
        with self._guard:
            ended = [job_id for job_id in job_ids if self.live.pop(job_id, None) is not None]
            if ended:
                _write(self._file, {"ended": ended})

    def take(self, keys: Collection[str]) -> Took:
        """Take over the jobs of dead controllers that have one of these keys.

        Jobs with these keys that belong to this controller already, because they were taken over
        before, are returned too. Submissions during which a controller died are taken over whatever
        their keys.

        Raises:
            RivalError: a controller that lives, or may live, has jobs with these keys.
        """
        took = Took([one for one in list(self.live.values()) if one.key in keys], [])
        for folder in self._others():
            with held_by(folder / _LOCK) as holder:
                entries = _Entries.read(folder / _JOURNAL)
                wanted = [one for one in entries.live.values() if one.key in keys]
                if holder is not None:
                    theirs = {one.key for one in wanted}.union(*entries.unfinished.values())
                    if shared := theirs & {*keys}:
                        raise RivalError(_refusal(folder, holder, min(shared)))
                    continue
                # The jobs are written to this journal before they are struck out of the other one,
                # so that they are in at least one of the two if this process dies in between.
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
        """Close the journal and release its lock, so that remaining jobs can be taken over."""
        with self._guard:
            if not self.live and not self.unfinished:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._file.close()
            self._lock.close()


def _strike_out(path: Path, submissions: Sequence[Submission], unfinished: Iterable[str]) -> None:
    with path.open("a") as file:
        file.write("\n")  # The controller may have died within a line, which this ends.
        _write(file, {"ended": [submission.job_id for submission in submissions]})
        for tag in unfinished:
            _write(file, {"submitted": tag, "jobs": []})


def _write(file: TextIO, entry: dict[str, Any]) -> None:
    file.write(json.dumps(entry) + "\n")
    file.flush()
    os.fsync(file.fileno())


def _claimed(folder: Path) -> tuple[set[str], set[str]]:
    """Return the files that a controller makes and those that it reads.

    Without a readable list of files, its journal gives the former, and the latter are unknown.
    """
    with contextlib.suppress(OSError, ValueError):
        files = json.loads((folder / _FILES).read_text())
        return {*files["makes"]}, {*files["reads"]}
    entries = _Entries.read(folder / _JOURNAL)
    keys = {one.key for one in entries.live.values()}.union(*entries.unfinished.values())
    return keys, set()


def _refusal(folder: Path, holder: Holder, path: str) -> str:
    if holder.certain:
        return (
            f"the snakemake of {holder} works on {path}; nothing was touched:"
            " wait for it, or stop it"
        )
    ids = " ".join(_Entries.read(folder / _JOURNAL).live)
    return (
        f"the snakemake of {holder} worked on {path}, and whether it still does cannot be told"
        " from here, for locks on this file system may be seen by one machine alone (to test it:"
        f" {TEST}). Nothing was touched: start snakemake on that machine; or, if it has ended,"
        f"{f' scancel {ids} and' if ids else ''} remove {folder}"
    )


def forget(controllers: Path, gone: Callable[[list[Submission]], set[str]]) -> set[str]:
    """Remove the journals of dead controllers that have no jobs on the cluster any more.

    Args:
        controllers: the folder that holds the folders of all controllers.
        gone: returns the ids of those of the given jobs that are known to have ended.

    Returns:
        The names of the batches that remaining jobs or unfinished submissions may still need.

    Raises:
        RivalError: a controller lives, or may live.
    """
    needed: set[str] = set()
    for folder in sorted(controllers.iterdir()) if controllers.is_dir() else []:
        if not (folder / _LOCK).is_file():
            continue
        with held_by(folder / _LOCK) as holder:
            if holder is not None:
                raise RivalError(f"{folder} is of the snakemake of {holder}, which may still run")
            entries = _Entries.read(folder / _JOURNAL)
            for job_id in gone(list(entries.live.values())):
                entries.live.pop(job_id, None)
            if not entries.live and not entries.unfinished:
                shutil.rmtree(folder, ignore_errors=True)
            needed |= {Path(one.folder).name for one in entries.live.values()}
            needed |= entries.unfinished.keys()
    return needed
