"""The source that made the results: every file of the checkout, and the commit it is at."""

import getpass
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import kdlm
from kdlm.archive.manifest import parse_manifest
from kdlm.archive.names import FACTS, MANIFEST, SOURCE
from kdlm.archive.packing import Content, Stored
from kdlm.errors import InputError

__all__ = ["Source", "checkout", "operator", "read_source"]

_EXCLUDED = PurePosixPath("results/reference")
"""Archives that are part of the source; an archive within an archive would grow without end."""


@dataclass(frozen=True)
class Source:
    """Files by their path in the checkout, and what they are with respect to their commit."""

    commit: str
    files: dict[str, Content]
    diff: bytes
    """Against the commit; empty where the files are the commit's."""


def checkout() -> Path:
    """The folder of the checkout that the running package belongs to.

    Raises:
        InputError: the package was installed away from its checkout.

    """
    folder = Path(kdlm.__file__).parents[2]
    if not (folder / "Snakefile").is_file():
        raise InputError(
            f"{folder} is no checkout of the study: install the package from one with "
            f"pip install --editable"
        )
    return folder


def operator() -> str:
    """Who archives: git's user where there is one, else the login name."""
    try:
        return _git(checkout(), "config", "user.name").decode().strip()
    except InputError:
        return getpass.getuser()


def read_source(*, include_diff: bool) -> Source:
    """The source of the running package.

    Raises:
        InputError: it differs from its commit and ``include_diff`` is not asked for, or there is
            neither git nor an archive's manifest that says what it is.

    """
    folder = checkout()
    if (folder.parent / FACTS).is_file() and folder.name == SOURCE:
        return _from_archive(folder)
    if not (folder / ".git").exists():
        raise InputError(f"{folder} is no git checkout: an archive has to name its commit")
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = [
        name
        for name in sorted(set(listed.decode().split("\0")) - {""})
        if not PurePosixPath(name).is_relative_to(_EXCLUDED) and (folder / name).is_file()
    ]
    ours = ("--", ".", f":(exclude){_EXCLUDED}")
    changed = _git(folder, "status", "--porcelain", "-z", "--untracked-files=all", *ours)
    diff = b""
    if changed:
        first = changed.decode().split("\0")[0]
        if not include_diff:
            raise InputError(
                f"{folder} differs from its commit ({first.strip()}): commit, or archive with "
                f"--include-diff"
            )
        diff = _git(folder, "diff", "--binary", "HEAD", *ours) or b"only new files, see source/\n"
    return Source(
        commit=_git(folder, "rev-parse", "HEAD").decode().strip(),
        files={name: Stored.of(folder / name) for name in names},
        diff=diff,
    )


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
    """The source that an archive held, if it is still what that archive's manifest says."""
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
