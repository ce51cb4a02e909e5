"""Rules for the names and contents of an archive's entries, for packing and for unpacking."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

__all__ = [
    "CRATE",
    "FACTS",
    "MANIFEST",
    "MOST",
    "PREVIEW",
    "SOURCE",
    "complaint",
    "complaints",
    "pickled",
    "source_complaint",
]

MANIFEST = "manifest-sha256.txt"
CRATE = "ro-crate-metadata.json"
PREVIEW = "ro-crate-preview.html"
FACTS = "archive.json"
SOURCE = "source"

_TOP_FILES = {
    MANIFEST, CRATE, PREVIEW, FACTS, "README.md", "datasets.json", "source.diff", "specs.json",
}  # fmt: skip
_TOP_FOLDERS = {SOURCE, "environment", "results", "snakemake"}
_RESULTS = {".html", ".json", ".log", ".parquet", ".png", ".safetensors", ".svg", ".tsv"}
_EXECUTES_WHEN_READ = {
    ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pk", ".pkl", ".pt", ".pth",
}  # fmt: skip

_SOURCE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SOURCE_TYPES = {
    ".bib", ".cff", ".conf", ".css", ".csv", ".html", ".js", ".json", ".lock", ".md", ".png", ".py",
    ".rst", ".sh", ".smk", ".svg", ".toml", ".tsv", ".txt", ".typed", ".yaml", ".yml",
}  # fmt: skip
_SOURCE_FILES = {"Dockerfile", "LICENSE", "MANIFEST.in", "Makefile", "Snakefile"}
"""Names of source files that are allowed without one of `_SOURCE_TYPES`, in any folder."""

_SOURCE_HIDDEN = {
    ".ci/run",
    ".dockerignore",
    ".github/ISSUE_TEMPLATE/fault.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".snakemake-workflow-catalog.yml",
    ".zenodo.json",
}
"""Hidden paths allowed in the source; no tool executes them when it enters the folder."""

_SOURCE_MODULES = {"kdlm", "snakemake_executor_plugin_submitit", "snakemake_logger_plugin_kdlm"}
"""Packages allowed in source/src; any other could shadow an installed package."""

_OF_WINDOWS = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE | re.DOTALL
)
"""Device names of Windows, with any suffix."""

_LONGEST = 1024
"""Bytes of a whole path."""
_LONGEST_PART = 255
"""Bytes of one part of a path; most file systems allow no more."""

MOST = 200_000
"""Largest number of files and folders; a study of 10,000 students has about 130,000."""

_DEEPEST = 32
"""Largest number of parts of a path; the paths of a study have up to 14."""


def complaint(name: str) -> str | None:
    """Return the reason why an archive may not have an entry of this name; None if it may."""
    return _unsafe(name) or _foreign(PurePosixPath(name))


def _unsafe(name: str) -> str | None:
    """Return the reason why a name is unsafe: some system would write another file for it."""
    if not name or not name.isprintable() or len(name.encode()) > _LONGEST:
        return "a name that is empty, too long or not printable"
    parts = name.split("/")
    rules = {
        "a path that is too deep, or has a part that is too long": (
            len(parts) > _DEEPEST or any(len(part.encode()) > _LONGEST_PART for part in parts)
        ),
        "an absolute path, a drive or a backslash": name[0] == "/" or set(name) & set("\\:"),
        "a path with an empty part, '.' or '..'": {"", ".", ".."} & {*parts},
        "a name that is spelt in two ways (not NFC)": unicodedata.normalize("NFC", name) != name,
        "a name that Windows cannot unpack": (
            set(name) & set('<>"|?*')
            or any(part[-1:] in (".", " ") or _OF_WINDOWS.fullmatch(part) for part in parts)
        ),
    }
    return next((reason for reason, broken in rules.items() if broken), None)


def _foreign(path: PurePosixPath) -> str | None:
    """Return the reason why no archive of a study has an entry with this path; None if it may."""
    if path.suffix.lower() in _EXECUTES_WHEN_READ:
        return "a pickle, or a format that may hold one"
    if len(path.parts) == 1:
        return None if str(path) in _TOP_FILES else "no file that an archive holds"
    if path.parts[0] not in _TOP_FOLDERS:
        return "in no folder that an archive has"
    if path.parts[0] == SOURCE:
        return source_complaint(path.relative_to(SOURCE).as_posix())
    return _no_result(path)


def _no_result(path: PurePosixPath) -> str | None:
    if any(part.startswith(".") for part in path.parts):
        return "a hidden file or folder"
    if path.suffix not in _RESULTS | {".txt"}:
        return f"of a type ({path.suffix or 'none'}) that no result has"
    return None


def source_complaint(name: str) -> str | None:
    """Return the reason why the source may not have a file of this name; None if it may.

    Allowed are text that a reviewer can read, and pictures of the documentation. Compiled code is
    not allowed, nor are settings that git, direnv or an editor applies when it enters a folder.

    Args:
        name: path of the file, relative to the checkout.

    """
    path = PurePosixPath(name)
    if name in _SOURCE_HIDDEN:
        return None
    if not all(_SOURCE_PART.fullmatch(part) for part in path.parts):
        return "a hidden file or folder in the source, or a name with other than A-Z a-z 0-9 . _ -"
    if "__pycache__" in path.parts:
        return "compiled code, which nobody can read"
    if path.name not in _SOURCE_FILES and path.suffix not in _SOURCE_TYPES:
        return f"of a type ({path.suffix or 'none'}) that no file of the source has"
    if path.parts[0] == "src" and (len(path.parts) < 3 or path.parts[1] not in _SOURCE_MODULES):
        return "a module beside the study's own"
    return None


def complaints(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first of ``names`` that an archive may not have, with the reason; else None.

    Besides `complaint`, the reasons are that two names differ only in case, that one name is both a
    file and a folder, and that there are more than `MOST` files and folders.
    """
    seen: dict[str, str] = {}
    folders: set[str] = set()
    ordered = list(names)
    for name in ordered:
        if reason := complaint(name):
            return name, reason
        # On a file system that ignores case, one file would overwrite the other.
        folded = name.casefold()
        if folded in seen:
            return name, f"the same file as {seen[folded]}"
        seen[folded] = name
        folders |= {str(parent).casefold() for parent in PurePosixPath(name).parents}
        if len(seen) + len(folders) > MOST:
            return name, f"one more than {MOST} files and folders"
    for folded, name in seen.items():
        if folded in folders:
            return name, "a file and a folder at once"
    return None


def pickled(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is a binary pickle or a zip.

    A zip is refused because it can contain a pickle, as the files of torch.save do.
    """
    return (head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}) or (
        head[:4] == b"PK\x03\x04"
    )
