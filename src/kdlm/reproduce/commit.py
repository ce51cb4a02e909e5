"""Comparing the archive's source with the commit it names, if a checkout here has the commit."""

import hashlib
import os
import subprocess
from pathlib import Path

import kdlm
from kdlm.archive.names import SOURCE
from kdlm.archive.source import is_excluded
from kdlm.reproduce.outcome import Level, Outcomes, State
from kdlm.reproduce.unpacked import Unpacked

__all__ = ["SOURCE_ROW", "compare_source"]

SOURCE_ROW = "source, against its commit"
"""Name of the outcome, which has its own row in the table of outcomes."""

_FILES = ("100644", "100755")
_SECONDS = 60
"""Time limit for git."""


class _NotAtHandError(Exception):
    """The commit cannot be read here; the message says why."""


def compare_source(unpacked: Unpacked, outcomes: Outcomes) -> str:
    """Enter whether every file in ``source/`` is that of the commit which the archive names.

    The commit is read by git, from the checkout that the running package belongs to.

    Returns:
        The outcome in one line.

    """
    commit = unpacked.facts.commit
    if commit is None:
        return _enter(outcomes, State.NOT_DONE, "not compared: the archive names no commit")
    try:
        wanted = _blobs(commit)
    except _NotAtHandError as error:
        return _enter(outcomes, State.NOT_DONE, f"not compared: {error}")
    algorithm = "sha1" if len(commit) == 40 else "sha256"
    found = {
        name.removeprefix(f"{SOURCE}/"): _blob(unpacked.folder / name, algorithm)
        for name in unpacked.digests
        if name.startswith(f"{SOURCE}/")
    }
    differing = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
    if not differing:
        outcomes.add(SOURCE_ROW, Level.INTEGRITY, State.HELD)
        return f"every file is that of commit {commit}"
    named = ", ".join(differing[:3]) + (f" and {len(differing) - 3} more" if differing[3:] else "")
    if unpacked.facts.as_committed:
        return _enter(outcomes, State.FAILED, f"not the commit's {commit}: {named}")
    said = f"other than commit {commit}, as the archive says (source.diff): {named}"
    return _enter(outcomes, State.NOT_DONE, said)


def _enter(outcomes: Outcomes, state: State, reason: str) -> str:
    outcomes.add(SOURCE_ROW, Level.INTEGRITY, state, reason)
    return reason


def _blobs(commit: str) -> dict[str, str]:
    """Return git's digest of every regular file of a commit that an archive would hold, by path.

    Raises:
        _NotAtHandError: git is missing or does not answer, the running package is not in a git
            checkout, or the checkout does not have the commit.

    """
    # The checkout of the running package: the archive's folder could be a forged repository.
    checkout = Path(kdlm.__file__).parents[2]
    if not (checkout / ".git").exists():
        raise _NotAtHandError("this kdlm runs from no git checkout")
    try:
        run = subprocess.run(  # noqa: S603
            ["git", "ls-tree", "-r", "-z", "--full-tree", commit],  # noqa: S607
            cwd=checkout,
            env=os.environ | {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except OSError:
        raise _NotAtHandError("there is no git here") from None
    except subprocess.TimeoutExpired:
        raise _NotAtHandError("git did not answer") from None
    if run.returncode:
        raise _NotAtHandError(f"git has no commit {commit} in {checkout}")
    blobs = {}
    for line in run.stdout.decode(errors="surrogateescape").split("\0")[:-1]:
        facts, name = line.split("\t", 1)
        mode, _, digest = facts.split()
        if mode in _FILES and not is_excluded(name):
            blobs[name] = digest
    return blobs


def _blob(path: Path, algorithm: str) -> str:
    """Return git's digest of a file."""
    content = path.read_bytes()
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content).hexdigest()
