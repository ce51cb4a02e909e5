"""Which jobs are on the cluster, on disk, so that another controller can follow one that died.

Each controller has a folder of its own, with a lock that the kernel lets go of whatever kills the
process, the files that its run makes and reads, and a journal: a line of JSON before a submission
(`{"submitting": tag, "keys": […]}`), one after it (`{"submitted": tag, "jobs": […]}`), and one once
Snakemake knows how jobs ended (`{"ended": […]}`). A folder whose lock is free is that of a
controller that died; what it had on the cluster can be taken over.
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
    """Another controller makes or reads files of this run; names both."""


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
    unfinished: list[str]
    """Tags of submissions in whose midst controllers died; to be cancelled."""


class Journal:
    """The submissions of this controller; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Begin a journal among those in ``folder``, which is made if need be.

        Raises:
            OSError: it cannot be written.
            LockError: its file system has no locks.
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
        # by the clock of the file system, which is that of the results of jobs
        self.begun = (self._folder / _LOCK).stat().st_mtime
        self._file = (self._folder / _JOURNAL).open("a")

    def claim(self, outputs: Collection[str], inputs: Collection[str]) -> None:
        """Say which files this run makes and reads, unless another controller is at them.

        Raises:
            RivalError: one that lives, or may live, makes or reads them; nothing was claimed.
        """
        if self._outputs.issuperset(outputs) and not {*inputs} - self._inputs - self._outputs:
            return
        made, read = {*outputs}, {*inputs}
        with self._folder.parent.with_suffix(".lock").open("w") as turn:
            # one controller at a time looks at what the others have said
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

        Raises:
            RivalError: a controller that lives, or may live, has jobs of these keys.
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


def _claimed(folder: Path) -> tuple[set[str], set[str]]:
    """What a controller makes and reads, as far as it has said."""
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
    """Remove the journals of controllers that died and have nothing on the cluster any more.

    ``gone`` tells the ids of those jobs that are known to have ended. Returns the names of the
    batches that jobs or submissions of other controllers may still need.

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
