"""The source that made the results: the files of the checkout, and its commit."""

import json
import logging
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import kdlm
from kdlm.archive.manifest import parse_manifest
from kdlm.archive.names import FACTS, MANIFEST, SOURCE
from kdlm.archive.packing import Content, Stored
from kdlm.errors import InputError
from kdlm.terminal import printable

__all__ = ["Source", "checkout", "is_excluded", "operator", "read_source"]

_EXCLUDED = ("results/reference", ".pre-commit-config.yaml")
"""What no archive has of the source.

Archives of archives would grow without end, and a tool could run the commands of the second.
"""

_NEEDED = re.compile(
    r"(Snakefile|pyproject\.toml|(src|packages/[^/]+/src)/.+\.(py|html|css|js)"
    r"|workflow/(Snakefile|rules/.+\.smk|report/.+\.rst|schemas/.+\.yaml))"
)
"""Files that a run of the study needs; of uncommitted files, only these are archived."""

_NOBODY = "not named"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """The files of a checkout, and their differences from its commit."""

    commit: str
    files: dict[str, Content]
    """By path relative to the checkout."""
    diff: bytes
    """The differences from the commit, as git prints them; empty if there are none."""


def is_excluded(name: str) -> bool:
    """Return whether archives leave out a committed file, by its path in the checkout.

    >>> is_excluded("results/reference/digits.zip"), is_excluded("results/README.md")
    (True, False)
    """
    return any(PurePosixPath(name).is_relative_to(one) for one in _EXCLUDED)


def checkout() -> Path:
    """Return the folder of the checkout that the running package belongs to.

    Raises:
        InputError: the package is not installed from a checkout with ``--editable``.

    """
    folder = Path(kdlm.__file__).parents[2]
    if not (folder / "Snakefile").is_file():
        raise InputError(
            f"{folder} is no checkout of the study: install the package from one with "
            f"pip install --editable"
        )
    return folder


def operator() -> str:
    """Return the name of the person who archives, git's user.name, or ``not named``.

    Archives record nothing else about a person.
    """
    try:
        return _git(checkout(), "config", "user.name").decode().strip() or _NOBODY
    except InputError:
        return _NOBODY


def read_source(*, include_diff: bool) -> Source:
    """Return the source of the running package: the committed files in their present state.

    Uncommitted files are included only if a run of the study needs them; others may hold anything,
    passwords for example. Everything that differs from the commit is logged.

    Args:
        include_diff: whether the source may differ from its commit.

    Raises:
        InputError: the source differs from its commit and ``include_diff`` is false, or there is
            neither a git checkout nor an unpacked archive to read the commit from.

    """
    folder = checkout()
    if (folder.parent / FACTS).is_file() and folder.name == SOURCE:
        return _from_archive(folder)
    if not (folder / ".git").exists():
        raise InputError(f"{folder} is no git checkout: an archive has to name its commit")
    committed = _names(folder, "ls-tree", "-r", "--name-only", "--full-tree", "HEAD")
    added = _names(folder, "ls-files", "--cached") - committed
    others = added | _names(folder, "ls-files", "--others", "--exclude-standard")
    new = {name for name in others if _NEEDED.fullmatch(name) and not (folder / name).is_symlink()}
    changed = _names(folder, "diff", "--name-only", "--no-renames", "HEAD") & committed
    if changed or new:
        _tell(folder, sorted(changed), sorted(new), include_diff=include_diff)
    if left := sorted(others - new):
        logger.info("not archived, neither committed nor needed: %s", _listed(left, 20))
    # Files that git has in its index but that are not packed must not be in the diff either.
    excluded = (*_EXCLUDED, *sorted(added - new))
    ours = (".", *(f":(exclude,literal){name}" for name in excluded))
    diff = _git(folder, "diff", "--binary", "HEAD", "--", *ours) if changed or new else b""
    return Source(
        commit=_git(folder, "rev-parse", "HEAD").decode().strip(),
        files={
            name: Stored.of(folder / name)
            for name in sorted(committed | new)
            if (folder / name).is_file() and not (folder / name).is_symlink()
        },
        diff=diff or (b"only new files, see source/\n" if new else b""),
    )


def _names(folder: Path, *arguments: str) -> set[str]:
    """Return the paths that a git command lists, without those that are excluded."""
    listed = _git(folder, arguments[0], "-z", *arguments[1:]).decode().split("\0")
    return {name for name in listed if name and not is_excluded(name)}


def _listed(names: list[str], most: int | None = None) -> str:
    more = f" and {len(names) - most} more" if most and len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def _tell(folder: Path, changed: list[str], new: list[str], *, include_diff: bool) -> None:
    """Log the packed files that differ from the commit.

    Raises:
        InputError: ``include_diff`` is false.

    """
    if not include_diff:
        differing = _listed([*changed, *new], 5)
        raise InputError(
            f"{folder} differs from its commit ({differing}): commit, or archive with "
            f"--include-diff"
        )
    if changed:
        logger.info("archived with the source, other than committed: %s", _listed(changed))
    if new:
        logger.info("archived with the source, never committed: %s", _listed(new))


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        run = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=folder,
            capture_output=True,
            check=True,
        )
    except FileNotFoundError:
        raise InputError("git is needed to archive a checkout: it names the commit") from None
    except subprocess.CalledProcessError as error:
        raise InputError(f"git {arguments[0]}: {error.stderr.decode().strip()}") from None
    return run.stdout


def _from_archive(folder: Path) -> Source:
    """Return the source of the unpacked archive that holds ``folder``.

    Raises:
        InputError: a file of the source does not have the SHA-256 of the archive's manifest.

    """
    above = folder.parent
    digests = parse_manifest((above / MANIFEST).read_bytes(), str(above / MANIFEST))
    files: dict[str, Content] = {}
    for name in sorted(name for name in digests if name.startswith(f"{SOURCE}/")):
        found = Stored.of(above / name) if (above / name).is_file() else None
        if found is None or found.sha256 != digests[name]:
            raise InputError(f"{above / name} is not what the archive held: unpack it again")
        files[name.removeprefix(f"{SOURCE}/")] = found
    facts = json.loads((above / FACTS).read_text(encoding="utf-8"))
    diff = above / "source.diff"
    return Source(
        commit=facts["source"]["commit"],
        files=files,
        diff=diff.read_bytes() if diff.is_file() else b"",
    )
