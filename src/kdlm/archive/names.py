"""Which names and contents an archive may hold; packing and unpacking ask the same questions."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

__all__ = ["CRATE", "FACTS", "MANIFEST", "SOURCE", "complaint", "complaints", "pickled"]

MANIFEST = "manifest-sha256.txt"
CRATE = "ro-crate-metadata.json"
FACTS = "archive.json"
SOURCE = "source"

_TOP_FILES = {MANIFEST, CRATE, FACTS, "README.md", "datasets.json", "source.diff", "specs.json"}
_TOP_FOLDERS = {SOURCE, "environment", "results", "snakemake"}
_RESULTS = {".html", ".json", ".log", ".parquet", ".png", ".safetensors", ".svg", ".tsv"}
_EXECUTES_WHEN_READ = {
    ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pk", ".pkl", ".pt", ".pth",
}  # fmt: skip
_LONGEST = 1024
_LONGEST_PART = 255
"""Bytes; of a part of a path that is what most file systems can hold."""

_MOST = 100_000
"""Files and folders; a study of 1000 jobs has some 6,500, and its source a few hundred."""

_DEEPEST = 32
"""Parts of a path; those of a study have 14."""


def complaint(name: str) -> str | None:
    """Why an archive may have no entry of this name; None where it may."""
    return _unsafe(name) or _foreign(PurePosixPath(name))


def _unsafe(name: str) -> str | None:
    """Names that mean another file, or another place, on some machine."""
    if not name or any(not c.isprintable() for c in name) or len(name.encode()) > _LONGEST:
        return "a name that is empty, too long or not printable"
    parts = name.split("/")
    if len(parts) > _DEEPEST or any(len(part.encode()) > _LONGEST_PART for part in parts):
        return "a path that is too deep, or has a part that is too long"
    if name.startswith("/") or "\\" in name or ":" in name:
        return "an absolute path, a drive or a backslash"
    if any(part in ("", ".", "..") for part in parts):
        return "a path with an empty part, '.' or '..'"
    if unicodedata.normalize("NFC", name) != name:
        return "a name that is spelt in two ways (not NFC)"
    return None


def _foreign(path: PurePosixPath) -> str | None:
    """Names that no archive of a study has."""
    if path.suffix.lower() in _EXECUTES_WHEN_READ:
        return "a pickle, or a format that may hold one"
    if len(path.parts) == 1:
        return None if str(path) in _TOP_FILES else "no file that an archive holds"
    if path.parts[0] not in _TOP_FOLDERS:
        return "in no folder that an archive has"
    if path.parts[0] != SOURCE and path.suffix not in _RESULTS | {".txt"}:
        return f"of a type ({path.suffix or 'none'}) that no result has"
    return None


def complaints(names: Iterable[str]) -> tuple[str, str] | None:
    """The first name that no archive may have, or one that is too many, with the reason."""
    seen: dict[str, str] = {}
    folders: set[str] = set()
    ordered = list(names)
    for name in ordered:
        if reason := complaint(name):
            return name, reason
        # a disk that ignores case would let one overwrite the other
        folded = name.casefold()
        if folded in seen:
            return name, f"the same file as {seen[folded]}"
        seen[folded] = name
        folders |= {str(parent).casefold() for parent in PurePosixPath(name).parents}
        if len(seen) + len(folders) > _MOST:
            return name, f"one more than {_MOST} files and folders"
    for folded, name in seen.items():
        if folded in folders:
            return name, "a file and a folder at once"
    return None


def pickled(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a binary pickle, or a zip that may hold one."""
    return (head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}) or (
        head[:4] == b"PK\x03\x04"
    )
